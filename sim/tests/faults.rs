//! The laws hold in a bad world: hundreds of thousands of steps, the situations that were met, and
//! canaries that prove that a broken core is caught.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic"
)]
#![allow(clippy::allow_attributes, reason = "expectations differ by target")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use onsen_core::config::Config;
use onsen_core::effect::Effect;
use onsen_core::event::{Ec2Outcome, Event};
use onsen_core::time::MINUTE;
use onsen_policy_runner::reference::Reference;
use onsen_policy_runner::{Engine, Limits, Policy};
use onsen_sim::faults::{self, Broken, Lived, MUST_MEET, Options};
use onsen_sim::world::{Marks, Spoil};

/// Steps with native policies (`ONSEN_STEPS` for more), and with components among them.
const NATIVE: u64 = 300_000;
const COMPONENTS: u64 = 20_000;
/// Lives at once.
const THREADS: u64 = 2;

fn told(broken: Box<Broken>, options: &Options) -> ! {
    panic!("{}", faults::shrink(broken, options));
}

/// Lives seeds from the first one on until so many steps are checked.
fn search(first: u64, steps: u64, options: &Options) -> Lived {
    let (done, next) = (AtomicU64::new(0), AtomicU64::new(first));
    let one = || {
        let mut all = Lived::default();
        while done.load(Ordering::Relaxed) < steps {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let lived = faults::live(seed, options).unwrap_or_else(|it| told(it, options));
            done.fetch_add(lived.steps, Ordering::Relaxed);
            all.steps += lived.steps;
            all.virtual_ms += lived.virtual_ms;
            all.marks.add(&lived.marks);
        }
        all
    };
    let lives = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(one)).collect();
        threads
            .into_iter()
            .map(|it| it.join().unwrap_or_else(|it| std::panic::resume_unwind(it)))
            .collect::<Vec<_>>()
    });
    let mut all = Lived::default();
    for lived in lives {
        all.steps += lived.steps;
        all.virtual_ms += lived.virtual_ms;
        all.marks.add(&lived.marks);
    }
    let seeds = next.into_inner() - first;
    println!(
        "{} steps of {seeds} seeds from {first}, {} hours of virtual time",
        all.steps,
        all.virtual_ms / (60 * MINUTE)
    );
    all
}

fn missing(marks: &Marks) -> Vec<&'static str> {
    let never = MUST_MEET.iter().filter(|name| marks.count(name) == 0);
    never.copied().collect()
}

#[test]
fn no_law_breaks_in_three_hundred_thousand_steps_and_no_situation_is_missed() {
    let more = std::env::var("ONSEN_STEPS").map(|text| text.parse().unwrap());
    let lived = search(0, more.unwrap_or(NATIVE), &Options::default());
    for (name, count) in lived.marks.iter() {
        println!("{count:>9} {name}");
    }
    assert!(lived.steps >= NATIVE);
    assert_eq!(missing(&lived.marks), Vec::<&str>::new());
}

#[test]
fn no_law_breaks_with_components_that_decide() {
    let engine = Engine::new(Limits::default(), None).unwrap();
    let load = |name: &str| -> Arc<Policy> {
        let reference: Reference = name.parse().unwrap();
        Arc::new(reference.load(&engine).unwrap())
    };
    let names = ["builtin:default-warm-eni", "builtin:prefix-frugal"];
    let options = Options {
        components: names.map(|name| (name.to_owned(), load(name))).to_vec(),
        ..Options::default()
    };
    search(1_000_000, COMPONENTS, &options);
}

/// The laws that a spoilt core breaks in the first seeds.
fn caught(spoil: Spoil) -> BTreeSet<String> {
    let options = Options {
        spoil,
        ..Options::default()
    };
    let broken = (0..40).filter_map(|seed| faults::live(seed, &options).err());
    broken.map(|broken| broken.law().to_owned()).collect()
}

#[test]
fn a_core_that_gives_an_address_before_its_cooldown_ends_breaks_p3() {
    let spoil = Spoil {
        config: |config: &mut Config| config.times.cooldown /= 4,
        ..Spoil::default()
    };
    let laws = caught(spoil);
    assert!(laws.contains("P3"), "{laws:?}");
}

#[test]
fn a_core_that_replies_before_the_write_is_durable_breaks_d1() {
    let spoil = Spoil {
        event: |event| match event {
            Event::Checkpointed { generation, .. } => Event::Checkpointed {
                generation,
                durable: true,
            },
            other => other,
        },
        ..Spoil::default()
    };
    let laws = caught(spoil);
    assert!(laws.contains("D1"), "{laws:?}");
}

#[test]
fn a_core_that_takes_unknown_for_refused_breaks_e3() {
    let spoil = Spoil {
        event: |event| match event {
            Event::Ec2Finished {
                intent,
                outcome: Ec2Outcome::Unknown { message },
            } => Event::Ec2Finished {
                intent,
                outcome: Ec2Outcome::Refused {
                    code: "Silence".into(),
                    message,
                },
            },
            other => other,
        },
        ..Spoil::default()
    };
    let laws = caught(spoil);
    assert!(laws.contains("E3"), "{laws:?}");
}

#[test]
fn a_core_that_destroys_on_an_old_view_breaks_e4() {
    let spoil = Spoil {
        config: |config: &mut Config| config.times.fresh_view *= 1_000,
        ..Spoil::default()
    };
    let laws = caught(spoil);
    assert!(laws.contains("E4"), "{laws:?}");
}

#[test]
fn a_core_that_thinks_an_eni_holds_more_than_it_does_breaks_e1() {
    let spoil = Spoil {
        config: |config: &mut Config| config.limits.slots_per_eni += 3,
        ..Spoil::default()
    };
    let laws = caught(spoil);
    assert!(laws.contains("E1"), "{laws:?}");
}

#[test]
fn a_core_that_takes_a_link_for_ready_that_is_not_breaks_p2() {
    let spoil = Spoil {
        event: |event| match event {
            Event::EniConfigured { eni, .. } => Event::EniConfigured {
                eni,
                result: Ok(()),
            },
            other => other,
        },
        ..Spoil::default()
    };
    let laws = caught(spoil);
    assert!(laws.contains("P2"), "{laws:?}");
}

#[test]
fn a_core_that_is_blind_for_orphans_breaks_e5() {
    let spoil = Spoil {
        event: |event| match event {
            Event::Observed(mut observation) => {
                observation.detached.clear();
                Event::Observed(observation)
            }
            other => other,
        },
        ..Spoil::default()
    };
    let laws = caught(spoil);
    assert!(laws.contains("E5"), "{laws:?}");
}

#[test]
fn a_core_that_hides_a_failed_policy_breaks_n3() {
    let spoil = Spoil {
        event: |event| match event {
            Event::Proposed { decision, .. } => Event::Proposed {
                decision,
                answer: Ok(onsen_core::proposal::Proposal::default()),
            },
            other => other,
        },
        ..Spoil::default()
    };
    let laws = caught(spoil);
    assert!(laws.contains("N3"), "{laws:?}");
}

#[test]
fn a_core_that_never_turns_anybody_away_breaks_l1() {
    let spoil = Spoil {
        effects: |mut effects| {
            effects.retain(|effect| !matches!(effect, Effect::Reply { .. }));
            effects
        },
        ..Spoil::default()
    };
    let laws = caught(spoil);
    assert!(laws.contains("L1"), "{laws:?}");
}
