//! Ways to spoil a core, for tests that prove that a broken one is caught, and for scenarios that show what
//! upstream's rules did. The auditors hear and see
//! what is true; the core is lied to, or what it wants is changed behind it.

use onsen_core::config::{Config, StartFacts};
use onsen_core::effect::Effect;
use onsen_core::event::Event;

/// What is done to a core. The default does nothing.
#[derive(Clone, Copy, Debug)]
pub struct Spoil {
    /// Changes what it is told at a start.
    pub config: fn(&mut Config),
    /// Changes what it finds at a start.
    pub facts: fn(&mut StartFacts),
    /// Changes what it is told has happened.
    pub event: fn(Event) -> Event,
    /// Changes what it wants.
    pub effects: fn(Vec<Effect>) -> Vec<Effect>,
}

impl Default for Spoil {
    fn default() -> Self {
        Self {
            config: |_| (),
            facts: |_| (),
            event: |event| event,
            effects: |effects| effects,
        }
    }
}
