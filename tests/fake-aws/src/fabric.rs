//! The VPC's network, made of network namespaces: a router and one namespace per node.
//!
//! In: the model's [`FabricEvent`]s. Out: links, routes and packet filters.
//!
//! Each ENI is a veth pair: one end in the node's namespace with the ENI's MAC, the other in the router. As in
//! a VPC, delivery goes by who holds an address, not by ARP: a route for each block an ENI holds, over a next hop
//! whose permanent neighbour is the ENI's MAC. Nobody in a node answers ARP for a secondary address. Towards the
//! nodes the router answers ARP for whatever it can route. What leaves an ENI from an address the ENI does not
//! hold is dropped and counted. An address outside the VPC stands for the internet; as behind an internet gateway
//! that knows only the primaries' public addresses, only primary addresses reach it.
//!
//! A [`Fabric`] lives on one thread, which has entered the router's namespace; all that it runs is there too.
//! What it made goes with it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sched::{CloneFlags, setns};
use onsen_sim::account::{Cidr, Eni, FabricEvent};

/// The router's namespace.
pub(crate) const ROUTER: &str = "vpc";
/// The instance metadata service and the EC2 endpoint.
pub(crate) const LINK_LOCAL: &str = "169.254.169.254";
/// A host outside the VPC.
pub(crate) const INTERNET: &str = "198.51.100.10";

/// The next hop of every delivery; on each link its neighbour is that link's ENI.
const NEXT_HOP: &str = "169.254.0.1";
/// What an ENI carries on EC2.
const MTU: u32 = 9001;

/// Why the network could not be changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FabricError {
    #[error(
        "the network namespace `{0}` exists already; another fake-aws runs, or one was killed: `ip netns del {0}`"
    )]
    Exists(String),
    #[error("cannot run {program}: {source}")]
    Run {
        program: String,
        source: std::io::Error,
    },
    #[error("{program} failed on\n{input}\n{stderr}")]
    Failed {
        program: String,
        input: String,
        stderr: String,
    },
    #[error("cannot write {value} to {path}: {source}")]
    Sysctl {
        path: String,
        value: String,
        source: std::io::Error,
    },
    #[error("cannot enter the network namespace {name}: {source}")]
    Enter {
        name: String,
        source: std::io::Error,
    },
    #[error("cannot read nft's counters: {0}")]
    Counters(#[from] serde_json::Error),
}

/// An ENI's device.
#[derive(Debug)]
struct Link {
    /// The router's end.
    device: String,
    primary: Ipv4Addr,
    blocks: BTreeSet<Cidr>,
}

/// The network. See the module.
#[derive(Debug)]
pub(crate) struct Fabric {
    namespaces: Vec<String>,
    links: BTreeMap<String, Link>,
    /// Subnets by id.
    subnets: BTreeMap<String, Cidr>,
}

/// Packets dropped by the router.
#[derive(Debug, Default)]
pub(crate) struct Drops {
    /// Sent from an address the ENI does not hold, by ENI.
    pub(crate) by_eni: BTreeMap<String, u64>,
    /// Sent to the internet from an address that is no primary.
    pub(crate) to_internet: u64,
}

impl Fabric {
    /// Makes the namespaces and takes this thread into the router's.
    pub(crate) fn build(
        nodes: &[String],
        subnets: BTreeMap<String, Cidr>,
    ) -> Result<Self, FabricError> {
        let mut fabric = Self {
            namespaces: Vec::new(),
            links: BTreeMap::new(),
            subnets,
        };
        for name in std::iter::once(ROUTER).chain(nodes.iter().map(String::as_str)) {
            if Path::new("/run/netns").join(name).exists() {
                return Err(FabricError::Exists(name.to_owned()));
            }
            run("ip", &["netns", "add", name], "")?;
            fabric.namespaces.push(name.to_owned());
        }
        for name in nodes {
            let prepare = move || {
                sysctl("net/ipv4/ip_forward", "1")?;
                sysctl("net/ipv4/conf/all/rp_filter", "0")?;
                sysctl("net/ipv4/conf/default/rp_filter", "2")?;
                ip("link set lo up")
            };
            std::thread::scope(|scope| {
                let there = scope.spawn(move || enter(name).and_then(|()| prepare()));
                there
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })?;
        }
        enter(ROUTER)?;
        sysctl("net/ipv4/ip_forward", "1")?;
        for of in ["all", "default"] {
            sysctl(&format!("net/ipv4/conf/{of}/rp_filter"), "0")?;
            sysctl(&format!("net/ipv4/conf/{of}/send_redirects"), "0")?;
        }
        // New links answer ARP for whatever can be routed. An address nobody holds is silence, as in a VPC.
        sysctl("net/ipv4/conf/default/proxy_arp", "1")?;
        let mut batch = format!(
            "link set lo up\naddr add {LINK_LOCAL}/32 dev lo\naddr add {INTERNET}/32 dev lo\nroute add blackhole default\n"
        );
        for subnet in fabric.subnets.values() {
            let _ = writeln!(batch, "addr add {}/32 dev lo", subnet.at(1));
        }
        ip(&batch)?;
        nft(&format!(
            "table ip fabric {{
                set primaries {{ type ipv4_addr; }}
                map enis {{ type ifname : verdict; }}
                counter to_internet {{ }}
                chain from_nodes {{
                    type filter hook prerouting priority raw;
                    iifname vmap @enis
                }}
                chain internet {{
                    type filter hook prerouting priority raw + 1;
                    ip daddr {INTERNET} ip saddr != @primaries counter name to_internet drop
                }}
            }}"
        ))?;
        Ok(fabric)
    }

    /// Makes the network follow `event`.
    pub(crate) fn apply(&mut self, event: FabricEvent) -> Result<(), FabricError> {
        match event {
            FabricEvent::DeviceAppears { node, eni } => self.attach(&node, &eni),
            FabricEvent::DeviceVanishes { eni_id } => self.detach(&eni_id),
            FabricEvent::Routed { eni_id, blocks } => self.route(&eni_id, &blocks),
            FabricEvent::Unrouted { eni_id, blocks } => self.unroute(&eni_id, &blocks),
        }
    }

    fn attach(&mut self, node: &str, eni: &Eni) -> Result<(), FabricError> {
        let (device, key, mac) = (device_of(&eni.id), key_of(&eni.id), &eni.mac);
        let (card, index) = eni
            .attachment
            .as_ref()
            .map_or((0, 0), |it| (it.network_card, it.device_index));
        let name = if card == 0 {
            format!("eth{index}")
        } else {
            format!("eth{index}c{card}")
        };
        nft(&format!(
            "add counter ip fabric d_{key}
            add set ip fabric s_{key} {{ type ipv4_addr; flags interval; }}
            add chain ip fabric c_{key}
            add rule ip fabric c_{key} ip saddr @s_{key} return
            add rule ip fabric c_{key} counter name d_{key} drop
            add element ip fabric enis {{ \"{device}\" : jump c_{key} }}
            add element ip fabric primaries {{ {} }}",
            eni.primary
        ))?;
        ip(&format!(
            "link add {device} mtu {MTU} type veth peer name {name} address {mac} mtu {MTU} netns {node}\n\
             link set {device} up\n\
             neigh add {NEXT_HOP} lladdr {mac} dev {device} nud permanent\n"
        ))?;
        // Waiting before an answer is meant for real proxies; here it would only slow the first packet.
        sysctl(&format!("net/ipv4/neigh/{device}/proxy_delay"), "0")?;
        self.links.insert(
            eni.id.clone(),
            Link {
                device,
                primary: eni.primary,
                blocks: BTreeSet::new(),
            },
        );
        self.route(&eni.id, &eni.blocks().collect::<Vec<_>>())?;
        if (card, index) == (0, 0) {
            self.configure_primary(node, eni)?;
        }
        Ok(())
    }

    /// What the operating system does at boot, and only for the first device.
    fn configure_primary(&self, node: &str, eni: &Eni) -> Result<(), FabricError> {
        let Some(subnet) = self.subnets.get(&eni.subnet_id) else {
            return Ok(());
        };
        let (address, length, gateway) = (eni.primary, subnet.length(), subnet.at(1));
        run("ip", &["-n", node, "-batch", "-"], &format!(
            "link set eth0 up\naddr add {address}/{length} brd + dev eth0\nroute add default via {gateway} dev eth0\n"
        ))
        .map(drop)
    }

    fn detach(&mut self, eni_id: &str) -> Result<(), FabricError> {
        let Some(Link {
            device, primary, ..
        }) = self.links.remove(eni_id)
        else {
            return Ok(());
        };
        let key = key_of(eni_id);
        // The counter stays, so that drops are not forgotten. The routes go with the link.
        ip(&format!("link del {device}\n"))?;
        nft(&format!(
            "delete element ip fabric primaries {{ {primary} }}
            delete element ip fabric enis {{ \"{device}\" }}
            flush chain ip fabric c_{key}
            delete chain ip fabric c_{key}
            delete set ip fabric s_{key}"
        ))
    }

    fn route(&mut self, eni_id: &str, blocks: &[Cidr]) -> Result<(), FabricError> {
        // An address has one holder; whoever still has it here has lost it meanwhile.
        let others: Vec<(String, Vec<Cidr>)> = self
            .links
            .iter()
            .filter(|(id, _)| *id != eni_id)
            .map(|(id, it)| (id.clone(), overlapping(&it.blocks, blocks)))
            .filter(|(_, lost)| !lost.is_empty())
            .collect();
        for (other, lost) in others {
            self.unroute(&other, &lost)?;
        }
        let Some(link) = self.links.get_mut(eni_id) else {
            return Ok(());
        };
        let new: Vec<Cidr> = blocks
            .iter()
            .copied()
            .filter(|it| link.blocks.insert(*it))
            .collect();
        if new.is_empty() {
            return Ok(());
        }
        let device = &link.device;
        let routes: String = new.iter().fold(String::new(), |all, it| {
            all + &format!("route add {it} via {NEXT_HOP} dev {device} onlink\n")
        });
        nft(&format!(
            "add element ip fabric s_{} {{ {} }}",
            key_of(eni_id),
            join(&new)
        ))?;
        ip(&routes)
    }

    fn unroute(&mut self, eni_id: &str, blocks: &[Cidr]) -> Result<(), FabricError> {
        let Some(link) = self.links.get_mut(eni_id) else {
            return Ok(());
        };
        let old: Vec<Cidr> = blocks
            .iter()
            .copied()
            .filter(|it| link.blocks.remove(it))
            .collect();
        if old.is_empty() {
            return Ok(());
        }
        let device = &link.device;
        let routes: String = old.iter().fold(String::new(), |all, it| {
            all + &format!("route del {it} dev {device}\n")
        });
        ip(&routes)?;
        nft(&format!(
            "delete element ip fabric s_{} {{ {} }}",
            key_of(eni_id),
            join(&old)
        ))
    }

    /// The packets dropped so far, also by ENIs that are gone.
    pub(crate) fn drops() -> Result<Drops, FabricError> {
        let listing = run(
            "nft",
            &["-j", "list", "counters", "table", "ip", "fabric"],
            "",
        )?;
        let listing: serde_json::Value = serde_json::from_str(&listing)?;
        let mut drops = Drops::default();
        let objects = listing
            .get("nftables")
            .and_then(|it| it.as_array())
            .into_iter()
            .flatten();
        for counter in objects.filter_map(|it| it.get("counter")) {
            let name = counter
                .get("name")
                .and_then(|it| it.as_str())
                .unwrap_or_default();
            let packets = counter
                .get("packets")
                .and_then(serde_json::Value::as_u64)
                .unwrap_or_default();
            match name.strip_prefix("d_") {
                Some(key) => {
                    drops.by_eni.insert(format!("eni-{key}"), packets);
                }
                None => drops.to_internet = packets,
            }
        }
        Ok(drops)
    }
}

impl Drop for Fabric {
    fn drop(&mut self) {
        // Open sockets keep a namespace alive whose name is gone, so the links go first and by themselves.
        let links: String = self.links.values().fold(String::new(), |all, it| {
            all + &format!("link del {}\n", it.device)
        });
        if let Err(error) = ip(&links) {
            tracing::warn!(%error, "some links were not removed");
        }
        for name in &self.namespaces {
            if let Err(error) = run("ip", &["netns", "del", name], "") {
                tracing::warn!(%error, "a network namespace was not removed");
            }
        }
    }
}

/// Takes this thread into a named network namespace.
fn enter(name: &str) -> Result<(), FabricError> {
    let file = File::open(Path::new("/run/netns").join(name));
    file.and_then(|it| setns(it, CloneFlags::CLONE_NEWNET).map_err(Into::into))
        .map_err(|source| FabricError::Enter {
            name: name.to_owned(),
            source,
        })
}

/// Writes a setting of this thread's network namespace.
fn sysctl(key: &str, value: &str) -> Result<(), FabricError> {
    let path = format!("/proc/sys/{key}");
    std::fs::write(&path, value).map_err(|source| FabricError::Sysctl {
        path,
        value: value.to_owned(),
        source,
    })
}

fn ip(batch: &str) -> Result<(), FabricError> {
    if batch.is_empty() {
        return Ok(());
    }
    run("ip", &["-batch", "-"], batch).map(drop)
}

fn nft(script: &str) -> Result<(), FabricError> {
    run("nft", &["-f", "-"], script).map(drop)
}

/// Runs a program to its end, with `input` on its stdin, and gives what it printed.
fn run(program: &str, arguments: &[&str], input: &str) -> Result<String, FabricError> {
    let line = || format!("`{program} {}`", arguments.join(" "));
    let failed = |source| FabricError::Run {
        program: line(),
        source,
    };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends early breaks the pipe; its exit status and stderr say why.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(FabricError::Failed {
        program: line(),
        input: input.to_owned(),
        stderr,
    })
}

/// The part of an ENI's id that names it in nft.
fn key_of(eni_id: &str) -> &str {
    eni_id.strip_prefix("eni-").unwrap_or(eni_id)
}

/// The router's end of an ENI's link: as much of the id as a link's name can take.
fn device_of(eni_id: &str) -> String {
    let key = key_of(eni_id);
    format!(
        "eni{}",
        key.get(key.len().saturating_sub(12)..).unwrap_or(key)
    )
}

fn overlapping(held: &BTreeSet<Cidr>, blocks: &[Cidr]) -> Vec<Cidr> {
    held.iter()
        .copied()
        .filter(|it| blocks.iter().any(|block| block.overlaps(*it)))
        .collect()
}

fn join(blocks: &[Cidr]) -> String {
    blocks
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}
