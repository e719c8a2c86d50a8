//! What a person sees: progress lines, and below them a table of the nodes that keeps up to date.
//!
//! On a terminal the table is drawn again in place by a thread of its own; elsewhere it is printed
//! once at the end of each step. Colours only on a terminal, and not with `NO_COLOR`.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use onsen_harness::http;
use onsen_harness::node::Status;

/// Pause between two drawings.
const PACE: Duration = Duration::from_millis(200);
const HEADLINE: &str = "  node     policy              ENIs addresses prefixes assigned  warm cooling waiting EC2 calls\n";
/// Longest reason shown.
const REASON: usize = 100;

/// The screen. Dropping it ends its thread and leaves the last table where it is.
pub(crate) struct Screen {
    shared: Arc<Shared>,
    painter: Option<JoinHandle<()>>,
}

struct Shared {
    live: bool,
    colour: bool,
    stop: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    nodes: Vec<(String, PathBuf)>,
    /// Lines of the table that is on the terminal now.
    drawn: usize,
}

impl Screen {
    /// An empty screen.
    pub(crate) fn new() -> Self {
        let live = std::io::stdout().is_terminal();
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let shared = Arc::new(Shared {
            live,
            colour: live && !no_colour,
            stop: AtomicBool::new(false),
            state: Mutex::default(),
        });
        let painter = live.then(|| {
            let shared = shared.clone();
            std::thread::spawn(move || {
                while !shared.stop.load(Ordering::Relaxed) {
                    shared.paint("");
                    std::thread::sleep(PACE);
                }
            })
        });
        Self { shared, painter }
    }

    /// Nodes to show from now on: names and status sockets.
    pub(crate) fn watch(&self, nodes: Vec<(String, PathBuf)>) {
        self.shared.lock().nodes = nodes;
    }

    /// A headline.
    pub(crate) fn step(&self, text: &str) {
        let text = if self.shared.colour {
            format!("\n\x1b[1m{text}\x1b[0m\n")
        } else {
            format!("\n{text}\n")
        };
        self.shared.paint(&text);
    }

    /// A progress line.
    pub(crate) fn say(&self, text: &str) {
        let text = if self.shared.colour {
            text.replacen("ok  ", "\x1b[32mok\x1b[0m  ", 1).replacen(
                "FAIL",
                "\x1b[31mFAIL\x1b[0m",
                1,
            )
        } else {
            text.to_owned()
        };
        self.shared.paint(&format!("{text}\n"));
    }

    /// The table as it is now, where nothing keeps it up to date.
    pub(crate) fn table(&self) {
        if !self.shared.live {
            let table = self.shared.lock().table();
            self.shared.paint(&table);
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(painter) = self.painter.take() {
            // A painter that panicked has nothing more to draw.
            drop(painter.join());
        }
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Prints text above the table and draws the table again.
    fn paint(&self, text: &str) {
        let mut state = self.lock();
        let mut out = String::new();
        if self.live {
            if state.drawn > 0 {
                let up = format!("\x1b[{}A\x1b[J", state.drawn);
                out.push_str(&up);
            }
            out.push_str(text);
            let table = state.table();
            state.drawn = table.lines().count();
            // A table that wrapped at the edge would have more lines than were counted.
            out.push_str("\x1b[?7l");
            out.push_str(&table);
            out.push_str("\x1b[?7h");
        } else {
            out.push_str(text);
        }
        // A reader that went away must not end the demo.
        let mut stdout = std::io::stdout();
        drop(
            stdout
                .write_all(out.as_bytes())
                .and_then(|()| stdout.flush()),
        );
    }
}

impl State {
    fn table(&self) -> String {
        let mut table = String::new();
        if self.nodes.is_empty() {
            return table;
        }
        table.push_str(HEADLINE);
        for (name, socket) in &self.nodes {
            let row = match http::get::<Status>(socket, "/onsen/v1/status") {
                Ok(status) => row(name, &status),
                Err(_) => format!("  {name:8} (the daemon does not answer)\n"),
            };
            table.push_str(&row);
        }
        table
    }
}

fn row(name: &str, status: &Status) -> String {
    let pool = &status.pool;
    let calls: u64 = status.ec2.calls.values().sum();
    let mut row = format!(
        "  {name:8} {:18} {:>5} {:>9} {:>8} {:>8} {:>5} {:>7} {:>7} {:>9}\n",
        status.policy.name,
        format!("{}/{}", pool.enis, status.limits.enis),
        pool.addresses,
        pool.prefixes,
        pool.assigned,
        pool.warm,
        pool.cooling,
        pool.waiting,
        calls
    );
    if let Some(decision) = &status.last_decision {
        let mut reason: String = decision.reason.chars().take(REASON).collect();
        if reason.len() < decision.reason.len() {
            reason.push('…');
        }
        let line = format!("           decision {}: {reason}\n", decision.id);
        row.push_str(&line);
    }
    row
}
