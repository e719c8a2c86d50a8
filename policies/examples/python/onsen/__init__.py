"""Dresses up the contract for people: a view of the snapshot, a draft of the decision, settings
with ranges. Enum cases are words here, as wit/policy.wit spells them."""

import json
import re
from dataclasses import dataclass
from functools import cached_property

# One second in the contract's unit of time.
SECOND = 1000

# The host reads so many actions of one decision.
MAX_ACTIONS = 64


@dataclass
class Setting:
    key: str
    value: str


def word(case):
    """An enum case as a word."""
    return case if isinstance(case, str) else case.name.lower().replace("_", "-")


class _Wrapped:
    """Has all fields of what it wraps."""

    def __init__(self, raw):
        self.raw = raw

    def __getattr__(self, name):
        return getattr(self.raw, name)


class View(_Wrapped):
    """A snapshot, documented in wit/policy.wit, with helpers."""

    @cached_property
    def enis(self):
        """In attach order, the primary first."""
        return [Eni(raw, index, self) for index, raw in enumerate(self.raw.enis)]

    @cached_property
    def unit(self):
        return word(self.raw.unit)

    @cached_property
    def waiting(self):
        """Pods that wait for an address."""
        return len(self.raw.demand.waiting)

    def addresses_per(self, unit):
        """Addresses in one block of this unit."""
        return 1 if unit == "address" else max(self.raw.limits.addresses_per_prefix, 1)

    @property
    def last_growth(self):
        """The newest outcome of a call to get more; None when there is none."""
        growth = ("grow", "attach-eni")
        newest = reversed(self.raw.ec2.outcomes)
        return next((it for it in newest if word(it.operation) in growth), None)


@dataclass
class Block:
    """One block as a value; `index` is its place in the lists of the snapshot's blocks."""

    index: int
    unit: str
    addresses: int
    assigned: int
    cooling: int
    cooling_until: int
    idle_since: int
    free: int
    releasable: bool


class Eni(_Wrapped):
    """One ENI, its place, and its blocks as values, lowest address first."""

    def __init__(self, raw, index, view):
        super().__init__(raw)
        self.index = index
        self.state = word(raw.state)
        self.role = word(raw.role)
        self.in_flight_unit = word(raw.in_flight_unit)
        self._view = view

    @cached_property
    def blocks(self):
        lists = self._view.raw.blocks
        per_prefix = self._view.addresses_per("prefix")
        columns = (
            lists.length, lists.assigned, lists.cooling, lists.cooling_until, lists.idle_since,
            lists.free, lists.releasable,
        )
        # Lists that do not fit together give fewer blocks.
        known = min(len(lists.base), *map(len, columns))
        first = min(self.raw.first_block, known)
        end = min(first + self.raw.block_count, known)
        blocks = []
        rows = zip(*(column[first:end] for column in columns))
        for index, (length, *rest) in enumerate(rows, first):
            single = length in (32, 128)
            unit, addresses = ("address", 1) if single else ("prefix", per_prefix)
            blocks.append(Block(index, unit, addresses, *rest))
        return blocks

    @property
    def can_grow(self):
        """Whether more blocks can be asked for on it now."""
        raw = self.raw
        usable = self.state == "ready" and self.role != "trunk" and not raw.excluded
        return usable and raw.free_slots > 0 and not raw.busy

    @property
    def can_detach(self):
        """Whether the host would let it go."""
        return self.raw.keep is None and self.state == "ready"

    @property
    def name(self):
        """Its id, or a word for an ENI that has none yet."""
        return self.raw.id or "a new ENI"


@dataclass
class Action:
    """`request` is the case of the contract's `request` and its fields."""

    request: tuple
    reason: str


@dataclass
class Decision:
    actions: list
    reason: str
    wake_after: int | None
    memo: bytes
    placement: str
    pressure: int


class Draft:
    """Collects a decision. The earliest wish to be asked again wins; the highest pressure counts."""

    def __init__(self):
        self._actions = []
        self._wake_after = None
        self._memo = b""
        self._pressure = 0

    def grow(self, eni, unit, count, reason):
        self._push("grow", {"eni": eni.index, "unit": unit, "count": count}, reason)

    def attach(self, unit, blocks, reason):
        """A new ENI on network card 0, in the node's own subnet."""
        fields = {"subnet": None, "unit": unit, "blocks": blocks, "card": 0}
        self._push("attach-eni", fields, reason)

    def release(self, eni, blocks, reason):
        self._push("release", {"eni": eni.index, "blocks": blocks}, reason)

    def detach(self, eni, reason):
        self._push("detach-eni", eni.index, reason)

    def _push(self, case, fields, reason):
        if len(self._actions) < MAX_ACTIONS:
            self._actions.append(Action((case, fields), reason))

    @property
    def is_empty(self):
        return not self._actions

    def wake_after(self, wait):
        """Asks to be called again after so many milliseconds."""
        self._wake_after = wait if self._wake_after is None else min(wait, self._wake_after)

    def remember(self, memo):
        """What the next snapshot shall carry, bytes."""
        self._memo = memo

    def pressure(self, pressure):
        """How close the node is to failing a pod, 0 to 100."""
        self._pressure = max(self._pressure, min(pressure, 100))

    def finish(self, placement, reason):
        return Decision(
            self._actions, reason, self._wake_after, self._memo, placement, self._pressure
        )


@dataclass
class Integer:
    """A setting: a whole number. A value that is no number or lies outside the range reads as the
    default."""

    key: str
    default: int
    min: int
    max: int
    doc: str

    def read(self, given):
        text = next((setting.value for setting in given if setting.key == self.key), "")
        value = _number(text)
        return value if value is not None and self.min <= value <= self.max else self.default


def problems(settings, given):
    """What is wrong with the settings that a policy reads, as pairs of key and message. Empty text
    means "not set"."""
    found = []
    for setting in given:
        for spec in settings:
            if spec.key != setting.key or setting.value == "":
                continue
            value = _number(setting.value)
            if value is None or not spec.min <= value <= spec.max:
                text = json.dumps(setting.value, ensure_ascii=False)
                message = f"{text} is not a whole number from {spec.min} to {spec.max}"
                found.append((spec.key, f"{message}; {spec.default} is used"))
    return found


def _number(text):
    return int(text) if re.fullmatch(r"\+?[0-9]+", text) else None


def counted(count, unit):
    """`1 address`, `3 prefixes`."""
    noun = "address" if unit == "address" else "prefix"
    return f"{count} {noun}{'' if count == 1 else 'es'}"
