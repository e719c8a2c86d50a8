//! What kubelet, the runtime and the plugin do on a node: ask, hear, give up, try again.
//!
//! In: pods that come and go, replies of the daemon. Out: requests, and what the truth must know.
//! What must hold: a pod that could not be deleted is tried again until it is; a sandbox that got no
//! address is deleted before the next one is made, as the runtime does.

use onsen_core::effect::Reply;
use onsen_core::event::Event;
use onsen_core::ids::RequestId;
use onsen_core::recover::key_of_link;
use onsen_core::time::{Millis, SECOND};

use super::node::SimNode;
use super::pods::{Asked, PodState, RETRY, Wish};
use super::{Due, Surroundings};

/// How long a pod waits for an address at most, as with the daemon's default.
const ADD_WAIT: Millis = 10 * SECOND;

impl SimNode {
    /// A pod's next sandbox asks for an address.
    pub(super) fn ask(&mut self, pod: usize, around: &mut Surroundings<'_>) {
        let up = self.up;
        let Some(it) = self.pods.all.get_mut(pod) else {
            return;
        };
        if it.state != PodState::Waiting {
            return;
        }
        self.active_at = around.now;
        if !up {
            around.marks.hit("add-while-down");
            again(pod, around);
            return;
        }
        it.attempts += 1;
        self.add(pod, Wish::Add, around);
    }

    /// A pod's sandbox asks once more for what it holds.
    pub(super) fn ask_again(&mut self, pod: usize, around: &mut Surroundings<'_>) {
        let running = self.pods.all.get(pod);
        let Some(it) = running.filter(|it| it.state == PodState::Running) else {
            return;
        };
        // Known by its link only, after a lost checkpoint, it is a stranger under its own name.
        let key = it.key();
        let known = self
            .node
            .holdings()
            .iter()
            .any(|it| it.allocation.key == key);
        if self.up && known {
            self.add(pod, Wish::AddAgain, around);
        }
    }

    fn add(&mut self, pod: usize, wish: Wish, around: &mut Surroundings<'_>) {
        let Some(it) = self.pods.all.get(pod) else {
            return;
        };
        let (key, name) = (it.key(), it.full_name());
        let request = self.pods.request(pod, wish, around.now);
        if wish == Wish::Add
            && let Some(after) = around.skies.hangs_up()
        {
            let (node, life) = (around.place, self.life);
            around.later(
                after,
                Due::HangUp {
                    node,
                    life,
                    request,
                },
            );
        }
        let event = Event::Assign {
            request,
            key,
            pod: name,
            deadline: self.time(around.now) + ADD_WAIT,
        };
        self.happened(event, around);
    }

    /// A pod goes.
    pub(super) fn give_back(&mut self, pod: usize, around: &mut Surroundings<'_>) {
        let Some(it) = self.pods.all.get_mut(pod) else {
            return;
        };
        if it.state == PodState::Waiting {
            around.marks.hit("pod-deleted-while-waiting");
        }
        it.state = PodState::Gone;
        let attempt = it.attempts;
        if let Some(address) = it.link {
            around.truth.left((around.place, pod), address);
        }
        self.active_at = around.now;
        self.delete(pod, attempt, false, around);
    }

    /// The runtime deletes one of a pod's sandboxes.
    pub(super) fn delete(
        &mut self,
        pod: usize,
        attempt: u32,
        by_address: bool,
        around: &mut Surroundings<'_>,
    ) {
        let Some(it) = self.pods.all.get(pod) else {
            return;
        };
        if !self.up {
            around.marks.hit("del-while-down");
            let node = around.place;
            around.later(RETRY, Due::Delete { node, pod, attempt });
            return;
        }
        let key = match it.link {
            Some(address) if by_address => key_of_link(address, &it.link_name()),
            _ => it.key_of(attempt),
        };
        let request = self.pods.request(
            pod,
            Wish::Del {
                attempt,
                by_address,
            },
            around.now,
        );
        self.happened(Event::Release { request, key }, around);
    }

    /// The plugin of a request hangs up before it has heard anything.
    pub(super) fn hang_up(&mut self, request: RequestId, around: &mut Surroundings<'_>) {
        let Some(asked) = self.pods.open.get_mut(&request) else {
            return;
        };
        around.marks.hit("plugin-hung-up");
        asked.hung_up = true;
        let pod = asked.pod;
        self.failed(pod, around);
    }

    pub(super) fn replied(
        &mut self,
        request: RequestId,
        reply: &Reply,
        around: &mut Surroundings<'_>,
    ) {
        let Some(asked) = self.pods.open.remove(&request) else {
            return;
        };
        let pod = asked.pod;
        match asked.wish {
            Wish::Add if asked.hung_up => {
                // The daemon finds nobody to tell and takes it back, as `GaveUp` does there.
                if let (Reply::Assigned(_), Some(it)) = (reply, self.pods.all.get(pod)) {
                    let key = it.key_of(asked.attempt);
                    around.marks.hit("address-of-nobody-given-back");
                    let request = self.pods.request(pod, Wish::GiveBack, around.now);
                    self.happened(Event::Release { request, key }, around);
                }
            }
            Wish::Add => self.added(pod, reply, around),
            Wish::AddAgain => self.added_again(pod, reply, around),
            Wish::Del {
                attempt,
                by_address,
            } => {
                self.deleted(asked, (attempt, by_address), reply, around);
            }
            Wish::GiveBack => {
                if let Reply::Released(holding) = reply {
                    around
                        .truth
                        .given_back(around.place, holding.address, asked.at);
                }
            }
        }
    }

    fn added(&mut self, pod: usize, reply: &Reply, around: &mut Surroundings<'_>) {
        let cooldown = self.config.times.cooldown;
        let Some(it) = self.pods.all.get_mut(pod) else {
            return;
        };
        if it.state != PodState::Waiting {
            return;
        }
        match reply {
            Reply::Assigned(holding) => {
                it.state = PodState::Running;
                it.waited = Some(around.now - it.arrived_at);
                if it.attempts > 1 {
                    around.marks.hit("served-by-a-later-sandbox");
                }
                self.pods.wire(pod, holding.address);
                let given = around.truth.given(
                    (around.place, pod),
                    (holding.address, &holding.eni),
                    around.account,
                    &self.owner,
                    cooldown,
                    around.now,
                );
                if let Err(law) = given {
                    self.broken = Some(law);
                }
            }
            Reply::NoAddress(why) => {
                around.marks.hit(why.code());
                *self.pods.refused.entry(why.code()).or_default() += 1;
                self.failed(pod, around);
            }
            Reply::NotDurable => self.failed(pod, around),
            Reply::Released(_) | Reply::UnknownSandbox | Reply::IncompleteKey => {
                self.broken = Some(format!("an ADD was answered with {reply:?}"));
            }
        }
    }

    /// A sandbox got no address: it is deleted, and the pod gets another one later.
    pub(super) fn failed(&mut self, pod: usize, around: &mut Surroundings<'_>) {
        let attempt = self.pods.all.get(pod).map_or(0, |it| it.attempts);
        let node = around.place;
        around.later(1, Due::Delete { node, pod, attempt });
        again(pod, around);
    }

    fn added_again(&mut self, pod: usize, reply: &Reply, around: &mut Surroundings<'_>) {
        let Some(it) = self
            .pods
            .all
            .get(pod)
            .filter(|it| it.state == PodState::Running)
        else {
            return;
        };
        match reply {
            Reply::Assigned(holding) if Some(holding.address) != it.link => {
                self.broken = Some(format!(
                    "P4: pod {pod} runs with {:?} and its repeated ADD was given {}",
                    it.link, holding.address
                ));
            }
            Reply::Assigned(_) => around.marks.hit("same-address-again"),
            Reply::NoAddress(_)
            | Reply::NotDurable
            | Reply::Released(_)
            | Reply::UnknownSandbox
            | Reply::IncompleteKey => {}
        }
    }

    fn deleted(
        &mut self,
        asked: Asked,
        (attempt, by_address): (u32, bool),
        reply: &Reply,
        around: &mut Surroundings<'_>,
    ) {
        let (node, pod) = (around.place, asked.pod);
        if let Reply::Released(holding) = reply {
            around.truth.given_back(node, holding.address, asked.at);
            if by_address {
                around.marks.hit("released-by-its-address");
            }
        }
        let Some(it) = self.pods.all.get_mut(pod) else {
            return;
        };
        match reply {
            Reply::NotDurable => around.later(RETRY, Due::Delete { node, pod, attempt }),
            // After the checkpoint was lost it is known by its address only, which the result of its ADD
            // names. The daemon does this by itself, in one call.
            Reply::UnknownSandbox if !by_address && it.link.is_some() && attempt == it.attempts => {
                self.delete(pod, attempt, true, around);
            }
            // The link goes with the sandbox that it belongs to.
            _ if it.state == PodState::Gone && attempt == it.attempts => it.link = None,
            Reply::Assigned(_)
            | Reply::NoAddress(_)
            | Reply::Released(_)
            | Reply::UnknownSandbox
            | Reply::IncompleteKey => {}
        }
    }
}

/// Kubelet tries it again later.
fn again(pod: usize, around: &mut Surroundings<'_>) {
    let node = around.place;
    around.later(RETRY, Due::Retry { node, pod });
}
