//! What goes wrong on the nodes themselves: daemons that die, disks that fail, clocks that are set,
//! links that cannot be made ready. What goes wrong at EC2 is the account's.
//!
//! In: chances, and dice of its own. Out: whether something strikes now. In fair weather no dice are
//! thrown, so that a world without faults is the same with and without this.

use onsen_core::time::{MINUTE, Millis, SECOND};

use super::disk::Reach;
use crate::rng::Rng;

/// Chances in a thousand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    /// The daemon dies at a boundary between two effects, or after the last one.
    pub crash: u32,
    /// A write fails, or the daemon was told so.
    pub write_fails: u32,
    /// A start finds no checkpoint, or one that is not whole.
    pub checkpoint_lost: u32,
    /// A start finds no file of cooling addresses.
    pub cooling_lost: u32,
    /// The wall clock was set, by up to two hours in either direction, before a start.
    pub clock_set: u32,
    /// The link of an ENI cannot be made ready although its device is there.
    pub link_fails: u32,
    /// A plugin hangs up before its answer comes.
    pub hang_up: u32,
}

/// The weather and its dice.
#[derive(Clone, Debug)]
pub(super) struct Skies {
    pub(super) weather: Weather,
    dice: Rng,
}

impl Skies {
    pub(super) fn fair(seed: u64) -> Self {
        Self {
            weather: Weather::default(),
            dice: Rng::new(seed ^ 0x5c1e_5000),
        }
    }

    fn strikes(&mut self, chance: u32) -> bool {
        chance > 0 && self.dice.below(1_000) < chance as usize
    }

    pub(super) fn crashes(&mut self) -> bool {
        self.strikes(self.weather.crash)
    }

    /// How long a daemon that died stays away: mostly a moment, sometimes minutes.
    pub(super) fn absence(&mut self) -> Millis {
        let longest = if self.dice.below(4) == 0 {
            5 * MINUTE
        } else {
            4 * SECOND
        };
        200 + self.dice.below(longest as usize) as Millis
    }

    /// How far the write under way has come when the daemon dies.
    pub(super) fn reach(&mut self) -> Reach {
        match self.dice.below(3) {
            0 => Reach::Nothing,
            1 => Reach::Rest,
            _ => Reach::Everything,
        }
    }

    /// How far a write came that fails; absent when it does not.
    pub(super) fn failed_write(&mut self) -> Option<Reach> {
        self.strikes(self.weather.write_fails).then(|| self.reach())
    }

    /// Whether the checkpoint is lost, and whether a part of it is still there.
    pub(super) fn lost_checkpoint(&mut self) -> Option<bool> {
        self.strikes(self.weather.checkpoint_lost)
            .then(|| self.dice.below(2) == 0)
    }

    pub(super) fn loses_cooling(&mut self) -> bool {
        self.strikes(self.weather.cooling_lost)
    }

    /// By how much the wall clock is set.
    pub(super) fn clock_step(&mut self) -> Option<i64> {
        const MOST: u64 = 120 * MINUTE;
        self.strikes(self.weather.clock_set)
            .then(|| (self.dice.below(2 * MOST as usize) as u64).cast_signed() - MOST.cast_signed())
    }

    pub(super) fn link_fails(&mut self) -> bool {
        self.strikes(self.weather.link_fails)
    }

    /// When the plugin hangs up, counted from its request.
    pub(super) fn hangs_up(&mut self) -> Option<Millis> {
        self.strikes(self.weather.hang_up)
            .then(|| 1 + self.dice.below(8_000) as Millis)
    }
}
