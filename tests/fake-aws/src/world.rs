//! The account in real time: one model, the log of its calls, and the thread that makes the network follow it.
//!
//! Doors call the model through [`World::state`] and answer after the latency it gives. The fabric's thread sleeps until the model's
//! next event; a door that is about to answer has it catch up first ([`World::settle`]), so that what a reply
//! promises is true when the reply arrives.

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use onsen_sim::account::Account;
use serde::Serialize;
use tokio::sync::oneshot;

use crate::fabric::{Drops, Fabric, FabricError, LINK_LOCAL};
use crate::hold::Holds;

/// How many calls are remembered.
const LOG_LENGTH: usize = 1000;
/// The port of the EC2 endpoint.
pub(crate) const EC2_PORT: u16 = 8773;

/// A call to EC2, as the log keeps it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct LoggedCall {
    pub(crate) at_ms: u64,
    pub(crate) node: Option<String>,
    pub(crate) action: String,
    pub(crate) parameters: BTreeMap<String, String>,
    /// `ok` or the error's code.
    pub(crate) result: String,
    /// The reply never left.
    pub(crate) lost: bool,
    pub(crate) latency_ms: u64,
    pub(crate) request_id: String,
    /// The same for every attempt of one call of an SDK.
    pub(crate) invocation_id: Option<String>,
}

/// What the doors share.
#[derive(Debug)]
pub(crate) struct World {
    state: Mutex<State>,
    fabric: Sender<Ask>,
    started: (Instant, u64),
    pub(crate) region: String,
    /// Calls that a test holds.
    pub(crate) holds: Holds,
}

/// What changes.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) account: Account,
    pub(crate) log: VecDeque<LoggedCall>,
    /// Events the network could not follow, newest last. None is expected, ever.
    pub(crate) fabric_errors: VecDeque<String>,
}

impl State {
    pub(crate) fn remember(&mut self, call: LoggedCall) {
        if self.log.len() == LOG_LENGTH {
            self.log.pop_front();
        }
        self.log.push_back(call);
    }
}

#[derive(Debug)]
enum Ask {
    /// There may be an earlier event than the one being waited for.
    Wake,
    /// Apply all that is due, then say so.
    Settle(oneshot::Sender<()>),
    Drops(oneshot::Sender<Result<Drops, FabricError>>),
    Stop,
}

/// What has to be up before the doors open.
#[derive(Debug)]
pub(crate) struct Listeners {
    pub(crate) ec2: TcpListener,
    pub(crate) imds: TcpListener,
}

/// Why there is no world.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorldError {
    #[error(transparent)]
    Fabric(#[from] FabricError),
    #[error("cannot listen on {LINK_LOCAL}:{0}: {1}")]
    Listen(u16, std::io::Error),
    #[error("the fabric's thread ended early")]
    ThreadLost,
}

/// Unix milliseconds.
pub(crate) fn unix_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |it| it.as_millis() as u64)
}

impl World {
    /// Builds the network, brings the nodes' primary ENIs up and opens the listeners in the router's namespace.
    pub(crate) fn start(
        account: Account,
        region: String,
        now_ms: u64,
    ) -> Result<(Arc<Self>, Listeners, JoinHandle<()>), WorldError> {
        let nodes: Vec<String> = account.instances().map(|it| it.name).collect();
        let subnets = account
            .subnets()
            .map(|it| (it.subnet_id, it.cidr))
            .collect();
        let (fabric, asks) = channel();
        let state = State {
            account,
            log: VecDeque::new(),
            fabric_errors: VecDeque::new(),
        };
        let world = Arc::new(Self {
            state: Mutex::new(state),
            fabric,
            started: (Instant::now(), now_ms),
            region,
            holds: Holds::default(),
        });
        let (ready, is_ready) = channel();
        let for_thread = Arc::clone(&world);
        let thread = std::thread::Builder::new()
            .name("fabric".to_owned())
            .spawn(move || {
                let built = Fabric::build(&nodes, subnets).map_err(WorldError::from);
                let begun = built.and_then(|mut fabric| {
                    for event in for_thread.state().account.advance(now_ms) {
                        fabric.apply(event)?;
                    }
                    Ok((
                        fabric,
                        Listeners {
                            ec2: listen(EC2_PORT)?,
                            imds: listen(80)?,
                        },
                    ))
                });
                match begun {
                    Ok((fabric, listeners)) => {
                        if ready.send(Ok(listeners)).is_ok() {
                            for_thread.follow(fabric, &asks);
                        }
                    }
                    // The receiver waits until it hears something.
                    Err(error) => drop(ready.send(Err(error))),
                }
            });
        let thread = thread.map_err(|source| FabricError::Run {
            program: "the fabric's thread".to_owned(),
            source,
        })?;
        let listeners = is_ready.recv().unwrap_or(Err(WorldError::ThreadLost))?;
        Ok((world, listeners, thread))
    }

    /// Now, in Unix milliseconds that never go back.
    pub(crate) fn now_ms(&self) -> u64 {
        self.started.1 + self.started.0.elapsed().as_millis() as u64
    }

    /// The state. A panic elsewhere does not make it unusable.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The name and id of the instance that holds `address`.
    pub(crate) fn instance_at(&self, address: Ipv4Addr) -> Option<(String, String)> {
        let state = self.state();
        let id = state.account.instance_at(address)?;
        Some((state.account.node_name(id)?.to_owned(), id.to_owned()))
    }

    /// To be called when the model may have new events.
    pub(crate) fn wake(&self) {
        // Without the thread nothing follows the model, which its panic has said already.
        let _ = self.fabric.send(Ask::Wake);
    }

    /// Waits until the network is where the model is.
    pub(crate) async fn settle(&self) {
        let (done, is_done) = oneshot::channel();
        let _ = self.fabric.send(Ask::Settle(done));
        let _ = is_done.await;
    }

    /// The packets dropped so far.
    pub(crate) async fn drops(&self) -> Result<Drops, WorldError> {
        let (done, is_done) = oneshot::channel();
        let _ = self.fabric.send(Ask::Drops(done));
        Ok(is_done.await.unwrap_or_else(|_| Ok(Drops::default()))?)
    }

    /// Has the network taken down; join the thread afterwards.
    pub(crate) fn stop(&self) {
        let _ = self.fabric.send(Ask::Stop);
    }

    fn follow(&self, mut fabric: Fabric, asks: &Receiver<Ask>) {
        loop {
            let next = self.state().account.next_event_ms();
            let wait = next.map_or(Duration::from_hours(1), |at| {
                Duration::from_millis(at.saturating_sub(self.now_ms()))
            });
            let ask = asks.recv_timeout(wait);
            let due = self.state().account.advance(self.now_ms());
            for event in due {
                tracing::debug!(?event, "the network changes");
                if let Err(error) = fabric.apply(event) {
                    tracing::error!(%error, "the network could not follow the account");
                    let mut state = self.state();
                    state.fabric_errors.push_back(error.to_string());
                    if state.fabric_errors.len() > LOG_LENGTH {
                        state.fabric_errors.pop_front();
                    }
                }
            }
            match ask {
                Ok(Ask::Wake) | Err(RecvTimeoutError::Timeout) => {}
                // Who asked may have gone away meanwhile.
                Ok(Ask::Settle(done)) => drop(done.send(())),
                Ok(Ask::Drops(done)) => drop(done.send(Fabric::drops())),
                Ok(Ask::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }
}

fn listen(port: u16) -> Result<TcpListener, WorldError> {
    let listener =
        TcpListener::bind((LINK_LOCAL, port)).and_then(|it| it.set_nonblocking(true).map(|()| it));
    listener.map_err(|source| WorldError::Listen(port, source))
}
