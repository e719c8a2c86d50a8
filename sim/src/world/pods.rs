//! Pods as kubelet runs them: a sandbox that gets no address is made anew after a while.

use std::collections::BTreeMap;

use onsen_core::ids::{PodName, RequestId, SandboxKey};
use onsen_core::time::{Millis, SECOND};

/// Kubelet tries a pod again after this long.
pub(super) const RETRY: Millis = 10 * SECOND;

/// Where a pod stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodState {
    /// It has no address yet.
    Waiting,
    /// It holds an address.
    Running,
    /// It was deleted.
    Gone,
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// When it was scheduled here.
    pub arrived_at: Millis,
    /// From arrival to its address, retries included; absent until it has one.
    pub waited: Option<Millis>,
    /// Where it stands.
    pub state: PodState,
    /// Sandboxes made for it; the last one counts.
    pub(super) attempts: u32,
}

impl Pod {
    pub(super) fn key(&self) -> SandboxKey {
        SandboxKey {
            network: "aws-cni".into(),
            container: format!("{}-{}", self.name, self.attempts),
            interface: "eth0".into(),
        }
    }

    pub(super) fn full_name(&self) -> PodName {
        PodName {
            namespace: "default".into(),
            name: self.name.clone(),
        }
    }
}

/// All pods of a node, in the order of arrival.
#[derive(Clone, Debug, Default)]
pub(super) struct Pods {
    pub(super) all: Vec<Pod>,
    /// Which pod each open request is for.
    pub(super) open: BTreeMap<RequestId, usize>,
    last_request: u64,
    /// Refusals by code.
    pub(super) refused: BTreeMap<&'static str, u64>,
}

impl Pods {
    /// A pod that waits.
    pub(super) fn add(&mut self, name: &str, now: Millis) -> usize {
        self.all.push(Pod {
            name: name.to_owned(),
            arrived_at: now,
            waited: None,
            state: PodState::Waiting,
            attempts: 0,
        });
        self.all.len() - 1
    }

    /// The newest pod of that name that is still here.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.all
            .iter()
            .rposition(|pod| pod.name == name && pod.state != PodState::Gone)
    }

    pub(super) fn request(&mut self, pod: usize) -> RequestId {
        self.last_request += 1;
        let request = RequestId(self.last_request);
        self.open.insert(request, pod);
        request
    }

    pub(super) fn count(&self, state: PodState) -> usize {
        self.all.iter().filter(|pod| pod.state == state).count()
    }
}
