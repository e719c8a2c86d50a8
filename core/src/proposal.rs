//! What a policy may ask for: the contract's `decision`, as plain values from a stranger.
//!
//! Nothing here is trusted: indexes may point nowhere, counts may be absurd. `check` is the only
//! reader that turns it into work.

use alloc::string::String;
use alloc::vec::Vec;

use crate::cidr::Unit;
use crate::time::Millis;

/// One thing asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Make an ENI with that many blocks and attach it.
    AttachEni {
        /// Place in `snapshot.subnets`; the node's own when absent.
        subnet: Option<u32>,
        /// Kind of the blocks.
        unit: Unit,
        /// Blocks to start with.
        blocks: u32,
        /// Network card.
        card: u32,
    },
    /// More blocks on an ENI.
    Grow {
        /// Place in `snapshot.enis`.
        eni: u32,
        /// Kind of the blocks.
        unit: Unit,
        /// How many.
        count: u32,
    },
    /// Blocks back to the subnet.
    Release {
        /// Place in `snapshot.enis`.
        eni: u32,
        /// Places in `snapshot.blocks`.
        blocks: Vec<u32>,
    },
    /// Detach and delete an ENI.
    DetachEni {
        /// Place in `snapshot.enis`.
        eni: u32,
    },
}

/// One thing asked for, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// What.
    pub request: Request,
    /// One sentence for people.
    pub reason: String,
}

/// Where new pods go among the free addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Placement {
    /// The fullest prefix of the fullest ENI first.
    #[default]
    Pack,
    /// The emptiest ENI first.
    Spread,
    /// Single addresses first, then as `Pack`.
    AddressesFirst,
}

/// What the policy answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proposal {
    /// In the order in which they are to be carried out.
    pub actions: Vec<Action>,
    /// One sentence for people.
    pub reason: String,
    /// Ask again after this long even if nothing happens.
    pub wake_after: Option<Millis>,
    /// Handed back with the next snapshot.
    pub memo: Vec<u8>,
    /// Where new pods go.
    pub placement: Placement,
    /// 0 (at ease) to 100 (pods wait).
    pub pressure: u8,
}
