//! Calls to the network policy agent, which enforces policies on the pods we wire.

use std::{path::PathBuf, time::Duration};

use onsen_rpc::{
    DeleteNpRequest, EnforceNpRequest, POLICY_AGENT_SOCKET, np_backend_client::NpBackendClient,
};
use tokio::{net::UnixStream, time::timeout};
use tonic::transport::Channel;

use crate::{
    daemon::{channel, describe},
    request::Pod,
};

const CONNECT_LIMIT: Duration = Duration::from_secs(2);

/// Our addition, for tests: the agent's socket is a fixed path.
const SOCKET_VARIABLE: &str = "ONSEN_POLICY_AGENT_SOCKET";

/// Connects within a limit, so that an agent that is not there is told from one that is slow.
pub(crate) async fn connect() -> Result<NpBackendClient<Channel>, String> {
    let socket =
        std::env::var_os(SOCKET_VARIABLE).map_or_else(|| POLICY_AGENT_SOCKET.into(), PathBuf::from);
    let seconds = CONNECT_LIMIT.as_secs();
    match timeout(CONNECT_LIMIT, UnixStream::connect(&socket)).await {
        Ok(Ok(_stream)) => Ok(NpBackendClient::new(channel(socket))),
        Ok(Err(error)) => Err(format!("{}: {error}", socket.display())),
        Err(_elapsed) => Err(format!(
            "{}: no connection within {seconds} s",
            socket.display()
        )),
    }
}

pub(crate) async fn enforce(pod: &Pod, mode: &str, interfaces: usize) -> Result<(), String> {
    let request = EnforceNpRequest {
        k8s_pod_name: pod.name.clone(),
        k8s_pod_namespace: pod.namespace.clone(),
        network_policy_mode: mode.into(),
        interface_count: i32::try_from(interfaces).unwrap_or(i32::MAX),
    };
    match connect().await?.enforce_np_to_pod(request).await {
        Ok(reply) if reply.get_ref().success => Ok(()),
        Ok(_) => Err("the network policy agent refused".into()),
        Err(status) => Err(describe(&status)),
    }
}

pub(crate) async fn forget(mut client: NpBackendClient<Channel>, pod: &Pod) -> Result<(), String> {
    let request = DeleteNpRequest {
        k8s_pod_name: pod.name.clone(),
        k8s_pod_namespace: pod.namespace.clone(),
    };
    match client.delete_pod_np(request).await {
        Ok(reply) if reply.get_ref().success => Ok(()),
        Ok(_) => Err("the network policy agent refused".into()),
        Err(status) => Err(describe(&status)),
    }
}
