//! Calls to the daemon, over its Unix socket.

use std::{env, net::IpAddr, path::PathBuf, time::Duration};

use hyper_util::rt::TokioIo;
use onsen_rpc::{
    ADDRESS_METADATA, AddNetworkReply, AddNetworkRequest, DAEMON_SOCKET, DelNetworkReply,
    DelNetworkRequest, REASON_METADATA, UNKNOWN_POD, cni_backend_client::CniBackendClient,
};
use percent_encoding::percent_decode;
use tokio::net::UnixStream;
use tonic::{
    Status,
    metadata::MetadataMap,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tower::service_fn;

use crate::{error::chain, request::Request};

/// Upstream's plugin waits for ever. This is longer than a daemon lets a pod wait for an address, and
/// longer than runtimes wait for us.
const CALL_LIMIT: Duration = Duration::from_mins(5);

/// Opens a channel to a Unix socket. Nothing is connected before the first call.
pub(crate) fn channel(socket: PathBuf) -> Channel {
    // The authority is what Go clients send for a Unix socket.
    Endpoint::from_static("http://localhost")
        .timeout(CALL_LIMIT)
        .connect_with_connector_lazy(service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        }))
}

pub(crate) fn daemon() -> Channel {
    channel(env::var_os("ONSEN_SOCKET").map_or_else(|| DAEMON_SOCKET.into(), PathBuf::from))
}

/// A status in words: code, message, and what the transport said.
pub(crate) fn describe(status: &Status) -> String {
    format!(
        "{:?}: {}",
        status.code(),
        match std::error::Error::source(status) {
            Some(source) => chain(source),
            None => status.message().into(),
        }
    )
}

/// What the daemon answered, and the reason it gave beside the answer.
pub(crate) async fn add(request: &Request) -> Result<(AddNetworkReply, Option<String>), Status> {
    let pod = &request.pod;
    let response = CniBackendClient::new(daemon())
        .add_network(AddNetworkRequest {
            k8s_pod_name: pod.name.clone(),
            k8s_pod_namespace: pod.namespace.clone(),
            k8s_pod_infra_container_id: pod.infra_container_id.clone(),
            netns: request
                .netns
                .as_ref()
                .map(|path| path.display().to_string())
                .unwrap_or_default(),
            if_name: request.if_name.clone(),
            network_name: request.conf.name.clone(),
            container_id: request.container_id.clone(),
            // Upstream's daemon refuses any version but its own, which in its releases is empty.
            client_version: String::new(),
            requires_multi_nic_attachment: request.conf.wants_all_cards(),
        })
        .await?;
    let reason = reason(response.metadata());
    Ok((response.into_inner(), reason))
}

/// Upstream's daemon sends none.
fn reason(metadata: &MetadataMap) -> Option<String> {
    let value = metadata.get(REASON_METADATA)?;
    let text = percent_decode(value.as_bytes()).decode_utf8_lossy();
    Some(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// The outcome of `DelNetwork` that counts: a pod that the daemon does not know is no failure.
pub(crate) enum Deleted {
    Reply(DelNetworkReply),
    UnknownPod,
    Failed(Status),
}

/// `told` is the address that the result of ADD names, where there is one.
pub(crate) async fn del(request: &Request, reason: &str, told: Option<IpAddr>) -> Deleted {
    let pod = &request.pod;
    let mut call = tonic::Request::new(DelNetworkRequest {
        k8s_pod_name: pod.name.clone(),
        k8s_pod_namespace: pod.namespace.clone(),
        k8s_pod_infra_container_id: pod.infra_container_id.clone(),
        reason: reason.into(),
        if_name: request.if_name.clone(),
        network_name: request.conf.name.clone(),
        container_id: request.container_id.clone(),
        client_version: String::new(),
        k8s_pod_uid: pod.uid.clone(),
    });
    let text = told.and_then(|address| address.to_string().parse().ok());
    if let Some(text) = text {
        call.metadata_mut().insert(ADDRESS_METADATA, text);
    }
    let reply = CniBackendClient::new(daemon()).del_network(call).await;
    match reply {
        Ok(reply) => Deleted::Reply(reply.into_inner()),
        Err(status) if status.message().contains(UNKNOWN_POD) => Deleted::UnknownPod,
        Err(status) => Deleted::Failed(status),
    }
}

/// Whether the daemon serves; else why not.
pub(crate) async fn health() -> Result<(), String> {
    let request = HealthCheckRequest {
        service: String::new(),
    };
    match HealthClient::new(daemon()).check(request).await {
        Ok(reply) if reply.get_ref().status() == ServingStatus::Serving => Ok(()),
        Ok(reply) => Err(format!("its health is {:?}", reply.get_ref().status())),
        Err(status) => Err(describe(&status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_decoded_to_one_line() {
        let mut metadata = MetadataMap::new();
        assert_eq!(reason(&metadata), None);
        metadata.insert(
            REASON_METADATA,
            "node-full: 27 of 27%0Ain use %E2%80%93 wait"
                .parse()
                .unwrap(),
        );
        assert_eq!(
            reason(&metadata).unwrap(),
            "node-full: 27 of 27 in use \u{2013} wait"
        );
        metadata.insert(REASON_METADATA, "100% of %ff".parse().unwrap());
        assert_eq!(reason(&metadata).unwrap(), "100% of \u{fffd}");
    }
}
