//! A node that grows and shrinks by known steps: what faults are tried on.
//!
//! Each step makes the daemon call EC2 in a known order; between two steps everything is at rest, which
//! means that the daemon and EC2 agree on every ENI and every address, and that every pod answers.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use onsen_harness::cni::{Added, Pod};
use onsen_harness::node::Node;
use onsen_harness::process::with_log;
use onsen_harness::wait::wait_until;
use onsen_harness::{HarnessError, Lab, LabOptions, Result};
use serde_json::json;

/// Guards against hanging.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);
/// What a node that grows by an address and then by an ENI calls, in this order.
pub(crate) const GROWTH: [&str; 4] = [
    "AssignPrivateIpAddresses",
    "CreateNetworkInterface",
    "AttachNetworkInterface",
    "ModifyNetworkInterfaceAttribute",
];
/// What it calls when it gives both back.
pub(crate) const SHRINKAGE: [&str; 3] = [
    "UnassignPrivateIpAddresses",
    "DetachNetworkInterface",
    "DeleteNetworkInterface",
];

/// ENIs by id, with their addresses.
type View = BTreeMap<String, BTreeSet<String>>;

/// See the module.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) lab: Lab,
    /// The pod that is there all the time.
    stays: (Pod, Added),
    comers: Vec<(Pod, Added)>,
    count: usize,
}

impl Bench {
    /// One t3.small (three ENIs of three addresses for pods) that keeps one address warm, with one pod.
    pub(crate) fn start(settings: &[(&str, &str)]) -> Result<Self> {
        let mut options = LabOptions {
            instance_types: vec!["t3.small"],
            ..LabOptions::default()
        };
        let fast = [
            ("WARM_IP_TARGET", "1"),
            ("IP_COOLDOWN_PERIOD", "1"),
            ("ONSEN_EC2_TIMEOUT", "2"),
            ("ONSEN_LOOK_PERIOD", "3"),
            ("ONSEN_ADD_WAIT", "2"),
        ];
        for (key, value) in fast.iter().chain(settings) {
            options
                .settings
                .insert((*key).to_owned(), (*value).to_owned());
        }
        let mut lab = Lab::start(&options)?;
        let pod = Pod::create("stays")?;
        let added = lab.node().plugin.must_add(&pod)?;
        let mut bench = Self {
            lab,
            stays: (pod, added),
            comers: Vec::new(),
            count: 0,
        };
        bench.at_rest("the first pod", 1, 2)?;
        Ok(bench)
    }

    /// The node.
    pub(crate) fn node(&mut self) -> &mut Node {
        self.lab.node()
    }

    /// Adds a pod; one address is warm for it.
    pub(crate) fn add(&mut self) -> Result<()> {
        self.count += 1;
        let pod = Pod::create(&format!("p{}", self.count))?;
        let added = self.node().plugin.must_add(&pod)?;
        self.comers.push((pod, added));
        Ok(())
    }

    /// Two pods more: an address more on the primary ENI, then an ENI more.
    pub(crate) fn grow(&mut self) -> Result<()> {
        self.add()?;
        self.at_rest("an address more", 1, 3)?;
        self.add()?;
        self.at_rest("an ENI more", 2, 4)
    }

    /// All pods but the first leave.
    pub(crate) fn leave(&mut self) -> Result<()> {
        for (pod, added) in std::mem::take(&mut self.comers) {
            self.node().plugin.must_del(&pod, Some(&added.result))?;
        }
        Ok(())
    }

    /// The two pods leave, and what came for them goes back.
    pub(crate) fn shrink(&mut self) -> Result<()> {
        self.leave()?;
        self.at_rest("everything given back", 1, 2)
    }

    /// Waits until the node has so many ENIs and addresses, nothing moves, the daemon and EC2 agree, and
    /// each pod answers.
    pub(crate) fn at_rest(&mut self, what: &str, enis: u32, addresses: u32) -> Result<()> {
        let log = self.node().log();
        wait_until(what, PATIENCE, || {
            self.node().must_run()?;
            let pool = match self.node().status() {
                Ok(status) => status.pool,
                Err(error) => return Ok(Err(error.chain())),
            };
            let (told, real) = self.views()?;
            let rests = (pool.in_flight, pool.waiting, pool.cooling) == (0, 0, 0);
            let settled = (pool.enis, pool.addresses, told == real, rests);
            Ok(if settled == (enis, addresses, true, true) {
                Ok(())
            } else {
                Err(format!("{pool:?}, the daemon: {told:?}, EC2: {real:?}"))
            })
        })
        .map_err(|error| with_log(error, &log))?;
        self.all_answer()
    }

    /// Each pod is reached at the address it was told.
    pub(crate) fn all_answer(&self) -> Result<()> {
        let pods = std::iter::once(&self.stays).chain(&self.comers);
        let netns = self.lab.nodes.first().map(|node| node.netns.name());
        for (pod, added) in pods {
            let node = self.lab.nodes.first();
            let answers = node.map(|node| node.netns.can_ping(added.address));
            if !matches!(answers, Some(Ok(true))) {
                return Err(HarnessError::Protocol(format!(
                    "pod {} with {} does not answer in {netns:?}",
                    pod.name, added.address
                )));
            }
        }
        Ok(())
    }

    /// The address of the pod that stays.
    pub(crate) fn staying(&self) -> IpAddr {
        self.stays.1.address
    }

    /// The ENIs and their addresses as the daemon and as EC2 has them. Somebody else's do not count.
    pub(crate) fn views(&mut self) -> Result<(View, View)> {
        let enis = self.node().enis()?.into_iter();
        let told = enis.map(|eni| {
            let blocks = eni.blocks.into_iter().map(|block| block.cidr);
            (eni.id, blocks.map(|it| it.replace("/32", "")).collect())
        });
        let told = told.collect();
        let real = self.lab.aws.state()?.enis.into_iter();
        let real = real
            .filter(|eni| eni.description != "somebody else's")
            .map(|eni| {
                let addresses = eni.addresses.iter().map(ToString::to_string);
                (eni.id, addresses.chain(eni.prefixes).collect())
            });
        Ok((told, real.collect()))
    }

    /// Switches a fault on for the next call of an operation.
    pub(crate) fn once(&self, name: &str, operation: &str) -> Result<()> {
        let fault = json!({"name": name, "operation": operation, "count": 1});
        self.lab.aws.fault(&fault)
    }

    /// How often EC2 has done what an action asks for, from the `from`th call of its log on.
    pub(crate) fn done(&self, from: usize) -> Result<BTreeMap<String, usize>> {
        let mut done = BTreeMap::new();
        for call in self.lab.aws.log()?.into_iter().skip(from) {
            // An error after the effect is logged as an error; it is counted by what is there at rest.
            if call.result == "ok" {
                *done.entry(call.action).or_default() += 1;
            }
        }
        Ok(done)
    }

    /// How many calls are in the log.
    pub(crate) fn calls(&self) -> Result<usize> {
        Ok(self.lab.aws.log()?.len())
    }

    /// How often the daemon reported something under this word.
    pub(crate) fn reports(&mut self, code: &str) -> Result<usize> {
        let path = self.node().log();
        let text = std::fs::read_to_string(&path).map_err(HarnessError::io("read the log"))?;
        Ok(text.matches(&format!("code=\"{code}\"")).count())
    }

    /// Waits for one more report under this word than `before`.
    pub(crate) fn wait_report(&mut self, code: &str, before: usize) -> Result<()> {
        let log = self.node().log();
        wait_until(&format!("a report of {code}"), PATIENCE, || {
            let seen = self.reports(code)?;
            Ok(if seen > before { Ok(()) } else { Err(seen) })
        })
        .map_err(|error| with_log(error, &log))
    }
}
