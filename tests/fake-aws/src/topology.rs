//! What to build, as a JSON file: `{"nodes":[{"name":"node-1","instance_type":"m5.large"}]}` at the least.

use std::path::Path;

use onsen_sim::account::{BadCidr, Cidr, Config, NodeConfig, SubnetConfig};
use serde::Deserialize;

use crate::fabric::ROUTER;

/// The file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Topology {
    #[serde(default = "default_region")]
    region: String,
    /// The region with `a` at its end, when absent.
    zone: Option<String>,
    vpc_cidr: Option<Cidr>,
    subnets: Option<Vec<SubnetConfig>>,
    nodes: Vec<NodeConfig>,
}

fn default_region() -> String {
    "eu-west-1".to_owned()
}

/// Why a topology cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TopologyError {
    #[error("cannot read the topology {path}: {source}")]
    Read {
        path: String,
        source: std::io::Error,
    },
    #[error("the topology {path} is not valid: {source}")]
    Parse {
        path: String,
        source: serde_json::Error,
    },
    #[error("node name `{0}`: use 1 to 32 of a-z, 0-9 and -, and not `{ROUTER}`")]
    NodeName(String),
    #[error(transparent)]
    Cidr(#[from] BadCidr),
}

impl Topology {
    /// Reads `path`.
    pub(crate) fn read(path: &Path) -> Result<Self, TopologyError> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|source| TopologyError::Read {
            path: name.clone(),
            source,
        })?;
        serde_json::from_str(&text).map_err(|source| TopologyError::Parse { path: name, source })
    }

    /// The account to model.
    pub(crate) fn config(
        self,
        latency_scale: f64,
        read_lag_scale: f64,
    ) -> Result<Config, TopologyError> {
        for node in &self.nodes {
            let plain = |it: char| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '-';
            let fits = (1..=32).contains(&node.name.len()) && node.name.chars().all(plain);
            // A name is also a file under /run/netns and an argument of `ip`.
            if !fits || node.name.starts_with('-') || node.name == ROUTER {
                return Err(TopologyError::NodeName(node.name.clone()));
            }
        }
        let whole = |cidr: &str| {
            Ok::<_, BadCidr>(SubnetConfig {
                cidr: cidr.parse()?,
                zone: None,
                tags: [].into(),
                reservations: Vec::new(),
            })
        };
        Ok(Config {
            zone: self.zone.unwrap_or_else(|| format!("{}a", self.region)),
            region: self.region,
            vpc_cidr: self.vpc_cidr.map_or_else(|| "10.0.0.0/16".parse(), Ok)?,
            subnets: self
                .subnets
                .map_or_else(|| Ok::<_, BadCidr>(vec![whole("10.0.0.0/24")?]), Ok)?,
            nodes: self.nodes,
            latency_scale,
            read_lag_scale,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topology_needs_only_nodes() {
        let topology: Topology =
            serde_json::from_str(r#"{"nodes":[{"name":"node-1","instance_type":"m5.large"}]}"#)
                .unwrap();
        let config = topology.config(1.0, 0.0).unwrap();
        assert_eq!(
            (config.region.as_str(), config.zone.as_str()),
            ("eu-west-1", "eu-west-1a")
        );
        assert_eq!(config.subnets.len(), 1);
        assert_eq!(config.nodes.first().unwrap().subnet, 0);
    }

    #[test]
    fn a_topology_with_a_typo_or_an_unusable_name_is_refused() {
        assert!(serde_json::from_str::<Topology>(r#"{"node":[]}"#).is_err());
        for name in ["vpc", "", "../x", "-n", "Node"] {
            let text = format!(r#"{{"nodes":[{{"name":"{name}","instance_type":"m5.large"}}]}}"#);
            let topology: Topology = serde_json::from_str(&text).unwrap();
            assert!(topology.config(1.0, 0.0).is_err(), "{name}");
        }
    }
}
