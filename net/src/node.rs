//! What a node needs once, whatever ENIs and pods it has.

use onsen_wiring::{MAIN_TABLE, NodeWiring, priority};

use crate::{Net, NetError, firewall};

impl Net {
    /// Sets the node up: MTU of the primary link, rules for marked packets and external services,
    /// source NAT and connection marks.
    ///
    /// The firewall part runs programs, which see the network namespace of the calling thread.
    pub async fn set_up_node(&self, wiring: &NodeWiring) -> Result<(), NetError> {
        let link = self.expect_mac(wiring.primary_mac).await?;
        self.set_mtu(&link, wiring.mtu).await?;

        let rules = self.rules(wiring.family()).await?;
        let (mark_rule, wanted) = wiring.mark_rule();
        let wanted_rules = if wanted {
            vec![mark_rule.clone()]
        } else {
            Vec::new()
        };
        self.reconcile_rules(&rules, |rule| *rule == mark_rule, &wanted_rules)
            .await?;
        self.reconcile_rules(
            &rules,
            |rule| rule.priority == priority::EXTERNAL_SERVICE && rule.table == MAIN_TABLE,
            &wiring.external_service_rules(),
        )
        .await?;

        firewall::set_up(wiring, &link.name).await
    }
}
