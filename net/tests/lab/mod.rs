//! A node and its VPC as network namespaces that vanish with the test.
//!
//! The namespaces have no names: each is held by a parked thread or an open file, so a test that fails
//! leaves nothing behind. The judge is `ip`, `nft` and real packets, not the code under test.
#![allow(dead_code, reason = "each test program uses its part")]

use std::{
    future::Future, os::fd::AsFd, os::fd::AsRawFd, path::PathBuf, process::Command, sync::mpsc,
    thread,
};

use nix::{
    errno::Errno,
    sched::{CloneFlags, unshare},
    unistd::gettid,
};
use onsen_net::Namespace;
use onsen_wiring::{EniWiring, NodeWiring, PodWiring, RandomizeSnat};

pub(crate) const PRIMARY_MAC: [u8; 6] = [2, 0xaa, 0, 0, 0, 1];
pub(crate) const SECOND_MAC: [u8; 6] = [2, 0xaa, 0, 0, 0, 2];

/// Runs a test on a thread with a network namespace and a runtime of its own.
pub(crate) fn in_fresh_namespace<F: Future<Output = ()>>(
    test: impl FnOnce() -> F + Send + 'static,
) {
    let thread = thread::spawn(|| {
        if let Err(Errno::EPERM) = unshare(CloneFlags::CLONE_NEWNET) {
            println!("not run: a network namespace needs root; try `unshare -rn`");
            return;
        }
        sh("ip link set lo up");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(test());
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Runs a script in the namespace of the calling thread and returns what it printed.
pub(crate) fn sh(script: &str) -> String {
    let output = Command::new("sh").args(["-ec", script]).output().unwrap();
    assert!(
        output.status.success(),
        "{script}\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Lines without the spaces around and between their words.
pub(crate) fn lines(text: &str) -> Vec<String> {
    text.lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

/// What a script printed, without what the kernel changes by itself some time after a link was made:
/// the state of its carrier.
pub(crate) fn still(text: &str) -> String {
    let mut lines = Vec::new();
    for line in text.lines() {
        let mut words = Vec::new();
        for word in line.split_whitespace() {
            if let Some(flags) = word
                .strip_prefix('<')
                .and_then(|word| word.strip_suffix('>'))
            {
                let of_carrier = |flag: &&str| !["NO-CARRIER", "LOWER_UP", "M-DOWN"].contains(flag);
                words.push(
                    flags
                        .split(',')
                        .filter(of_carrier)
                        .collect::<Vec<_>>()
                        .join(","),
                );
            } else if !["UP", "DOWN", "LOWERLAYERDOWN", "UNKNOWN", "linkdown"].contains(&word) {
                words.push(word.into());
            }
        }
        lines.push(words.join(" "));
    }
    lines.join("\n")
}

/// No IPv6 on links to come: its addresses and routes appear some time after the link.
const NO_IPV6: &str = "echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6";

/// A network namespace that is not the test's own.
pub(crate) struct Place {
    pub(crate) namespace: Namespace,
    /// What `ip link ... netns` takes.
    pub(crate) tid: i32,
    _parked: mpsc::Sender<()>,
}

impl Place {
    pub(crate) fn new() -> Self {
        let (parked, park) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            sh("ip link set lo up");
            sh(NO_IPV6);
            tell.send((Namespace::current().unwrap(), gettid().as_raw()))
                .unwrap();
            // Until the place is dropped.
            let _ = park.recv();
        });
        let (namespace, tid) = told.recv().unwrap();
        Self {
            namespace,
            tid,
            _parked: parked,
        }
    }

    pub(crate) fn sh(&self, script: &str) -> String {
        self.namespace.run(|| sh(script)).unwrap()
    }

    /// A path other processes can open.
    pub(crate) fn path(&self) -> PathBuf {
        format!(
            "/proc/{}/fd/{}",
            std::process::id(),
            self.namespace.as_fd().as_raw_fd()
        )
        .into()
    }
}

/// Makes the calling thread's namespace a node with two ENIs, and returns the VPC they lead into.
///
/// The VPC has 10.0.1.1 inside and 198.51.100.9 outside. It delivers by ENI and drops what an ENI
/// must not send: outside takes the primary address only, inside takes addresses of that ENI only.
pub(crate) fn node() -> Place {
    let vpc = Place::new();
    let tid = vpc.tid;
    sh(NO_IPV6);
    sh(&format!(
        "ip link add eth0 address 02:aa:00:00:00:01 mtu 1500 type veth peer name v0 netns {tid}
         ip link add eth1 address 02:aa:00:00:00:02 mtu 1500 type veth peer name v1 netns {tid}
         echo 1 > /proc/sys/net/ipv4/ip_forward
         echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter
         echo 2 > /proc/sys/net/ipv4/conf/eth0/rp_filter
         ip link set eth0 up
         ip addr add 10.0.0.10/24 dev eth0
         ip route add default via 10.0.0.1 dev eth0"
    ));
    vpc.sh("echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter
         for v in v0 v1; do
           ip link set $v mtu 9001 up
           echo 0 > /proc/sys/net/ipv4/conf/$v/rp_filter
           ip addr add 10.0.0.1/32 dev $v
         done
         ip addr add 10.0.1.1/32 dev lo
         ip addr add 198.51.100.9/32 dev lo
         ip route add 10.0.0.10 dev v0
         ip route add 10.0.0.20 dev v1
         ip route add 10.0.0.100 dev v1
         ip neigh add 10.0.0.100 lladdr 02:aa:00:00:00:02 dev v1 nud permanent
         nft -f - <<X
         table ip fabric {
           chain in {
             type filter hook input priority 0; policy accept;
             ip daddr 198.51.100.9 ip saddr != 10.0.0.10 counter drop
             iifname v0 ip saddr != 10.0.0.10 counter drop
             iifname v1 ip saddr != { 10.0.0.20, 10.0.0.100 } counter drop
           }
         }
X");
    vpc
}

pub(crate) fn node_wiring() -> NodeWiring {
    NodeWiring {
        primary_mac: PRIMARY_MAC,
        primary_address: "10.0.0.10".parse().unwrap(),
        vpc_cidrs: vec![("10.0.0.0".parse().unwrap(), 16)],
        excluded_snat_cidrs: vec![("192.168.0.0".parse().unwrap(), 16)],
        mtu: 9001,
        veth_prefix: "eni".into(),
        external_snat: false,
        node_port: true,
        connmark: 0x80,
        randomize_snat: RandomizeSnat::Prng,
        external_service_cidrs: Vec::new(),
    }
}

pub(crate) fn second_eni() -> EniWiring {
    EniWiring {
        mac: SECOND_MAC,
        primary: "10.0.0.20".parse().unwrap(),
        subnet: ("10.0.0.0".parse().unwrap(), 24),
        card: 0,
        device_index: 1,
        mtu: 9001,
    }
}

pub(crate) fn pod_wiring() -> PodWiring {
    PodWiring {
        index: 0,
        address: "10.0.0.100".parse().unwrap(),
        host_link: "eni0d7763386da".into(),
        pod_link: "eth0".into(),
        mtu: 9001,
        table: 2,
    }
}
