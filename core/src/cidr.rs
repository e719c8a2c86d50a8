//! Blocks as numbers: a single address or a prefix, IPv4 or IPv6.
//!
//! Must hold: the base is aligned to the length.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What one slot of an ENI can hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unit {
    /// One secondary address.
    #[default]
    Address,
    /// A /28 of IPv4 or a /80 of IPv6.
    Prefix,
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Address => "address",
            Self::Prefix => "prefix",
        })
    }
}

/// A range of addresses that fills one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    base: IpAddr,
    length: u8,
}

impl Cidr {
    /// Absent when the length does not fit the family or the base is not aligned to it.
    pub fn new(base: IpAddr, length: u8) -> Option<Self> {
        let cidr = Self { base, length };
        let bits = if base.is_ipv4() { 32 } else { 128 };
        (length <= bits && to_number(base) & (cidr.size() - 1) == 0).then_some(cidr)
    }

    /// The block that is just this address.
    pub fn single(address: IpAddr) -> Self {
        Self {
            base: address,
            length: if address.is_ipv4() { 32 } else { 128 },
        }
    }

    /// The block at this number, as a snapshot names it; what does not fit becomes one address.
    pub(crate) fn of_number(number: u128, length: u8, v4: bool) -> Self {
        let base = from_number(number, v4);
        Self::new(base, length).unwrap_or_else(|| Self::single(base))
    }

    /// Reads `10.0.0.16/28` or a bare address.
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once('/') {
            Some((base, length)) => Self::new(base.parse().ok()?, length.parse().ok()?),
            None => Some(Self::single(text.parse().ok()?)),
        }
    }

    /// Sorts after every block that starts at this address or before it.
    pub(crate) fn after(address: IpAddr) -> Self {
        Self {
            base: address,
            length: u8::MAX,
        }
    }

    /// First address.
    pub fn base(&self) -> IpAddr {
        self.base
    }

    /// Prefix length in bits.
    pub fn length(&self) -> u8 {
        self.length
    }

    /// A single address or a prefix.
    pub fn unit(&self) -> Unit {
        if *self == Self::single(self.base) {
            Unit::Address
        } else {
            Unit::Prefix
        }
    }

    /// Number of addresses, all usable by pods; a /0 of IPv6 saturates.
    pub fn size(&self) -> u128 {
        let bits = if self.base.is_ipv4() { 32 } else { 128 };
        1u128
            .checked_shl(bits - u32::from(self.length))
            .unwrap_or(u128::MAX)
    }

    /// Whether the address lies in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.base.is_ipv4() == address.is_ipv4()
            && to_number(address)
                .checked_sub(to_number(self.base))
                .is_some_and(|offset| offset < self.size())
    }

    /// Whether they have an address in common.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.contains(other.base) || other.contains(self.base)
    }

    /// All addresses, lowest first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        let (base, v4) = (to_number(self.base), self.base.is_ipv4());
        (0..self.size()).map(move |offset| from_number(base + offset, v4))
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.length)
    }
}

/// The address as a number, network order.
pub fn to_number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

fn from_number(number: u128, v4: bool) -> IpAddr {
    if v4 {
        // The caller stays inside a block whose base was an IPv4 address.
        IpAddr::V4(Ipv4Addr::from(number as u32))
    } else {
        IpAddr::V6(Ipv6Addr::from(number))
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn a_prefix_knows_its_sixteen_addresses() {
        let cidr = Cidr::parse("10.0.0.16/28").unwrap();
        assert_eq!(cidr.size(), 16);
        assert_eq!(cidr.unit(), Unit::Prefix);
        let all: alloc::vec::Vec<_> = cidr.addresses().collect();
        assert_eq!(all.first().unwrap().to_string(), "10.0.0.16");
        assert_eq!(all.last().unwrap().to_string(), "10.0.0.31");
        assert!(all.iter().all(|address| cidr.contains(*address)));
        assert!(!cidr.contains("10.0.0.32".parse().unwrap()));
        assert!(!cidr.contains("::a00:10".parse().unwrap()));
    }

    #[test]
    fn a_base_that_is_not_aligned_is_refused() {
        assert_eq!(Cidr::parse("10.0.0.17/28"), None);
        assert_eq!(Cidr::parse("10.0.0.0/33"), None);
        assert_eq!(Cidr::parse("nonsense"), None);
    }

    #[test]
    fn the_whole_of_ipv6_does_not_overflow() {
        assert!(
            Cidr::parse("::/0")
                .unwrap()
                .contains("ffff::1".parse().unwrap())
        );
    }
}
