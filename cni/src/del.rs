//! DEL: addresses back to the daemon, then rules and routes away, then network policies.
//!
//! Runtimes repeat a DEL until it succeeds, and send a last one with neither namespace nor result. So
//! whatever is gone already is fine. The links go with the pod's namespace.

use std::net::IpAddr;

use onsen_net::{Net, NetError};
use onsen_rpc::{DelNetworkReply, REASON_POD_DELETED};
use onsen_wiring::PodWiring;

use crate::{
    agent,
    daemon::{self, Deleted, describe},
    error::CniError,
    log::Log,
    request::Request,
};

pub(crate) async fn del(request: &Request, log: &Log) -> Result<String, CniError> {
    log.info(format_args!(
        "DEL for {}/{}, container {}, interface {}",
        request.pod.namespace, request.pod.name, request.container_id, request.if_name
    ));
    if let Some(vlan) = vlan_before(request)? {
        return leave_branch(request, vlan, log);
    }
    let told = told(request);
    let address = told.first().map(|wiring| wiring.address);
    match daemon::del(request, REASON_POD_DELETED, address).await {
        Deleted::UnknownPod => {
            log.info(format_args!(
                "the daemon does not know the pod: nothing to do"
            ));
        }
        Deleted::Failed(status) => {
            // Success even so: the daemon frees the address when it finds the pod's link gone.
            log.warn(format_args!(
                "the daemon did not answer: {}",
                describe(&status)
            ));
            if let Err(error) = tear_down_by_result(&told, log).await {
                log.error(format_args!("{error}{}", error.details_suffix()));
            }
        }
        Deleted::Reply(reply) if !reply.success => return Err(CniError::DelRefused),
        Deleted::Reply(reply) if reply.pod_vlan_id != 0 => {
            return leave_branch(request, reply.pod_vlan_id.into(), log);
        }
        Deleted::Reply(reply) => {
            tear_down_by_reply(&reply, log).await?;
            if !reply.network_policy_mode.is_empty() {
                let client = agent::connect().await.map_err(CniError::PolicyAgent)?;
                if let Err(error) = agent::forget(client, &request.pod).await {
                    log.error(format_args!(
                        "network policies of the pod may be left: {error}"
                    ));
                }
            }
        }
    }
    Ok(String::new())
}

/// The VLAN that an earlier ADD wrote down; it is told from the result alone.
fn vlan_before(request: &Request) -> Result<Option<i64>, CniError> {
    let Some(dummy) = request
        .conf
        .prev_result
        .as_ref()
        .and_then(|prev| prev.dummy(request))
    else {
        return Ok(None);
    };
    match dummy.mac.parse() {
        Ok(0) => Ok(None),
        Ok(vlan) => Ok(Some(vlan)),
        Err(_) => Err(CniError::BadVlan(dummy.mac.clone())),
    }
}

/// A pod with a branch ENI can only be upstream's. Its late DELs, without a namespace, must touch
/// nothing: a new pod may have the VLAN by then.
fn leave_branch(request: &Request, vlan: i64, log: &Log) -> Result<String, CniError> {
    if request.netns.is_none() {
        log.info(format_args!(
            "VLAN {vlan} may be another pod's by now: nothing to do"
        ));
        return Ok(String::new());
    }
    Err(CniError::BranchLeft(vlan))
}

async fn tear_down_by_reply(reply: &DelNetworkReply, log: &Log) -> Result<(), CniError> {
    if reply.ip_allocation_metadata.is_empty() {
        log.warn(format_args!(
            "the daemon named no address: nothing to tear down"
        ));
    }
    for allocation in &reply.ip_allocation_metadata {
        let text = match allocation.ipv4_addr.as_str() {
            "" => &allocation.ipv6_addr,
            text => text,
        };
        // A table that is no number at all means main, like those of old releases.
        let table = u32::try_from(allocation.route_table_id).unwrap_or_default();
        match text.parse() {
            Ok(address) => tear_down(address, table, log).await?,
            Err(_) => log.warn(format_args!(
                "the daemon named {text:?}, which is no address"
            )),
        }
    }
    Ok(())
}

/// What the result of ADD tells.
fn told(request: &Request) -> Vec<PodWiring> {
    let wirings = request.conf.prev_result.as_ref().and_then(|prev| {
        let device = prev.dummy(request)?.sandbox.parse().ok()?;
        Some(prev.wirings(&request.if_name, device, &request.conf))
    });
    wirings.unwrap_or_default()
}

/// When the daemon tells nothing.
async fn tear_down_by_result(told: &[PodWiring], log: &Log) -> Result<(), CniError> {
    if told.is_empty() {
        log.warn(format_args!(
            "without a result of ADD there is nothing to tear down by"
        ));
    }
    for wiring in told {
        // A DEL may be repeated long after; the address may be another pod's by then.
        let elsewhere = async {
            Net::open()?
                .leads_elsewhere(wiring.address, &wiring.host_link)
                .await
        }
        .await;
        if elsewhere.map_err(not_torn(wiring.address))? {
            log.info(format_args!(
                "{} leads to another pod by now: nothing to do",
                wiring.address
            ));
            continue;
        }
        tear_down(wiring.address, wiring.table, log).await?;
    }
    Ok(())
}

fn not_torn(address: IpAddr) -> impl Fn(NetError) -> CniError {
    move |source| CniError::Teardown {
        address: address.to_string(),
        source,
    }
}

async fn tear_down(address: IpAddr, table: u32, log: &Log) -> Result<(), CniError> {
    let torn = async { Net::open()?.unwire_pod(address, table).await }.await;
    torn.map_err(not_torn(address))?;
    log.info(format_args!("nothing leads to {address} any more"));
    Ok(())
}
