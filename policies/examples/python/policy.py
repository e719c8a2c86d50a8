"""Keeps N addresses free, grows in one step to cover the pods that wait, and gives back what has
been idle."""

from dataclasses import dataclass

from onsen import SECOND, Draft, Integer, counted

KEEP_FREE = Integer("KEEP_FREE", 4, 0, 1024, "Addresses kept free for the next pods.")
IDLE_SECONDS = Integer(
    "IDLE_SECONDS", 120, 0, 86_400,
    "How long a block must have been without a pod before it goes back.",
)
# How long nothing is asked for after EC2 refused something.
RETRY = 30 * SECOND
# How long a subnet that had no whole prefix is asked for single addresses instead.
NO_PREFIX = 1_800 * SECOND

NAME = "keep-n-free"
VERSION = "0.1.0"
DOC = "Keeps N addresses free, covers waiting pods in one step, gives back what is idle."
SETTINGS = [KEEP_FREE, IDLE_SECONDS]


@dataclass
class Pool:
    """What is there and what should be, in addresses."""

    free: int = 0
    cooling: int = 0
    coming: int = 0
    waiting: int = 0
    wanted: int = 0

    def missing(self):
        """Addresses to ask for. A pod that waits cannot use what cools."""
        usable = self.free + self.coming
        for_waiting = less(min(self.waiting, self.wanted), usable)
        return max(less(self.wanted, usable + self.cooling), for_waiting)

    def spare(self):
        """Addresses that could go."""
        return less(self.free + self.cooling + self.coming, self.wanted)


def decide(view):
    """One decision. A ValueError is told to people, and the host's fallback decides the round."""
    draft = Draft()
    if view.node.terminating:
        return draft.finish("pack", "The node is shutting down: nothing is changed.")
    pool = measure(view)
    missing = pool.missing()
    if view.waiting > 0:
        draft.pressure(100)
    elif missing > 0:
        draft.pressure(min(missing * 100 // pool.wanted, 99))
    verdict = "enough"
    if missing > 0:
        verdict = grow(view, missing, draft)
    elif pool.waiting == 0:
        verdict = shrink(view, pool.spare(), draft)
    return draft.finish(
        "pack",
        f"{pool.free} free, {pool.cooling} cooling, {pool.coming} coming, "
        f"{pool.waiting} waiting, {pool.wanted} wanted: {verdict}.",
    )


def measure(view):
    pool = Pool()
    assigned = 0
    for eni in view.enis:
        pool.coming += eni.in_flight * view.addresses_per(eni.in_flight_unit)
        for block in eni.blocks:
            assigned += block.assigned
            if serves_pods(eni):
                pool.free += block.free
                pool.cooling += block.cooling
    pool.waiting = view.waiting + view.demand.scheduled
    pool.wanted = pool.waiting
    if view.node.schedulable:
        pool.wanted += KEEP_FREE.read(view.settings)
    if view.node.max_pods > 0:
        pool.wanted = min(pool.wanted, less(view.node.max_pods, assigned))
    return pool


def serves_pods(eni):
    return eni.state == "ready" and eni.role != "trunk" and not eni.excluded


def grow(view, missing, draft):
    """Everything that is missing, in one step: first on ENIs with free slots, then on new ones."""
    if view.ec2.throttled_until > view.now:
        draft.wake_after(view.ec2.throttled_until - view.now)
        return "EC2 throttles"
    last = view.last_growth
    if last and last.code != "" and last.at + RETRY > view.now:
        draft.wake_after(last.at + RETRY - view.now)
        return "waits after a refusal"
    unit = unit_to_ask_for(view)
    per_block = view.addresses_per(unit)

    def blocks_for(room):
        return min(-(-missing // per_block), room)

    calls = view.ec2.grow_budget
    for eni in view.enis:
        if missing == 0 or calls == 0:
            break
        if not eni.can_grow:
            continue
        count = blocks_for(eni.free_slots)
        draft.grow(eni, unit, count, f"{missing} missing: {counted(count, unit)} on {eni.name}.")
        missing = less(missing, count * per_block)
        calls -= 1
    limits = view.limits
    enis = sum(eni.card == 0 for eni in view.enis)
    while missing > 0 and calls > 0 and enis < limits.enis and limits.slots_per_eni > 0:
        blocks = blocks_for(limits.slots_per_eni)
        more = counted(blocks, unit)
        draft.attach(unit, blocks, f"{missing} missing and no slot left: a new ENI with {more}.")
        missing = less(missing, blocks * per_block)
        calls -= 1
        enis += 1
    if draft.is_empty:
        return "no room to grow now"
    return "grows" if missing == 0 else "grows as far as it can"


def unit_to_ask_for(view):
    at = next((subnet.no_prefixes_at for subnet in view.subnets if subnet.own), 0)
    return "address" if at > 0 and at + NO_PREFIX > view.now else view.unit


def shrink(view, spare, draft):
    """What has been idle for long enough and is not wanted, newest ENI first."""
    seconds = IDLE_SECONDS.read(view.settings)
    idle = seconds * SECOND
    calls = view.ec2.release_budget
    for eni in reversed(view.enis):
        if not serves_pods(eni) or eni.busy:
            continue
        addresses = sum(block.addresses for block in eni.blocks)
        all_idle = all(
            block.releasable and block.idle_since + idle <= view.now for block in eni.blocks
        )
        unused = eni.idle_since + idle <= view.now
        if eni.can_detach and unused and all_idle and addresses <= spare and calls > 0:
            draft.detach(eni, f"Idle for {seconds} s and not wanted: {eni.name} goes.")
            spare -= addresses
            calls -= 1
            continue
        gone = []
        for block in reversed(eni.blocks):
            if not block.releasable or block.addresses > spare:
                continue
            if block.idle_since + idle > view.now:
                draft.wake_after(block.idle_since + idle - view.now)
            elif calls > 0:
                gone.append(block.index)
                spare -= block.addresses
        if gone:
            reason = f"Idle for {seconds} s and not wanted: {len(gone)} of {eni.name}."
            draft.release(eni, gone, reason)
            calls -= 1
    return "enough" if draft.is_empty else "gives back"


def less(a, b):
    """a - b, but not below 0."""
    return max(a - b, 0)
