//! The status pages over HTTP, on TCP or on a Unix socket.
//!
//! In: GET requests. Out: JSON as `pages` makes it. Read-only: nothing here changes the node.

use axum::Router;
use axum::extract::Query;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::ledger::Shelf;
use crate::ledger::pages::{self, Wanted};
use crate::requests::{Mailbox, Message, Page};
use crate::rpc_server;
use crate::settings::Listen;

const PAGES: [(&str, Page); 3] = [
    ("/onsen/v1/status", Page::Status),
    ("/onsen/v1/enis", Page::Enis),
    ("/onsen/v1/pods", Page::Pods),
];
const DECISIONS: &str = "/onsen/v1/decisions";
const LEDGER: &str = "/onsen/v1/ledger";

/// Serves until the process ends. The node does its work without these pages, so that trouble with them
/// is logged and stops nothing.
pub(crate) async fn serve(listen: Listen, mailbox: Mailbox, shelf: Shelf) {
    let mut router = Router::new();
    for (path, page) in PAGES {
        let mailbox = mailbox.clone();
        router = router.route(path, get(move || show(mailbox, page)));
    }
    let decisions = shelf.clone();
    router = router
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
    paths.extend([DECISIONS, LEDGER]);
    let index = serde_json::json!({ "AvailableCommands": paths });
    let router = router.fallback(async move || json(&index));
    let served = match &listen {
        Listen::Tcp(address) => match TcpListener::bind(address).await {
            Ok(listener) => axum::serve(listener, router).await,
            Err(error) => Err(error),
        },
        Listen::Unix(path) => match rpc_server::listen(path) {
            Ok(listener) => axum::serve(listener, router).await,
            Err(error) => Err(std::io::Error::other(error)),
        },
    };
    if let Err(error) = served {
        tracing::error!("the status pages are not served on {listen:?}: {error}");
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

async fn show(mailbox: Mailbox, page: Page) -> Response {
    let (answer, answered) = oneshot::channel();
    let asked = mailbox.send(Message::Show { page, answer });
    match (asked, answered.await) {
        (Ok(()), Ok(shown)) => json(&shown),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "the daemon is stopping\n").into_response(),
    }
}

fn json(value: &serde_json::Value) -> Response {
    (
        [(header::CONTENT_TYPE, "application/json")],
        value.to_string(),
    )
        .into_response()
}
