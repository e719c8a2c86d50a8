//! The daemon's time and its only dice; the core gets both as arguments.

use std::hash::{BuildHasher, Hasher};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use onsen_core::time::Millis;
use tokio::time::Instant;

/// The wall clock as read once, carried on by the monotonic clock: it never goes back, whatever
/// is done to the machine's date.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    started: Instant,
    started_at: Millis,
}

impl Clock {
    /// Starts now.
    pub(crate) fn start() -> Self {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            started: Instant::now(),
            started_at: millis(since_epoch),
        }
    }

    /// What time it is.
    pub(crate) fn now(&self) -> Millis {
        self.started_at + millis(self.started.elapsed())
    }

    /// When this clock was started.
    pub(crate) fn started_at(&self) -> Millis {
        self.started_at
    }

    /// The instant at which [`Clock::now`] will be `time`; the start when that is past.
    pub(crate) fn instant(&self, time: Millis) -> Instant {
        self.started + Duration::from_millis(time.saturating_sub(self.started_at))
    }
}

/// A duration as the core counts.
pub(crate) fn millis(duration: Duration) -> Millis {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A number that nobody can foresee: the standard library's own seed, which comes from the system.
pub(crate) fn chance() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}
