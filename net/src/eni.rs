//! ENIs other than the primary one.

use onsen_wiring::{EniWiring, Family, MAIN_TABLE, priority, single};

use crate::{Net, NetError, error::Mac, route::Existing};

impl Net {
    /// Makes the host use an ENI: its link with MTU and address, its table, its rule.
    ///
    /// `NetError::NoLink` when the link is not there (yet).
    pub async fn set_up_eni(&self, wiring: &EniWiring) -> Result<(), NetError> {
        if wiring.is_primary() {
            return Err(NetError::PrimaryEni {
                mac: Mac(wiring.mac),
            });
        }
        let family = Family::of(wiring.primary);
        let link = self.expect_mac(wiring.mac).await?;
        self.set_mtu(&link, wiring.mtu).await?;
        self.set_up(&link).await?;

        let mut present = self.addresses(&link, family).await?;
        let strangers: Vec<_> = present
            .iter()
            .filter(|found| found.global && found.cidr != wiring.address())
            .collect();
        for stranger in &strangers {
            self.delete_address(&link, stranger.cidr).await?;
        }
        if !strangers.is_empty() {
            // The kernel deletes younger addresses of a subnet with the oldest one.
            present = self.addresses(&link, family).await?;
        }
        if !present.iter().any(|found| found.cidr == wiring.address()) {
            self.add_address(&link, wiring.address(), false).await?;
        }

        let present = self.routes(family).await?;
        let is_present = |route| {
            present
                .iter()
                .any(|found| found.route == route && found.link == link.index)
        };
        for route in wiring.routes() {
            if !is_present(route.clone()) {
                self.add_route(&link, &route, Existing::Replace).await?;
            }
        }
        // An address that upstream's daemon or the machine image added has brought this route with it.
        let unwanted = wiring.unwanted_route();
        if is_present(unwanted.clone()) {
            self.delete_route(Some(&link), &unwanted).await?;
        }

        // A rule for this source may be the machine image's, with a protocol number, and is as good.
        let rules = self.rules(family).await?;
        let source = Some(single(wiring.primary));
        self.reconcile_rules(
            &rules,
            |rule| rule.priority == priority::FROM_ENI && rule.from == source && rule.to.is_none(),
            &[wiring.rule()],
        )
        .await
    }

    /// Removes what an ENI leaves behind when its link goes: the rules for what its address sends.
    pub async fn forget_eni(&self, wiring: &EniWiring) -> Result<(), NetError> {
        let source = Some(single(wiring.primary));
        for found in self.rules(Family::of(wiring.primary)).await? {
            if found.rule.from == source && found.rule.table != MAIN_TABLE {
                self.delete_found_rule(&found).await?;
            }
        }
        Ok(())
    }
}
