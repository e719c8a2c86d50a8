//! Pods: the pair of links between host and pod, and what leads to and from them.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use onsen_wiring::{Family, PodWiring, from_pod, host_route, priority, single, to_pod};

use crate::{
    Link, Namespace, Net, NetError,
    link::{VethPair, random_mac, write_sysctl},
    route::Existing,
};

/// How long an IPv6 address may take to become usable, and how often we look.
const USABLE_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Connects a pod's namespace with the host's. `host` must be open in the namespace of the calling thread.
///
/// A pod that is wired already is left as it is, so that a repeated request does not cut a pod that
/// runs. When a step fails, the steps before it are undone and the first error is returned.
pub async fn wire_pod(host: &Net, pod: &Namespace, wiring: &PodWiring) -> Result<(), NetError> {
    let inside = Net::open_in(pod)?;
    if check(host, &inside, wiring).await.is_ok() {
        return Ok(());
    }
    let host_namespace = Namespace::current()?;
    // A link of this name is of an earlier sandbox of the same pod: names are made from the pod's.
    if let Some(stale) = host.link_by_name(&wiring.host_link).await? {
        host.delete_link(&stale).await?;
    }
    let host_mac = random_mac()?;
    inside
        .create_veth(VethPair {
            name: &wiring.pod_link,
            mtu: wiring.mtu,
            peer_name: &wiring.host_link,
            peer_mac: host_mac,
            peer_namespace: &host_namespace,
        })
        .await?;
    let connected = connect(host, &inside, pod, wiring, host_mac).await;
    if connected.is_err() {
        // The error that counts is the first one.
        let _ = host.unwire_pod(wiring.address, wiring.table).await;
        if let Ok(Some(link)) = host.link_by_name(&wiring.host_link).await {
            let _ = host.delete_link(&link).await;
        }
    }
    connected
}

/// The order is part of the wiring: settings of the host's link before it is up, the host's end up
/// before an IPv6 address waits for its carrier, the default route before the address.
async fn connect(
    host: &Net,
    inside: &Net,
    pod: &Namespace,
    wiring: &PodWiring,
    host_mac: [u8; 6],
) -> Result<(), NetError> {
    let host_link = host.expect_link(&wiring.host_link).await?;
    let settings = format!("net/ipv6/conf/{}", wiring.host_link);
    write_sysctl(&format!("{settings}/accept_ra"), "0")?;
    write_sysctl(&format!("{settings}/accept_redirects"), "1")?;
    write_sysctl(&format!("{settings}/forwarding"), "0")?;
    host.set_up(&host_link).await?;

    let pod_link = inside.expect_link(&wiring.pod_link).await?;
    inside.set_up(&pod_link).await?;
    let family = Family::of(wiring.address);
    if family == Family::V6 {
        pod.run(|| {
            write_sysctl(
                &format!("net/ipv6/conf/{}/disable_ipv6", wiring.pod_link),
                "0",
            )?;
            write_sysctl("net/ipv6/conf/lo/disable_ipv6", "0")
        })??;
    }
    inside
        .add_route(&pod_link, &wiring.gateway_route(), Existing::Replace)
        .await?;
    if let Some(rule) = wiring.pod_rule() {
        inside.add_rule(&rule).await?;
    }
    inside
        .add_route(&pod_link, &wiring.default_route(), Existing::Refuse)
        .await?;
    inside
        .add_address(&pod_link, single(wiring.address), true)
        .await?;
    inside
        .set_neighbour(&pod_link, wiring.gateway(), host_mac)
        .await?;
    if family == Family::V6 {
        wait_until_usable(inside, &pod_link, wiring.address).await?;
    }

    host.add_route(&host_link, &wiring.host_route(), Existing::Replace)
        .await?;
    for rule in wiring.host_rules() {
        host.add_rule(&rule).await?;
    }
    Ok(())
}

async fn wait_until_usable(inside: &Net, link: &Link, address: IpAddr) -> Result<(), NetError> {
    let looks = USABLE_WITHIN.as_millis() / LOOK_EVERY.as_millis();
    for _ in 0..looks {
        let addresses = inside.addresses(link, Family::V6).await?;
        if !addresses.iter().any(|found| found.unusable) {
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Err(NetError::NotUsable {
        address,
        link: link.name.clone(),
        seconds: USABLE_WITHIN.as_secs(),
    })
}

/// Verifies, without changing anything, that a pod is wired. `NetError::Missing` says what is not.
pub async fn check_pod(host: &Net, pod: &Namespace, wiring: &PodWiring) -> Result<(), NetError> {
    check(host, &Net::open_in(pod)?, wiring).await
}

async fn check(host: &Net, inside: &Net, wiring: &PodWiring) -> Result<(), NetError> {
    fn demand(there: bool, what: impl FnOnce() -> String) -> Result<(), NetError> {
        if there {
            Ok(())
        } else {
            Err(NetError::Missing { what: what() })
        }
    }
    let address = wiring.address;
    let family = Family::of(address);

    let pod_link = inside.expect_link(&wiring.pod_link).await?;
    demand(pod_link.up, || {
        format!("{} is not up in the pod", pod_link.name)
    })?;
    let addresses = inside.addresses(&pod_link, family).await?;
    demand(
        addresses.iter().any(|found| found.cidr == single(address)),
        || format!("address {address} on {} in the pod", pod_link.name),
    )?;
    let routes = inside.routes(family).await?;
    for route in [wiring.gateway_route(), wiring.default_route()] {
        demand(
            routes
                .iter()
                .any(|found| found.route == route && found.link == pod_link.index),
            || {
                format!(
                    "route to {}/{} in the pod",
                    route.destination.0, route.destination.1
                )
            },
        )?;
    }

    let host_link = host.expect_link(&wiring.host_link).await?;
    demand(host_link.up, || {
        format!("{} is not up on the host", host_link.name)
    })?;
    let mac = inside.neighbour(&pod_link, wiring.gateway()).await?;
    demand(mac.is_some() && mac == host_link.mac, || {
        format!(
            "neighbour {} in the pod with the MAC of {}",
            wiring.gateway(),
            host_link.name
        )
    })?;
    let route = wiring.host_route();
    let routes = host.routes(family).await?;
    demand(
        routes
            .iter()
            .any(|found| found.route == route && found.link == host_link.index),
        || format!("route to {address} over {} on the host", host_link.name),
    )?;
    let rules = host.rules(family).await?;
    for rule in wiring.host_rules() {
        demand(rules.iter().any(|found| found.rule == rule), || {
            format!("rule at {} for {address} on the host", rule.priority)
        })?;
    }
    Ok(())
}

impl Net {
    /// Removes what leads to and from a pod. Fine when it is gone; the links go with the pod's namespace.
    ///
    /// Only rules into `table` are deleted: the address may have gone to another pod since.
    pub async fn unwire_pod(&self, address: IpAddr, table: u32) -> Result<(), NetError> {
        self.delete_rule(&to_pod(address)).await?;
        if let Some(rule) = from_pod(address, table) {
            // Old releases of upstream made one for each CIDR of the VPC.
            while self.delete_rule(&rule).await? {}
        }
        self.delete_route(None, &host_route(address)).await
    }

    /// Whether the address leads to the link of another pod by now, which was given it since.
    pub async fn leads_elsewhere(
        &self,
        address: IpAddr,
        host_link: &str,
    ) -> Result<bool, NetError> {
        let routes = self.routes(Family::of(address)).await?;
        let Some(found) = routes
            .iter()
            .find(|found| found.route == host_route(address))
        else {
            return Ok(false);
        };
        let links = self.links().await?;
        let to = links.iter().find(|link| link.index == found.link);
        Ok(to.is_some_and(|link| link.name != host_link))
    }

    /// Removes what a vanished pod left behind, whichever ENI it was on.
    pub async fn forget_pod(&self, address: IpAddr) -> Result<(), NetError> {
        let to = to_pod(address);
        for found in self.rules(Family::of(address)).await? {
            if found.rule == to || is_from_pod(&found.rule, address) {
                self.delete_found_rule(&found).await?;
            }
        }
        self.delete_route(None, &host_route(address)).await
    }

    /// The addresses that rules of ours are about, each with the name of the link that leads to it: who
    /// is here, for a daemon that lost its record. Where no link leads to it, the pod is gone.
    pub async fn pods(&self, family: Family) -> Result<Vec<(IpAddr, Option<String>)>, NetError> {
        let rules = self.rules(family).await?;
        let routes = self.routes(family).await?;
        let links = self.links().await?;
        let addresses: BTreeSet<IpAddr> = (rules.iter())
            .filter_map(|found| {
                let (address, _) = found.rule.to.or(found.rule.from)?;
                let is_pods = found.rule == to_pod(address) || is_from_pod(&found.rule, address);
                is_pods.then_some(address)
            })
            .collect();
        let link_to = |address: IpAddr| {
            let route = routes
                .iter()
                .find(|found| found.route == host_route(address))?;
            let link = links.iter().find(|link| link.index == route.link)?;
            Some(link.name.clone())
        };
        Ok(addresses
            .into_iter()
            .map(|address| (address, link_to(address)))
            .collect())
    }

    /// Makes what a pod sends go by the table of its ENI: exactly one rule, none for the main table.
    pub async fn point_pod(&self, address: IpAddr, table: u32) -> Result<(), NetError> {
        let rules = self.rules(Family::of(address)).await?;
        let wanted: Vec<_> = from_pod(address, table).into_iter().collect();
        self.reconcile_rules(&rules, |rule| is_from_pod(rule, address), &wanted)
            .await
    }
}

fn is_from_pod(rule: &onsen_wiring::Rule, address: IpAddr) -> bool {
    rule.priority == priority::FROM_POD && rule.from == Some(single(address))
}
