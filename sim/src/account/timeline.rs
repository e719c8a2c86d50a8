//! What happens by itself as time passes, and who sees it when: devices, attachments, routes, metadata.

use super::eni::ImdsTimes;
use super::{Account, AttachmentStatus, Cidr, Eni, EniStatus, latency};

/// What happens on the network, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum FabricEvent {
    /// The ENI's device shows up in the instance; what the ENI holds is delivered from now on.
    DeviceAppears {
        /// The node's name.
        node: String,
        /// The ENI as it is now.
        eni: Box<Eni>,
    },
    /// The ENI's device is gone, and nothing is delivered through it any more.
    DeviceVanishes {
        /// The ENI.
        eni_id: String,
    },
    /// Blocks are delivered to the ENI from now on, and may be sent from it.
    Routed {
        /// The ENI.
        eni_id: String,
        /// Addresses (as /32) and prefixes.
        blocks: Vec<Cidr>,
    },
    /// Blocks are no longer delivered to the ENI, nor may they be sent from it.
    Unrouted {
        /// The ENI.
        eni_id: String,
        /// Addresses (as /32) and prefixes.
        blocks: Vec<Cidr>,
    },
}

/// A change that is under way.
#[derive(Debug, Clone)]
pub(super) enum Due {
    Available {
        eni_id: String,
    },
    DeviceAppears {
        eni_id: String,
        attachment_id: String,
    },
    Attached {
        eni_id: String,
        attachment_id: String,
    },
    DeviceVanishes {
        eni_id: String,
    },
    Detached {
        eni_id: String,
        attachment_id: String,
    },
    Routed {
        eni_id: String,
        blocks: Vec<Cidr>,
    },
    Unrouted {
        eni_id: String,
        blocks: Vec<Cidr>,
    },
}

impl Account {
    /// Lets time pass until `now_ms` and tells what happened on the network since the last time.
    pub fn advance(&mut self, now_ms: u64) -> Vec<FabricEvent> {
        self.tick(now_ms);
        std::mem::take(&mut self.outbox)
    }

    /// When [`Account::advance`] will next have something to do.
    pub fn next_event_ms(&self) -> Option<u64> {
        if self.outbox.is_empty() {
            self.queue.keys().next().map(|(at, _)| *at)
        } else {
            Some(0)
        }
    }

    pub(super) fn tick(&mut self, now_ms: u64) {
        while let Some(entry) = self.queue.first_entry().filter(|it| it.key().0 <= now_ms) {
            let ((at_ms, _), due) = entry.remove_entry();
            self.happen(at_ms, due);
        }
    }

    fn happen(&mut self, at_ms: u64, due: Due) {
        match due {
            Due::Available { eni_id } => self.change_eni(at_ms, &eni_id, |it| {
                if it.status == EniStatus::Pending {
                    it.status = EniStatus::Available;
                }
            }),
            Due::DeviceAppears {
                eni_id,
                attachment_id,
            } => {
                let Some(eni) = self.enis.get(&eni_id) else {
                    return;
                };
                let Some(attachment) = &eni.attachment else {
                    return;
                };
                // A detach that came first wins: the device never shows up.
                if attachment.id == attachment_id
                    && attachment.status != AttachmentStatus::Detaching
                {
                    let Some(node) = self.node_name(&attachment.instance_id) else {
                        return;
                    };
                    self.outbox.push(FabricEvent::DeviceAppears {
                        node: node.to_owned(),
                        eni: Box::new(eni.clone()),
                    });
                    self.devices.insert(eni_id);
                }
            }
            Due::Attached {
                eni_id,
                attachment_id,
            } => self.change_eni(at_ms, &eni_id, |it| {
                let attachment = it.attachment.as_mut().filter(|it| it.id == attachment_id);
                if let Some(attachment) =
                    attachment.filter(|it| it.status == AttachmentStatus::Attaching)
                {
                    attachment.status = AttachmentStatus::Attached;
                }
            }),
            Due::DeviceVanishes { eni_id } => self.vanish(&eni_id),
            Due::Detached {
                eni_id,
                attachment_id,
            } => self.change_eni(at_ms, &eni_id, |it| {
                if it
                    .attachment
                    .as_ref()
                    .is_some_and(|it| it.id == attachment_id)
                {
                    it.attachment = None;
                    it.status = EniStatus::Available;
                }
            }),
            Due::Routed { eni_id, mut blocks } => {
                blocks.retain(|block| self.enis.get(&eni_id).is_some_and(|it| it.holds(*block)));
                if self.devices.contains(&eni_id) && !blocks.is_empty() {
                    self.outbox.push(FabricEvent::Routed { eni_id, blocks });
                }
            }
            Due::Unrouted { eni_id, mut blocks } => {
                blocks.retain(|block| !self.enis.get(&eni_id).is_some_and(|it| it.holds(*block)));
                if self.devices.contains(&eni_id) && !blocks.is_empty() {
                    self.outbox.push(FabricEvent::Unrouted { eni_id, blocks });
                }
            }
        }
    }

    pub(super) fn schedule(&mut self, at_ms: u64, due: Due) {
        self.queued += 1;
        self.queue.insert((at_ms, self.queued), due);
    }

    pub(super) fn vanish(&mut self, eni_id: &str) {
        if self.devices.remove(eni_id) {
            self.outbox.push(FabricEvent::DeviceVanishes {
                eni_id: eni_id.to_owned(),
            });
        }
    }

    /// Changes an ENI, if it still exists, and records what readers will see of that and when.
    pub(super) fn change_eni(&mut self, now_ms: u64, eni_id: &str, change: impl FnOnce(&mut Eni)) {
        let Some(eni) = self.enis.get_mut(eni_id) else {
            return;
        };
        let before = eni.clone();
        change(eni);
        let after = eni.clone();
        if before != after {
            let removed = before.slots_used() > after.slots_used() || after.attachment.is_none();
            let spread = if removed {
                latency::IMDS_REMOVED
            } else {
                latency::IMDS_ADDED
            };
            let mut imds = ImdsTimes {
                listed: now_ms + self.draw(spread),
                blocks: now_ms + self.draw(spread),
                groups: now_ms + self.draw(spread),
            };
            let leaves = before.attachment.is_some() && after.attachment.is_none();
            if leaves
                && self
                    .strikes_imds(now_ms, super::FaultName::ImdsGhostEni, None)
                    .is_some()
            {
                imds.listed = u64::MAX;
            }
            if before.attachment.is_none() && after.attachment.is_some() {
                // The directory first, with the primary address only; the rest follows.
                imds.listed = now_ms + self.draw(latency::IMDS_ENI);
                imds.blocks = imds.listed + self.draw(latency::IMDS_ADDED);
                imds.groups = imds.listed;
            }
            self.record(now_ms, eni_id, imds, Some(after));
        }
    }

    pub(super) fn record(&mut self, now_ms: u64, eni_id: &str, imds: ImdsTimes, eni: Option<Eni>) {
        self.history
            .entry(eni_id.to_owned())
            .or_default()
            .push(now_ms, imds, eni);
    }
}
