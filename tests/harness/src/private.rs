//! Private namespaces: a network and a mount namespace in which the caller is root.
//!
//! A program is run under `unshare`. As root that takes a network and a mount
//! namespace; otherwise a user namespace too. Inside, a tmpfs covers `/run`, so that named network
//! namespaces, locks and sockets of the machine are neither seen nor touched. The kernel removes it
//! all when the last process inside ends; processes started by [`crate::process`] die with the one
//! that started them.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::sys::signal::{SigSet, Signal};

use crate::error::{HarnessError, Result};
use crate::process::line;

/// Set to 1 in the environment of a process that runs inside.
const INSIDE: &str = "ONSEN_PRIVATE_NAMESPACES";

/// True in a process that was started by [`exec`] or [`run_test`].
pub fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Why private namespaces cannot be had on this machine; nothing when they can.
pub fn why_not() -> Option<String> {
    // Mounting is part of the question: some containers permit namespaces but no mounts.
    let mut command = unshare();
    command.args(["sh", "-c", "mount -t tmpfs tmpfs /run && ip link set lo up"]);
    match command.output() {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(format!(
            "private namespaces are not permitted here: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )),
        Err(error) => Some(format!("unshare (util-linux) cannot be run: {error}")),
    }
}

/// Replaces the current program by `program` inside private namespaces. Returns only when that
/// fails.
pub fn exec(program: &Path, arguments: &[&str]) -> HarnessError {
    let mut command = unshare();
    command.arg(program).args(arguments).env(INSIDE, "1");
    let source = command.exec();
    HarnessError::Spawn {
        program: line(&command),
        source,
    }
}

/// Makes the namespaces usable; call it once, first, in a process where [`is_inside`] is true.
pub fn prepare() -> Result<()> {
    mount(
        Some("tmpfs"),
        "/run",
        Some("tmpfs"),
        MsFlags::empty(),
        Some("mode=0755"),
    )
    .map_err(|errno| HarnessError::io("mount a private /run")(errno.into()))?;
    std::fs::create_dir_all("/run/netns").map_err(HarnessError::io("create /run/netns"))?;
    crate::process::tool("ip", &["link", "set", "lo", "up"]).map(drop)
}

/// Waits until the process is told to end (Ctrl-C or SIGTERM), so that it can tidy up first.
pub fn wait_for_the_end() -> Result<()> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    signals
        .thread_block()
        .and_then(|()| signals.wait())
        .map(drop)
        .map_err(|errno| HarnessError::io("wait for Ctrl-C")(errno.into()))
}

/// Runs one test body in private namespaces: outside, starts this test executable again for the
/// test `name` only; inside, runs `body`. Use it through [`private_test!`](crate::private_test).
///
/// # Panics
/// When the test fails, as tests do.
pub fn run_test(name: &str, body: fn() -> Result<()>) {
    if is_inside() {
        if let Err(error) = prepare().and_then(|()| body()) {
            #[expect(clippy::panic, reason = "a failed test panics")]
            {
                panic!("{}", error.chain());
            }
        }
        return;
    }
    // The path is `crate::module::name` and libtest knows it without the crate.
    let name = name.split_once("::").map_or(name, |(_, rest)| rest);
    if let Some(reason) = why_not().or_else(crate::programs::why_not) {
        not_run(name, &reason);
        return;
    }
    let Ok(program) = std::env::current_exe() else {
        not_run(name, "the test executable is not known");
        return;
    };
    match child(&program, name).output() {
        Ok(output) => {
            // libtest shows this when the test fails. Indented: the inner "test result" is not one
            // more result.
            for stream in [&output.stdout, &output.stderr] {
                for line in String::from_utf8_lossy(stream).lines() {
                    println!("  {line}");
                }
            }
            assert!(
                output.status.success(),
                "{name} failed inside its namespaces: {}",
                output.status
            );
        }
        #[expect(clippy::panic, reason = "a test that cannot be started has failed")]
        Err(error) => panic!("{name} could not be started inside its namespaces: {error}"),
    }
}

/// Says that a test could not run. Not through `println!`: libtest would swallow it.
fn not_run(name: &str, reason: &str) {
    drop(writeln!(std::io::stderr(), "not run: {name}: {reason}"));
}

fn child(program: &Path, name: &str) -> Command {
    // The parent may be killed: its death must end the child too.
    let inner = unshare();
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "--"])
        .arg(inner.get_program())
        .args(inner.get_args())
        .arg(program)
        .args(["--exact", name, "--nocapture", "--include-ignored"])
        .env(INSIDE, "1");
    for (key, value) in inner.get_envs() {
        command.env(key, value.unwrap_or_default());
    }
    command
}

fn unshare() -> Command {
    let mut command = Command::new("unshare");
    // Debian's users do not have the folders of `ip` and `nft` on their path.
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/local/sbin:/usr/sbin:/sbin"));
    if !nix::unistd::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--net", "--mount", "--"]);
    command
}

/// Declares tests that run in private namespaces of their own.
///
/// ```text
/// onsen_harness::private_test! {
///     fn pods_can_talk() { let lab = Lab::start(..)?; ..; Ok(()) }
/// }
/// ```
#[macro_export]
macro_rules! private_test {
    ($($(#[$meta:meta])* fn $name:ident() $body:block)+) => {$(
        $(#[$meta])*
        #[test]
        fn $name() {
            fn body() -> $crate::Result<()> $body
            $crate::private::run_test(concat!(module_path!(), "::", stringify!($name)), body);
        }
    )+};
}
