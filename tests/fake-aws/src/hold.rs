//! Calls that a test holds, to act while they are under way.
//!
//! In: which operation, of which node, before its effect or before its reply. Out: a pause at that point
//! until the test lets go. Each hold is for one call.

use std::sync::{Mutex, MutexGuard, PoisonError};

use onsen_sim::account::Operation;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// One call to hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hold {
    operation: Operation,
    /// Any node when absent.
    #[serde(default)]
    node: Option<String>,
    /// Hold the reply, and not the effect.
    #[serde(default)]
    after: bool,
}

#[derive(Debug, Default)]
struct State {
    wanted: Vec<Hold>,
    held: Vec<Hold>,
}

/// The holds asked for, and the calls at them.
#[derive(Debug, Default)]
pub(crate) struct Holds {
    state: Mutex<State>,
    /// Counts how often the test has let go.
    releases: watch::Sender<u64>,
}

impl Holds {
    /// Holds one more call.
    pub(crate) fn add(&self, hold: Hold) {
        self.lock().wanted.push(hold);
    }

    /// The calls that are held now.
    pub(crate) fn held(&self) -> Vec<Hold> {
        self.lock().held.clone()
    }

    /// Lets all calls go on.
    pub(crate) fn let_go(&self) {
        let mut state = self.lock();
        state.wanted.clear();
        state.held.clear();
        self.releases.send_modify(|it| *it += 1);
    }

    /// Where a call may be held.
    pub(crate) async fn pass(&self, operation: Operation, node: Option<&str>, after: bool) {
        let mut releases = {
            let mut state = self.lock();
            let fits = |it: &Hold| {
                it.operation == operation
                    && it.after == after
                    && (it.node.is_none() || it.node.as_deref() == node)
            };
            let Some(at) = state.wanted.iter().position(fits) else {
                return;
            };
            let hold = state.wanted.remove(at);
            tracing::info!(?hold, "a call is held");
            state.held.push(hold);
            self.releases.subscribe()
        };
        // An error says that the world ends: so does the hold.
        let _ = releases.changed().await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
