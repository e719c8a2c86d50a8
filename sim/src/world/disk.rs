//! A node's two files, as the daemon writes and reads them: the checkpoint, and beside it the rest:
//! the addresses that cool, what is on its way, in either direction.
//!
//! In: what the core wants saved, and how far a write came. Out: what a start finds.

use std::net::IpAddr;

use onsen_core::effect::{Allocation, ComingEni, Leaving, Saved};
use onsen_core::recover::Found;
use onsen_core::time::Millis;

/// How far a write came before it failed or the daemon died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Both files are as they were.
    Nothing,
    /// The file of the rest is new, the checkpoint is old.
    Rest,
    /// Both are new.
    Everything,
}

#[derive(Clone, Debug, Default)]
enum Checkpoint {
    #[default]
    Missing,
    Whole(Vec<Allocation>),
    Corrupt,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    checkpoint: Checkpoint,
    /// Absent when the file is.
    rest: Option<Rest>,
}

/// What is beside the checkpoint.
#[derive(Clone, Debug, Default)]
struct Rest {
    cooling: Vec<(IpAddr, Millis)>,
    coming: Vec<ComingEni>,
    leaving: Vec<Leaving>,
}

impl Rest {
    fn of(saved: &Saved) -> Self {
        Self {
            cooling: saved.cooling.clone(),
            coming: saved.coming.clone(),
            leaving: saved.leaving.clone(),
        }
    }
}

impl Disk {
    pub(super) fn holding(saved: &Saved) -> Self {
        Self {
            checkpoint: Checkpoint::Whole(saved.allocations.clone()),
            rest: Some(Rest::of(saved)),
        }
    }

    /// The rest comes first: an address must not be free between the two.
    pub(super) fn write(&mut self, saved: &Saved, rest_changed: bool, reach: Reach) {
        if reach == Reach::Nothing {
            return;
        }
        if rest_changed {
            self.rest = Some(Rest::of(saved));
        }
        if reach == Reach::Everything {
            self.checkpoint = Checkpoint::Whole(saved.allocations.clone());
        }
    }

    pub(super) fn lose_checkpoint(&mut self) {
        self.checkpoint = Checkpoint::Missing;
    }

    pub(super) fn corrupt_checkpoint(&mut self) {
        self.checkpoint = Checkpoint::Corrupt;
    }

    pub(super) fn lose_rest(&mut self) {
        self.rest = None;
    }

    /// Whether the file of the rest is there.
    pub(super) fn knows_rest(&self) -> bool {
        self.rest.is_some()
    }

    /// What a start finds.
    pub(super) fn read(&self) -> Found {
        match &self.checkpoint {
            Checkpoint::Missing => Found::Nothing,
            Checkpoint::Corrupt => Found::Bad("it ends in its middle".to_owned()),
            Checkpoint::Whole(allocations) => {
                let rest = self.rest.clone().unwrap_or_default();
                Found::Whole(Saved {
                    allocations: allocations.clone(),
                    cooling: rest.cooling,
                    coming: rest.coming,
                    leaving: rest.leaving,
                })
            }
        }
    }
}
