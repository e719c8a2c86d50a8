//! The control socket: what the account holds, what was called, and faults to switch on. JSON over HTTP.
//!
//! `GET /_state`, `GET /_log`; `GET`, `POST` and `DELETE` of `/_fault` and of `/_hold`.

use std::collections::BTreeMap;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Method, Request, Response};
use onsen_sim::account::{Account, Count, Eni, Fault, FaultName};
use serde_json::{Value, json};

use crate::fabric::Drops;
use crate::http::{Answer, Body, body, response};
use crate::world::World;

/// Answers one request.
pub(crate) async fn handle(world: Arc<World>, request: Request<Incoming>) -> Answer {
    let (head, incoming) = request.into_parts();
    Ok(match (head.method, head.uri.path()) {
        (Method::GET, "/_state") => match world.drops().await {
            Ok(drops) => {
                let state = world.state();
                let mut value = account(&state.account, &drops);
                if let Some(value) = value.as_object_mut() {
                    value.insert("fabric_errors".to_owned(), json!(state.fabric_errors));
                }
                answer(200, &value)
            }
            Err(error) => answer(500, &json!({ "error": error.to_string() })),
        },
        (Method::GET, "/_log") => answer(200, &json!(world.state().log)),
        (Method::GET, "/_fault") => {
            let catalogue: Vec<Value> = FaultName::ALL
                .iter()
                .map(|it| json!({ "name": it, "stage": it.stage(), "about": it.about() }))
                .collect();
            let state = world.state();
            answer(
                200,
                &json!({ "catalogue": catalogue, "on": state.account.faults() }),
            )
        }
        (Method::GET, "/_hold") => answer(200, &json!(world.holds.held())),
        (Method::POST, "/_hold") => {
            match body(incoming).await.and_then(|it| {
                serde_json::from_slice(&it).map_err(|it| format!("not a hold: {it}"))
            }) {
                Ok(hold) => {
                    world.holds.add(hold);
                    answer(200, &json!({ "ok": true }))
                }
                Err(error) => answer(400, &json!({ "error": error })),
            }
        }
        (Method::DELETE, "/_hold") => {
            world.holds.let_go();
            answer(200, &json!({ "ok": true }))
        }
        (Method::POST, "/_fault") => match body(incoming).await.and_then(|it| parse(&it)) {
            Ok(fault) => {
                tracing::info!(?fault, "a fault is switched on");
                world.state().account.inject(world.now_ms(), fault);
                // What happens behind everybody's back shows on the network.
                world.wake();
                answer(200, &json!({ "ok": true }))
            }
            Err(error) => answer(400, &json!({ "error": error })),
        },
        (Method::DELETE, "/_fault") => {
            tracing::info!("all faults are switched off");
            world.state().account.clear_faults();
            answer(200, &json!({ "ok": true }))
        }
        (method, path) => answer(
            404,
            &json!({ "error": format!("there is no {method} {path}") }),
        ),
    })
}

fn parse(body: &[u8]) -> Result<Fault, String> {
    let fault: Fault =
        serde_json::from_slice(body).map_err(|error| format!("not a fault: {error}"))?;
    match fault.probability {
        Some(chance) if !(0.0..=1.0).contains(&chance) => {
            Err(format!("a probability of {chance} is not between 0 and 1"))
        }
        _ => Ok(fault),
    }
}

fn answer(status: u16, value: &Value) -> Response<Body> {
    response(status, "application/json", value)
}

fn account(account: &Account, drops: &Drops) -> Value {
    let mut totals: BTreeMap<&str, Count> = BTreeMap::new();
    let mut nodes: BTreeMap<&str, BTreeMap<&str, Count>> = BTreeMap::new();
    for (node, operation, count) in account.counts() {
        let total = totals.entry(operation.name()).or_default();
        total.accepted += count.accepted;
        total.refused += count.refused;
        nodes
            .entry(node.unwrap_or("?"))
            .or_default()
            .insert(operation.name(), count);
    }
    json!({
        "enis": account.enis().map(|it| eni(account, it)).collect::<Vec<_>>(),
        "subnets": account.subnets().collect::<Vec<_>>(),
        "calls": { "total": totals, "by_node": nodes },
        "faults": account.faults(),
        "dropped_packets": {
            "total": drops.by_eni.values().sum::<u64>(),
            "by_eni": drops.by_eni,
            "to_internet": drops.to_internet,
        },
    })
}

fn eni(account: &Account, eni: &Eni) -> Value {
    let attachment = eni.attachment.as_ref();
    json!({
        "id": eni.id,
        "node": attachment.and_then(|it| account.node_name(&it.instance_id)),
        "status": eni.status,
        "attachment_status": attachment.map(|it| it.status),
        "attachment_id": attachment.map(|it| &it.id),
        "device_index": attachment.map(|it| it.device_index),
        "network_card": attachment.map(|it| it.network_card),
        "delete_on_termination": attachment.map(|it| it.delete_on_termination),
        "mac": eni.mac,
        "subnet_id": eni.subnet_id,
        "description": eni.description,
        "primary": eni.primary,
        "addresses": eni.addresses,
        "prefixes": eni.prefixes,
        "groups": eni.groups,
        "tags": eni.tags,
    })
}
