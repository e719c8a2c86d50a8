//! The contract's words for kinds and states, as documents spell them.

use onsen_core::cidr::Unit;
use onsen_core::proposal::Placement;
use onsen_core::snapshot::{EniPhase, Family, KeepReason, Operation, Role, Trigger};
use serde::{Deserialize, Serialize};

macro_rules! words {
    ($($contract:literal: $name:ident = $core:ident { $($case:ident),+ })+) => {$(
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = $contract))]
        #[serde(rename_all = "kebab-case")]
        pub(crate) enum $name { $($case),+ }

        impl From<$core> for $name {
            fn from(from: $core) -> Self {
                match from { $($core::$case => Self::$case),+ }
            }
        }

        impl From<$name> for $core {
            fn from(from: $name) -> Self {
                match from { $($name::$case => Self::$case),+ }
            }
        }
    )+};
}

words! {
    "unit": UnitWord = Unit { Address, Prefix }
    "family": FamilyWord = Family { Ipv4, Ipv6 }
    "trigger": TriggerWord = Trigger { Start, Timer, Demand, Outcome, Change }
    "role": RoleWord = Role { Primary, Secondary, Trunk, Efa }
    "eni-state": StateWord = EniPhase { Attaching, Ready, Detaching }
    "keep-reason": KeepWord = KeepReason {
        Primary, Trunk, Efa, Assigned, Cooling, TooYoung, InFlight, Unconfirmed
    }
    "operation": OperationWord = Operation { AttachEni, Grow, Release, DetachEni }
    "placement": PlacementWord = Placement { Pack, Spread, AddressesFirst }
}
