//! A node's two files, as the daemon writes and reads them: the checkpoint, and beside it the
//! addresses that cool.
//!
//! In: what the core wants saved, and how far a write came. Out: what a start finds.

use std::net::IpAddr;

use onsen_core::effect::{Allocation, Saved};
use onsen_core::recover::Found;
use onsen_core::time::Millis;

/// How far a write came before it failed or the daemon died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Both files are as they were.
    Nothing,
    /// The file of cooling addresses is new, the checkpoint is old.
    Cooling,
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
    cooling: Option<Vec<(IpAddr, Millis)>>,
}

impl Disk {
    pub(super) fn holding(saved: &Saved) -> Self {
        Self {
            checkpoint: Checkpoint::Whole(saved.allocations.clone()),
            cooling: Some(saved.cooling.clone()),
        }
    }

    /// Cooling comes first: an address must not be free between the two.
    pub(super) fn write(&mut self, saved: &Saved, cooling_changed: bool, reach: Reach) {
        if reach == Reach::Nothing {
            return;
        }
        if cooling_changed {
            self.cooling = Some(saved.cooling.clone());
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

    pub(super) fn lose_cooling(&mut self) {
        self.cooling = None;
    }

    /// Whether the file of cooling addresses is there.
    pub(super) fn knows_cooling(&self) -> bool {
        self.cooling.is_some()
    }

    /// What a start finds.
    pub(super) fn read(&self) -> Found {
        match &self.checkpoint {
            Checkpoint::Missing => Found::Nothing,
            Checkpoint::Corrupt => Found::Bad("it ends in its middle".to_owned()),
            Checkpoint::Whole(allocations) => Found::Whole(Saved {
                allocations: allocations.clone(),
                cooling: self.cooling.clone().unwrap_or_default(),
            }),
        }
    }
}
