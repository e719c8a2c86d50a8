//! A whole world in one value: the fake AWS, its nodes, and a folder for their files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::aws::FakeAws;
use crate::error::{HarnessError, Result};
use crate::node::Node;

/// What a lab is made of.
#[derive(Clone, Debug)]
pub struct LabOptions {
    /// One node per entry.
    pub instance_types: Vec<&'static str>,
    /// 1.0 makes EC2 as slow as it is.
    pub latency_scale: f64,
    /// Settings of every daemon.
    pub settings: BTreeMap<String, String>,
    /// Seed of the fake AWS.
    pub seed: u64,
    /// Where the lab's files go: the private `/run`, which vanishes with the namespaces, or a
    /// folder that others can see.
    pub base: PathBuf,
}

impl Default for LabOptions {
    /// One m5.large that lives fast: every duration is scaled down alike.
    fn default() -> Self {
        Self {
            instance_types: vec!["m5.large"],
            latency_scale: 0.1,
            settings: [
                ("IP_COOLDOWN_PERIOD", "2"),
                ("ONSEN_MIN_ENI_AGE", "1"),
                ("ONSEN_LOOK_PERIOD", "5"),
                ("ONSEN_CONSISTENCY", "2"),
            ]
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
            seed: 1,
            base: PathBuf::from("/run"),
        }
    }
}

/// A running world. Dropping it ends every process and removes every namespace and file.
#[derive(Debug)]
pub struct Lab {
    /// The nodes; their daemons end first.
    pub nodes: Vec<Node>,
    /// EC2, IMDS and the VPC.
    pub aws: FakeAws,
    dir: TempDir,
}

impl Lab {
    /// Starts the fake AWS and describes the nodes; no daemon runs yet.
    pub fn without_daemons(options: &LabOptions) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("onsen-lab-")
            .tempdir_in(&options.base)
            .map_err(HarnessError::io("create a folder for the lab"))?;
        let aws = FakeAws::start(
            dir.path(),
            &options.instance_types,
            options.latency_scale,
            options.seed,
        )?;
        let nodes = aws
            .ready()
            .nodes
            .iter()
            .map(|instance| {
                let files = dir.path().join(&instance.name);
                Node::new(instance, aws.ready(), &files, &options.settings)
            })
            .collect::<Result<_>>()?;
        Ok(Self { nodes, aws, dir })
    }

    /// Starts everything and waits until every daemon serves.
    pub fn start(options: &LabOptions) -> Result<Self> {
        let mut lab = Self::without_daemons(options)?;
        for node in &mut lab.nodes {
            node.start()?;
        }
        for node in &mut lab.nodes {
            node.wait_ready()?;
        }
        Ok(lab)
    }

    /// Where its files are.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The first node.
    pub fn node(&mut self) -> &mut Node {
        #[expect(clippy::indexing_slicing, reason = "a lab has at least one node")]
        &mut self.nodes[0]
    }
}
