//! A policy's life through a scene, in figures.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use onsen_policy_runner::{Engine, Limits, Policy};
use onsen_sim::simulate::{self, Candidate, Figures, Scene};
use onsen_sim::workload::Workload;

/// What came of it.
pub(crate) struct Lived {
    pub(crate) figures: Figures,
    pub(crate) waits: Vec<u64>,
}

impl Lived {
    /// Requests that ended without an address.
    pub(crate) fn refused(&self) -> u64 {
        self.figures.pods.refused.values().sum()
    }
}

pub(crate) fn load(wasm: &[u8]) -> Arc<Policy> {
    let engine = Engine::new(Limits::default(), None).unwrap();
    Arc::new(engine.load(wasm).unwrap())
}

pub(crate) fn workload(path: &Path) -> Workload {
    let text = std::fs::read_to_string(path).unwrap();
    Workload::read(&text).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
}

/// Lives through the scene; `built_in` decides when the policy fails.
pub(crate) fn live(
    scene: &Scene,
    name: &str,
    policy: &Arc<Policy>,
    built_in: &Arc<Policy>,
) -> Lived {
    let candidate = Candidate {
        reference: name.to_owned(),
        settings: BTreeMap::new(),
        policy: Arc::clone(policy),
    };
    let run = simulate::run(scene, &candidate, built_in, &mut |_| ())
        .unwrap_or_else(|why| panic!("{name}: {why}"));
    Lived {
        figures: run.scorecard,
        waits: run.nodes.into_iter().flat_map(|node| node.waits).collect(),
    }
}
