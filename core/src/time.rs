//! Time as a number. Nothing in this crate can read a clock: the caller says what time it is.

/// Milliseconds since the Unix epoch, as told by the caller. The daemon derives it from a
/// monotonic clock, so that it never goes back while the daemon runs.
pub type Millis = u64;

/// One second.
pub const SECOND: Millis = 1_000;
/// One minute.
pub const MINUTE: Millis = 60 * SECOND;
