//! The catalogue of faults: what can go wrong with EC2, its metadata service and an instance's devices,
//! each by a name that the simulator, the control socket and the scenarios share.
//!
//! In: faults switched on by name, for some operation, node, number of calls, chance or time. Out: whether
//! one strikes a call. What must hold: a fault that is switched off changes nothing; the same seed and
//! calls give the same strikes.

use serde::{Deserialize, Serialize};

use super::api::Operation;
use crate::rng::Rng;

/// When a fault acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Before a call has any effect: it is refused or lost, and nothing changes.
    Before,
    /// EC2 refuses what it would grant on a better day, or does something else than was asked.
    Instead,
    /// After a call has taken effect: what follows from it comes late or never.
    Later,
    /// After a call has taken effect: the caller gets no usable reply.
    Unheard,
    /// When a listing is read.
    Read,
    /// When the instance metadata is read.
    Metadata,
    /// At once when the fault is switched on, `count` times (once by default), behind everybody's back.
    BehindBack,
}

macro_rules! catalogue {
    ($($variant:ident = $name:literal, $stage:ident, $about:literal;)+) => {
        /// What goes wrong.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum FaultName {
            $(#[doc = $about] #[serde(rename = $name)] $variant,)+
        }

        impl FaultName {
            /// The whole catalogue.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// As it is written in JSON.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// When it acts.
            pub fn stage(self) -> Stage {
                match self { $(Self::$variant => Stage::$stage,)+ }
            }

            /// What happens, in a sentence.
            pub fn about(self) -> &'static str {
                match self { $(Self::$variant => $about,)+ }
            }
        }
    };
}

catalogue! {
    Throttle = "throttle", Before, "`RequestLimitExceeded` under HTTP 503.";
    Throttle400 = "throttle-400", Before, "`RequestLimitExceeded` under HTTP 400.";
    Denied = "denied", Before, "`UnauthorizedOperation`: IAM does not allow the action.";
    CredentialsExpired = "credentials-expired", Before, "`AuthFailure`: the credentials are not taken.";
    InternalError = "internal-error", Before, "`InternalError`, and nothing was done.";
    Unavailable = "unavailable", Before, "`Unavailable` under HTTP 503, and nothing was done.";
    RequestLost = "request-lost", Before, "The connection breaks before the request is read.";
    Hang = "hang", Before, "The connection is taken and nothing is said for `delay_ms`; then it breaks.";

    SubnetExhausted = "subnet-exhausted", Instead, "Create, Assign: the subnet has no free addresses (and no free prefixes).";
    SubnetTooFew = "subnet-too-few", Instead, "Create, Assign of a count: `InvalidParameterValue`, not sufficient free addresses.";
    PrefixFragmented = "prefix-fragmented", Instead, "Create, Assign of prefixes: no aligned /28 is free, though addresses are.";
    AttachmentLimitEarly = "attachment-limit-early", Instead, "Attach: `AttachmentLimitExceeded`, though the instance type allows more.";
    DuplicateDeviceIndex = "duplicate-device-index", Instead, "Attach: the device index is said to be taken.";
    EniStolenByNeighbour = "eni-stolen-by-neighbour", Instead, "Attach: another node's clean-up has deleted the ENI just before.";
    NotFoundYet = "not-found-yet", Instead, "Attach, Modify: the ENI, just made, is said not to exist.";
    LimitMismatch = "limit-mismatch", Instead, "Assign: `PrivateIpAddressLimitExceeded`, though the ENI has room.";
    PartialAssign = "partial-assign", Instead, "Assign of a count above 1: one less is given than was asked for.";
    AssignReturnsKnown = "assign-returns-known", Instead, "Assign: the reply lists all addresses of the ENI, its primary too, and not only the new ones.";
    DetachRefused = "detach-refused", Instead, "Detach: `OperationNotPermitted`.";
    DeleteInUse = "delete-in-use", Instead, "Delete: the ENI is said to be in use still.";

    AttachDeviceLate = "attach-device-late", Later, "Attach: the device shows up `delay_ms` later than usual.";
    AttachDeviceNever = "attach-device-never", Later, "Attach: the device never shows up, though EC2 says `attached`.";
    AttachStuck = "attach-stuck", Later, "Attach: the attachment stays `attaching` for `delay_ms`.";
    DetachStuck = "detach-stuck", Later, "Detach: the attachment stays `detaching` for `delay_ms`.";

    InternalErrorApplied = "internal-error-applied", Unheard, "`InternalError`, and yet all was done.";
    ReplyLost = "reply-lost", Unheard, "The connection breaks without a reply.";
    SlowReply = "slow-reply", Unheard, "The reply comes `delay_ms` later.";
    TruncatedXml = "truncated-xml", Unheard, "HTTP 200, and the document ends in its middle.";
    ShortBody = "short-body", Unheard, "HTTP 200, and the connection breaks in the middle of the body.";
    WrongRoot = "wrong-root", Unheard, "HTTP 200, and the document is another action's.";
    Html502 = "html-502", Unheard, "HTTP 502 with a page for people.";
    ErrorBodyWith200 = "error-body-with-200", Unheard, "HTTP 200, and the document is an error.";
    Garbage = "garbage", Unheard, "HTTP 200, and the body is noise.";

    StaleRead = "stale-read", Read, "`DescribeNetworkInterfaces` shows the account as it was `delay_ms` ago (30 s at most).";
    PartialPage = "partial-page", Read, "Describe: the first page is empty and the others hold one object, all with a `nextToken`.";

    ImdsStale = "imds-stale", Metadata, "The metadata is `delay_ms` old (30 s at most).";
    Imds401 = "imds-401", Metadata, "The token is not taken.";
    Imds403 = "imds-403", Metadata, "The metadata service is switched off.";
    ImdsDown = "imds-down", Metadata, "HTTP 500.";
    ImdsSlow = "imds-slow", Metadata, "The answer comes `delay_ms` later.";
    ImdsMissingLeaf = "imds-missing-leaf", Metadata, "An interface's directory is listed, and its addresses and device number are not.";
    ImdsGhostEni = "imds-ghost-eni", Metadata, "An ENI that leaves while this is on is listed for ever.";

    EniDeleted = "eni-deleted-by-operator", BehindBack, "A secondary ENI is detached and deleted.";
    ForeignEni = "foreign-eni-attached", BehindBack, "An ENI tagged `no_manage` is attached.";
    UntaggedEni = "untagged-eni-attached", BehindBack, "An ENI without tags, with two secondary addresses, is attached.";
    NoManageToggled = "no-manage-toggled", BehindBack, "The tag `no_manage` of a secondary ENI is set or taken away.";
    AddressUnassigned = "ip-unassigned-behind-us", BehindBack, "A secondary address is taken off its ENI.";
    AddressMoved = "ip-moved", BehindBack, "A secondary address is moved to somebody else's ENI.";
    PrefixUnassigned = "prefix-unassigned-behind-us", BehindBack, "A prefix is taken off its ENI.";
    DeleteOnTerminationLost = "delete-on-termination-lost", BehindBack, "A secondary ENI is set to outlive its instance.";
    GroupsChanged = "sg-changed", BehindBack, "The primary ENI gets another set of security groups.";
    VpcCidrAdded = "vpc-cidr-added", BehindBack, "The VPC gets one more range.";
}

/// A fault and when it strikes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What goes wrong.
    pub name: FaultName,
    /// Only calls of this operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
    /// Only calls from this node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// So many times; for ever when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// The chance of striking at each fitting call; always when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probability: Option<f64>,
    /// For so long from now; for ever when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// How much later or older, for the faults that delay.
    #[serde(default = "default_delay")]
    pub delay_ms: u64,
}

fn default_delay() -> u64 {
    30_000
}

impl Fault {
    /// The fault `name` at every call, until it is cleared.
    pub fn new(name: FaultName) -> Self {
        let delay_ms = default_delay();
        Self {
            name,
            operation: None,
            node: None,
            count: None,
            probability: None,
            duration_ms: None,
            delay_ms,
        }
    }
}

/// A fault that is switched on.
#[derive(Debug, Clone, Serialize)]
pub struct ActiveFault {
    /// As it was asked for; its `count` goes down with each strike.
    #[serde(flatten)]
    pub fault: Fault,
    /// How often it struck.
    pub struck: u32,
    #[serde(skip)]
    until_ms: Option<u64>,
}

/// With so many faults, those which can strike no more are forgotten.
const MOST_KEPT: usize = 64;

#[derive(Debug, Clone, Default)]
pub(super) struct Faults(Vec<ActiveFault>);

impl Faults {
    pub(super) fn add(&mut self, now_ms: u64, fault: Fault) {
        // What has struck for the last time is kept for those who ask, but not for ever.
        if self.0.len() >= MOST_KEPT {
            self.0.retain(|it| it.fault.count != Some(0));
        }
        let until_ms = fault.duration_ms.map(|it| now_ms.saturating_add(it));
        self.0.push(ActiveFault {
            fault,
            struck: 0,
            until_ms,
        });
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn active(&self) -> &[ActiveFault] {
        &self.0
    }

    /// Whether fault `name` strikes now; if so, the delay it carries. The metadata has no operation.
    pub(super) fn strike(
        &mut self,
        now_ms: u64,
        name: FaultName,
        operation: Option<Operation>,
        node: Option<&str>,
        rng: &mut Rng,
    ) -> Option<u64> {
        if self.0.is_empty() {
            return None;
        }
        self.0
            .retain(|it| it.until_ms.is_none_or(|end| now_ms < end));
        let hit = self.0.iter_mut().find(|ActiveFault { fault, .. }| {
            fault.name == name
                && fault.count != Some(0)
                && fault.operation.is_none_or(|it| Some(it) == operation)
                && fault.node.as_deref().is_none_or(|it| Some(it) == node)
                && fault.probability.is_none_or(|chance| rng.unit() < chance)
        })?;
        hit.struck += 1;
        hit.fault.count = hit.fault.count.map(|it| it.saturating_sub(1));
        Some(hit.fault.delay_ms)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_name_is_its_own_and_is_read_back() {
        let names: BTreeSet<&str> = FaultName::ALL.iter().map(|it| it.name()).collect();
        assert_eq!(names.len(), FaultName::ALL.len());
        for fault in FaultName::ALL {
            let text = serde_json::to_string(fault).unwrap();
            assert_eq!(text, format!("\"{}\"", fault.name()));
            assert_eq!(serde_json::from_str::<FaultName>(&text).unwrap(), *fault);
        }
    }
}
