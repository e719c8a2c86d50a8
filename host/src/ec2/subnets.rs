//! The subnets that new ENIs may be made in, by their tags.
//!
//! In: what EC2 says of the VPC's subnets in the node's zone. Out: those that are usable, with EC2's count
//! of free addresses. Must hold: when EC2 does not say, the node's own subnet is all there is, and an
//! answer that lacks it is no news.

use aws_sdk_ec2::types::{Filter, Subnet};
use onsen_core::event::SubnetFacts;
use onsen_core::ids::SubnetId;
use std::time::Instant;

use super::{Ec2, MAX_PAGES};

/// `1` lets the subnet be used, `0` forbids it.
const TAG_ROLE: &str = "kubernetes.io/role/cni";
/// Followed by a cluster's name: the subnet is for that cluster only.
const TAG_CLUSTER: &str = "cni.networking.k8s.aws/cluster/";

impl Ec2 {
    /// Usable subnets. Empty when EC2 does not say: the counts are good to have and not needed, and ENIs
    /// are made in the node's own subnet.
    pub(super) async fn subnets(&self) -> Vec<SubnetFacts> {
        if self.place.discovery
            && let Ok(found) = self.subnets_of_zone().await
        {
            let own = self.place.subnet.as_str();
            let usable = |subnet: &&Subnet| is_usable(subnet, own, &self.marks.cluster);
            return found.iter().filter(usable).filter_map(facts).collect();
        }
        let started = Instant::now();
        let call = self.reading.describe_subnets();
        let reply = call.subnet_ids(self.place.subnet.as_str()).send().await;
        let reply = self.noted("DescribeSubnets", started, reply);
        reply.map_or_else(
            |_counted_and_logged| Vec::new(),
            |reply| reply.subnets().iter().filter_map(facts).collect(),
        )
    }

    async fn subnets_of_zone(&self) -> Result<Vec<Subnet>, String> {
        let filters = [
            ("vpc-id", &self.place.vpc),
            ("availability-zone", &self.place.zone),
        ]
        .map(|(name, value)| Filter::builder().name(name).values(value).build());
        let mut found = Vec::new();
        let mut token: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let started = Instant::now();
            let call = self.reading.describe_subnets();
            let call = call.set_filters(Some(filters.to_vec())).max_results(1000);
            let reply = call.set_next_token(token).send().await;
            let reply = self.noted("DescribeSubnets", started, reply)?;
            found.extend_from_slice(reply.subnets());
            match reply.next_token() {
                Some(next) if !next.is_empty() => token = Some(next.to_owned()),
                _ => return Ok(found),
            }
        }
        Err("DescribeSubnets: the list has no end".into())
    }
}

fn facts(subnet: &Subnet) -> Option<SubnetFacts> {
    Some(SubnetFacts {
        id: SubnetId::new(subnet.subnet_id()?),
        free_addresses: u32::try_from(subnet.available_ip_address_count()?).ok()?,
    })
}

/// Upstream's rule. Without a tag only the node's own subnet is usable.
fn is_usable(subnet: &Subnet, own: &str, cluster: &str) -> bool {
    let tags = || {
        let tags = subnet.tags().iter();
        tags.filter_map(|tag| Some((tag.key()?, tag.value().unwrap_or_default())))
    };
    match tags().find(|(key, _)| *key == TAG_ROLE) {
        Some((_, "0")) => false,
        None | Some((_, "")) => subnet.subnet_id() == Some(own),
        Some(_) => {
            let clusters: Vec<&str> = tags()
                .filter_map(|(key, _)| key.strip_prefix(TAG_CLUSTER))
                .collect();
            cluster.is_empty() || clusters.is_empty() || clusters.contains(&cluster)
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::types::Tag;

    use super::*;

    fn subnet(id: &str, tags: &[(&str, &str)]) -> Subnet {
        let tags = tags
            .iter()
            .map(|(key, value)| Tag::builder().key(*key).value(*value).build());
        Subnet::builder()
            .subnet_id(id)
            .set_tags(Some(tags.collect()))
            .build()
    }

    #[test]
    fn tags_say_which_subnets_are_usable() {
        let usable = |id: &str, tags: &[(&str, &str)]| is_usable(&subnet(id, tags), "own", "lab");
        assert!(usable("own", &[]));
        assert!(!usable("own", &[(TAG_ROLE, "0")]));
        assert!(!usable("other", &[]));
        assert!(usable("other", &[(TAG_ROLE, "1")]));
        let (mine, others) = (format!("{TAG_CLUSTER}lab"), format!("{TAG_CLUSTER}prod"));
        assert!(!usable("other", &[(TAG_ROLE, "1"), (&others, "shared")]));
        assert!(usable(
            "other",
            &[(TAG_ROLE, "1"), (&others, ""), (&mine, "")]
        ));
        assert!(is_usable(
            &subnet("other", &[(TAG_ROLE, "1"), (&others, "")]),
            "own",
            ""
        ));
    }
}
