//! The loop: whatever happens goes to the core, whatever the core wants is done beside the loop.
//!
//! In: messages, and the time at which the core wants to be woken. Out: EC2 calls, writes, policy
//! runs, link set-up and replies. Nothing about addresses or ENIs is decided here.
//! Must hold: the loop itself never waits for anything but the next message; each effect that has an
//! ending sends exactly one event, also when it fails.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use onsen_core::effect::{Decider, Ec2Request, Effect, EniLink, NoAddress, Reply, Saved};
use onsen_core::event::Event;
use onsen_core::ids::{IntentId, PodName, RequestId, SandboxKey, SubnetId};
use onsen_core::node::Node;
use onsen_core::snapshot::Snapshot;
use onsen_core::time::Millis;
use onsen_net::{Net, NetError};
use onsen_policy_runner::recording::PolicyChange;
use onsen_wiring::EniWiring;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use crate::checkpoint;
use crate::clock::{Clock, millis};
use crate::ec2::Ec2;
use crate::imds::Imds;
use crate::ledger::Ledger;
use crate::pages;
use crate::policies::{self, AddOutcome, Asked, Life, News, Seen};
use crate::requests::{Answer, Cost, Mailbox, Message, Page};
use crate::text::chain;
use crate::upstream_pages;

/// EC2 calls under way at once that get more for pods; more would only meet the account's own limits.
const GROWING_AT_ONCE: usize = 4;
/// EC2 calls under way at once that give back: none of them keeps a pod waiting.
const RELEASING_AT_ONCE: usize = 2;
/// An ADD that took this long was not served out of the warm pool.
const SLOW_ADD: Millis = 1_000;
/// A write under way when the daemon is told to stop gets this long.
const LAST_WRITE: Duration = Duration::from_secs(5);

/// What effects are done with.
#[derive(Clone, Debug)]
pub(crate) struct Tools {
    /// The one clock.
    pub(crate) clock: Clock,
    /// The API.
    pub(crate) ec2: Arc<Ec2>,
    /// The metadata service.
    pub(crate) imds: Arc<Imds>,
    /// The host's network.
    pub(crate) net: Net,
    /// The checkpoint.
    pub(crate) checkpoint: PathBuf,
    /// MTU of ENIs.
    pub(crate) mtu: u32,
    /// A link may appear this long after EC2 says that its ENI is attached.
    pub(crate) link_wait: Duration,
    /// The primary ENI's subnet, which nearly all ENIs are in.
    pub(crate) own_subnet: (SubnetId, (IpAddr, u8)),
}

/// What the status page tells of the node, fixed for the daemon's life.
#[derive(Clone, Debug)]
pub(crate) struct Nameplate {
    /// Kubernetes' name.
    pub(crate) name: String,
    /// Id of the instance.
    pub(crate) instance: String,
    /// Its type.
    pub(crate) instance_type: String,
    /// Its zone.
    pub(crate) zone: String,
    /// Its own address.
    pub(crate) address: IpAddr,
    /// How long an address rests between two pods.
    pub(crate) cooldown: Millis,
}

/// A request whose reply is due.
#[derive(Debug)]
struct Open {
    key: SandboxKey,
    /// Empty when the runtime did not say, as for a DEL.
    pod: PodName,
    since: Millis,
    answer: oneshot::Sender<Answer>,
}

/// Everything of one life.
pub(crate) struct Daemon {
    pub(crate) node: Node,
    pub(crate) tools: Tools,
    pub(crate) nameplate: Nameplate,
    pub(crate) life: Life,
    pub(crate) ledger: Ledger,
    mailbox: Mailbox,
    add_wait: Millis,
    open: BTreeMap<RequestId, Open>,
    last_request: u64,
    /// Sandboxes that were told their address, and whose they are. One that gave up waiting is not among
    /// them.
    told: BTreeMap<SandboxKey, PodName>,
    growing: Arc<Semaphore>,
    releasing: Arc<Semaphore>,
    /// The last snapshots: what a new policy is tried on.
    seen: watch::Sender<Seen>,
    /// A swap waits until no question is under way, lest the old policy's memo reaches the new one.
    asking: bool,
    writing: bool,
}

/// What a daemon starts from.
pub(crate) struct Beginning {
    pub(crate) node: Node,
    pub(crate) effects: Vec<Effect>,
    pub(crate) tools: Tools,
    pub(crate) nameplate: Nameplate,
    pub(crate) life: Life,
    pub(crate) add_wait: Duration,
    pub(crate) ledger: Ledger,
    pub(crate) mailbox: Mailbox,
}

impl Daemon {
    /// Performs the first effects.
    pub(crate) fn begin(beginning: Beginning) -> Self {
        let holdings = beginning.node.holdings();
        let mut daemon = Self {
            told: holdings
                .into_iter()
                .map(|holding| (holding.allocation.key, holding.allocation.pod))
                .collect(),
            node: beginning.node,
            tools: beginning.tools,
            nameplate: beginning.nameplate,
            life: beginning.life,
            ledger: beginning.ledger,
            mailbox: beginning.mailbox,
            add_wait: millis(beginning.add_wait),
            open: BTreeMap::new(),
            last_request: 0,
            growing: Arc::new(Semaphore::new(GROWING_AT_ONCE)),
            releasing: Arc::new(Semaphore::new(RELEASING_AT_ONCE)),
            seen: watch::Sender::default(),
            asking: false,
            writing: false,
        };
        daemon.ledger.started(daemon.tools.clock.now());
        daemon.record_policy(None);
        for effect in beginning.effects {
            daemon.perform(effect);
        }
        daemon.ledger.settled();
        daemon
    }

    /// Follows the snapshots that policies are asked with.
    pub(crate) fn snapshots(&self) -> watch::Receiver<Seen> {
        self.seen.subscribe()
    }

    /// Runs until `stop` resolves, then finishes the write under way and answers whom it concerns.
    pub(crate) async fn run(
        mut self,
        mut inbox: mpsc::UnboundedReceiver<Message>,
        mut stop: impl Future<Output = ()> + Unpin,
    ) {
        loop {
            let wake = self
                .node
                .next_wake()
                .map(|time| self.tools.clock.instant(time));
            tokio::select! {
                biased;
                () = &mut stop => break,
                // Never closed: the daemon itself holds a sender.
                Some(message) = inbox.recv() => {
                    self.take(message);
                    self.swap_policy();
                }
                () = tokio::time::sleep_until(wake.unwrap_or_else(tokio::time::Instant::now)), if wake.is_some() => {
                    self.happened(Event::Tick);
                }
            }
        }
        let finished = tokio::time::timeout(LAST_WRITE, self.finish(inbox)).await;
        if finished.is_err() {
            tracing::warn!("the last write of the checkpoint did not end in time");
        }
    }

    /// Waits for the write under way. Of what follows from it only replies are carried out.
    async fn finish(&mut self, mut inbox: mpsc::UnboundedReceiver<Message>) {
        while self.writing {
            let Some(message) = inbox.recv().await else {
                return;
            };
            let Message::Happened(event @ Event::Checkpointed { .. }) = message else {
                continue;
            };
            self.writing = false;
            for effect in self.node.handle(event, self.tools.clock.now()) {
                if let Effect::Reply { request, reply } = effect {
                    self.reply(request, reply);
                }
            }
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Happened(event) => {
                self.writing &= !matches!(event, Event::Checkpointed { .. });
                if let Event::Ec2Finished { intent, outcome } = &event {
                    self.ledger.called(self.tools.clock.now(), *intent, outcome);
                }
                self.happened(event);
            }
            Message::Add { key, pod, answer } => self.add(key, pod, answer),
            Message::Del { key, answer } => {
                let request = self.open(key.clone(), PodName::default(), answer);
                self.happened(Event::Release { request, key });
            }
            Message::GaveUp(key) => {
                if !self.told.contains_key(&key) && !self.open.values().any(|open| open.key == key)
                {
                    tracing::info!(
                        container = key.container,
                        "the plugin gave up: its address goes back"
                    );
                    self.last_request += 1;
                    let request = RequestId(self.last_request);
                    self.happened(Event::Release { request, key });
                }
            }
            Message::Show { page, answer } => {
                let shown = match page {
                    Page::Status => pages::status(self),
                    Page::Enis => pages::enis(self),
                    Page::Pods => pages::pods(self),
                    Page::UpstreamEnis => upstream_pages::enis(self),
                    Page::Metrics => pages::metrics(self),
                };
                // Nobody waits any more: nothing is lost.
                let _ = answer.send(shown);
            }
            Message::Policy(news) => {
                if let News::Refused(why) = &*news {
                    self.record_policy(Some(why.clone()));
                }
                self.life.news(*news, self.tools.clock.now());
            }
            Message::Compared(compared) => self.life.compared(*compared),
            Message::Proposed {
                event,
                cost,
                snapshot,
            } => {
                self.asking = false;
                if let Event::Proposed { answer, .. } = &event {
                    if !cost.built_in {
                        self.life.decided(&snapshot, answer, cost.fuel);
                    }
                    let now = self.tools.clock.now();
                    self.ledger.answered(now, answer, cost);
                }
                self.happened(event);
            }
        }
    }

    fn happened(&mut self, event: Event) {
        for effect in self.node.handle(event, self.tools.clock.now()) {
            self.perform(effect);
        }
        self.ledger.settled();
    }

    fn add(&mut self, key: SandboxKey, pod: PodName, answer: oneshot::Sender<Answer>) {
        let request = self.open(key.clone(), pod.clone(), answer);
        let deadline = self.tools.clock.now().saturating_add(self.add_wait);
        self.happened(Event::Assign {
            request,
            key,
            pod,
            deadline,
        });
    }

    fn open(
        &mut self,
        key: SandboxKey,
        pod: PodName,
        answer: oneshot::Sender<Answer>,
    ) -> RequestId {
        self.last_request += 1;
        let request = RequestId(self.last_request);
        let open = Open {
            key,
            pod,
            since: self.tools.clock.now(),
            answer,
        };
        self.open.insert(request, open);
        request
    }

    fn reply(&mut self, request: RequestId, reply: Reply) {
        // Absent when the daemon itself asked, for a plugin that gave up.
        let Some(open) = self.open.remove(&request) else {
            return;
        };
        let now = self.tools.clock.now();
        if let Some(outcome) = outcome_of_add(&reply, now.saturating_sub(open.since)) {
            self.life.added(outcome);
        }
        self.ledger.added(now, open.since, &open.pod, &reply);
        let assigned = matches!(reply, Reply::Assigned(_));
        if let Reply::Released(holding) = &reply {
            let pod = self.told.remove(&open.key).unwrap_or_default();
            self.ledger.deleted(now, &pod, holding.address);
        }
        let decision = self.ledger.last_decision_id();
        let heard = open.answer.send(Answer { reply, decision }).is_ok();
        if assigned && heard {
            self.told.insert(open.key, open.pod);
        } else if assigned {
            // Looked at once more in its turn: another ADD of the same sandbox may come before it.
            let _ = self.mailbox.send(Message::GaveUp(open.key));
        }
    }

    /// Tells the ledger what is in force now, or why a wish was not granted.
    fn record_policy(&mut self, refused: Option<String>) {
        let chosen = self.life.in_force();
        let change = PolicyChange {
            reference: chosen.reference.to_string(),
            policy: (&*chosen.policy).into(),
            settings: chosen.settings.clone(),
            refused,
        };
        self.ledger.policy(self.tools.clock.now(), change);
    }

    fn swap_policy(&mut self) {
        let now = self.tools.clock.now();
        self.life.judge(now);
        if self.asking {
            return;
        }
        if let Some(swap) = self.life.swap(now) {
            let prefixes = self.node.summary(now).limits.prefixes;
            self.record_policy(None);
            self.happened(Event::PolicyChanged {
                settings: swap.candidate.settings(),
                unit: swap.candidate.unit(prefixes),
                reset_memo: swap.reset_memo,
            });
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Reply { request, reply } => self.reply(request, reply),
            Effect::Checkpoint {
                generation,
                saved,
                rest_changed,
            } => self.write(generation, saved, rest_changed),
            Effect::AskPolicy { decider, snapshot } => self.ask_policy(decider, *snapshot),
            Effect::Ec2 { intent, request } => self.call_ec2(intent, request),
            Effect::ConfigureEni(link) => {
                let tools = self.tools.clone();
                self.beside(async move {
                    let result = configure(&tools, &link).await;
                    let eni = link.eni;
                    Event::EniConfigured { eni, result }
                });
            }
            Effect::ForgetEni(link) => {
                let tools = self.tools.clone();
                tokio::spawn(async move { forget(&tools, &link).await });
            }
            Effect::Look => {
                let ec2 = Arc::clone(&self.tools.ec2);
                self.beside(async move {
                    match ec2.look().await {
                        Ok(observation) => Event::Observed(Box::new(observation)),
                        Err(why) => Event::LookFailed(why),
                    }
                });
            }
            Effect::Report(report) => self.ledger.report(self.tools.clock.now(), report),
            Effect::Decided(record) => {
                self.life.checked(&record);
                self.ledger.decided(*record);
            }
        }
    }

    /// Carries out an effect and tells the loop how it ended.
    fn beside(&self, work: impl Future<Output = Event> + Send + 'static) {
        let mailbox = self.mailbox.clone();
        tokio::spawn(async move {
            // The loop has ended: so has all that would have followed.
            let _ = mailbox.send(Message::Happened(work.await));
        });
    }

    fn write(&mut self, generation: u64, saved: Saved, rest_changed: bool) {
        self.writing = true;
        let path = self.tools.checkpoint.clone();
        self.beside(async move {
            let stored =
                tokio::task::spawn_blocking(move || checkpoint::store(&path, &saved, rest_changed))
                    .await;
            let durable = match stored {
                Ok(Ok(())) => true,
                Ok(Err(error)) => {
                    tracing::error!("{error}");
                    false
                }
                Err(panicked) => {
                    tracing::error!("the write of the checkpoint failed: {panicked}");
                    false
                }
            };
            Event::Checkpointed {
                generation,
                durable,
            }
        });
    }

    fn ask_policy(&mut self, decider: Decider, snapshot: Snapshot) {
        self.asking = true;
        let built_in = decider == Decider::BuiltIn;
        if built_in {
            self.life.replaced();
        }
        let (policy, shadow) = if built_in {
            (self.life.built_in(), None)
        } else {
            let policy = Arc::clone(&self.life.in_force().policy);
            (policy, self.life.shadow())
        };
        let snapshot = Arc::new(snapshot);
        self.ledger.asked(decider, &policy, &snapshot);
        self.seen.send_modify(|seen| policies::see(seen, &snapshot));
        let mailbox = self.mailbox.clone();
        let decision = snapshot.decision_id;
        tokio::spawn(async move {
            let started = Instant::now();
            let shown = Arc::clone(&snapshot);
            let asked =
                tokio::task::spawn_blocking(move || policies::decide(&policy, &shown)).await;
            let Asked {
                answer,
                fuel,
                failure,
            } = asked.unwrap_or_else(|panicked| Asked {
                answer: Err(format!("the policy's thread failed: {panicked}")),
                fuel: 0,
                failure: Some("lost"),
            });
            let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
            let own = shadow.and_then(|shadow| Some((shadow, answer.as_ref().ok()?.clone())));
            let _ = mailbox.send(Message::Proposed {
                event: Event::Proposed { decision, answer },
                cost: Cost {
                    built_in,
                    micros,
                    fuel,
                    failure,
                },
                snapshot: Arc::clone(&snapshot),
            });
            let Some((shadow, proposal)) = own else {
                return;
            };
            let compared =
                tokio::task::spawn_blocking(move || shadow.compare(&snapshot, &proposal)).await;
            if let Ok(compared) = compared {
                let _ = mailbox.send(Message::Compared(Box::new(compared)));
            }
        });
    }

    fn call_ec2(&mut self, intent: IntentId, request: Ec2Request) {
        self.ledger
            .calling(self.tools.clock.now(), intent, &request);
        let ec2 = Arc::clone(&self.tools.ec2);
        let turns = Arc::clone(match request {
            Ec2Request::CreateEni { .. }
            | Ec2Request::AttachEni { .. }
            | Ec2Request::SetDeleteOnTermination { .. }
            | Ec2Request::Assign { .. } => &self.growing,
            Ec2Request::DetachEni { .. }
            | Ec2Request::DeleteEni { .. }
            | Ec2Request::Unassign { .. } => &self.releasing,
        });
        self.beside(async move {
            // The semaphore is never closed; were it, the call would just not wait.
            let _turn = turns.acquire_owned().await;
            let outcome = ec2.perform(intent, &request).await;
            Event::Ec2Finished { intent, outcome }
        });
    }
}

/// How an ADD went, when it was one and the policy may have had a part in it.
fn outcome_of_add(reply: &Reply, waited: Millis) -> Option<AddOutcome> {
    match reply {
        Reply::Assigned(_) if waited < SLOW_ADD => Some(AddOutcome::Prompt),
        Reply::Assigned(_) => Some(AddOutcome::Waited),
        Reply::NoAddress(NoAddress::WaitedTooLong {
            last_code: None, ..
        }) => Some(AddOutcome::Refused),
        // EC2, the subnet or the instance type have the last word there.
        Reply::NoAddress(_)
        | Reply::Released(_)
        | Reply::UnknownSandbox
        | Reply::IncompleteKey
        | Reply::NotDurable => None,
    }
}

/// Waits for an ENI's link and makes it ready for pods.
async fn configure(tools: &Tools, link: &EniLink) -> Result<(), String> {
    let wiring = wiring_of(tools, link).await?;
    let deadline = Instant::now() + tools.link_wait;
    let mut pause = Duration::from_millis(100);
    loop {
        match tools.net.set_up_eni(&wiring).await {
            Ok(()) => {
                tracing::info!(eni = %link.eni, mac = %link.mac, table = wiring.table(), "ENI is ready for pods");
                return Ok(());
            }
            Err(NetError::NoLink { .. }) if Instant::now() + pause < deadline => {}
            Err(error) => return Err(chain(&error)),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(1));
    }
}

async fn forget(tools: &Tools, link: &EniLink) {
    let forgotten = async {
        let wiring = wiring_of(tools, link).await?;
        tools
            .net
            .forget_eni(&wiring)
            .await
            .map_err(|error| chain(&error))
    };
    if let Err(why) = forgotten.await {
        tracing::warn!(eni = %link.eni, "rules of an ENI that left may remain: {why}");
    }
}

async fn wiring_of(tools: &Tools, link: &EniLink) -> Result<EniWiring, String> {
    let (own, own_cidr) = &tools.own_subnet;
    let subnet = if link.subnet == *own {
        *own_cidr
    } else {
        let told = tools.imds.subnet_cidr(link.mac).await;
        told.map_err(|error| chain(&error))?
    };
    Ok(EniWiring {
        mac: link.mac.0,
        primary: link.primary,
        subnet,
        card: link.card,
        device_index: link.device_index,
        mtu: tools.mtu,
    })
}
