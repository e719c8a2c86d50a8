//! Security groups: what the primary ENI has, the ENIs that this daemon made get too.
//!
//! In: the primary's groups as IMDS tells them. Out: ENIs whose groups are the same. Must hold: only ENIs
//! that bear this node's tag are touched, and setting groups twice does no harm.

use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::time::Instant;

use aws_sdk_ec2::types::NetworkInterface;

use super::{Ec2, TAG_INSTANCE};

impl Ec2 {
    /// The groups that new ENIs get.
    pub(super) fn groups(&self) -> Vec<String> {
        let groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        groups.clone()
    }

    /// Has this node's ENIs follow the groups of its primary one; an error says which ENI does not.
    pub(crate) async fn follow_groups(&self, wanted: &[String]) -> Result<(), String> {
        *self.groups.lock().unwrap_or_else(PoisonError::into_inner) = wanted.to_vec();
        let tag = format!("tag:{TAG_INSTANCE}");
        for eni in self.describe(&[(&tag, &self.owner.instance)]).await? {
            let Some(id) = eni.network_interface_id() else {
                continue;
            };
            if has_groups(&eni, wanted) {
                continue;
            }
            let started = Instant::now();
            let call = self.changing.modify_network_interface_attribute();
            let call = call
                .network_interface_id(id)
                .set_groups(Some(wanted.to_vec()));
            let reply = call.send().await;
            self.noted("ModifyNetworkInterfaceAttribute", started, reply)
                .map_err(|why| format!("{id}: {why}"))?;
            tracing::info!(eni = id, groups = ?wanted, "the ENI has the primary's security groups");
        }
        Ok(())
    }
}

fn has_groups(eni: &NetworkInterface, wanted: &[String]) -> bool {
    let has: BTreeSet<&str> = (eni.groups().iter())
        .filter_map(|group| group.group_id())
        .collect();
    has == wanted.iter().map(String::as_str).collect()
}
