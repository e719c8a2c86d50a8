//! Starts in bad circumstances: no metadata, no EC2, another daemon, bad settings.

#![expect(clippy::indexing_slicing, reason = "a test may panic")]

use std::time::Duration;

use onsen_harness::cni::Pod;
use onsen_harness::netns::Netns;
use onsen_harness::node::Node;
use onsen_harness::process::output;
use onsen_harness::wait::wait_until;
use onsen_harness::{HarnessError, Lab, LabOptions, Result, private_test};

const PATIENCE: Duration = Duration::from_mins(1);
const IMDS_PORT: u16 = 80;
const EC2_PORT: u16 = 8773;

/// Makes a port of the router refuse connections.
fn block(port: u16) -> Result<()> {
    let rule = format!(
        "table ip trouble {{ chain input {{ type filter hook input priority -400; tcp dport {port} reject with tcp reset; }}\n}}"
    );
    Netns::existing("vpc").tool("nft", &[&rule]).map(drop)
}

fn unblock() -> Result<()> {
    Netns::existing("vpc")
        .tool("nft", &["delete table ip trouble"])
        .map(drop)
}

fn log(node: &Node) -> Result<String> {
    std::fs::read_to_string(node.log()).map_err(HarnessError::io("read the daemon's log"))
}

/// Starts the daemon while a port is closed, sees that it says so and stays, and opens the port.
fn starts_late(port: u16, word: &str) -> Result<()> {
    let mut lab = Lab::without_daemons(&LabOptions::default())?;
    let node = lab.node();
    block(port)?;
    node.start()?;
    wait_until("a word about it in the log", PATIENCE, || {
        node.must_run()?;
        let text = log(node)?;
        Ok(if text.contains(word) {
            Ok(())
        } else {
            Err(text)
        })
    })?;
    assert!(!node.plugin.socket.exists(), "pods are not served yet");
    let pod = Pod::create("early")?;
    assert!(node.plugin.add(&pod)?.is_err(), "an ADD fails until then");
    unblock()?;
    node.wait_ready()?;
    node.plugin.must_add(&pod)?;
    Ok(())
}

private_test! {
    fn an_unreachable_imds_at_start_is_told_and_survived() {
        starts_late(IMDS_PORT, "IMDS")
    }

    fn an_unreachable_ec2_at_start_is_told_and_survived() {
        starts_late(EC2_PORT, "EC2")
    }

    fn a_second_daemon_on_the_same_socket_stops_and_leaves_the_first_alone() {
        let mut lab = Lab::start(&LabOptions::default())?;
        let node = lab.node();
        let mut second = node.daemon_command()?;
        match output(&mut second) {
            Err(HarnessError::Tool { status, stderr, .. }) => {
                assert_eq!(status.code(), Some(1), "{stderr}");
                let socket = node.plugin.socket.to_string_lossy().into_owned();
                let named = stderr.contains(&socket) || stderr.contains("ipamd.lock");
                assert!(named, "it says which socket: {stderr}");
            }
            other => return Err(HarnessError::Protocol(format!("it should stop: {other:?}"))),
        }
        node.must_run()?;
        node.plugin.must_add(&Pod::create("a")?)?;
        Ok(())
    }

    fn all_bad_settings_are_named_at_once() {
        let mut lab = Lab::without_daemons(&LabOptions::default())?;
        let node = lab.node();
        for (name, value) in [("IP_COOLDOWN_PERIOD", "soon"), ("AWS_VPC_ENI_MTU", "huge"), ("ONSEN_POLICY", "nothing:x")] {
            node.settings.insert(name.to_owned(), value.to_owned());
        }
        let mut command = node.daemon_command()?;
        match output(command.arg("--check-settings")) {
            Err(HarnessError::Tool { status, stderr, .. }) => {
                assert_eq!(status.code(), Some(1), "{stderr}");
                assert!(stderr.contains("soon") && stderr.contains("nothing:x"), "{stderr}");
                Ok(())
            }
            other => Err(HarnessError::Protocol(format!("it should refuse: {other:?}"))),
        }
    }

    fn sigterm_ends_the_daemon_in_good_order_and_pods_stay() {
        let mut lab = Lab::start(&LabOptions::default())?;
        let node = lab.node();
        let pod = Pod::create("a")?;
        let address = node.plugin.must_add(&pod)?.address;
        node.stop_daemon()?;
        assert!(node.netns.can_ping(address)?, "the pod is reachable without a daemon");
        node.start()?;
        node.wait_ready()?;
        assert_eq!(node.pods()?[0].address, address);
        Ok(())
    }
}
