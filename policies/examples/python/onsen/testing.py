"""Snapshots for unit tests."""

from types import SimpleNamespace as Record


def snapshot(now, max_enis, slots, enis):
    """A node: so many ENIs of so many slots at most, with single addresses. Each list is an ENI;
    each number in it is a block, 0 free and idle for an hour, 1 held by a pod. Everything in it may
    be changed afterwards."""
    an_hour_ago = now - 3_600_000
    every = [assigned for blocks in enis for assigned in blocks]
    rows = []
    first = 0
    for index, blocks in enumerate(enis):
        keep = "primary" if index == 0 else "assigned" if 1 in blocks else None
        rows.append(Record(
            id=f"eni-{index}", role="secondary" if index else "primary", state="ready", subnet=0,
            device_index=index, card=0, excluded=False, since=an_hour_ago,
            idle_since=0 if 1 in blocks else an_hour_ago,
            free_slots=slots - len(blocks), in_flight=0,
            in_flight_unit="address", busy=False, keep=keep,
            first_block=first, block_count=len(blocks),
        ))
        first += len(blocks)
    return Record(
        decision_id=1, now=now, utc_offset=0, uptime=3_600_000, trigger="timer",
        node=Record(
            instance_type="m5.large", zone="eu-west-1a", labels=[], family="ipv4", max_pods=0,
            schedulable=True, terminating=False,
        ),
        limits=Record(
            enis=max_enis, other_cards=[], slots_per_eni=slots, prefixes=True,
            addresses_per_prefix=16, trunk=True,
        ),
        unit="address",
        enis=rows,
        blocks=Record(
            base_high=[],
            base=[0x0A000000 + at for at in range(len(every))],
            length=[32 for _ in every],
            assigned=list(every),
            cooling=[0 for _ in every],
            cooling_until=[0 for _ in every],
            idle_since=[0 if assigned else an_hour_ago for assigned in every],
            free=[1 - assigned for assigned in every],
            releasable=[assigned == 0 for assigned in every],
        ),
        demand=Record(
            waiting=[], scheduled=0, adds_1m=0, adds_5m=0, adds_15m=0,
            deletes_1m=0, deletes_5m=0, deletes_15m=0,
        ),
        subnets=[Record(
            id="subnet-0", own=True, free_addresses=None, read_at=0,
            no_addresses_at=0, no_prefixes_at=0,
        )],
        ec2=Record(grow_budget=4, release_budget=4, in_flight=0, throttled_until=0, outcomes=[]),
        settings=[],
        memo=b"",
    )


def outcome(at, operation, code):
    """How an earlier action ended."""
    return Record(
        at=at, operation=operation, eni=None, subnet=None, unit="address", asked=1,
        done=0 if code else 1, code=code,
    )
