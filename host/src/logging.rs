//! Where log lines go and what they look like.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal};
use std::sync::Mutex;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt};

use crate::settings::{LogTo, Settings};

/// Starts logging. When the file cannot be opened nothing is logged yet, so the error is returned.
pub(crate) fn start(settings: &Settings) -> Result<(), String> {
    match &settings.log_to {
        LogTo::Stdout => install(settings, io::stdout, io::stdout().is_terminal()),
        LogTo::Stderr => install(settings, io::stderr, io::stderr().is_terminal()),
        LogTo::File(path) => {
            let file: File = OpenOptions::new()
                .append(true)
                .create(true)
                .open(path)
                .map_err(|error| {
                    format!(
                        "AWS_VPC_K8S_CNI_LOG_FILE: cannot open {}: {error}",
                        path.display()
                    )
                })?;
            install(settings, Mutex::new(file), false);
        }
    }
    Ok(())
}

fn install<W>(settings: &Settings, writer: W, terminal: bool)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = fmt::layer().with_target(false).with_writer(writer);
    let layer: Box<dyn Layer<Registry> + Send + Sync> = if settings.log_json.unwrap_or(!terminal) {
        layer.json().flatten_event(true).boxed()
    } else {
        layer
            .with_ansi(terminal && std::env::var_os("NO_COLOR").is_none())
            .boxed()
    };
    // Libraries speak up only when something is wrong.
    let levels = Targets::new()
        .with_default(tracing::Level::WARN.min(settings.log_level))
        .with_target("onsend", settings.log_level);
    tracing_subscriber::registry()
        .with(layer.with_filter(levels))
        .init();
}
