//! `onsen-entrypoint`: process 1 of the daemon's container.
//!
//! In: the environment, the files beside this program. Out: the plugin on the host; a running daemon;
//! the CNI configuration once that daemon serves; the daemon's exit code.
//! Must hold: a node is called ready only by a daemon that serves; a signal to stop reaches the
//! daemon; children that lost their parent are buried.

use std::ffi::OsString;
use std::future::Future;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::pin::pin;
use std::process::{Child, Command, ExitCode};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use onsen_image::health::{self, Question};
use onsen_image::settings::Entrypoint;
use onsen_image::{chain, conflist, install, iptables};
use tokio::signal::unix::{SignalKind, signal};

/// Between two questions whether the daemon serves. It has no end: the liveness probe has one.
const PAUSE: Duration = Duration::from_millis(200);

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    match run() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            say(&chain(&*error));
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<u8, Failure> {
    let settings = Entrypoint::read(&|name| std::env::var(name).ok())?;
    let program = std::env::current_exe()?;
    let folder = program.parent().unwrap_or(Path::new("/"));
    let template = std::fs::read_to_string(folder.join(conflist::NAME)).map_err(|error| {
        format!(
            "cannot read {}: {error}",
            folder.join(conflist::NAME).display()
        )
    })?;
    let list = conflist::render(&template, &settings.plugin)?;
    install::copy(&folder.join("aws-cni"), &settings.bin)?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(supervise(&settings, &folder.join("onsend"), &list))
}

/// Starts the daemon, announces it when it serves, and stays until it ends.
async fn supervise(settings: &Entrypoint, daemon: &Path, list: &str) -> Result<u8, Failure> {
    // Handlers first: process 1 is not even killed by a signal that it does not handle.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut child_ended = signal(SignalKind::child())?;
    let mut command = Command::new(daemon);
    command.args(std::env::args_os().skip(1));
    if let Some(path) = path(daemon)? {
        command.env("PATH", path);
    }
    let daemon = command
        .spawn()
        .map_err(|error| format!("cannot start {}: {error}", daemon.display()))?;
    let mut announcing = pin!(announce(settings, list));
    let mut announced = false;
    loop {
        tokio::select! {
            _ = terminate.recv() => stop(&daemon)?,
            _ = interrupt.recv() => stop(&daemon)?,
            _ = child_ended.recv() => {
                if let Some(code) = bury(&daemon)? {
                    return Ok(code);
                }
            }
            done = &mut announcing, if !announced => {
                done?;
                announced = true;
            }
        }
    }
}

/// Where the daemon finds programs, with the node's kind of iptables first.
fn path(daemon: &Path) -> Result<Option<OsString>, Failure> {
    let Some(kind) = iptables::folder(&daemon.with_file_name("iptables")) else {
        return Ok(None);
    };
    let others = std::env::var_os("PATH").unwrap_or_default();
    let all = std::iter::once(kind).chain(std::env::split_paths(&others));
    Ok(Some(std::env::join_paths(all)?))
}

/// Waits until the daemon serves, then writes the CNI configuration.
fn announce(settings: &Entrypoint, list: &str) -> impl Future<Output = Result<(), Failure>> {
    let question = Question {
        address: format!("unix:{}", settings.socket.display()),
        service: String::new(),
        user_agent: "onsen-entrypoint".to_owned(),
        connect_timeout: Duration::from_secs(5),
        rpc_timeout: Duration::from_secs(5),
    };
    let path = settings.conf.join(conflist::NAME);
    async move {
        while health::check(&question).await.is_err() {
            tokio::time::sleep(PAUSE).await;
        }
        install::write_text(&path, list)?;
        say(&format!("the daemon serves; {} is written", path.display()));
        Ok(())
    }
}

fn stop(daemon: &Child) -> Result<(), Failure> {
    match kill(Pid::from_raw(daemon.id().cast_signed()), Signal::SIGTERM) {
        // It has just ended by itself; the loop is about to hear of it.
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(format!("cannot stop the daemon: {errno}").into()),
    }
}

/// Takes the status of each child that has ended, adopted ones too; the exit code, when one was the daemon.
fn bury(daemon: &Child) -> Result<Option<u8>, Failure> {
    let daemon = Pid::from_raw(daemon.id().cast_signed());
    let mut code = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, status)) if pid == daemon => {
                code = Some(u8::try_from(status).unwrap_or(1));
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == daemon => {
                let status = std::process::ExitStatus::from_raw(signal as i32);
                say(&format!("the daemon was ended by {status}"));
                code = Some(128_u8.saturating_add(signal as u8));
            }
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(code),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(format!("cannot wait for the daemon: {errno}").into()),
        }
    }
}

fn say(line: &str) {
    eprintln!("onsen-entrypoint: {line}");
}
