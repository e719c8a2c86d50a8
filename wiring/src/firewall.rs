//! Source NAT and connection marks of an IPv4 node.
//!
//! How a pod on a second ENI reaches the internet: its first packet comes in on a pod link, gets the
//! connection mark and with it the firewall mark, the rule at 1024 sends it to the main table and so
//! to the primary ENI, and the SNAT chain gives it the node's own address. Later packets get the
//! mark back from their connection. What goes to the VPC stays unmarked, leaves by the pod's
//! ENI and keeps the pod's address.
//!
//! The marks are set by nftables where iptables is a front of nftables, else by iptables; the rest is
//! iptables in both cases, as kube-proxy and others expect. Rules are in the form `iptables -S`
//! prints them, which is also a form it reads.

use core::{
    fmt::Write,
    net::{IpAddr, Ipv4Addr},
};

use alloc::{
    collections::BTreeSet,
    format,
    string::{String, ToString},
    vec::Vec,
};

use crate::{Cidr, Family, NodeWiring, RandomizeSnat, network};

const SNAT_CHAIN: &str = "AWS-SNAT-CHAIN-0";
const CONNMARK_CHAIN: &str = "AWS-CONNMARK-CHAIN-0";

/// What the `iptables` program of the node writes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// nftables, by way of `iptables-nft`.
    NfTables,
    /// The tables of old.
    Legacy,
}

/// A chain of our own: all its rules are ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Table of iptables.
    pub table: &'static str,
    /// Name of the chain.
    pub name: &'static str,
    /// Its rules, or nothing when the chain must not exist.
    ///
    /// The order of all but the last is free: those let their packets return.
    pub rules: Option<Vec<String>>,
}

impl Chain {
    /// Whether a listing by `iptables -S CHAIN` shows exactly these rules. An empty one is no chain.
    pub fn matches(&self, listing: &str) -> bool {
        let prefix = format!("-A {} ", self.name);
        let present: Vec<&str> = listing
            .lines()
            .filter_map(|line| line.strip_prefix(&*prefix))
            .collect();
        match &self.rules {
            None => listing.is_empty(),
            Some(rules) => {
                let as_set = |rules: &[&str]| {
                    rules
                        .iter()
                        .map(ToString::to_string)
                        .collect::<BTreeSet<_>>()
                };
                let wanted: Vec<&str> = rules.iter().map(String::as_str).collect();
                !listing.is_empty()
                    && present.len() == wanted.len()
                    && present.last() == wanted.last()
                    && as_set(&present) == as_set(&wanted)
            }
        }
    }

    /// Input of `iptables-restore --noflush` that replaces the chain in one step, so that no packet
    /// meets half of it. Nothing when the chain must not exist.
    pub fn restore(&self) -> Option<String> {
        let rules = self.rules.as_ref()?;
        let mut text = format!("*{}\n:{} - [0:0]\n", self.table, self.name);
        for rule in rules {
            let _ = writeln!(text, "-A {} {rule}", self.name);
        }
        text.push_str("COMMIT\n");
        Some(text)
    }
}

/// A rule in a chain that is not ours alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainRule {
    /// Table of iptables.
    pub table: &'static str,
    /// Name of the chain.
    pub chain: &'static str,
    /// What iptables is given after the name of the chain.
    pub arguments: Vec<String>,
    /// Whether the rule must be there or must not.
    pub wanted: bool,
}

/// Connection marks in nftables: table `ip aws-cni`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NftTable {
    /// What the names of pod links begin with.
    pub veth_prefix: String,
    /// The bit that marks connections.
    pub mark: u32,
    /// Where packets go unmarked.
    pub unmarked: Vec<Cidr>,
}

impl NftTable {
    /// The name of the table.
    pub const NAME: &str = "aws-cni";

    /// Input of `nft -f` that replaces the table in one step.
    ///
    /// The chain stands at -90, after kube-proxy's DNAT at -100: cluster addresses are already real
    /// ones. Virtual addresses of IPVS are local and leave by the first rule.
    ///
    /// Destinations are compared under a spelled-out mask. Of `ADDRESS/LENGTH` nft would make a shorter
    /// comparison where the length is a multiple of 8, and upstream's daemon would not know the rule.
    pub fn script(&self) -> String {
        let table = self.text(|(address, length)| {
            let mask = network((IpAddr::V4(Ipv4Addr::BROADCAST), length)).0;
            format!("& {mask} == {address}")
        });
        // Adding it first makes the deletion succeed on a node that has none.
        format!("add table ip {0}\ndelete table ip {0}\n{table}", Self::NAME)
    }

    /// Whether a listing by `nft -s list table` shows this table, with the unmarked CIDRs in any order.
    pub fn matches(&self, listing: &str) -> bool {
        let wanted = self.text(|(address, length)| match length {
            32 => address.to_string(),
            _ => format!("{address}/{length}"),
        });
        normal(listing) == normal(&wanted)
    }

    fn text(&self, destination: impl Fn(Cidr) -> String) -> String {
        let Self {
            veth_prefix, mark, ..
        } = self;
        let mut text = format!(
            "table ip {name} {{\n\
             chain nat-prerouting {{\n\
             type nat hook prerouting priority -90; policy accept;\n\
             fib daddr type local return\n\
             iifname \"{veth_prefix}*\" counter jump snat-mark\n\
             counter meta mark set ct mark & 0x{mark:08x}\n\
             }}\n\
             chain snat-mark {{\n",
            name = Self::NAME,
        );
        for &cidr in &self.unmarked {
            let _ = writeln!(text, "counter ip daddr {} return", destination(cidr));
        }
        let _ = write!(text, "counter ct mark set ct mark | 0x{mark:08x}\n}}\n}}\n");
        text
    }
}

/// The lines of a table, whatever their indentation, with neighbouring returns in one order, and the
/// priority as a number where nft prints the distance to one it has a name for.
fn normal(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text
        .replace("dstnat + 10", "-90")
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|line| !line.is_empty())
        .collect();
    let is_return = |line: &String| line.starts_with("counter") && line.ends_with("return");
    for returns in lines.chunk_by_mut(|one, next| is_return(one) && is_return(next)) {
        returns.sort_unstable();
    }
    lines
}

/// All that the firewall of a node must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firewall {
    /// Chains of our own.
    pub chains: Vec<Chain>,
    /// Rules in chains of the system. Those wanted in one chain stand there in this order.
    pub rules: Vec<ChainRule>,
    /// The nftables table, or nothing when it must not exist.
    pub nft: Option<NftTable>,
}

fn rule(table: &'static str, chain: &'static str, arguments: &str, wanted: bool) -> ChainRule {
    ChainRule {
        table,
        chain,
        arguments: split(arguments),
        wanted,
    }
}

/// Splits at spaces, except inside double quotes.
fn split(arguments: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (i, part) in arguments.split('"').enumerate() {
        if i % 2 == 1 {
            words.push(part.into());
        } else {
            words.extend(part.split_whitespace().map(String::from));
        }
    }
    words
}

impl NodeWiring {
    /// The firewall of this node. `primary_link` is the name of the primary ENI's link.
    /// Nothing on an IPv6 node: its pods are routed everywhere by their own addresses.
    pub fn firewall(&self, primary_link: &str, backend: Backend) -> Option<Firewall> {
        if self.family() != Family::V4 {
            return None;
        }
        let Self {
            veth_prefix,
            connmark,
            ..
        } = self;
        let mark = format!("0x{connmark:x}");
        let snat = !self.external_snat;
        let mark_by_iptables = snat && backend == Backend::Legacy;
        let mark_by_nftables = snat && backend == Backend::NfTables;

        let restore = format!(
            "-m comment --comment \"AWS, primary ENI\" -j CONNMARK --restore-mark --mask {mark}"
        );
        let rules = [
            rule(
                "nat",
                "POSTROUTING",
                &format!("-m comment --comment \"AWS SNAT CHAIN\" -j {SNAT_CHAIN}"),
                snat,
            ),
            // From releases that marked new connections only.
            rule(
                "nat",
                "PREROUTING",
                &format!(
                    "-i {veth_prefix}+ -m comment --comment \"AWS, outbound connections\" -m state --state NEW -j {CONNMARK_CHAIN}"
                ),
                false,
            ),
            rule(
                "nat",
                "PREROUTING",
                &format!(
                    "-i {veth_prefix}+ -m comment --comment \"AWS, outbound connections\" -j {CONNMARK_CHAIN}"
                ),
                mark_by_iptables,
            ),
            rule(
                "nat",
                "PREROUTING",
                &format!(
                    "-m comment --comment \"AWS, CONNMARK\" -j CONNMARK --restore-mark --mask {mark}"
                ),
                mark_by_iptables,
            ),
            rule(
                "mangle",
                "PREROUTING",
                &format!(
                    "-i {primary_link} -m comment --comment \"AWS, primary ENI\" -m addrtype --dst-type LOCAL --limit-iface-in -j CONNMARK --set-mark {mark}/{mark}"
                ),
                self.node_port,
            ),
            rule(
                "mangle",
                "PREROUTING",
                &format!("-i {veth_prefix}+ {restore}"),
                self.node_port || snat,
            ),
            rule(
                "mangle",
                "PREROUTING",
                &format!("-i vlan+ {restore}"),
                self.node_port,
            ),
        ];
        Some(Firewall {
            chains: [self.snat_chain(snat), self.connmark_chain(mark_by_iptables)].into(),
            rules: rules.into(),
            nft: mark_by_nftables.then(|| NftTable {
                veth_prefix: veth_prefix.clone(),
                mark: *connmark,
                unmarked: self.inside().into_iter().collect(),
            }),
        })
    }

    /// Where pods are seen by their own addresses.
    fn inside(&self) -> BTreeSet<Cidr> {
        self.of_family(&self.vpc_cidrs)
            .chain(self.of_family(&self.excluded_snat_cidrs))
            .collect()
    }

    fn snat_chain(&self, wanted: bool) -> Chain {
        let mut rules = Vec::new();
        if wanted {
            let vpc: BTreeSet<Cidr> = self.of_family(&self.vpc_cidrs).collect();
            rules.extend(vpc.iter().map(|&cidr| returns(cidr, "AWS SNAT CHAIN")));
            let excluded: BTreeSet<Cidr> = self.of_family(&self.excluded_snat_cidrs).collect();
            rules.extend(
                excluded
                    .difference(&vpc)
                    .map(|&cidr| returns(cidr, "AWS SNAT CHAIN EXCLUSION")),
            );
            // Local destinations keep their source. Strict branch pods leave by vlan links as themselves.
            rules.push(format!(
                "! -o vlan+ -m comment --comment \"AWS, SNAT\" -m addrtype ! --dst-type LOCAL -j SNAT --to-source {}{}",
                self.primary_address,
                match self.randomize_snat {
                    RandomizeSnat::Prng => " --random-fully",
                    RandomizeSnat::HashRandom => " --random",
                    RandomizeSnat::None => "",
                }
            ));
        }
        Chain {
            table: "nat",
            name: SNAT_CHAIN,
            // Stays, empty, under external SNAT: upstream's daemon expects it.
            rules: Some(rules),
        }
    }

    fn connmark_chain(&self, wanted: bool) -> Chain {
        let rules = wanted.then(|| {
            let mut rules: Vec<String> =
                self.inside().into_iter().map(|cidr| returns(cidr, "AWS CONNMARK CHAIN")).collect();
            let mark = self.connmark;
            rules.push(format!("-m comment --comment \"AWS, CONNMARK\" -j CONNMARK --set-xmark 0x{mark:x}/0x{mark:x}"));
            rules
        });
        Chain {
            table: "nat",
            name: CONNMARK_CHAIN,
            rules,
        }
    }
}

fn returns((address, length): Cidr, comment: &str) -> String {
    // iptables drops a destination that matches everything.
    let destination = if length == 0 {
        String::new()
    } else {
        format!("-d {address}/{length} ")
    };
    format!("{destination}-m comment --comment \"{comment}\" -j RETURN")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> NodeWiring {
        NodeWiring {
            primary_mac: [2, 0, 0, 0, 0, 1],
            primary_address: "10.0.0.10".parse().unwrap(),
            vpc_cidrs: [("10.0.0.7".parse().unwrap(), 16)].into(),
            excluded_snat_cidrs: [("192.168.0.0".parse().unwrap(), 16)].into(),
            mtu: 9001,
            veth_prefix: "eni".into(),
            external_snat: false,
            node_port: true,
            connmark: 0x80,
            randomize_snat: RandomizeSnat::Prng,
            external_service_cidrs: Vec::new(),
        }
    }

    const SNAT_LISTING: &str = "-N AWS-SNAT-CHAIN-0
-A AWS-SNAT-CHAIN-0 -d 192.168.0.0/16 -m comment --comment \"AWS SNAT CHAIN EXCLUSION\" -j RETURN
-A AWS-SNAT-CHAIN-0 -d 10.0.0.0/16 -m comment --comment \"AWS SNAT CHAIN\" -j RETURN
-A AWS-SNAT-CHAIN-0 ! -o vlan+ -m comment --comment \"AWS, SNAT\" -m addrtype ! --dst-type LOCAL -j SNAT --to-source 10.0.0.10 --random-fully
";

    #[test]
    fn the_chain_upstream_left_is_taken_as_it_is() {
        let chain = node().snat_chain(true);
        assert!(chain.matches(SNAT_LISTING));
    }

    #[test]
    fn a_chain_that_nats_before_it_returns_is_replaced() {
        let mut lines: Vec<&str> = SNAT_LISTING.lines().collect();
        lines.swap(2, 3);
        assert!(!node().snat_chain(true).matches(&lines.join("\n")));
        assert!(!node().snat_chain(true).matches(""));
        assert!(!node().snat_chain(true).matches(&lines[..2].join("\n")));
    }

    #[test]
    fn under_external_snat_nothing_is_translated_and_node_port_marks_stay() {
        let mut node = node();
        node.external_snat = true;
        let firewall = node.firewall("eth0", Backend::NfTables).unwrap();
        assert_eq!(firewall.chains[0].rules, Some(Vec::new()));
        assert_eq!(firewall.chains[1].rules, None);
        assert_eq!(firewall.nft, None);
        let wanted: Vec<&str> = firewall
            .rules
            .iter()
            .filter(|r| r.wanted)
            .map(|r| r.table)
            .collect();
        assert_eq!(wanted, ["mangle", "mangle", "mangle"]);
        assert!(node.mark_rule().1);
        node.node_port = false;
        assert!(
            node.firewall("eth0", Backend::Legacy)
                .unwrap()
                .rules
                .iter()
                .all(|r| !r.wanted)
        );
        assert!(!node.mark_rule().1);
    }

    #[test]
    fn each_backend_marks_connections_in_one_place_only() {
        let nft = node().firewall("eth0", Backend::NfTables).unwrap();
        assert!(nft.nft.is_some() && nft.chains[1].rules.is_none());
        let legacy = node().firewall("eth0", Backend::Legacy).unwrap();
        assert!(legacy.nft.is_none());
        assert_eq!(
            legacy.chains[1].rules.as_deref().unwrap(),
            [
                "-d 10.0.0.0/16 -m comment --comment \"AWS CONNMARK CHAIN\" -j RETURN",
                "-d 192.168.0.0/16 -m comment --comment \"AWS CONNMARK CHAIN\" -j RETURN",
                "-m comment --comment \"AWS, CONNMARK\" -j CONNMARK --set-xmark 0x80/0x80",
            ]
        );
    }

    #[test]
    fn an_exclusion_of_everything_has_no_destination_in_iptables() {
        let mut node = node();
        node.excluded_snat_cidrs = [("0.0.0.0".parse().unwrap(), 0)].into();
        let rules = node.snat_chain(true).rules.unwrap();
        assert_eq!(
            rules[1],
            "-m comment --comment \"AWS SNAT CHAIN EXCLUSION\" -j RETURN"
        );
        let firewall = node.firewall("eth0", Backend::NfTables).unwrap();
        assert!(
            firewall
                .nft
                .unwrap()
                .script()
                .contains("ip daddr & 0.0.0.0 == 0.0.0.0 return")
        );
    }

    const NFT_LISTING: &str = "table ip aws-cni {
\tchain nat-prerouting {
\t\ttype nat hook prerouting priority dstnat + 10; policy accept;
\t\tfib daddr type local return
\t\tiifname \"eni*\" counter jump snat-mark
\t\tcounter meta mark set ct mark & 0x00000080
\t}

\tchain snat-mark {
\t\tcounter ip daddr 192.168.0.0/16 return
\t\tcounter ip daddr 10.0.0.0/16 return
\t\tcounter ct mark set ct mark | 0x00000080
\t}
}
";

    #[test]
    fn the_nftables_table_upstream_left_is_taken_as_it_is() {
        let table = node()
            .firewall("eth0", Backend::NfTables)
            .unwrap()
            .nft
            .unwrap();
        assert!(table.matches(NFT_LISTING));
        assert!(
            table
                .script()
                .contains("counter ip daddr & 255.255.0.0 == 10.0.0.0 return")
        );
    }

    #[test]
    fn a_table_that_marks_before_it_returns_is_replaced() {
        let table = node()
            .firewall("eth0", Backend::NfTables)
            .unwrap()
            .nft
            .unwrap();
        let mut lines: Vec<&str> = NFT_LISTING.lines().collect();
        lines.swap(10, 11);
        assert!(!table.matches(&lines.join("\n")));
        assert!(
            !table.matches(
                &NFT_LISTING
                    .replace("-90", "-100")
                    .replace("dstnat + 10", "dstnat")
            )
        );
        assert!(!table.matches(&NFT_LISTING.replace("eni*", "cali*")));
        assert!(!table.matches(""));
    }

    #[test]
    fn comments_with_spaces_are_one_argument() {
        assert_eq!(
            split("-m comment --comment \"AWS, SNAT\" -j X"),
            ["-m", "comment", "--comment", "AWS, SNAT", "-j", "X"]
        );
    }

    #[test]
    fn an_ipv6_node_has_no_firewall_of_ours() {
        let mut node = node();
        node.primary_address = "2600::1".parse().unwrap();
        assert_eq!(node.firewall("eth0", Backend::NfTables), None);
    }
}
