//! The daemon dies, and another one begins with what is left: the files, the account, the node's own
//! links.
//!
//! In: weather. Out: a node that serves again. What must hold: nothing of the dead daemon's memory
//! reaches the new one; what was sent to EC2 happens all the same.

use onsen_core::config::StartFacts;
use onsen_core::effect::{Allocation, Ec2Request};
use onsen_core::event::Observation;
use onsen_core::laws::Auditor;
use onsen_core::node::Node;
use onsen_core::recover::{Found, PodLink, recover};
use onsen_core::time::Millis;

use super::ec2::Look;
use super::node::SimNode;
use super::pods::{RETRY, Wish};
use super::setup::{setting_list, unit};
use super::{Due, Surroundings};

impl SimNode {
    /// The daemon dies now.
    pub(super) fn crash(&mut self, around: &mut Surroundings<'_>) {
        if !self.up {
            return;
        }
        self.mark_crash(around);
        if let Some(writing) = self.writing.take() {
            let reach = around.skies.reach();
            self.disk.write(&writing.saved, writing.rest_changed, reach);
        }
        self.up = false;
        self.life += 1;
        self.active_at = around.now;
        self.ready.clear();
        self.calling.clear();
        self.configuring.clear();
        self.look = None;
        self.asked = None;
        let node = around.place;
        for asked in std::mem::take(&mut self.pods.open).into_values() {
            let pod = asked.pod;
            match asked.wish {
                Wish::Add if !asked.hung_up => self.failed(pod, around),
                Wish::Del { attempt, .. } => {
                    around.later(RETRY, Due::Delete { node, pod, attempt });
                }
                Wish::Add | Wish::AddAgain | Wish::GiveBack => {}
            }
        }
        let life = self.life;
        let absence = around.skies.absence();
        around.later(absence, Due::Start { node, life });
    }

    fn mark_crash(&self, around: &mut Surroundings<'_>) {
        around.marks.hit("crash");
        if self.writing.is_some() {
            around.marks.hit("crash-during-write");
        }
        for request in self.calling.values() {
            around.marks.hit(match request {
                Ec2Request::CreateEni { .. } => "crash-during-create",
                Ec2Request::AttachEni { .. } => "crash-during-attach",
                Ec2Request::SetDeleteOnTermination { .. } => "crash-during-modify",
                Ec2Request::DetachEni { .. } => "crash-during-detach",
                Ec2Request::DeleteEni { .. } => "crash-during-delete",
                Ec2Request::Assign { .. } => "crash-during-assign",
                Ec2Request::Unassign { .. } => "crash-during-unassign",
            });
        }
        let ours = |it: &&crate::account::Eni| {
            it.tags.get(onsen_core::answer::TAG_INSTANCE) == Some(self.owner.instance())
        };
        for eni in around.account.enis().filter(ours) {
            match &eni.attachment {
                None => around.marks.hit("crash-between-create-and-attach"),
                Some(it) if !it.delete_on_termination => {
                    around.marks.hit("crash-between-attach-and-modify");
                }
                Some(_) if self.configuring.keys().any(|id| id.as_str() == eni.id) => {
                    around.marks.hit("crash-before-link-ready");
                }
                Some(_) => {}
            }
        }
    }

    /// The next daemon starts: it looks at EC2 until it has seen a whole view.
    pub(super) fn start(&mut self, around: &mut Surroundings<'_>) {
        self.look = Some(Look::default());
        self.look_on(around);
    }

    pub(super) fn begin_later(
        &self,
        after: Millis,
        observation: Observation,
        around: &mut Surroundings<'_>,
    ) {
        let (node, life) = (around.place, self.life);
        let observation = Box::new(observation);
        let begin = Due::Begin {
            node,
            life,
            observation,
        };
        around.later(after, begin);
    }

    /// It has seen EC2's view, and reads the rest from the node.
    pub(super) fn begin(&mut self, observation: Observation, around: &mut Surroundings<'_>) {
        if let Some(step) = around.skies.clock_step() {
            around.marks.hit(if step < 0 {
                "clock-set-back"
            } else {
                "clock-set-forward"
            });
            self.clock += step;
        }
        let now = self.time(around.now);
        let found = self.found(around);
        let linked = || self.pods.all.iter().filter(|pod| pod.link.is_some());
        let links: Vec<PodLink> = linked()
            .filter(|pod| pod.leads)
            .filter_map(|pod| {
                Some(PodLink {
                    address: pod.link?,
                    link: Some(pod.link_name()),
                })
            })
            .collect();
        let is_here = |allocation: &Allocation| linked().any(|pod| pod.name == allocation.pod.name);
        let recovered = recover(found, self.disk.knows_rest(), &links, is_here, now);
        if recovered.forgotten {
            // Until the node has written what it lets cool, the next start must not trust the old file.
            self.disk.lose_rest();
        }
        if recovered.rebuilt {
            around.marks.hit("holders-rebuilt-from-links");
            self.disk
                .write(&recovered.saved, false, super::disk::Reach::Everything);
        }
        if !recovered.gone.is_empty() {
            around.marks.hit("sandbox-gone-at-start");
        }
        self.config.node.schedulable = self.schedulable;
        self.config.node.terminating = self.terminating;
        self.config.settings = setting_list(&self.settings);
        self.config.unit = unit(&self.settings, self.config.limits.prefixes);
        let mut facts = StartFacts {
            saved: recovered.saved,
            gone: recovered.gone,
            observation,
            remarks: recovered.remarks,
            forgotten: recovered.forgotten,
        };
        let before = self.auditor.clone();
        match Auditor::start(&self.config, &facts, Some(before), around.now) {
            Ok(auditor) => self.auditor = auditor,
            Err(law) => {
                self.broken = Some(law);
                return;
            }
        }
        self.up = true;
        let mut config = self.config.clone();
        (self.spoil.config)(&mut config);
        (self.spoil.facts)(&mut facts);
        let (node, effects) = Node::start(config, facts, now);
        self.node = node;
        self.perform(effects, around);
    }

    /// What is left of the files.
    fn found(&mut self, around: &mut Surroundings<'_>) -> Found {
        match around.skies.lost_checkpoint() {
            Some(true) => {
                around.marks.hit("checkpoint-corrupt");
                self.disk.corrupt_checkpoint();
            }
            Some(false) => {
                around.marks.hit("checkpoint-lost");
                self.disk.lose_checkpoint();
            }
            None => {}
        }
        if around.skies.loses_cooling() {
            around.marks.hit("cooling-lost");
            self.disk.lose_rest();
        }
        let found = self.disk.read();
        if let Found::Bad(_) = &found {
            // Set aside, as the daemon does.
            self.disk.lose_checkpoint();
        }
        found
    }
}
