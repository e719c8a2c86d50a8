//! Growth: fill the ENIs there are, then attach new ones.
//!
//! Must hold: no more calls than the budget; one call for each ENI; stops as soon as the pool is
//! not low any more, counting what was just planned. Upstream to the letter: one step.

use alloc::format;
use alloc::string::String;

use onsen_policy_sdk::{AttachEni, Draft, EniView, View, counted};

use crate::brakes::{Allowance, Brakes};
use crate::pool::Pool;
use crate::targets::{Targets, count};

/// Plans growth. When it is called for and nothing can be asked for, the reason comes back.
pub(crate) fn plan<'a>(
    view: &View<'a>,
    targets: &Targets,
    pool: &mut Pool<'a>,
    draft: &mut Draft,
    brakes: &Brakes<'_>,
    budget: &mut u32,
) -> Option<String> {
    let now = view.snapshot.now;
    if !is_wanted(targets, pool) {
        return None;
    }
    let resume = brakes.growth_at(view, targets);
    if now < resume {
        return Some(pause(view, draft, resume, "after an error of EC2"));
    }
    let mut planned = false;
    while *budget > 0 && is_wanted(targets, pool) {
        match step(view, targets, pool, draft, brakes) {
            Ok(next) => {
                *budget -= 1;
                planned = true;
                // What comes of it decides how the ladder goes on.
                if targets.strict || matches!(next, Next::Outcome) {
                    return None;
                }
            }
            Err(why) => return (!planned).then_some(why),
        }
    }
    (!planned).then(|| "the pool is low, but the budget of EC2 calls is used up".into())
}

/// What may follow a step in the same decision.
enum Next {
    /// Another step.
    Step,
    /// Nothing before EC2 has answered.
    Outcome,
}

/// Whether the pool is low, or pods wait that nothing free or coming will serve.
fn is_wanted(targets: &Targets, pool: &Pool<'_>) -> bool {
    let needed = pool.unserved() > 0 && targets.is_below_max_pods(&pool.sums);
    // A cordoned node gets nothing ahead of demand.
    needed || (targets.managed && targets.is_low(&pool.sums))
}

/// One growth step of upstream: more blocks on the first ENI that takes some, else a new ENI.
fn step(
    view: &View<'_>,
    targets: &Targets,
    pool: &mut Pool<'_>,
    draft: &mut Draft,
    brakes: &Brakes<'_>,
) -> Result<Next, String> {
    let unserved = pool.unserved();
    let wanted = targets.step(&pool.sums, unserved);
    let why = match unserved {
        0 => targets.compare(&pool.sums),
        some => format!(
            "{} and {some} pods wait for more",
            targets.compare(&pool.sums)
        ),
    };
    let mut full_until = None;
    for line in &pool.lines {
        let eni = line.eni;
        if !line.can_fill(targets) || draft.touches(eni) {
            continue;
        }
        let (blocks, next) = match brakes.allowance(eni) {
            Allowance::All => (clamp(wanted, eni), Next::Step),
            Allowance::One => (1, Next::Outcome),
            Allowance::NotBefore(until) => {
                full_until = Some(full_until.map_or(until, |earlier: u64| earlier.min(until)));
                continue;
            }
        };
        let more = counted(blocks, targets.unit);
        draft.grow(
            eni,
            targets.unit,
            blocks,
            format!("{why}: {more} more on {}.", eni.name()),
        );
        pool.expect(i64::from(blocks), targets);
        return Ok(next);
    }
    // An ENI that will take more is worth waiting for: another one would stay for long.
    let later = pool.lines.iter().find(|line| {
        let planned = draft.more_on(line.eni);
        line.fills_later(targets) || (planned > 0 && planned < line.eni.eni.free_slots)
    });
    if let Some(line) = later {
        let name = line.eni.name();
        return Err(format!("{why}, and a call for {name} is under way first"));
    }
    let attached = attach(view, targets, pool, draft, brakes, wanted, &why);
    attached
        .map(|()| Next::Step)
        .map_err(|refusal| match full_until {
            // Upstream makes no pause here.
            Some(until) if !targets.strict => pause(
                view,
                draft,
                until,
                "EC2 gives an ENI no more for now, and no ENI can be added",
            ),
            _ => refusal,
        })
}

fn clamp(wanted: i64, eni: EniView<'_>) -> u32 {
    count(wanted).clamp(1, eni.eni.free_slots)
}

fn attach(
    view: &View<'_>,
    targets: &Targets,
    pool: &mut Pool<'_>,
    draft: &mut Draft,
    brakes: &Brakes<'_>,
    wanted: i64,
    why: &str,
) -> Result<(), String> {
    if pool.enis >= targets.max_enis {
        return Err(format!(
            "{why}, but all {} ENIs are attached and full",
            targets.max_enis
        ));
    }
    let resume = brakes.attach_at(targets);
    if view.snapshot.now < resume {
        return Err(pause(
            view,
            draft,
            resume,
            "EC2 said that no more ENIs can be attached",
        ));
    }
    let subnet = brakes
        .subnet(view, targets)
        .map_err(|until| pause(view, draft, until, "no subnet has addresses left"))?;
    let blocks = count(wanted).clamp(1, targets.slots.max(1));
    let with = counted(blocks, targets.unit);
    draft.attach(
        AttachEni {
            subnet,
            unit: targets.unit,
            blocks,
            card: targets.card,
        },
        format!("{why}, all ENIs are full: a new ENI with {with}."),
    );
    pool.enis += 1;
    pool.expect(i64::from(blocks), targets);
    Ok(())
}

/// Asks to be woken then, and says so.
fn pause(view: &View<'_>, draft: &mut Draft, until: u64, why: &str) -> String {
    let wait = until.saturating_sub(view.snapshot.now);
    draft.wake_after(wait);
    format!(
        "the pool is low, but growth rests {} s more: {why}",
        wait.div_ceil(1_000)
    )
}
