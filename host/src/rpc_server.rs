//! The gRPC door: what the plugin, upstream's or ours, and the network policy agent ask for.
//!
//! In: `AddNetwork`, `DelNetwork`, `GetNetworkPolicyConfigs`, health checks, over a Unix socket. Out:
//! what the core answered, in upstream's words where others match on them.
//! Must hold: one daemon a socket; nothing is served before the node is ready.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use futures_util::stream;
use nix::fcntl::{Flock, FlockArg};
use onsen_core::effect::{Holding, Reply};
use onsen_core::ids::{PodName, SandboxKey};
use onsen_rpc::cni_backend_server::{CniBackend, CniBackendServer};
use onsen_rpc::config_server_backend_server::{ConfigServerBackend, ConfigServerBackendServer};
use onsen_rpc::{
    AddNetworkReply, AddNetworkRequest, DelNetworkReply, DelNetworkRequest, IpAllocationMetadata,
    NetworkPolicyAgentConfigReply,
};
use onsen_wiring::EniWiring;
use tokio::net::UnixListener;
use tokio::sync::{oneshot, watch};
use tonic::metadata::AsciiMetadataValue;
use tonic::{Request, Response, Status};

use crate::clock::Clock;
use crate::requests::{Answer, Mailbox, Message};
use crate::{recover, words};

/// Name of the service under which upstream's probes ask for health.
const HEALTH_NAME: &str = "grpc.health.v1.aws-node";

/// Why the socket cannot be served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SocketError {
    /// Somebody else does.
    #[error("another daemon serves {}: it holds the lock {}; stop it first, or set ONSEN_SOCKET", socket.display(), lock.display())]
    Taken {
        /// The socket.
        socket: PathBuf,
        /// The lock file.
        lock: PathBuf,
    },
    /// The file system does not let us.
    #[error("cannot {step} {}: {source}", path.display())]
    File {
        /// What was tried.
        step: &'static str,
        /// With what.
        path: PathBuf,
        /// What came of it.
        source: io::Error,
    },
}

/// The right to serve a socket, held until the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct Claim {
    socket: PathBuf,
    _lock: Flock<File>,
}

/// Claims a socket before anything on the node is touched.
pub(crate) fn claim(socket: &Path) -> Result<Claim, SocketError> {
    let failed = |step, path: &Path| {
        let path = path.to_owned();
        move |source| SocketError::File { step, path, source }
    };
    if let Some(parent) = socket.parent() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(parent)
            .map_err(failed("create", parent))?;
    }
    let lock = socket.with_extension("lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&lock)
        .map_err(failed("create", &lock))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(held) => Ok(Claim {
            socket: socket.into(),
            _lock: held,
        }),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Err(SocketError::Taken {
            socket: socket.into(),
            lock,
        }),
        Err((_, errno)) => Err(failed("lock", &lock)(errno.into())),
    }
}

impl Claim {
    /// Starts to listen, in the place of a dead daemon's socket.
    pub(crate) fn listen(&self) -> Result<UnixListener, SocketError> {
        listen(&self.socket)
    }
}

/// Listens on a Unix socket that root and its group may use.
pub(crate) fn listen(socket: &Path) -> Result<UnixListener, SocketError> {
    let failed = |step| {
        let path = socket.to_owned();
        move |source| SocketError::File { step, path, source }
    };
    match fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("remove the old")(error));
        }
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(socket).map_err(failed("listen on"))?;
    fs::set_permissions(socket, fs::Permissions::from_mode(0o660))
        .map_err(failed("set the mode of"))?;
    Ok(listener)
}

/// What every reply carries or needs, fixed for the daemon's life but for the VPC's ranges.
#[derive(Clone, Debug)]
pub(crate) struct Constants {
    /// None, `standard`, `strict`, or empty.
    pub(crate) network_policy_mode: String,
    /// Whether somebody else does source NAT.
    pub(crate) external_snat: bool,
    /// Ranges to which pods keep their address.
    pub(crate) excluded_snat_cidrs: Vec<(IpAddr, u8)>,
    /// The node's own address.
    pub(crate) node_address: IpAddr,
    /// Id of the instance.
    pub(crate) instance: String,
    /// Its region.
    pub(crate) region: String,
    /// Named when a write failed.
    pub(crate) checkpoint: PathBuf,
}

/// The services.
#[derive(Clone, Debug)]
struct Door {
    mailbox: Mailbox,
    constants: Constants,
    vpc_cidrs: watch::Receiver<Vec<(IpAddr, u8)>>,
    clock: Clock,
}

/// Serves until `stop` resolves; calls under way then get their answers first.
pub(crate) async fn serve(
    listener: UnixListener,
    mailbox: Mailbox,
    constants: Constants,
    vpc_cidrs: watch::Receiver<Vec<(IpAddr, u8)>>,
    clock: Clock,
    stop: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let door = Door {
        mailbox,
        constants,
        vpc_cidrs,
        clock,
    };
    let (reporter, health) = tonic_health::server::health_reporter();
    for name in ["", HEALTH_NAME] {
        reporter
            .set_service_status(name, tonic_health::ServingStatus::Serving)
            .await;
    }
    let incoming = stream::unfold(listener, async |listener| {
        let accepted = listener.accept().await.map(|(stream, _)| stream);
        Some((accepted, listener))
    });
    tonic::transport::Server::builder()
        .add_service(health)
        .add_service(CniBackendServer::new(door.clone()))
        .add_service(ConfigServerBackendServer::new(door))
        .serve_with_incoming_shutdown(Box::pin(incoming), stop)
        .await
}

impl Door {
    async fn ask(
        &self,
        message: impl FnOnce(oneshot::Sender<Answer>) -> Message,
    ) -> Result<Answer, Status> {
        let (answer, answered) = oneshot::channel();
        let stopping =
            || Status::unavailable("the daemon is stopping; the request will be repeated");
        self.mailbox
            .send(message(answer))
            .map_err(|_the_loop_ended| stopping())?;
        answered.await.map_err(|_the_loop_ended| stopping())
    }

    async fn release(&self, key: SandboxKey) -> Result<Reply, Status> {
        let answer = self.ask(|answer| Message::Del { key, answer }).await?;
        Ok(answer.reply)
    }

    fn ranges(&self) -> Vec<String> {
        self.vpc_cidrs
            .borrow()
            .iter()
            .chain(&self.constants.excluded_snat_cidrs)
            .map(|(address, length)| format!("{address}/{length}"))
            .collect()
    }
}

#[tonic::async_trait]
impl CniBackend for Door {
    async fn add_network(
        &self,
        request: Request<AddNetworkRequest>,
    ) -> Result<Response<AddNetworkReply>, Status> {
        let request = request.into_inner();
        let key = SandboxKey {
            network: request.network_name,
            container: request.container_id,
            interface: request.if_name,
        };
        let pod = PodName {
            namespace: request.k8s_pod_namespace,
            name: request.k8s_pod_name,
        };
        tracing::debug!(%pod, container = key.container, client_version = request.client_version, "ADD");
        let (log_pod, log_container) = (pod.clone(), key.container.clone());
        let Answer { reply, decision } =
            self.ask(|answer| Message::Add { key, pod, answer }).await?;
        let mut response = AddNetworkReply {
            use_external_snat: self.constants.external_snat,
            vpc_v4_cidrs: self.ranges(),
            network_policy_mode: self.constants.network_policy_mode.clone(),
            ..AddNetworkReply::default()
        };
        let reason = match reply {
            Reply::Assigned(holding) => {
                tracing::info!(pod = %log_pod, container = log_container, address = %holding.address, eni = %holding.eni, "ADD done");
                response.success = true;
                response.ip_allocation_metadata = vec![allocation(&holding)];
                return Ok(Response::new(response));
            }
            Reply::NoAddress(why) => {
                let line = words::no_address(&why, self.clock.now());
                words::with_decision(line, decision)
            }
            Reply::IncompleteKey => words::INCOMPLETE.into(),
            Reply::NotDurable => words::not_durable(&self.constants.checkpoint),
            Reply::Released(_) | Reply::UnknownSandbox => return Err(misfit(&reply)),
        };
        tracing::warn!(pod = %log_pod, container = log_container, reason, "ADD refused");
        let mut response = Response::new(response);
        if let Ok(reason) = AsciiMetadataValue::try_from(words::ascii(&reason)) {
            response
                .metadata_mut()
                .insert(onsen_rpc::REASON_METADATA, reason);
        }
        Ok(response)
    }

    async fn del_network(
        &self,
        request: Request<DelNetworkRequest>,
    ) -> Result<Response<DelNetworkReply>, Status> {
        let told = request.metadata().get(onsen_rpc::ADDRESS_METADATA);
        let told: Option<IpAddr> = told.and_then(|text| text.to_str().ok()?.parse().ok());
        let request = request.into_inner();
        let key = SandboxKey {
            network: request.network_name,
            container: request.container_id,
            interface: request.if_name,
        };
        let (namespace, name) = (request.k8s_pod_namespace, request.k8s_pod_name);
        tracing::debug!(
            namespace,
            pod = name,
            container = key.container,
            reason = request.reason,
            "DEL"
        );
        let container = key.container.clone();
        let mut reply = self.release(key).await?;
        if let (Reply::UnknownSandbox, Some(address)) = (&reply, told) {
            // Found in the kernel after the checkpoint was lost: known by its address and its link only.
            let link = onsen_wiring::suffix(&namespace, &name, 0);
            reply = self.release(recover::key_of_link(address, &link)).await?;
        }
        match reply {
            Reply::Released(holding) => {
                tracing::info!(namespace, pod = name, container, address = %holding.address, "DEL done");
                Ok(Response::new(DelNetworkReply {
                    success: true,
                    ip_allocation_metadata: vec![allocation(&holding)],
                    pod_vlan_id: 0,
                    network_policy_mode: self.constants.network_policy_mode.clone(),
                }))
            }
            // Plugins look for this text and take it for success.
            Reply::UnknownSandbox | Reply::IncompleteKey => Err(Status::unknown(format!(
                "{}: container {container:?} of pod {namespace}/{name} holds no address here",
                onsen_rpc::UNKNOWN_POD
            ))),
            Reply::NotDurable => Err(Status::internal(words::not_durable(
                &self.constants.checkpoint,
            ))),
            Reply::Assigned(_) | Reply::NoAddress(_) => Err(misfit(&reply)),
        }
    }
}

#[tonic::async_trait]
impl ConfigServerBackend for Door {
    async fn get_network_policy_configs(
        &self,
        _request: Request<()>,
    ) -> Result<Response<NetworkPolicyAgentConfigReply>, Status> {
        let constants = &self.constants;
        let address = constants.node_address.to_string();
        let (node_ipv4, node_ipv6) = match constants.node_address {
            IpAddr::V4(_) => (address, String::new()),
            IpAddr::V6(_) => (String::new(), address),
        };
        Ok(Response::new(NetworkPolicyAgentConfigReply {
            network_policy_mode: constants.network_policy_mode.clone(),
            multi_nic_enabled: false,
            node_ipv4,
            node_ipv6,
            instance_id: constants.instance.clone(),
            region: constants.region.clone(),
        }))
    }
}

fn allocation(holding: &Holding) -> IpAllocationMetadata {
    let text = holding.address.to_string();
    let (ipv4_addr, ipv6_addr) = match holding.address {
        IpAddr::V4(_) => (text, String::new()),
        IpAddr::V6(_) => (String::new(), text),
    };
    let number = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
    IpAllocationMetadata {
        ipv4_addr,
        ipv6_addr,
        device_number: number(holding.device_index),
        route_table_id: number(EniWiring::table_of(holding.card, holding.device_index)),
    }
}

fn misfit(reply: &Reply) -> Status {
    Status::internal(format!(
        "the core answered with {reply:?}, which is no answer to this request"
    ))
}
