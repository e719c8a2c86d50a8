//! What each instance type's network can hold, read from the table in `data/`.

use onsen_core::snapshot::Limits;
use serde::Serialize;

const TABLE: &str = include_str!("../../data/instance-types.csv");

/// The most addresses an ENI of any type may hold; what EC2 can check while the ENI is not attached.
pub(super) const LARGEST_IPV4_LIMIT: usize = 64;

/// An instance type's network limits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InstanceType {
    /// Such as `m5.large`.
    pub name: String,
    /// Network cards; nearly always 1.
    pub network_cards: u32,
    /// ENIs each card takes.
    pub enis_per_card: u32,
    /// IPv4 addresses per ENI; the primary counts, a /28 prefix counts as one.
    pub ipv4_per_eni: u32,
    /// IPv6 addresses per ENI.
    pub ipv6_per_eni: u32,
    /// `nitro` or `xen`; absent for bare metal and two legacy types.
    pub hypervisor: Option<String>,
    /// Whether the type has no hypervisor.
    pub bare_metal: bool,
    /// Virtual processors; absent when no source names them.
    pub vcpus: Option<u32>,
    /// Whether it takes a trunk ENI; absent when no source says so.
    pub trunk: Option<bool>,
}

impl InstanceType {
    /// The type called `name`.
    pub fn find(name: &str) -> Option<Self> {
        let line = TABLE.lines().find(|it| {
            it.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(','))
        });
        line.and_then(parse)
    }

    /// Every type, by name.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.lines().filter_map(parse)
    }

    /// Whether ENIs on this type may hold prefixes.
    pub fn takes_prefixes(&self) -> bool {
        self.bare_metal || self.hypervisor.as_deref() == Some("nitro")
    }

    /// Whether it takes a trunk ENI. As `aws-node` does, what is not known is taken for yes.
    pub fn takes_trunk(&self) -> bool {
        self.trunk.unwrap_or(true)
    }

    /// What a node of this type may hold on card 0, as policies see it.
    pub fn limits(&self) -> Limits {
        Limits {
            enis: self.enis_per_card,
            other_cards: Vec::new(),
            slots_per_eni: self.ipv4_per_eni.saturating_sub(1),
            prefixes: self.takes_prefixes(),
            addresses_per_prefix: 16,
            trunk: self.takes_trunk(),
        }
    }
}

fn parse(line: &str) -> Option<InstanceType> {
    let mut fields = line.split(',');
    let name = fields.next().filter(|name| !name.starts_with('#'))?;
    let mut number = || fields.next()?.parse().ok();
    let (network_cards, enis_per_card, ipv4_per_eni, ipv6_per_eni) =
        (number()?, number()?, number()?, number()?);
    let hypervisor = fields.next()?;
    Some(InstanceType {
        name: name.to_owned(),
        network_cards,
        enis_per_card,
        ipv4_per_eni,
        ipv6_per_eni,
        hypervisor: (hypervisor != "-").then(|| hypervisor.to_owned()),
        bare_metal: fields.next()? == "1",
        vcpus: match fields.next()? {
            "-" => None,
            number => Some(number.parse().ok()?),
        },
        trunk: match fields.next()? {
            "-" => None,
            flag => Some(flag == "1"),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_parses() {
        let lines = TABLE.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(InstanceType::all().count(), lines);
        assert_eq!(lines, 1391);
        assert!(InstanceType::all().all(|it| it.ipv4_per_eni as usize <= LARGEST_IPV4_LIMIT));
    }

    #[test]
    fn known_types_have_their_known_limits() {
        let m5 = InstanceType::find("m5.large").unwrap();
        assert_eq!(
            (m5.network_cards, m5.enis_per_card, m5.ipv4_per_eni),
            (1, 3, 10)
        );
        assert!(m5.takes_prefixes() && m5.takes_trunk());
        assert_eq!(m5.vcpus, Some(2));
        assert_eq!((m5.limits().enis, m5.limits().slots_per_eni), (3, 9));
        assert!(!InstanceType::find("t3.large").unwrap().takes_trunk());
        assert!(!InstanceType::find("m4.4xlarge").unwrap().takes_prefixes());
        let p4d = InstanceType::find("p4d.24xlarge").unwrap();
        assert_eq!((p4d.network_cards, p4d.enis_per_card), (4, 15));
        assert_eq!(InstanceType::find("m5.colossal"), None);
    }
}
