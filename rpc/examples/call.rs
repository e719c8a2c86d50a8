//! Measures `AddNetwork` and `DelNetwork` against a running daemon and prints JSON on stdout.
//!
//! `ONSEN_SOCKET=PATH call [ROUNDS]`; times in milliseconds. The sandboxes are made up: no pod is
//! wired, and each address is given back at the end.

use std::error::Error;
use std::time::{Duration, Instant};

use hyper_util::rt::TokioIo;
use onsen_rpc::cni_backend_client::CniBackendClient;
use onsen_rpc::{AddNetworkRequest, DelNetworkRequest, REASON_POD_DELETED};
use tokio::net::UnixStream;
use tonic::transport::Endpoint;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let rounds = match std::env::args().nth(1) {
        Some(text) => text.parse::<usize>()?.max(1),
        None => 100,
    };
    let path = std::env::var("ONSEN_SOCKET").unwrap_or_else(|_| onsen_rpc::DAEMON_SOCKET.into());
    let connect = tower::service_fn(move |_| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    let channel = Endpoint::from_static("http://localhost")
        .connect_with_connector(connect)
        .await?;
    let mut client = CniBackendClient::new(channel);
    let (mut adds, mut dels) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let request = AddNetworkRequest {
            k8s_pod_name: format!("call-{round}"),
            k8s_pod_namespace: "default".into(),
            container_id: format!("call-{round}"),
            if_name: "eth0".into(),
            network_name: "aws-cni".into(),
            ..AddNetworkRequest::default()
        };
        let start = Instant::now();
        let reply = client.add_network(request).await?.into_inner();
        adds.push(start.elapsed());
        if !reply.success {
            return Err(format!("call {round} got no address").into());
        }
    }
    for round in 0..rounds {
        let request = DelNetworkRequest {
            k8s_pod_name: format!("call-{round}"),
            k8s_pod_namespace: "default".into(),
            container_id: format!("call-{round}"),
            if_name: "eth0".into(),
            network_name: "aws-cni".into(),
            reason: REASON_POD_DELETED.into(),
            ..DelNetworkRequest::default()
        };
        let start = Instant::now();
        client.del_network(request).await?;
        dels.push(start.elapsed());
    }
    println!(
        "{{\"add\":{},\"del\":{}}}",
        percentiles(adds),
        percentiles(dels)
    );
    Ok(())
}

fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e3;
    format!("{{\"p50_ms\":{:.3},\"p99_ms\":{:.3}}}", at(50), at(99))
}
