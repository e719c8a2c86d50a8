//! Waiting for something to become true, with a bound that only guards against hanging.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use crate::error::{HarnessError, Result};

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// Asks until `look` gives a value. An error of `look` ends the wait.
pub fn wait_for<T>(
    what: &str,
    within: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    wait_until(what, within, || Ok(look()?.ok_or("nothing")))
}

/// Asks until `look` gives `Ok(Ok(value))`; what it gives instead is what the error shows.
pub fn wait_until<T, S: Debug>(
    what: &str,
    within: Duration,
    mut look: impl FnMut() -> Result<std::result::Result<T, S>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        match look()? {
            Ok(value) => return Ok(value),
            Err(seen) if start.elapsed() >= within => {
                return Err(HarnessError::Late {
                    what: what.to_owned(),
                    seconds: within.as_secs(),
                    seen: format!("{seen:?}"),
                    log: String::new(),
                });
            }
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}
