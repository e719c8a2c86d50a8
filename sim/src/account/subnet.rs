//! A subnet's address space: who holds what, and what is free.
//!
//! Must hold: an address has at most one holder; the five reserved addresses have none; a prefix is an
//! aligned /28 of which no address has another holder.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::{Cidr, Reservation, ReservationKind};

/// The length of an IPv4 prefix on an ENI.
pub const PREFIX_LEN: u8 = 28;

#[derive(Debug, Clone)]
pub(super) struct Subnet {
    pub(super) id: String,
    pub(super) cidr: Cidr,
    pub(super) zone: String,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) reservations: Vec<Reservation>,
    addresses: BTreeMap<Ipv4Addr, String>,
    prefixes: BTreeMap<Cidr, String>,
}

impl Subnet {
    pub(super) fn new(
        id: String,
        cidr: Cidr,
        zone: String,
        tags: BTreeMap<String, String>,
    ) -> Self {
        Self {
            id,
            cidr,
            zone,
            tags,
            reservations: Vec::new(),
            addresses: BTreeMap::new(),
            prefixes: BTreeMap::new(),
        }
    }

    /// The first four addresses (network, gateway, DNS, future use) and the last one.
    pub(super) fn is_reserved(&self, address: Ipv4Addr) -> bool {
        address.to_bits() < self.cidr.at(4).to_bits() || address == self.cidr.last()
    }

    /// The ENI that holds `address`, by itself or within a prefix.
    pub(super) fn holder(&self, address: Ipv4Addr) -> Option<&str> {
        let prefix = Cidr::around(address, PREFIX_LEN);
        self.addresses
            .get(&address)
            .or_else(|| self.prefixes.get(&prefix))
            .map(String::as_str)
    }

    pub(super) fn is_free(&self, address: Ipv4Addr) -> bool {
        self.cidr.contains(address) && !self.is_reserved(address) && self.holder(address).is_none()
    }

    pub(super) fn is_free_prefix(&self, block: Cidr) -> bool {
        block.length() == PREFIX_LEN
            && self.cidr.covers(block)
            && !self.prefixes.contains_key(&block)
            && !self.is_reserved(block.first())
            && !self.is_reserved(block.last())
            && self
                .addresses
                .range(block.first()..=block.last())
                .next()
                .is_none()
    }

    pub(super) fn free_addresses(&self) -> Vec<Ipv4Addr> {
        self.cidr
            .addresses()
            .filter(|it| self.is_free(*it))
            .collect()
    }

    /// The addresses that EC2 may pick: not those of any reservation.
    pub(super) fn pickable_addresses(&self) -> Vec<Ipv4Addr> {
        let mut free = self.free_addresses();
        free.retain(|it| !self.reservations.iter().any(|part| part.cidr.contains(*it)));
        free
    }

    /// The prefixes that EC2 may pick, in two lots: those that are kept for that come first.
    pub(super) fn pickable_prefixes(&self) -> [Vec<Cidr>; 2] {
        let kept = |it: &Cidr, kind| {
            let parts = self.reservations.iter();
            let mut parts = parts.filter(|part| part.kind == kind);
            parts.any(|part| part.cidr.overlaps(*it))
        };
        let free = self.free_prefixes().into_iter();
        let (first, rest): (Vec<Cidr>, Vec<Cidr>) = free
            .filter(|it| !kept(it, ReservationKind::Explicit))
            .partition(|it| kept(it, ReservationKind::Prefix));
        [first, rest]
    }

    pub(super) fn free_prefixes(&self) -> Vec<Cidr> {
        let blocks = self.cidr.size() / 16;
        (0..blocks)
            .map(|n| Cidr::around(self.cidr.at(n as u32 * 16), PREFIX_LEN))
            .filter(|it| self.is_free_prefix(*it))
            .collect()
    }

    /// What EC2 tells: free addresses, without those that are kept for a purpose.
    pub(super) fn free_count(&self) -> usize {
        if !self.reservations.is_empty() {
            return self.pickable_addresses().len();
        }
        (self.cidr.size() as usize)
            .saturating_sub(5 + self.addresses.len() + 16 * self.prefixes.len())
    }

    /// Gives `block` (an address as a /32, or a prefix) to an ENI. The caller has checked that it is free.
    pub(super) fn hold(&mut self, block: Cidr, eni_id: &str) {
        if block.is_address() {
            self.addresses.insert(block.first(), eni_id.to_owned());
        } else {
            self.prefixes.insert(block, eni_id.to_owned());
        }
    }

    pub(super) fn release(&mut self, block: Cidr) {
        if block.is_address() {
            self.addresses.remove(&block.first());
        } else {
            self.prefixes.remove(&block);
        }
    }

    /// Everything held, with its holder.
    #[cfg(test)]
    pub(super) fn held(&self) -> impl Iterator<Item = (Cidr, &str)> {
        let addresses = self
            .addresses
            .iter()
            .map(|(it, eni)| (Cidr::address(*it), eni.as_str()));
        addresses.chain(self.prefixes.iter().map(|(it, eni)| (*it, eni.as_str())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn subnet(cidr: &str) -> Subnet {
        Subnet::new(
            "subnet-0".into(),
            cidr.parse().unwrap(),
            "a".into(),
            BTreeMap::new(),
        )
    }

    #[test]
    fn five_addresses_are_reserved_and_the_outer_blocks_are_no_prefixes() {
        for (cidr, addresses, prefixes) in [
            ("10.0.0.0/24", 251, 14),
            ("10.0.0.0/27", 27, 0),
            ("10.0.0.0/28", 11, 0),
            ("10.0.0.0/22", 1019, 62),
        ] {
            let subnet = subnet(cidr);
            assert_eq!(subnet.free_addresses().len(), addresses, "{cidr}");
            assert_eq!(subnet.free_count(), addresses, "{cidr}");
            assert_eq!(subnet.free_prefixes().len(), prefixes, "{cidr}");
        }
    }

    #[test]
    fn what_is_kept_for_prefixes_is_given_first_and_counts_for_no_address() {
        let mut subnet = subnet("10.0.0.0/24");
        subnet.reservations = vec![
            Reservation {
                cidr: "10.0.0.128/26".parse().unwrap(),
                kind: ReservationKind::Prefix,
            },
            Reservation {
                cidr: "10.0.0.64/26".parse().unwrap(),
                kind: ReservationKind::Explicit,
            },
        ];
        let [first, rest] = subnet.pickable_prefixes();
        assert_eq!((first.len(), rest.len()), (4, 14 - 4 - 4));
        assert!(first.iter().all(|it| it.first().octets()[3] >= 128));
        assert_eq!(subnet.free_count(), 251 - 128);
        subnet.hold(first[0], "eni-0");
        // Already taken off the count.
        assert_eq!(subnet.free_count(), 251 - 128);
        subnet.hold(rest[0], "eni-0");
        assert_eq!(subnet.free_count(), 251 - 128 - 16);
    }

    /// A block survives n random placements among u addresses with probability C(u-16, n) / C(u, n).
    #[test]
    fn random_single_addresses_break_prefixes_as_the_formula_says() {
        for (cidr, singles, expected) in [
            ("10.0.0.0/24", 10, 7.2),
            ("10.0.0.0/24", 20, 3.6),
            ("10.0.0.0/22", 60, 23.0),
            ("10.0.0.0/22", 120, 8.2),
        ] {
            let mut rng = Rng::new(7);
            let rounds = 200;
            let mut left = 0;
            for _ in 0..rounds {
                let mut subnet = subnet(cidr);
                for address in rng.sample(subnet.free_addresses(), singles) {
                    subnet.hold(Cidr::address(address), "eni-0");
                }
                left += subnet.free_prefixes().len();
            }
            let mean = left as f64 / f64::from(rounds);
            assert!(
                (mean - expected).abs() < expected * 0.1,
                "{cidr}, {singles} singles: {mean}, not {expected}"
            );
        }
    }
}
