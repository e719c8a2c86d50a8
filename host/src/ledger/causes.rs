//! Which decision is behind an EC2 call.
//!
//! In: decisions with what was accepted of them, calls in the order in which the core sends them. Out: the number
//! of the decision, or none when the daemon itself needs the call. The core sends an assign at once; a
//! new ENI waits for the disk, a release or a detachment for a look at EC2, too; a new ENI is attached and
//! flagged, and one that goes is deleted, in calls of their own.

use std::collections::BTreeMap;

use onsen_core::effect::Ec2Request;
use onsen_core::ids::EniId;
use onsen_core::snapshot::Operation;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Causes {
    /// The decision whose plan is being carried out right now.
    current: Option<u64>,
    /// The newest decision that asked for new ENIs. No other is taken before its calls have left.
    attaches: Option<u64>,
    /// The decision that asked for an ENI.
    made: BTreeMap<EniId, u64>,
    /// The newest decision that released blocks of an ENI.
    released: BTreeMap<EniId, u64>,
    /// The newest decision that detached an ENI.
    detached: BTreeMap<EniId, u64>,
}

impl Causes {
    /// A plan is carried out from here on, until [`Causes::done`].
    pub(super) fn carry_out(&mut self, decision: u64, accepted: &[(Operation, Option<EniId>)]) {
        self.current = Some(decision);
        for (operation, eni) in accepted {
            let of = match operation {
                Operation::Release => &mut self.released,
                Operation::DetachEni => &mut self.detached,
                Operation::AttachEni => {
                    self.attaches = Some(decision);
                    continue;
                }
                Operation::Grow => continue,
            };
            if let Some(eni) = eni {
                of.insert(eni.clone(), decision);
            }
        }
    }

    /// All that follows at once from a decision has been sent.
    pub(super) fn done(&mut self) {
        self.current = None;
    }

    /// The decision behind a call that is being sent.
    pub(super) fn of(&self, request: &Ec2Request) -> Option<u64> {
        match request {
            Ec2Request::CreateEni { .. } => self.attaches,
            Ec2Request::Assign { .. } => self.current,
            Ec2Request::AttachEni { eni, .. } | Ec2Request::SetDeleteOnTermination { eni, .. } => {
                self.made.get(eni).copied()
            }
            Ec2Request::Unassign { eni, .. } => self.released.get(eni).copied(),
            Ec2Request::DetachEni { eni, .. } | Ec2Request::DeleteEni { eni } => {
                self.detached.get(eni).copied()
            }
        }
    }

    /// A new ENI has an id.
    pub(super) fn made(&mut self, eni: EniId, decision: Option<u64>) {
        if let Some(decision) = decision {
            self.made.insert(eni, decision);
        }
    }

    /// An ENI is gone.
    pub(super) fn gone(&mut self, eni: &EniId) {
        for of in [&mut self.made, &mut self.released, &mut self.detached] {
            of.remove(eni);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use onsen_core::cidr::Unit;
    use onsen_core::ids::{AttachmentId, SubnetId};

    #[test]
    fn later_calls_of_an_eni_belong_to_the_decision_that_began_them() {
        let eni = EniId::new("eni-1");
        let create = Ec2Request::CreateEni {
            subnet: SubnetId::new("subnet-1"),
            unit: Unit::Address,
            blocks: 1,
        };
        let attach = Ec2Request::AttachEni {
            eni: eni.clone(),
            device_index: 1,
            card: 0,
        };
        let detached = Ec2Request::DetachEni {
            eni: eni.clone(),
            attachment: AttachmentId::new("a"),
        };
        let mut causes = Causes::default();
        assert_eq!(causes.of(&create), None, "the daemon itself");
        causes.carry_out(4, &[(Operation::AttachEni, None)]);
        causes.done();
        // The disk comes between.
        let cause = causes.of(&create);
        assert_eq!(cause, Some(4));
        causes.made(eni.clone(), cause);
        assert_eq!(causes.of(&attach), Some(4));
        assert_eq!(causes.of(&detached), None, "given up by the daemon");
        causes.carry_out(9, &[(Operation::DetachEni, Some(eni.clone()))]);
        causes.done();
        // The look at EC2 comes between.
        assert_eq!(causes.of(&detached), Some(9));
        causes.gone(&eni);
        assert_eq!((causes.of(&detached), causes.of(&attach)), (None, None));
    }
}
