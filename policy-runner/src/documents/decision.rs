//! A decision's form in JSON, and its actions in words.

use std::fmt::Write as _;

use onsen_core::cidr::{Cidr, Unit};
use onsen_core::proposal::{Action, Placement, Proposal, Request};
use onsen_core::snapshot::{Snapshot, SnapshotEni, SnapshotSubnet};
use serde::{Deserialize, Serialize};

use super::snapshot::cidr;
use super::text::{Bytes, Span};
use super::words::{PlacementWord, UnitWord};

/// A decision as people read it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "decision"))]
#[serde(deny_unknown_fields)]
pub struct DecisionDocument {
    actions: Vec<ActionDocument>,
    reason: String,
    #[serde(default)]
    wake_after: Option<Span>,
    /// Base64.
    #[serde(default)]
    memo: Bytes,
    #[serde(default = "pack")]
    placement: PlacementWord,
    #[serde(default)]
    pressure: u8,
}

fn pack() -> PlacementWord {
    Placement::Pack.into()
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "action"))]
#[serde(deny_unknown_fields)]
struct ActionDocument {
    request: RequestDocument,
    reason: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "request"))]
#[serde(rename_all = "kebab-case")]
enum RequestDocument {
    AttachEni(AttachDocument),
    Grow(GrowDocument),
    Release(ReleaseDocument),
    DetachEni(DetachDocument),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "attach-eni"))]
#[serde(deny_unknown_fields)]
struct AttachDocument {
    #[serde(default)]
    subnet: Option<u32>,
    /// The subnet's id, for people.
    #[serde(default)]
    subnet_id: Option<String>,
    unit: UnitWord,
    blocks: u32,
    #[serde(default)]
    card: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "grow"))]
#[serde(deny_unknown_fields)]
struct GrowDocument {
    eni: u32,
    /// The ENI's id, for people.
    #[serde(default)]
    eni_id: Option<String>,
    unit: UnitWord,
    count: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "release"))]
#[serde(deny_unknown_fields)]
struct ReleaseDocument {
    eni: u32,
    /// The ENI's id, for people.
    #[serde(default)]
    eni_id: Option<String>,
    blocks: Vec<u32>,
    /// The blocks' ranges, for people.
    #[serde(default)]
    cidrs: Vec<String>,
}

/// The ENI to detach.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "detach-eni"))]
#[serde(deny_unknown_fields)]
struct DetachDocument {
    /// Its place in the snapshot's `enis`.
    eni: u32,
    /// The ENI's id, for people.
    #[serde(default)]
    eni_id: Option<String>,
}

impl DecisionDocument {
    /// What was decided on this snapshot. Places that lead nowhere are written without a name.
    pub fn new(proposal: &Proposal, snapshot: &Snapshot) -> Self {
        let actions = proposal.actions.iter().map(|action| ActionDocument {
            request: request(&action.request, snapshot),
            reason: action.reason.clone(),
        });
        Self {
            actions: actions.collect(),
            reason: proposal.reason.clone(),
            wake_after: proposal.wake_after.map(Span),
            memo: Bytes(proposal.memo.clone()),
            placement: proposal.placement.into(),
            pressure: proposal.pressure,
        }
    }

    /// The same as the core knows it: names are left behind, places count.
    pub fn into_proposal(self) -> Proposal {
        let actions = self.actions.into_iter().map(|action| Action {
            request: action.request.into(),
            reason: action.reason,
        });
        Proposal {
            actions: actions.collect(),
            reason: self.reason,
            wake_after: self.wake_after.map(|Span(span)| span),
            memo: self.memo.0,
            placement: self.placement.into(),
            pressure: self.pressure,
        }
    }
}

fn request(from: &Request, snapshot: &Snapshot) -> RequestDocument {
    let eni_id = |eni: u32| {
        let eni: Option<&SnapshotEni> = snapshot.enis.get(eni as usize);
        eni.map(|eni| eni.id.clone())
    };
    let subnet_id = |subnet: u32| {
        let subnet: Option<&SnapshotSubnet> = snapshot.subnets.get(subnet as usize);
        subnet.map(|subnet| subnet.id.clone())
    };
    match from {
        Request::AttachEni {
            subnet,
            unit,
            blocks,
            card,
        } => RequestDocument::AttachEni(AttachDocument {
            subnet: *subnet,
            subnet_id: subnet.and_then(subnet_id),
            unit: (*unit).into(),
            blocks: *blocks,
            card: *card,
        }),
        Request::Grow { eni, unit, count } => RequestDocument::Grow(GrowDocument {
            eni: *eni,
            eni_id: eni_id(*eni),
            unit: (*unit).into(),
            count: *count,
        }),
        Request::Release { eni, blocks } => RequestDocument::Release(ReleaseDocument {
            eni: *eni,
            eni_id: eni_id(*eni),
            blocks: blocks.clone(),
            cidrs: blocks
                .iter()
                .filter_map(|place| cidr(snapshot, *place as usize))
                .map(|cidr| cidr.to_string())
                .collect(),
        }),
        Request::DetachEni { eni } => RequestDocument::DetachEni(DetachDocument {
            eni: *eni,
            eni_id: eni_id(*eni),
        }),
    }
}

impl From<RequestDocument> for Request {
    fn from(from: RequestDocument) -> Self {
        match from {
            RequestDocument::AttachEni(attach) => Self::AttachEni {
                subnet: attach.subnet,
                unit: attach.unit.into(),
                blocks: attach.blocks,
                card: attach.card,
            },
            RequestDocument::Grow(grow) => Self::Grow {
                eni: grow.eni,
                unit: grow.unit.into(),
                count: grow.count,
            },
            RequestDocument::Release(release) => Self::Release {
                eni: release.eni,
                blocks: release.blocks,
            },
            RequestDocument::DetachEni(detach) => Self::DetachEni { eni: detach.eni },
        }
    }
}

/// Blocks named one by one in words.
const SHOWN: usize = 4;

/// What is asked for in words, with the names of this snapshot.
pub fn in_words(request: &Request, snapshot: &Snapshot) -> String {
    let eni = |place: u32| match snapshot.enis.get(place as usize) {
        Some(eni) if !eni.id.is_empty() => eni.id.clone(),
        _ => format!("the ENI at place {place}"),
    };
    match request {
        Request::AttachEni {
            subnet,
            unit,
            blocks,
            card,
        } => {
            let mut words = format!("attach an ENI with {}", counted(*blocks, *unit));
            if let Some(place) = subnet {
                match snapshot.subnets.get(*place as usize) {
                    Some(subnet) => write!(words, " in {}", subnet.id),
                    None => write!(words, " in the subnet at place {place}"),
                }
                .unwrap_or_default();
            }
            if *card > 0 {
                write!(words, " to card {card}").unwrap_or_default();
            }
            words
        }
        Request::Grow {
            eni: place,
            unit,
            count,
        } => format!("{} more on {}", counted(*count, *unit), eni(*place)),
        Request::Release { eni: place, blocks } => {
            let cidrs: Vec<_> = blocks
                .iter()
                .filter_map(|place| cidr(snapshot, *place as usize))
                .collect();
            let unit = cidrs.first().map_or(Unit::Address, Cidr::unit);
            let mut words = format!(
                "release {} of {}",
                counted(blocks.len() as u32, unit),
                eni(*place)
            );
            for (at, cidr) in cidrs.iter().take(SHOWN).enumerate() {
                let before = if at == 0 { ": " } else { ", " };
                match cidr.unit() {
                    Unit::Address => write!(words, "{before}{}", cidr.base()),
                    Unit::Prefix => write!(words, "{before}{cidr}"),
                }
                .unwrap_or_default();
            }
            if blocks.len() > SHOWN {
                write!(words, " and {} more", blocks.len() - SHOWN).unwrap_or_default();
            }
            words
        }
        Request::DetachEni { eni: place } => format!("detach {}", eni(*place)),
    }
}

fn counted(count: u32, unit: Unit) -> String {
    match (count, unit) {
        (1, unit) => format!("1 {unit}"),
        (count, Unit::Address) => format!("{count} addresses"),
        (count, Unit::Prefix) => format!("{count} prefixes"),
    }
}
