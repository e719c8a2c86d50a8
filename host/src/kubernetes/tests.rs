//! Against a small API server of our own, for what a real one does not do when told: vanish, and come
//! back with other contents.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;

const PATIENCE: Duration = Duration::from_mins(1);

fn node(json: Value) -> core_v1::Node {
    serde_json::from_value(json).unwrap()
}

#[test]
fn a_cordon_and_a_farewell_are_seen() {
    let plain = node(json!({"metadata": {"name": "n"}}));
    assert_eq!(state_of(&plain), (true, false, None));
    let cordoned = node(json!({"spec": {"unschedulable": true}}));
    assert_eq!(state_of(&cordoned), (false, false, None));
    let taint = json!({"key": "karpenter.sh/disrupted", "effect": "NoSchedule"});
    let leaving = node(json!({"spec": {"taints": [taint]}}));
    assert_eq!(state_of(&leaving), (true, true, None));
    let deleted = node(json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}));
    assert_eq!(state_of(&deleted), (true, true, None));
}

#[test]
fn the_kubelets_bound_on_pods_is_seen() {
    let both = json!({"capacity": {"pods": "110"}, "allocatable": {"pods": "29"}});
    assert_eq!(state_of(&node(json!({"status": both}))).2, Some(29));
    let one = json!({"capacity": {"pods": "110"}});
    assert_eq!(state_of(&node(json!({"status": one}))).2, Some(110));
}

#[test]
fn a_config_map_is_taken_over_with_its_components() {
    let map = json!({"data": {"rules.yaml": "rules: []"}, "binaryData": {"p.wasm": "AGFzbQ=="}});
    let map = of_config_map(serde_json::from_value(map).unwrap());
    assert_eq!(map.texts["rules.yaml"], "rules: []");
    assert_eq!(&*map.binaries["p.wasm"], b"\0asm");
}

/// One node, perhaps a ConfigMap, and what was written. Each watch ends after a moment, as watches
/// do, and the next list shows what has changed.
#[derive(Default)]
struct Contents {
    node: Value,
    config_map: Option<Value>,
    patches: Vec<Value>,
    events: Vec<Value>,
}

type Server = Arc<Mutex<Contents>>;

fn json_of(value: &Value) -> Response {
    let kind = (axum::http::header::CONTENT_TYPE, "application/json");
    ([kind], value.to_string()).into_response()
}

async fn answer(
    State(server): State<Server>,
    Query(query): Query<BTreeMap<String, String>>,
    method: axum::http::Method,
    uri: Uri,
    body: Bytes,
) -> Response {
    let path = uri.path();
    let sent = || serde_json::from_slice::<Value>(&body).unwrap();
    if query
        .get("watch")
        .is_some_and(|it| it == "true" || it == "1")
    {
        tokio::time::sleep(Duration::from_millis(50)).await;
        // The version is too old, whatever it is: list again.
        return json_of(&json!({"type": "ERROR", "object": {
            "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410,
            "reason": "Expired", "message": "too old"}}));
    }
    let mut contents = server.lock().unwrap();
    let list = |items: Vec<Value>, kind: &str| {
        json_of(&json!({"kind": kind, "apiVersion": "v1",
            "metadata": {"resourceVersion": "1"}, "items": items}))
    };
    match (method.as_str(), path) {
        ("GET", "/api/v1/nodes") => list(vec![contents.node.clone()], "NodeList"),
        ("GET", "/api/v1/nodes/n1") => json_of(&contents.node),
        ("GET", "/api/v1/namespaces/system/configmaps") => list(
            contents.config_map.iter().cloned().collect(),
            "ConfigMapList",
        ),
        ("PATCH", "/api/v1/nodes/n1/status") => {
            contents.patches.push(sent());
            json_of(&contents.node)
        }
        ("POST", path) if path.ends_with("/events") => {
            contents.events.push(sent());
            json_of(&sent())
        }
        _ => (StatusCode::NOT_FOUND, format!("{method} {uri}")).into_response(),
    }
}

async fn serve(server: &Server, at: SocketAddr) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind(at).await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new()
        .fallback(answer)
        .with_state(Arc::clone(server));
    let task = tokio::spawn(async move {
        axum::serve(listener, router).await.unwrap();
    });
    (address, task)
}

fn kubernetes(address: SocketAddr) -> Kubernetes {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut config = Config::new(format!("http://{address}").parse().unwrap());
    config.default_namespace = "system".to_owned();
    Kubernetes::with(config, "n1".to_owned(), "onsen-policy".to_owned()).unwrap()
}

fn a_node(labels: &Value) -> Value {
    json!({"kind": "Node", "apiVersion": "v1", "metadata":
        {"name": "n1", "uid": "u-1", "resourceVersion": "1", "labels": labels}, "spec": {}})
}

fn a_config_map(rules: &str) -> Value {
    json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata":
        {"name": "onsen-policy", "namespace": "system", "resourceVersion": "1"},
        "data": {"rules.yaml": rules}})
}

async fn until<T>(of: &mut watch::Receiver<T>, wanted: impl FnMut(&T) -> bool) {
    let heard = tokio::time::timeout(PATIENCE, of.wait_for(wanted)).await;
    heard.expect("heard in time").unwrap();
}

fn says(heard: &Heard, rules: &str) -> bool {
    matches!(heard, Heard::ConfigMap(map) if map.texts["rules.yaml"] == rules)
}

#[tokio::test]
async fn what_the_api_server_says_holds_while_it_is_away_and_changes_when_it_is_back() {
    let server = Server::default();
    server.lock().unwrap().node = a_node(&json!({"zone": "a"}));
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let (address, task) = serve(&server, nowhere).await;
    let (mailbox, mut inbox) = mpsc::unbounded_channel();
    let (ears, mut cluster) = Kubernetes::cluster();
    kubernetes(address).listen(ears, mailbox);
    until(&mut cluster.rules, |heard| *heard == Heard::Absent).await;
    server.lock().unwrap().config_map = Some(a_config_map("rules: []"));
    until(&mut cluster.rules, |heard| says(heard, "rules: []")).await;
    let labelled = |value: &'static str| {
        move |labels: &Labels| labels.as_ref().is_some_and(|all| all["zone"] == value)
    };
    until(&mut cluster.labels, labelled("a")).await;
    let Some(Message::Happened(Event::NodeChanged {
        schedulable,
        terminating,
        ..
    })) = inbox.recv().await
    else {
        panic!("no word of the node");
    };
    assert_eq!((schedulable, terminating), (true, false));

    task.abort();
    let _ = task.await;
    server.lock().unwrap().config_map = Some(a_config_map("rules: [{}]"));
    server.lock().unwrap().node = a_node(&json!({"zone": "b"}));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(says(&cluster.rules.borrow(), "rules: []"));
    let (_, _task) = serve(&server, address).await;
    until(&mut cluster.rules, |heard| says(heard, "rules: [{}]")).await;
    until(&mut cluster.labels, labelled("b")).await;
}

#[tokio::test]
async fn the_node_tells_what_it_runs_by_annotation_and_by_events() {
    let server = Server::default();
    server.lock().unwrap().node = a_node(&json!({}));
    let (address, _task) = serve(&server, SocketAddr::from(([127, 0, 0, 1], 0))).await;
    let (status, told) = watch::channel(PolicyStatus::default());
    let (events, heard) = mpsc::unbounded_channel();
    kubernetes(address).tell(told, heard);
    status.send_modify(|status| status.name = "prefix-frugal".to_owned());
    for why in ["it trapped", "it broke laws"] {
        let told = LifeEvent::RolledBack(why.to_owned());
        events.send(told).unwrap();
    }
    let both = async {
        loop {
            {
                let contents = server.lock().unwrap();
                let named = contents.patches.iter().any(|patch| {
                    let text = patch["metadata"]["annotations"][ANNOTATION].as_str();
                    text.is_some_and(|text| text.contains("\"name\":\"prefix-frugal\""))
                });
                if let (true, [first, second]) = (named, &*contents.events) {
                    return (first.clone(), second["note"].clone());
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let (event, second) = tokio::time::timeout(PATIENCE, both)
        .await
        .expect("written in time");
    assert_eq!(
        second, "it broke laws",
        "events of one reason keep their texts"
    );
    assert_eq!(event["reason"], "PolicyRolledBack");
    assert_eq!(
        (&event["note"], &event["type"]),
        (&json!("it trapped"), &json!("Warning"))
    );
    assert_eq!(event["regarding"]["uid"], "u-1");
}
