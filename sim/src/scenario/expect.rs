//! What a scenario expects, and how that compares with what is.
//!
//! In: expectations, and the facts as plain values. Out: the differences, none when all is well.
//! What is not mentioned is not compared.

use std::collections::BTreeMap;
use std::fmt;

use onsen_core::cidr::Unit;
use onsen_core::proposal::{Action, Request};
use serde::{Deserialize, Serialize};

use super::Difference;
use super::format::Range;

/// A number, or bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Number(pub(crate) Range);

/// The node after a step.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "expected"))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Expected {
    /// The pool now.
    pub(crate) pool: PoolExpected,
    /// The pods now.
    pub(crate) pods: PodsExpected,
    /// Questions to the policy since the step began.
    pub(crate) decisions: Option<Number>,
    /// ENIs that this node has made and that are attached to nothing.
    pub(crate) unattached: Option<Number>,
    /// What the policy has asked for since the step began, in order; `[]` for nothing.
    pub(crate) actions: Option<Vec<ActionExpected>>,
    /// EC2 calls since the step began, by EC2's names. Operations that are not mentioned may be called;
    /// `total` counts all that change something.
    pub(crate) calls: Option<BTreeMap<String, Number>>,
}

/// The pool.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "pool"))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PoolExpected {
    /// ENIs attached.
    pub(crate) enis: Option<Number>,
    /// Usable addresses, 16 for each prefix.
    pub(crate) addresses: Option<Number>,
    /// Prefixes.
    pub(crate) prefixes: Option<Number>,
    /// Addresses that pods hold.
    pub(crate) assigned: Option<Number>,
    /// Addresses given back and not yet given again.
    pub(crate) cooling: Option<Number>,
    /// Addresses that a pod could get at once.
    pub(crate) warm: Option<Number>,
    /// Slots in use on each ENI.
    pub(crate) per_eni: Option<Vec<u64>>,
}

/// The pods.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "pods"))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PodsExpected {
    /// Pods that hold an address.
    pub(crate) running: Option<Number>,
    /// Pods that do not.
    pub(crate) waiting: Option<Number>,
    /// Pods that hold an address which EC2 does not route to this node.
    pub(crate) cut_off: Option<Number>,
    /// Refusals since the start, by code: `node-full`, `subnet-empty`, `ec2-denied`, `ec2-throttled`,
    /// `waited-too-long`. `{}` for none at all.
    pub(crate) refused: Option<BTreeMap<String, Number>>,
}

/// One decision on a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "decision"))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DecisionExpected {
    /// What the policy asks for, in order; `[]` for nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) actions: Option<Vec<ActionExpected>>,
    /// Words that the reason contains.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}

/// Something that the policy asks for. What is left out may be anything.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "action"))]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ActionExpected {
    /// Make an ENI and attach it.
    AttachEni(AttachExpected),
    /// More blocks on an ENI.
    Grow(GrowExpected),
    /// Blocks back to the subnet.
    Release(ReleaseExpected),
    /// An ENI off the node.
    DetachEni(DetachExpected),
}

/// Make an ENI and attach it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "attach-eni"))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AttachExpected {
    /// `address` or `prefix`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unit: Option<UnitExpected>,
    /// Blocks it starts with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) blocks: Option<Number>,
    /// Place of its subnet in the snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) subnet: Option<u32>,
    /// Its network card.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) card: Option<u32>,
}

/// More blocks on an ENI.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "grow"))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct GrowExpected {
    /// Its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) eni: Option<u32>,
    /// `address` or `prefix`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unit: Option<UnitExpected>,
    /// How many blocks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) count: Option<Number>,
}

/// Blocks back to the subnet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "release"))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ReleaseExpected {
    /// Its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) eni: Option<u32>,
    /// How many blocks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) count: Option<Number>,
    /// Exactly these, by their places among the snapshot's blocks, in any order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) blocks: Option<Vec<u32>>,
}

/// An ENI off the node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "detach-eni"))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DetachExpected {
    /// Its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) eni: Option<u32>,
}

/// What one slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "unit"))]
#[serde(rename_all = "kebab-case")]
pub(crate) enum UnitExpected {
    /// A single address.
    Address,
    /// A /28.
    Prefix,
}

impl From<Unit> for UnitExpected {
    fn from(from: Unit) -> Self {
        match from {
            Unit::Address => Self::Address,
            Unit::Prefix => Self::Prefix,
        }
    }
}

/// The pool as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pool {
    pub(crate) enis: u64,
    pub(crate) addresses: u64,
    pub(crate) prefixes: u64,
    pub(crate) assigned: u64,
    pub(crate) cooling: u64,
    pub(crate) warm: u64,
    pub(crate) per_eni: Vec<u64>,
}

impl Number {
    pub(crate) fn exactly(number: u64) -> Self {
        Self(Range {
            min: Some(number),
            max: Some(number),
        })
    }

    fn holds(self, actual: u64) -> bool {
        self.0.min.is_none_or(|min| actual >= min) && self.0.max.is_none_or(|max| actual <= max)
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.min, self.0.max) {
            (Some(min), Some(max)) if min == max => write!(f, "{min}"),
            (Some(min), Some(max)) => write!(f, "{min} to {max}"),
            (Some(min), None) => write!(f, "at least {min}"),
            (None, Some(max)) => write!(f, "at most {max}"),
            (None, None) => write!(f, "any number"),
        }
    }
}

/// Compares one number.
pub(super) fn compare(
    what: &str,
    expected: Option<Number>,
    actual: u64,
    differences: &mut Vec<Difference>,
) {
    if let Some(expected) = expected.filter(|expected| !expected.holds(actual)) {
        differences.push(Difference {
            what: what.to_owned(),
            expected: expected.to_string(),
            actual: actual.to_string(),
        });
    }
}

impl PoolExpected {
    /// `prefix` goes before the names of what differs.
    pub(super) fn compare(&self, prefix: &str, actual: &Pool, differences: &mut Vec<Difference>) {
        for (what, expected, actual) in [
            ("enis", self.enis, actual.enis),
            ("addresses", self.addresses, actual.addresses),
            ("prefixes", self.prefixes, actual.prefixes),
            ("assigned", self.assigned, actual.assigned),
            ("cooling", self.cooling, actual.cooling),
            ("warm", self.warm, actual.warm),
        ] {
            compare(&format!("{prefix}{what}"), expected, actual, differences);
        }
        if let Some(expected) = self.per_eni.as_ref().filter(|it| **it != actual.per_eni) {
            differences.push(Difference {
                what: format!("{prefix}per_eni"),
                expected: format!("{expected:?}"),
                actual: format!("{:?}", actual.per_eni),
            });
        }
    }
}

impl DecisionExpected {
    pub(super) fn compare(&self, actions: &[Action], reason: &str) -> Vec<Difference> {
        let mut differences = Vec::new();
        if let Some(expected) = &self.actions {
            let actual: Vec<_> = actions.iter().map(|action| &action.request).collect();
            compare_actions(expected, &actual, &mut differences);
        }
        if let Some(words) = self
            .reason
            .as_ref()
            .filter(|words| !reason.contains(*words))
        {
            differences.push(Difference {
                what: "reason".to_owned(),
                expected: format!("... {words} ..."),
                actual: reason.to_owned(),
            });
        }
        differences
    }
}

/// Compares actions one by one; a difference in one is a difference in all, since order matters.
pub(super) fn compare_actions(
    expected: &[ActionExpected],
    actual: &[&Request],
    differences: &mut Vec<Difference>,
) {
    let alike = expected.len() == actual.len()
        && expected
            .iter()
            .zip(actual)
            .all(|(it, actual)| it.fits(actual));
    if !alike {
        let list = |words: Vec<String>| match &*words {
            [] => "nothing".to_owned(),
            words => words.join("\n"),
        };
        differences.push(Difference {
            what: "actions".to_owned(),
            expected: list(expected.iter().map(ToString::to_string).collect()),
            actual: list(
                actual
                    .iter()
                    .map(|it| ActionExpected::from(*it).to_string())
                    .collect(),
            ),
        });
    }
}

fn same<T: PartialEq + Copy>(expected: Option<T>, actual: T) -> bool {
    expected.is_none_or(|expected| expected == actual)
}

fn number(expected: Option<Number>, actual: usize) -> bool {
    expected.is_none_or(|expected| expected.holds(actual as u64))
}

impl ActionExpected {
    fn fits(&self, actual: &Request) -> bool {
        match (self, actual) {
            (
                Self::AttachEni(it),
                Request::AttachEni {
                    subnet,
                    unit,
                    blocks,
                    card,
                },
            ) => {
                same(it.unit, (*unit).into())
                    && number(it.blocks, *blocks as usize)
                    && it.subnet.is_none_or(|wanted| *subnet == Some(wanted))
                    && same(it.card, *card)
            }
            (Self::Grow(it), Request::Grow { eni, unit, count }) => {
                same(it.eni, *eni)
                    && same(it.unit, (*unit).into())
                    && number(it.count, *count as usize)
            }
            (Self::Release(it), Request::Release { eni, blocks }) => {
                let sorted = |list: &[u32]| {
                    let mut list = list.to_vec();
                    list.sort_unstable();
                    list
                };
                same(it.eni, *eni)
                    && number(it.count, blocks.len())
                    && it
                        .blocks
                        .as_ref()
                        .is_none_or(|it| sorted(it) == sorted(blocks))
            }
            (Self::DetachEni(it), Request::DetachEni { eni }) => same(it.eni, *eni),
            _ => false,
        }
    }
}

impl From<&Request> for ActionExpected {
    fn from(from: &Request) -> Self {
        let exactly = |count: usize| Some(Number::exactly(count as u64));
        match from {
            Request::AttachEni {
                subnet,
                unit,
                blocks,
                card,
            } => Self::AttachEni(AttachExpected {
                unit: Some((*unit).into()),
                blocks: exactly(*blocks as usize),
                subnet: *subnet,
                card: (*card > 0).then_some(*card),
            }),
            Request::Grow { eni, unit, count } => Self::Grow(GrowExpected {
                eni: Some(*eni),
                unit: Some((*unit).into()),
                count: exactly(*count as usize),
            }),
            Request::Release { eni, blocks } => Self::Release(ReleaseExpected {
                eni: Some(*eni),
                count: exactly(blocks.len()),
                blocks: Some(blocks.clone()),
            }),
            Request::DetachEni { eni } => Self::DetachEni(DetachExpected { eni: Some(*eni) }),
        }
    }
}

/// In the order of the fields: kind, then each part with its name.
impl fmt::Display for ActionExpected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = |unit: Option<UnitExpected>| match unit {
            Some(UnitExpected::Address) => " of addresses",
            Some(UnitExpected::Prefix) => " of prefixes",
            None => "",
        };
        let part = |name: &str, value: Option<u32>| {
            value.map_or(String::new(), |value| format!(" {name} {value}"))
        };
        let count = |name: &str, value: Option<Number>| {
            value.map_or(String::new(), |value| format!(" {name} {value}"))
        };
        match self {
            Self::AttachEni(it) => write!(
                f,
                "attach-eni{}{}{}{}",
                count("blocks", it.blocks),
                unit(it.unit),
                part("subnet", it.subnet),
                part("card", it.card)
            ),
            Self::Grow(it) => write!(
                f,
                "grow{}{}{}",
                part("eni", it.eni),
                count("count", it.count),
                unit(it.unit)
            ),
            Self::Release(it) => {
                write!(
                    f,
                    "release{}{}",
                    part("eni", it.eni),
                    count("count", it.count)
                )?;
                match &it.blocks {
                    Some(blocks) => write!(f, " blocks {blocks:?}"),
                    None => Ok(()),
                }
            }
            Self::DetachEni(it) => write!(f, "detach-eni{}", part("eni", it.eni)),
        }
    }
}
