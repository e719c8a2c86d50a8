//! What the daemon's loop is told from outside the core: by the plugin, by the status pages, by the
//! watcher of the policy, by tasks that carried out an effect.

use std::sync::Arc;

use onsen_core::effect::Reply;
use onsen_core::event::Event;
use onsen_core::ids::{PodName, SandboxKey};
use onsen_core::snapshot::Snapshot;
use tokio::sync::{mpsc, oneshot};

use crate::policies::{Compared, News};

/// The loop's mailbox.
pub(crate) type Mailbox = mpsc::UnboundedSender<Message>;

/// One thing for the loop.
pub(crate) enum Message {
    /// Something for the core.
    Happened(Event),
    /// A sandbox wants an address.
    Add {
        /// Who.
        key: SandboxKey,
        /// For which pod.
        pod: PodName,
        /// Dropped when the plugin gave up.
        answer: oneshot::Sender<Answer>,
    },
    /// A sandbox gives its address back.
    Del {
        /// Who.
        key: SandboxKey,
        /// Dropped when the plugin gave up.
        answer: oneshot::Sender<Answer>,
    },
    /// A plugin was gone when its address was there.
    GaveUp(SandboxKey),
    /// Somebody looks.
    Show {
        /// At what.
        page: Page,
        /// Gets the page as JSON.
        answer: oneshot::Sender<serde_json::Value>,
    },
    /// The chosen policy or its settings changed, or could not.
    Policy(Box<News>),
    /// A shadow answered too.
    Compared(Box<Compared>),
    /// A policy answered: for the core, with what the answer cost for the status page.
    Proposed {
        /// For the core.
        event: Event,
        /// For people.
        cost: Cost,
        /// What it was shown.
        snapshot: Arc<Snapshot>,
    },
}

/// What the plugin gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The core's reply.
    pub(crate) reply: Reply,
    /// The newest decision when it left, for people who ask why.
    pub(crate) decision: Option<u64>,
}

/// What a decision cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// Whether the built-in default was asked.
    pub(crate) built_in: bool,
    /// Time it took, the way to the thread and back included.
    pub(crate) micros: u64,
    /// Fuel that the guest burnt.
    pub(crate) fuel: u64,
    /// Why the policy gave no answer, in one word.
    pub(crate) failure: Option<&'static str>,
}

/// What can be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Page {
    /// The node in numbers.
    Status,
    /// ENIs and their blocks.
    Enis,
    /// Addresses held.
    Pods,
    /// ENIs in upstream's shape.
    UpstreamEnis,
    /// Counters and gauges, a text.
    Metrics,
}
