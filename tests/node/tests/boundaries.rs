//! The daemon dies between two EC2 calls, before one takes effect or before its reply; two daemons meet; the
//! disk is full. Nothing is lost, nothing is left behind.

mod bench;

use bench::{Bench, GROWTH, PATIENCE, SHRINKAGE};
use onsen_harness::cni::Pod;
use onsen_harness::process::{output, tool};
use onsen_harness::wait::wait_until;
use onsen_harness::{HarnessError, Lab, LabOptions, Result, private_test};

/// Kills the daemon while a call is held, starts it again, and lets the call go on: a request that arrives
/// late has its effect behind the new daemon's back.
fn kill_at_the_hold(bench: &mut Bench) -> Result<()> {
    wait_until("the call to be held", PATIENCE, || {
        bench.node().must_run()?;
        let held = bench.lab.aws.held()?;
        Ok(if held == 1 { Ok(()) } else { Err(held) })
    })?;
    bench.node().kill_daemon()?;
    bench.node().start()?;
    bench.node().wait_ready()?;
    bench.lab.aws.let_go()
}

fn killed_while_growing(bench: &mut Bench, operation: &str, after: bool) -> Result<()> {
    let from = bench.calls()?;
    println!(
        "{operation}, {}",
        if after {
            "before its reply"
        } else {
            "before its effect"
        }
    );
    if operation == GROWTH[0] {
        bench.lab.aws.hold(operation, after)?;
        bench.add()?;
        kill_at_the_hold(bench)?;
        bench.at_rest("an address more", 1, 3)?;
        bench.add()?;
    } else {
        bench.add()?;
        bench.at_rest("an address more", 1, 3)?;
        bench.lab.aws.hold(operation, after)?;
        bench.add()?;
        kill_at_the_hold(bench)?;
    }
    bench.at_rest("an ENI more", 2, 4)?;
    let creates = bench.done(from)?.get("CreateNetworkInterface").copied();
    // Only a Create that nobody could know of leaves an ENI that is not used.
    if (operation, after) != ("CreateNetworkInterface", false) {
        assert_eq!(
            creates,
            Some(1),
            "the ENI that was on its way is taken up, not made anew"
        );
    }
    bench.shrink()
}

fn killed_while_giving_back(bench: &mut Bench, operation: &str, after: bool) -> Result<()> {
    println!(
        "{operation}, {}",
        if after {
            "before its reply"
        } else {
            "before its effect"
        }
    );
    bench.grow()?;
    bench.lab.aws.hold(operation, after)?;
    bench.leave()?;
    kill_at_the_hold(bench)?;
    bench.at_rest("everything given back", 1, 2)
}

private_test! {
    fn kill_9_before_each_call_of_a_growth_takes_effect() {
        let mut bench = Bench::start(&[])?;
        GROWTH.iter().try_for_each(|it| killed_while_growing(&mut bench, it, false))
    }

    fn kill_9_before_each_reply_of_a_growth() {
        let mut bench = Bench::start(&[])?;
        GROWTH.iter().try_for_each(|it| killed_while_growing(&mut bench, it, true))
    }

    fn kill_9_before_each_call_of_a_release_takes_effect() {
        let mut bench = Bench::start(&[])?;
        SHRINKAGE.iter().try_for_each(|it| killed_while_giving_back(&mut bench, it, false))
    }

    fn kill_9_before_each_reply_of_a_release() {
        let mut bench = Bench::start(&[])?;
        SHRINKAGE.iter().try_for_each(|it| killed_while_giving_back(&mut bench, it, true))
    }

    fn a_second_daemon_on_the_same_checkpoint_stops_and_touches_nothing() {
        let mut bench = Bench::start(&[])?;
        let file = bench.node().dir().join("ipam.json");
        let read = || std::fs::read(&file).map_err(HarnessError::io("read the checkpoint"));
        let before = read()?;
        let other = bench.node().dir().join("other.sock");
        let mut second = bench.node().daemon_command()?;
        second.env("ONSEN_SOCKET", &other);
        match output(&mut second) {
            Err(HarnessError::Tool { status, stderr, .. }) => {
                assert_eq!(status.code(), Some(1), "{stderr}");
                assert!(stderr.contains("another daemon has it"), "it says why: {stderr}");
            }
            other => return Err(HarnessError::Protocol(format!("it should stop: {other:?}"))),
        }
        assert_eq!(read()?, before);
        assert!(!other.exists(), "it serves nothing");
        bench.grow()
    }

    fn a_full_disk_refuses_pods_and_forgets_none() {
        let mut lab = Lab::without_daemons(&LabOptions::default())?;
        let node = lab.node();
        let folder = node.dir().join("small");
        let io = HarnessError::io("make a folder");
        std::fs::create_dir(&folder).map_err(io)?;
        let place = folder.to_string_lossy().into_owned();
        tool("mount", &["-t", "tmpfs", "-o", "size=64k", "none", &place])?;
        let checkpoint = folder.join("ipam.json").to_string_lossy().into_owned();
        node.settings.insert("AWS_VPC_K8S_CNI_BACKING_STORE".to_owned(), checkpoint);
        node.start()?;
        node.wait_ready()?;
        let first = Pod::create("first")?;
        let added = node.plugin.must_add(&first)?;
        let ballast = folder.join("ballast");
        // As much as fits: the error is what is wanted.
        drop(std::fs::write(&ballast, vec![0; 1 << 20]));
        let second = Pod::create("second")?;
        let Err(error) = node.plugin.add(&second)? else {
            return Err(HarnessError::Protocol("a pod without a record".to_owned()));
        };
        let text = format!("{} {}", error.msg, error.details);
        assert!(text.contains("not-durable"), "the reason is told: {text}");
        assert!(node.netns.can_ping(added.address)?, "who runs is reached");
        node.must_run()?;
        std::fs::remove_file(&ballast).map_err(HarnessError::io("make room"))?;
        let other = node.plugin.must_add(&second)?;
        assert!(other.address != added.address);
        // What was told is on the disk.
        node.kill_daemon()?;
        node.start()?;
        node.wait_ready()?;
        assert_eq!(node.pods()?.len(), 2);
        node.plugin.must_del(&first, Some(&added.result))
    }
}
