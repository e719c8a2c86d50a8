//! The pages over HTTP, on TCP or on a Unix socket: Onsen's own, upstream's, and the metrics.
//!
//! In: GET requests. Out: JSON as `pages` and `upstream_pages` make it, lines of the ledger, Prometheus' text.
//! Read-only: nothing here changes the node. Whatever path is not known gets the list of those that are.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use axum::Router;
use axum::extract::Query;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::ledger::Shelf;
use crate::ledger::pages::{self, Wanted};
use crate::requests::{Mailbox, Message, Page};
use crate::rpc_server;
use crate::settings::{Listen, Settings};
use crate::upstream_pages;

const PAGES: [(&str, Page); 4] = [
    ("/onsen/v1/status", Page::Status),
    ("/onsen/v1/enis", Page::Enis),
    ("/onsen/v1/pods", Page::Pods),
    ("/v1/enis", Page::UpstreamEnis),
];
const DECISIONS: &str = "/onsen/v1/decisions";
const LEDGER: &str = "/onsen/v1/ledger";
const METRICS: &str = "/metrics";
const ENI_CONFIGS: &str = "/v1/eni-configs";
const NETWORK_SETTINGS: &str = "/v1/networkutils-env-settings";
const POOL_SETTINGS: &str = "/v1/ipamd-env-settings";

/// Starts to serve all pages, and the metrics alone where Prometheus looks for them, until the process ends.
/// The node does its work without them, so that trouble with them is logged and stops nothing.
pub(crate) fn start(settings: &Settings, mailbox: &Mailbox, shelf: Shelf) {
    if let Some(listen) = settings.introspection.clone() {
        let router = all(settings, mailbox, shelf);
        tokio::spawn(serve("status pages", listen, router));
    }
    if let Some(listen) = settings.metrics.clone() {
        let router = with_metrics(Router::new(), mailbox.clone());
        tokio::spawn(serve("metrics", listen, router));
    }
}

fn all(settings: &Settings, mailbox: &Mailbox, shelf: Shelf) -> Router {
    let mut router = with_metrics(Router::new(), mailbox.clone());
    for (path, page) in PAGES {
        let mailbox = mailbox.clone();
        router = router.route(path, get(move || show(mailbox, page)));
    }
    for (path, fixed) in [
        (NETWORK_SETTINGS, upstream_pages::network_settings(settings)),
        (POOL_SETTINGS, upstream_pages::pool_settings(settings)),
    ] {
        router = router.route(path, get(async move || json(&fixed)));
    }
    let decisions = shelf.clone();
    router = router
        .route(ENI_CONFIGS, get(no_eni_config))
        .route(
            DECISIONS,
            get(|Query(wanted): Query<Wanted>| {
                beside(move || json(&pages::decisions(&decisions, wanted)))
            }),
        )
        .route(
            LEDGER,
            get(|Query(wanted): Query<Wanted>| {
                beside(move || recording(pages::lines(&shelf, wanted)))
            }),
        );
    let mut paths: Vec<&str> = PAGES.map(|(path, _)| path).into();
    paths.extend([
        DECISIONS,
        LEDGER,
        METRICS,
        ENI_CONFIGS,
        NETWORK_SETTINGS,
        POOL_SETTINGS,
    ]);
    let index = serde_json::json!({ "AvailableCommands": paths });
    router.fallback(async move || json(&index))
}

fn with_metrics(router: Router, mailbox: Mailbox) -> Router {
    router.route(METRICS, get(move || metrics(mailbox)))
}

async fn serve(what: &'static str, listen: Listen, router: Router) {
    let served = match &listen {
        Listen::Tcp(address) => match bind(*address).await {
            Ok(listener) => axum::serve(listener, router).await,
            Err(error) => Err(error),
        },
        Listen::Unix(path) => match rpc_server::listen(path) {
            Ok(listener) => axum::serve(listener, router).await,
            Err(error) => Err(io::Error::other(error)),
        },
    };
    if let Err(error) = served {
        tracing::error!("the {what} are not served on {listen:?}: {error}");
    }
}

/// All addresses of both families; of IPv4 only where the kernel has no IPv6.
async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(error)
            if error.kind() != io::ErrorKind::AddrInUse
                && address.is_ipv6()
                && address.ip().is_unspecified() =>
        {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    }
}

/// Makes a page on a blocking thread: the ledger may be megabytes long, and the loop has this thread.
async fn beside(page: impl FnOnce() -> Response + Send + 'static) -> Response {
    tokio::task::spawn_blocking(page)
        .await
        .unwrap_or_else(|panicked| {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("{panicked}\n")).into_response()
        })
}

fn recording(lines: String) -> Response {
    ([(header::CONTENT_TYPE, "application/x-ndjson")], lines).into_response()
}

async fn no_eni_config() -> Response {
    let text = "this version of Onsen does not support custom networking\n";
    (StatusCode::NOT_FOUND, text).into_response()
}

async fn show(mailbox: Mailbox, page: Page) -> Response {
    match ask(&mailbox, page).await {
        Some(shown) => json(&shown),
        None => stopping(),
    }
}

async fn metrics(mailbox: Mailbox) -> Response {
    match ask(&mailbox, Page::Metrics).await {
        Some(Value::String(text)) => (
            [(
                header::CONTENT_TYPE,
                "text/plain; version=0.0.4; charset=utf-8",
            )],
            text,
        )
            .into_response(),
        Some(why) => (StatusCode::INTERNAL_SERVER_ERROR, why.to_string()).into_response(),
        None => stopping(),
    }
}

/// Absent when the daemon is stopping.
async fn ask(mailbox: &Mailbox, page: Page) -> Option<Value> {
    let (answer, answered) = oneshot::channel();
    mailbox.send(Message::Show { page, answer }).ok()?;
    answered.await.ok()
}

fn stopping() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "the daemon is stopping\n").into_response()
}

fn json(value: &Value) -> Response {
    (
        [(header::CONTENT_TYPE, "application/json")],
        value.to_string(),
    )
        .into_response()
}
