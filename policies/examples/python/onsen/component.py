"""What the component exports: hands the contract's three questions to policy.py."""

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import types

import policy
from onsen import View, problems


class Policy(exports.Policy):
    def describe(self):
        integer = types.SettingKind.INTEGER
        specs = [
            types.SettingSpec(it.key, integer, str(it.default), it.min, it.max, it.doc)
            for it in policy.SETTINGS
        ]
        return types.Metadata(policy.NAME, policy.VERSION, policy.DOC, specs)

    def configure(self, settings):
        found = problems(policy.SETTINGS, settings)
        if found:
            raise Err([types.Problem(key, message) for key, message in found])

    def decide(self, snapshot):
        try:
            decision = policy.decide(View(snapshot))
        except ValueError as error:
            raise Err(str(error)) from error
        return types.Decision(
            [types.Action(request(*it.request), it.reason) for it in decision.actions],
            decision.reason,
            decision.wake_after,
            decision.memo,
            types.Placement[decision.placement.upper().replace("-", "_")],
            decision.pressure,
        )


def request(case, fields):
    """A request of the contract; its units are words here."""
    if case == "detach-eni":
        return types.Request_DetachEni(fields)
    if "unit" in fields:
        fields = {**fields, "unit": types.Unit[fields["unit"].upper()]}
    if case == "attach-eni":
        return types.Request_AttachEni(types.AttachEni(**fields))
    if case == "grow":
        return types.Request_Grow(types.Grow(**fields))
    return types.Request_Release(types.Release(**fields))
