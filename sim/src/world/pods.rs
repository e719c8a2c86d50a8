//! Pods as kubelet and the runtime run them: a sandbox that gets no address is deleted and made anew
//! after a while; a deletion is repeated until the daemon has taken it.

use std::collections::BTreeMap;
use std::net::IpAddr;

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
    /// What the host's link of it leads to; the link stays until a DEL has ended well.
    pub(super) link: Option<IpAddr>,
    /// Whether the kernel leads the address to it: the route of the pod that is wired last replaces the others'.
    pub(super) leads: bool,
}

impl Pod {
    /// Where its traffic comes from and goes to: what its link on the host leads to.
    pub fn address(&self) -> Option<IpAddr> {
        self.link
    }

    pub(super) fn key(&self) -> SandboxKey {
        self.key_of(self.attempts)
    }

    /// The key of one of its sandboxes.
    pub(super) fn key_of(&self, attempt: u32) -> SandboxKey {
        SandboxKey {
            network: "aws-cni".into(),
            container: format!("{}-{attempt}", self.name),
            interface: "eth0".into(),
        }
    }

    pub(super) fn full_name(&self) -> PodName {
        PodName {
            namespace: "default".into(),
            name: self.name.clone(),
        }
    }

    /// The name of its link on the host.
    pub(super) fn link_name(&self) -> String {
        format!("eni-{}", self.name)
    }
}

/// What the plugin waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// An address for the pod's newest sandbox.
    Add,
    /// The address that the pod's newest sandbox holds already.
    AddAgain,
    /// To be rid of one of its sandboxes.
    Del {
        /// Which.
        attempt: u32,
        /// Whether it is asked for by the name of the link, as the checkpoint did not have it.
        by_address: bool,
    },
    /// The daemon itself gives back what a plugin that hung up has not heard of.
    GiveBack,
}

/// A request under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) pod: usize,
    /// The pod's newest sandbox at that time.
    pub(super) attempt: u32,
    pub(super) at: Millis,
    pub(super) wish: Wish,
    /// Nobody listens any more.
    pub(super) hung_up: bool,
}

/// All pods of a node, in the order of arrival.
#[derive(Clone, Debug, Default)]
pub(super) struct Pods {
    pub(super) all: Vec<Pod>,
    /// Open requests.
    pub(super) open: BTreeMap<RequestId, Asked>,
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
            link: None,
            leads: false,
        });
        self.all.len() - 1
    }

    /// A pod's link is set up.
    pub(super) fn wire(&mut self, pod: usize, address: IpAddr) {
        for (place, it) in self.all.iter_mut().enumerate() {
            if place == pod {
                (it.link, it.leads) = (Some(address), true);
            } else if it.link == Some(address) {
                it.leads = false;
            }
        }
    }

    /// The newest pod of that name that is still here.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.all
            .iter()
            .rposition(|pod| pod.name == name && pod.state != PodState::Gone)
    }

    pub(super) fn request(&mut self, pod: usize, wish: Wish, at: Millis) -> RequestId {
        self.last_request += 1;
        let request = RequestId(self.last_request);
        let asked = Asked {
            pod,
            attempt: self.all.get(pod).map_or(0, |it| it.attempts),
            at,
            wish,
            hung_up: false,
        };
        self.open.insert(request, asked);
        request
    }

    pub(super) fn count(&self, state: PodState) -> usize {
        self.all.iter().filter(|pod| pod.state == state).count()
    }
}
