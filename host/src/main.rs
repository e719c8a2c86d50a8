//! `onsend`
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        reason = "a test that panics fails, which is what it should do"
    )
)]
mod checkpoint;
mod clock;
mod ec2;
mod imds;
mod settings;
mod words;
mod policies { pub(crate) const DEFAULT: &str = "default-warm-eni"; }
fn main() {}
