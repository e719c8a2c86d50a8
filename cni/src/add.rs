//! ADD: addresses from the daemon, then links, routes and rules, then network policies.

use std::{fs::File, os::fd::AsFd, path::Path};

use nix::{
    fcntl::{Flock, FlockArg},
    sys::stat::fstat,
};
use onsen_net::{Namespace, Net, wire_pod};
use onsen_rpc::{AddNetworkReply, IpAllocationMetadata, REASON_SETUP_FAILED};
use onsen_wiring::{PodWiring, host_link, pod_link};

use crate::{
    agent,
    daemon::{self, Deleted, describe},
    error::{CniError, SetupError, chain},
    log::Log,
    request::Request,
    result::{self, Attachment},
};

pub(crate) async fn add(request: &Request, log: &Log) -> Result<String, CniError> {
    let netns = request.netns.clone().unwrap_or_default();
    refuse_own(&netns)?;
    let _lock = lock(&netns)?;
    log.info(format_args!(
        "ADD for {}/{}, container {}, interface {}, namespace {}",
        request.pod.namespace,
        request.pod.name,
        request.container_id,
        request.if_name,
        netns.display()
    ));

    let (reply, reason) = daemon::add(request)
        .await
        .map_err(|status| CniError::AddRefused(describe(&status)))?;
    if !reply.success {
        return Err(CniError::NoAddress { reason });
    }
    let attachments = match set_up(request, &netns, &reply, log).await {
        Ok(attachments) => attachments,
        Err(error) => {
            give_back(request, log).await;
            return Err(CniError::Setup(error));
        }
    };
    if !reply.network_policy_mode.is_empty() {
        // On failure the address stays with the pod: the runtime deletes it next.
        agent::enforce(&request.pod, &reply.network_policy_mode, attachments.len())
            .await
            .map_err(CniError::Policy)?;
    }
    Ok(result::added(
        request,
        &netns.to_string_lossy(),
        &attachments,
    ))
}

/// Lets a second ADD for the same namespace wait for the first: both get the same addresses, and one
/// that fails would give them back under the other's pod.
fn lock(netns: &Path) -> Result<Flock<File>, CniError> {
    let failed = |source| CniError::Lock {
        netns: netns.into(),
        source,
    };
    let file = File::open(netns).map_err(failed)?;
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_file, errno)| failed(errno.into()))
}

/// A pod's interface in the host's own namespace would take the host's default route.
fn refuse_own(netns: &Path) -> Result<(), CniError> {
    let failed = |source| CniError::Setup(SetupError::Net(source));
    let pod = Namespace::open(netns).map_err(failed)?;
    let own = Namespace::current().map_err(failed)?;
    let identity =
        |namespace: &Namespace| fstat(namespace.as_fd()).map(|stat| (stat.st_dev, stat.st_ino));
    match (identity(&pod), identity(&own)) {
        (Ok(pod), Ok(own)) if pod == own => Err(CniError::OwnNamespace {
            netns: netns.into(),
        }),
        _ => Ok(()),
    }
}

async fn set_up(
    request: &Request,
    netns: &Path,
    reply: &AddNetworkReply,
    log: &Log,
) -> Result<Vec<Attachment>, SetupError> {
    if reply.pod_vlan_id != 0 {
        return Err(SetupError::Branch(reply.pod_vlan_id));
    }
    // Everything is understood before anything is changed.
    let attachments = reply
        .ip_allocation_metadata
        .iter()
        .zip(0..)
        .map(|(allocation, index)| attachment(request, allocation, index))
        .collect::<Result<Vec<_>, _>>()?;
    if attachments.is_empty() {
        return Err(SetupError::Empty);
    }
    let host = Net::open()?;
    let pod = Namespace::open(netns)?;
    for (done, Attachment { wiring, .. }) in attachments.iter().enumerate() {
        if let Err(error) = wire_pod(&host, &pod, wiring).await {
            for Attachment { wiring, .. } in attachments.iter().take(done) {
                // The error that counts is the first one; links go with the namespace.
                let _ = host.unwire_pod(wiring.address, wiring.table).await;
            }
            return Err(error.into());
        }
        log.info(format_args!(
            "{} has {} by {}, table {}",
            wiring.pod_link, wiring.address, wiring.host_link, wiring.table
        ));
    }
    Ok(attachments)
}

fn attachment(
    request: &Request,
    allocation: &IpAllocationMetadata,
    index: u32,
) -> Result<Attachment, SetupError> {
    let text = match allocation.ipv4_addr.as_str() {
        "" => &allocation.ipv6_addr,
        text => text,
    };
    let Ok(address) = text.parse() else {
        return Err(SetupError::NoAddress(text.into()));
    };
    let Ok(table) = u32::try_from(allocation.route_table_id) else {
        return Err(SetupError::NoTable(allocation.route_table_id));
    };
    let (conf, pod) = (&request.conf, &request.pod);
    Ok(Attachment {
        wiring: PodWiring {
            index,
            address,
            host_link: host_link(&conf.veth_prefix, &pod.namespace, &pod.name, index),
            pod_link: pod_link(&request.if_name, index),
            mtu: conf.mtu,
            table,
        },
        device: allocation.device_number,
    })
}

/// Gives the addresses of a pod that could not be wired back at once.
async fn give_back(request: &Request, log: &Log) {
    match daemon::del(request, REASON_SETUP_FAILED, None).await {
        Deleted::Reply(reply) if reply.success => {}
        Deleted::Reply(_) => log.error(format_args!(
            "the daemon refused to take the addresses back"
        )),
        Deleted::UnknownPod => log.warn(format_args!("the daemon had forgotten the addresses")),
        Deleted::Failed(status) => {
            log.error(format_args!(
                "the addresses could not be given back: {}",
                chain(&status)
            ));
        }
    }
}
