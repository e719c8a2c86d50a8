//! The API server: the rules and this node's labels come from it, the policy's status and events go
//! to it.
//!
//! In: one ConfigMap and this node's own object, watched. Out: what they say, on channels; an
//! annotation and events on the node.
//! Must hold: nothing waits for the API server; what it has said once holds until it says otherwise,
//! however long it is away; each node writes only what it runs itself.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::api::core::v1 as core_v1;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::events::{Event as Notice, EventType, Recorder, Reporter};
use kube::runtime::watcher::watch_object;
use kube::{Client, Config, Resource, ResourceExt};
use onsen_core::event::Event;
use serde_json::json;
use tokio::sync::{mpsc, watch};

use crate::policies::{Cluster, ConfigMap, Heard, Labels, LifeEvent, PolicyStatus};
use crate::requests::{Mailbox, Message};
use crate::settings::Settings;
use crate::text::chain;

/// Where a node says what it runs.
const ANNOTATION: &str = "onsen/policy";
/// Taints that say that the node is going away.
const LEAVING: [&str; 4] = [
    "ToBeDeletedByClusterAutoscaler",
    "karpenter.sh/disrupted",
    "karpenter.sh/disruption",
    "node.kubernetes.io/out-of-service",
];
const CONNECT: Duration = Duration::from_secs(5);
/// A watch without news gets a bookmark every 60 to 75 s. What is silent longer died without a word, as behind a load
/// balancer that forgot it, and is opened again where it was.
const SILENCE: Duration = Duration::from_secs(100);
/// An API server that does not answer a write in this time is asked again.
const PATIENCE: Duration = Duration::from_secs(30);
const AGAIN: Duration = Duration::from_secs(5);
/// Kubernetes takes a little more as the text of an event.
const TEXT_LIMIT: usize = 1_000;

/// The connection to the cluster.
pub(crate) struct Kubernetes {
    client: Client,
    node: String,
    namespace: String,
    config_map: String,
}

/// What is heard, for the loop's side of the channels.
pub(crate) struct Ears {
    rules: watch::Sender<Heard>,
    labels: watch::Sender<Labels>,
}

impl Kubernetes {
    /// Where no API server is to be asked, nothing. It is not called yet.
    pub(crate) async fn new(settings: &Settings) -> Result<Option<Self>, String> {
        let Some(config_map) = settings.policy_config_map.clone() else {
            return Ok(None);
        };
        if settings.node_name.is_empty() {
            return Err("the API server is to be asked and MY_NODE_NAME is not set".to_owned());
        }
        // Fails when a provider is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = Config::infer().await.map_err(|error| {
            format!(
                "where the API server is cannot be found out: {}",
                chain(&error)
            )
        })?;
        Self::with(config, settings.node_name.clone(), config_map).map(Some)
    }

    fn with(mut config: Config, node: String, config_map: String) -> Result<Self, String> {
        config.connect_timeout = Some(CONNECT);
        config.read_timeout = Some(SILENCE);
        let namespace = config.default_namespace.clone();
        let client = Client::try_from(config).map_err(|error| {
            format!(
                "the client of the API server does not start: {}",
                chain(&error)
            )
        })?;
        Ok(Self {
            client,
            node,
            namespace,
            config_map,
        })
    }

    /// The channels on which the cluster will be heard.
    pub(crate) fn cluster() -> (Ears, Cluster) {
        let (rules, heard) = watch::channel(Heard::Nothing);
        let (labels, told) = watch::channel(None);
        let cluster = Cluster {
            rules: heard,
            labels: told,
        };
        (Ears { rules, labels }, cluster)
    }

    /// Listens until the process ends. What concerns the core goes into the mailbox.
    pub(crate) fn listen(&self, ears: Ears, mailbox: Mailbox) {
        let Ears { rules, labels } = ears;
        let maps = Api::namespaced(self.client.clone(), &self.namespace);
        let name = self.config_map.clone();
        tokio::spawn(follow(
            maps,
            name,
            move |map: Option<core_v1::ConfigMap>| {
                rules.send_replace(map.map_or(Heard::Absent, |map| {
                    Heard::ConfigMap(Arc::new(of_config_map(map)))
                }));
            },
        ));
        let mut known = None;
        let nodes = Api::all(self.client.clone());
        tokio::spawn(follow(
            nodes,
            self.node.clone(),
            move |node: Option<core_v1::Node>| {
                // A node without an object is no reason to take anything from it.
                let Some(node) = node else { return };
                labels.send_if_modified(|labels| {
                    let new = Some(node.labels().clone());
                    let is_news = *labels != new;
                    *labels = new;
                    is_news
                });
                let state = state_of(&node);
                if known != Some(state) {
                    known = Some(state);
                    let (schedulable, terminating, max_pods) = state;
                    let event = Event::NodeChanged {
                        schedulable,
                        terminating,
                        max_pods,
                    };
                    // The loop has ended: so has all that would have followed.
                    let _ = mailbox.send(Message::Happened(event));
                }
            },
        ));
    }

    /// Tells the cluster what this node runs, until the process ends.
    pub(crate) fn tell(
        &self,
        status: watch::Receiver<PolicyStatus>,
        events: mpsc::UnboundedReceiver<LifeEvent>,
    ) {
        tokio::spawn(annotate(self.client.clone(), self.node.clone(), status));
        tokio::spawn(publish(self.client.clone(), self.node.clone(), events));
    }
}

/// Hands on each state of one object; nothing when it is not there.
async fn follow<K>(api: Api<K>, name: String, mut hear: impl FnMut(Option<K>))
where
    K: Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    let mut told = String::new();
    let mut states = pin!(watch_object(api, &name).default_backoff());
    while let Some(state) = states.next().await {
        match state {
            Ok(state) => {
                if !std::mem::take(&mut told).is_empty() {
                    tracing::info!("the API server tells of {name} again");
                }
                hear(state);
            }
            Err(error) => {
                let why = chain(&error);
                if why != told {
                    tracing::warn!(
                        "the API server does not tell of {name}, which stays as it was: {why}"
                    );
                    told = why;
                }
            }
        }
    }
}

fn of_config_map(map: core_v1::ConfigMap) -> ConfigMap {
    let binaries = map.binary_data.unwrap_or_default();
    ConfigMap {
        texts: map.data.unwrap_or_default(),
        binaries: binaries
            .into_iter()
            .map(|(key, bytes)| (key, Arc::from(bytes.0)))
            .collect(),
    }
}

/// Whether pods may be scheduled here, whether the node is going away, and how many pods its kubelet runs at most.
fn state_of(node: &core_v1::Node) -> (bool, bool, Option<u32>) {
    let spec = node.spec.as_ref();
    let cordoned = spec.and_then(|spec| spec.unschedulable).unwrap_or(false);
    let taints = spec
        .and_then(|spec| spec.taints.as_deref())
        .unwrap_or_default();
    let leaving = node.metadata.deletion_timestamp.is_some()
        || taints
            .iter()
            .any(|taint| LEAVING.contains(&taint.key.as_str()));
    let status = node.status.as_ref();
    let pods = |all: &Option<BTreeMap<String, Quantity>>| all.as_ref()?.get("pods")?.0.parse().ok();
    let max_pods =
        status.and_then(|status| pods(&status.allocatable).or_else(|| pods(&status.capacity)));
    (!cordoned, leaving, max_pods)
}

/// Keeps the annotation as the status is.
async fn annotate(client: Client, node: String, mut status: watch::Receiver<PolicyStatus>) {
    let nodes: Api<core_v1::Node> = Api::all(client);
    let mut written = String::new();
    loop {
        let text = annotation(&status.borrow_and_update());
        if text != written {
            let patch = json!({"metadata": {"annotations": {ANNOTATION: text}}});
            let patch = Patch::Merge(&patch);
            let params = PatchParams::default();
            let sent = nodes.patch_status(&node, &params, &patch);
            match in_time(sent).await {
                Ok(_) => written = text,
                Err(why) => {
                    tracing::debug!("the node's annotation is not written: {why}");
                    tokio::time::sleep(AGAIN).await;
                    continue;
                }
            }
        }
        if status.changed().await.is_err() {
            return;
        }
    }
}

/// What people and tools want to know of all nodes at a glance; the node's own status page has more.
fn annotation(status: &PolicyStatus) -> String {
    json!({
        "name": status.name,
        "version": status.version,
        "reference": status.reference,
        "digest": status.digest,
        "contract": status.contract,
        "rule": status.rule,
        "since": status.since,
        "on_probation": status.on_probation,
        "shadow": status.shadow,
        "last_error": status.last_error,
        "last_error_at": status.last_error_at,
    })
    .to_string()
}

async fn publish(client: Client, node: String, mut events: mpsc::UnboundedReceiver<LifeEvent>) {
    let nodes: Api<core_v1::Node> = Api::all(client.clone());
    let reporter = Reporter {
        controller: "onsen".to_owned(),
        instance: Some(node.clone()),
    };
    let mut regarding = None;
    while let Some(event) = events.recv().await {
        let (type_, reason, mut text) = match event {
            LifeEvent::Swapped(text) => (EventType::Normal, "PolicySwapped", text),
            LifeEvent::Refused(text) => (EventType::Warning, "PolicyRefused", text),
            LifeEvent::RolledBack(text) => (EventType::Warning, "PolicyRolledBack", text),
        };
        text.truncate(text.floor_char_boundary(TEXT_LIMIT));
        let notice = Notice {
            type_,
            reason: reason.to_owned(),
            note: Some(text),
            action: "ChoosePolicy".to_owned(),
            secondary: None,
        };
        // A recorder counts events of one reason together and drops all texts but the first. Each of ours
        // says something else, so each gets a recorder that remembers none.
        let recorder = Recorder::new(client.clone(), reporter.clone());
        loop {
            // With its uid, `kubectl describe node` shows the event.
            if regarding.is_none() {
                let got = in_time(nodes.get_metadata(&node)).await;
                regarding = got.ok().map(|it| core_v1::ObjectReference {
                    kind: Some("Node".to_owned()),
                    api_version: Some("v1".to_owned()),
                    name: Some(node.clone()),
                    uid: it.metadata.uid,
                    ..core_v1::ObjectReference::default()
                });
            }
            let sent = match &regarding {
                Some(regarding) => in_time(recorder.publish(&notice, regarding)).await,
                None => Err("the node is not found".to_owned()),
            };
            match sent {
                Ok(()) => break,
                Err(why) => {
                    tracing::debug!("an event is not written: {why}");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }
}

async fn in_time<T>(call: impl Future<Output = kube::Result<T>>) -> Result<T, String> {
    match tokio::time::timeout(PATIENCE, call).await {
        Ok(answer) => answer.map_err(|error| chain(&error)),
        Err(_) => Err(format!("no answer within {PATIENCE:?}")),
    }
}

#[cfg(test)]
mod tests;
