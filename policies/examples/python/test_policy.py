import unittest

from onsen import Setting, View, problems
from onsen.testing import outcome, snapshot
from policy import KEEP_FREE, SETTINGS, decide

NOW = 1_800_000_000_000


def node(*enis):
    """An m5.large: 3 ENIs of 9 slots. A block for each number: 0 is free and long idle, 1 a pod's."""
    return snapshot(NOW, 3, 9, enis)


class KeepNFree(unittest.TestCase):
    def test_an_empty_node_gets_what_is_to_be_kept_free_in_one_step(self):
        raw = node([])
        raw.settings = [Setting("KEEP_FREE", "5")]
        [action] = decide(View(raw)).actions
        self.assertEqual(action.request, ("grow", {"eni": 0, "unit": "address", "count": 5}))

    def test_waiting_pods_are_covered_with_a_new_eni_when_the_first_is_full(self):
        raw = node([1] * 9)
        raw.demand.waiting = [2000, 1000, 0]
        decision = decide(View(raw))
        [action] = decision.actions
        self.assertEqual(action.request[1]["blocks"], 7)
        self.assertEqual(decision.pressure, 100)

    def test_what_is_idle_goes_back_newest_eni_first(self):
        actions = decide(View(node([1, 0, 0, 0, 0, 0, 0], [0, 0]))).actions
        self.assertEqual(
            [action.request for action in actions],
            [("detach-eni", 1), ("release", {"eni": 0, "blocks": [6, 5]})],
        )

    def test_a_refusal_is_waited_out(self):
        raw = node([])
        raw.ec2.outcomes = [outcome(NOW - 5000, "grow", "InsufficientFreeAddressesInSubnet")]
        decision = decide(View(raw))
        self.assertEqual((decision.actions, decision.wake_after), ([], 25_000))

    def test_a_node_that_shuts_down_is_left_alone(self):
        raw = node([])
        raw.node.terminating = True
        self.assertEqual(decide(View(raw)).actions, [])

    def test_settings_out_of_range_are_told_and_read_as_the_default(self):
        given = [Setting("KEEP_FREE", "many")]
        self.assertEqual(len(problems(SETTINGS, given)), 1)
        self.assertEqual(KEEP_FREE.read(given), 4)


if __name__ == "__main__":
    unittest.main()
