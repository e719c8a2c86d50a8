//! Policies in native code: a sensible one that is fast, and those that nobody should write.
//!
//! In: a snapshot. Out: a proposal, which the core must bear whatever it is.

use onsen_core::cidr::Unit;
use onsen_core::proposal::{Action, Placement, Proposal, Request};
use onsen_core::snapshot::{EniPhase, Snapshot, SnapshotSubnet};
use onsen_core::time::{MINUTE, SECOND};

use crate::world::{Dice, Native};

/// The policies of this page, by name.
pub(super) const ALL: [(&str, Native); 7] = [
    ("sensible", sensible),
    ("nonsense", nonsense),
    ("greedy", greedy),
    ("destructive", destructive),
    ("broken", broken),
    ("idle", idle),
    ("flood", flood),
];

/// Addresses to spare that the sensible policy keeps.
const SPARE: u32 = 4;
/// How long it leaves a subnet alone that had nothing, while pods wait and while none does.
const SHORTAGE_PAUSE: (u64, u64) = (2 * MINUTE, 10 * MINUTE);
/// How long it leaves alone what EC2 refused.
const REFUSAL_PAUSE: u64 = 5 * SECOND;

fn proposal(requests: Vec<Request>, dice: &mut Dice) -> Proposal {
    let actions = requests.into_iter().map(|request| Action {
        request,
        reason: "drawn".into(),
    });
    Proposal {
        actions: actions.collect(),
        placement: if dice.below(2) == 0 {
            Placement::Pack
        } else {
            Placement::Spread
        },
        ..Proposal::default()
    }
}

fn broken(_: &Snapshot, _: &mut Dice) -> Result<Proposal, String> {
    Err("trap: unreachable".into())
}

fn idle(_: &Snapshot, dice: &mut Dice) -> Result<Proposal, String> {
    Ok(proposal(Vec::new(), dice))
}

fn flood(_: &Snapshot, dice: &mut Dice) -> Result<Proposal, String> {
    Ok(proposal(vec![Request::DetachEni { eni: 99 }; 2_000], dice))
}

fn greedy(snapshot: &Snapshot, dice: &mut Dice) -> Result<Proposal, String> {
    let unit = snapshot.unit;
    let attach = Request::AttachEni {
        subnet: None,
        unit,
        blocks: 1_000,
        card: 0,
    };
    let grow = |eni| Request::Grow {
        eni,
        unit,
        count: u32::MAX,
    };
    let requests = std::iter::repeat_n(attach, 10).chain((0..4).map(grow));
    Ok(proposal(requests.collect(), dice))
}

fn destructive(snapshot: &Snapshot, dice: &mut Dice) -> Result<Proposal, String> {
    let enis = 0..snapshot.enis.len() as u32;
    let whole = enis.clone().map(|eni| Request::Release {
        eni,
        blocks: (0..snapshot.blocks.base.len() as u32).collect(),
    });
    let singly = snapshot.enis.iter().enumerate().flat_map(|(place, eni)| {
        (eni.first_block..eni.first_block + eni.block_count).map(move |block| Request::Release {
            eni: place as u32,
            blocks: vec![block],
        })
    });
    let requests = enis
        .map(|eni| Request::DetachEni { eni })
        .chain(whole)
        .chain(singly);
    Ok(proposal(requests.collect(), dice))
}

fn nonsense(_: &Snapshot, dice: &mut Dice) -> Result<Proposal, String> {
    let count = dice.below(40);
    let requests = (0..count).map(|_| random_request(dice)).collect();
    Ok(proposal(requests, dice))
}

fn random_request(dice: &mut Dice) -> Request {
    let unit = if dice.below(2) == 0 {
        Unit::Address
    } else {
        Unit::Prefix
    };
    match dice.below(4) {
        0 => Request::AttachEni {
            subnet: (dice.below(2) == 0).then(|| dice.below(6)),
            unit,
            blocks: dice.below(20),
            card: dice.below(2),
        },
        1 => Request::Grow {
            eni: dice.below(6),
            unit,
            count: dice.below(20),
        },
        2 => Request::Release {
            eni: dice.below(6),
            blocks: (0..dice.below(5)).map(|_| dice.below(40)).collect(),
        },
        _ => Request::DetachEni { eni: dice.below(6) },
    }
}

/// Enough for those who wait and a few to spare; gives back what is far too much.
fn sensible(snapshot: &Snapshot, dice: &mut Dice) -> Result<Proposal, String> {
    let per = if snapshot.unit == Unit::Prefix { 16 } else { 1 };
    let free: u32 = snapshot.blocks.free.iter().sum();
    let asked_for = snapshot.enis.iter().map(|eni| eni.in_flight).sum::<u32>();
    let attaching = (snapshot.enis.iter())
        .filter(|eni| eni.phase == EniPhase::Attaching)
        .map(|eni| eni.block_count)
        .sum::<u32>();
    let coming = (asked_for + attaching) * per;
    let want = snapshot.demand.waiting.len() as u32 + SPARE;
    let requests = if free + coming < want {
        grow(snapshot, (want - free - coming).div_ceil(per))
    } else {
        shrink(snapshot, free, want).into_iter().collect()
    };
    Ok(proposal(requests, dice))
}

fn grow(snapshot: &Snapshot, mut missing: u32) -> Vec<Request> {
    let now = snapshot.now;
    let unit = snapshot.unit;
    let shortage = |subnet: &SnapshotSubnet| match unit {
        Unit::Address => subnet.no_addresses_at,
        Unit::Prefix => subnet.no_prefixes_at,
    };
    if snapshot.subnets.iter().any(|it| it.own && shortage(it) > 0) {
        // Fewer than were asked for may still be there.
        missing = missing.min(1);
    }
    let empty = snapshot.subnets.iter().any(|subnet| {
        let at = shortage(subnet);
        let pause = if snapshot.demand.waiting.is_empty() {
            SHORTAGE_PAUSE.1
        } else {
            SHORTAGE_PAUSE.0
        };
        subnet.own && at > 0 && now < at + pause
    });
    let refused = (snapshot.ec2.outcomes.iter())
        .any(|past| !past.code.is_empty() && now < past.at + REFUSAL_PAUSE);
    let mut requests = Vec::new();
    if empty || refused {
        return requests;
    }
    for (place, eni) in snapshot.enis.iter().enumerate() {
        let count = missing.min(eni.free_slots);
        if count > 0 && eni.in_flight == 0 && !eni.excluded {
            requests.push(Request::Grow {
                eni: place as u32,
                unit,
                count,
            });
            missing -= count;
        }
    }
    if missing > 0 && (snapshot.enis.len() as u32) < snapshot.limits.enis {
        requests.push(Request::AttachEni {
            subnet: None,
            unit,
            blocks: missing.min(snapshot.limits.slots_per_eni),
            card: 0,
        });
    }
    requests
}

fn shrink(snapshot: &Snapshot, free: u32, want: u32) -> Option<Request> {
    let blocks = &snapshot.blocks;
    let free_in = |block: u32| blocks.free.get(block as usize).copied().unwrap_or(0);
    for (place, eni) in snapshot.enis.iter().enumerate().rev() {
        let places = eni.first_block..eni.first_block + eni.block_count;
        let on_eni: u32 = places.clone().map(free_in).sum();
        let place = place as u32;
        if eni.keep.is_none() && free - on_eni.min(free) >= want {
            return Some(Request::DetachEni { eni: place });
        }
        let idle = places.clone().find(|block| {
            let releasable = blocks.releasable.get(*block as usize) == Some(&true);
            releasable && free - free_in(*block).min(free) >= want + 16
        });
        if let Some(block) = idle {
            return Some(Request::Release {
                eni: place,
                blocks: vec![block],
            });
        }
    }
    None
}
