//! What upstream did: rules of the Amazon VPC CNI that take the place of the node's own.
//!
//! In: the `upstream` part of a scenario. Out: a world in which the node does as upstream did, and whether
//! the scenario then fails as its author says. A scenario that no rule of upstream can break proves
//! nothing about ours.
//!
//! What must hold: the rule weakens the one thing that its name says; what truly happens is told to the
//! auditors, so that a law that breaks is told.

use std::collections::BTreeMap;

use onsen_core::config::{Config, Rate, StartFacts};
use onsen_core::effect::Saved;
use onsen_core::event::{Ec2Outcome, Event};
use onsen_core::proposal::Placement;
use onsen_core::time::SECOND;
use onsen_policy_runner::documents::Scalar;
use serde::Deserialize;

use super::{Failure, Verdict};
use crate::world::Spoil;

/// How upstream decided, and what came of it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "upstream"))]
#[serde(deny_unknown_fields)]
pub(crate) struct Upstream {
    /// Settings with which the policy decides as upstream: `STRICT_UPSTREAM`.
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "BTreeMap<String, super::schema::ValueForm>"))]
    pub(crate) settings: BTreeMap<String, Scalar>,
    /// A rule of upstream in place of the node's own.
    #[serde(default)]
    pub(crate) rule: Option<Rule>,
    /// What is then not as expected: names of the report such as `pods.running`, or words of a law that
    /// breaks. Each must be told.
    pub(crate) fails: Vec<String>,
}

/// A rule of upstream in place of the node's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "upstream-rule"))]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Rule {
    /// A pod that finds no address is refused at once; nothing learns that it waits.
    FailDry,
    /// What was read last is true, however old: it outranks what the node did since.
    BelieveEachRead,
    /// ENIs of this node that are attached to nothing are not looked for.
    LeaveUnattached,
    /// A daemon that starts does not know who holds what.
    ForgetHolders,
    /// Cooling ends are in memory only.
    ForgetCooling,
    /// A pod gets an address of any ENI and block.
    PickAnywhere,
    /// The pool is looked at again at once, whatever came of the last look.
    NeverRest,
    /// No budget of EC2 calls and no pause after EC2 throttled.
    CallAtWill,
    /// That EC2 attaches no more ENIs is a refusal like any other.
    ForgetAttachmentLimit,
}

impl Rule {
    /// What it does to a node.
    pub(crate) fn spoil(self) -> Spoil {
        let none = Spoil::default();
        match self {
            Self::FailDry => Spoil {
                event: fail_dry,
                ..none
            },
            Self::BelieveEachRead => Spoil {
                config: |config| config.times.consistency = 0,
                ..none
            },
            Self::LeaveUnattached => Spoil {
                event: leave_unattached,
                facts: |facts| facts.observation.detached.clear(),
                ..none
            },
            Self::ForgetHolders => Spoil {
                facts: |facts| facts.saved = Saved::default(),
                ..none
            },
            Self::ForgetCooling => Spoil {
                facts: forget_cooling,
                ..none
            },
            Self::PickAnywhere => Spoil {
                event: pick_anywhere,
                ..none
            },
            Self::NeverRest => Spoil {
                event: never_rest,
                ..none
            },
            Self::CallAtWill => Spoil {
                config: call_at_will,
                ..none
            },
            Self::ForgetAttachmentLimit => Spoil {
                event: forget_attachment_limit,
                ..none
            },
        }
    }
}

fn fail_dry(mut event: Event) -> Event {
    if let Event::Assign { deadline, .. } = &mut event {
        *deadline = 0;
    }
    event
}

fn leave_unattached(mut event: Event) -> Event {
    if let Event::Observed(observation) = &mut event {
        observation.detached.clear();
    }
    event
}

fn forget_cooling(facts: &mut StartFacts) {
    facts.saved.cooling.clear();
}

fn pick_anywhere(mut event: Event) -> Event {
    if let Event::Proposed {
        answer: Ok(proposal),
        ..
    } = &mut event
    {
        proposal.placement = Placement::Spread;
    }
    event
}

fn never_rest(mut event: Event) -> Event {
    if let Event::Proposed {
        answer: Ok(proposal),
        ..
    } = &mut event
    {
        proposal.wake_after = Some(0);
    }
    event
}

fn call_at_will(config: &mut Config) {
    let plenty = Rate {
        burst: 1_000,
        per_second_milli: 1_000 * SECOND as u32,
    };
    (config.grow_rate, config.release_rate) = (plenty, plenty);
    config.times.backoff = 1;
}

fn forget_attachment_limit(mut event: Event) -> Event {
    if let Event::Ec2Finished {
        outcome: Ec2Outcome::Refused { code, .. },
        ..
    } = &mut event
        && code.as_str() == "AttachmentLimitExceeded"
    {
        "Refused".clone_into(code);
    }
    event
}

impl Upstream {
    /// Turns the verdict on a life under upstream's rules round: it is well when what was foretold went
    /// wrong.
    pub(super) fn judge(&self, verdict: Verdict) -> Verdict {
        let told: Vec<String> = verdict.failures.iter().flat_map(in_words).collect();
        let missed = |words: &&String| !told.iter().any(|it| it.contains(*words));
        let missed: Vec<&str> = (self.fails.iter().filter(missed))
            .map(String::as_str)
            .collect();
        let is_well = missed.is_empty();
        let failures = if is_well {
            Vec::new()
        } else {
            vec![Failure {
                line: None,
                at_ms: verdict.virtual_ms,
                differences: Vec::new(),
                error: Some(format!(
                    "with upstream's rule {} should go wrong and does not; what goes wrong: {}",
                    missed.join(", "),
                    if told.is_empty() {
                        "nothing".to_owned()
                    } else {
                        told.join("; ")
                    }
                )),
            }]
        };
        Verdict {
            failures,
            as_upstream: told,
            last_decisions: if is_well {
                Vec::new()
            } else {
                verdict.last_decisions
            },
            ..verdict
        }
    }
}

fn in_words(failure: &Failure) -> Vec<String> {
    let differences = failure.differences.iter();
    let differences =
        differences.map(|it| format!("{} {}, not {}", it.what, it.actual, it.expected));
    differences.chain(failure.error.clone()).collect()
}
