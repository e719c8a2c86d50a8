//! Asks a gRPC server for its health, as kubelet's exec probes do.
//!
//! In: an address, a service, limits. Out: serving, or why not, with the exit code that the health
//! probes of gRPC projects use for it.

use std::path::PathBuf;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// What is asked, and how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// `unix:PATH`, `unix:///PATH` or `HOST:PORT`.
    pub address: String,
    /// Name of the service; empty for the server as a whole.
    pub service: String,
    /// How the prober calls itself.
    pub user_agent: String,
    /// For the connection.
    pub connect_timeout: Duration,
    /// For the call.
    pub rpc_timeout: Duration,
}

/// Why a server does not count as healthy.
#[derive(Debug, thiserror::Error)]
pub enum Unhealthy {
    /// The address or the agent's name cannot be used.
    #[error("{what} {value:?} cannot be used")]
    Argument {
        /// Which one.
        what: &'static str,
        /// As given.
        value: String,
    },
    /// Nobody listens, or not in time.
    #[error("cannot connect to {address} within {within:?}: {why}")]
    Connect {
        /// Where.
        address: String,
        /// The limit.
        within: Duration,
        /// What came of it.
        why: String,
    },
    /// The call failed.
    #[error("the health check failed: {0}")]
    Call(Status),
    /// The answer is no.
    #[error("the service is {0}")]
    NotServing(&'static str),
}

impl Unhealthy {
    /// The exit code for it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Argument { .. } => 1,
            Self::Connect { .. } => 2,
            Self::Call(_) => 3,
            Self::NotServing(_) => 4,
        }
    }
}

/// Asks once.
pub async fn check(question: &Question) -> Result<(), Unhealthy> {
    let channel = connect(question).await?;
    let mut request = tonic::Request::new(HealthCheckRequest {
        service: question.service.clone(),
    });
    request.set_timeout(question.rpc_timeout);
    let call = HealthClient::new(channel);
    let reply = tokio::time::timeout(question.rpc_timeout, { call }.check(request))
        .await
        .unwrap_or_else(|_elapsed| {
            let within = question.rpc_timeout;
            Err(Status::deadline_exceeded(format!(
                "no answer within {within:?}"
            )))
        });
    let status = reply.map_err(Unhealthy::Call)?.into_inner().status();
    if status == ServingStatus::Serving {
        return Ok(());
    }
    Err(Unhealthy::NotServing(status.as_str_name()))
}

async fn connect(question: &Question) -> Result<Channel, Unhealthy> {
    let unusable = |what, value: &str| Unhealthy::Argument {
        what,
        value: value.to_owned(),
    };
    let address = question.address.as_str();
    let socket = address
        .strip_prefix("unix://")
        .or_else(|| address.strip_prefix("unix:"))
        .map(PathBuf::from);
    // The authority is what Go clients send for a Unix socket.
    let uri = match &socket {
        Some(_) => "http://localhost".to_owned(),
        None => format!("http://{address}"),
    };
    let endpoint = Endpoint::from_shared(uri)
        .map_err(|_no_uri| unusable("the address", address))?
        .user_agent(question.user_agent.clone())
        .map_err(|_no_header| unusable("the user agent", &question.user_agent))?
        .connect_timeout(question.connect_timeout);
    let connecting = async {
        match socket {
            None => endpoint.connect().await,
            Some(path) => {
                endpoint
                    .connect_with_connector(tower::service_fn(move |_| {
                        let path = path.clone();
                        async move { UnixStream::connect(path).await.map(TokioIo::new) }
                    }))
                    .await
            }
        }
    };
    let refused = |why| Unhealthy::Connect {
        address: address.to_owned(),
        within: question.connect_timeout,
        why,
    };
    match tokio::time::timeout(question.connect_timeout, connecting).await {
        Ok(Ok(channel)) => Ok(channel),
        Ok(Err(error)) => Err(refused(crate::chain(&error))),
        Err(_elapsed) => Err(refused("no answer".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;
    use tonic_health::server::health_reporter;

    use super::*;

    fn question(address: String, service: &str) -> Question {
        Question {
            address,
            service: service.to_owned(),
            user_agent: "test".to_owned(),
            connect_timeout: Duration::from_secs(5),
            rpc_timeout: Duration::from_secs(5),
        }
    }

    /// The exit code of each answer: serving, not serving, unknown service, nobody there.
    #[tokio::test]
    async fn each_answer_has_its_exit_code() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("s.sock");
        let (reporter, service) = health_reporter();
        reporter
            .set_service_status("up", tonic_health::ServingStatus::Serving)
            .await;
        reporter
            .set_service_status("down", tonic_health::ServingStatus::NotServing)
            .await;
        let listener = UnixListener::bind(&socket).unwrap();
        let incoming = async_accept(listener);
        tokio::spawn(
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(incoming),
        );
        for address in [
            format!("unix:{}", socket.display()),
            format!("unix://{}", socket.display()),
        ] {
            check(&question(address, "up")).await.unwrap();
        }
        let address = format!("unix:{}", socket.display());
        for (service, code) in [("down", 4), ("no such service", 3)] {
            let error = check(&question(address.clone(), service))
                .await
                .unwrap_err();
            assert_eq!(error.exit_code(), code, "{error}");
        }
        let nobody = question("unix:/no/such.sock".into(), "");
        let error = check(&nobody).await.unwrap_err();
        assert_eq!(error.exit_code(), 2, "{error}");
        let nonsense = question("no port \n".into(), "");
        let error = check(&nonsense).await.unwrap_err();
        assert_eq!(error.exit_code(), 1, "{error}");
    }

    fn async_accept(
        listener: UnixListener,
    ) -> impl futures_util::Stream<Item = std::io::Result<UnixStream>> {
        futures_util::stream::unfold(listener, |listener| async move {
            let stream = listener.accept().await.map(|(stream, _)| stream);
            Some((stream, listener))
        })
    }
}
