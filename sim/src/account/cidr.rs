//! IPv4 CIDR blocks: a VPC, a subnet, a /28 prefix, or a single address as a /32.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An IPv4 network: a base address whose host bits are zero, and a length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr {
    base: u32,
    len: u8,
}

/// Why a text is not a CIDR block.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an IPv4 CIDR block such as 10.0.0.0/24 with all host bits zero")]
pub struct BadCidr(String);

impl Cidr {
    /// The block of `len` bits at `base`; none when `len` is over 32 or a host bit is set.
    pub fn new(base: Ipv4Addr, len: u8) -> Option<Self> {
        let block = Self {
            base: base.to_bits(),
            len,
        };
        (len <= 32 && block.base & !mask(len) == 0).then_some(block)
    }

    /// One address, as a /32.
    pub fn address(address: Ipv4Addr) -> Self {
        Self {
            base: address.to_bits(),
            len: 32,
        }
    }

    /// The block of `len` bits that holds `address`.
    pub(super) fn around(address: Ipv4Addr, len: u8) -> Self {
        Self {
            base: address.to_bits() & mask(len),
            len,
        }
    }

    /// The number of leading bits that are fixed.
    pub fn length(self) -> u8 {
        self.len
    }

    /// Whether the block is a single address.
    pub fn is_address(self) -> bool {
        self.len == 32
    }

    /// How many addresses the block spans.
    pub fn size(self) -> u64 {
        1 << (32 - u32::from(self.len))
    }

    /// The lowest address.
    pub fn first(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.base)
    }

    /// The highest address.
    pub fn last(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.base | !mask(self.len))
    }

    /// The address at `offset` from the first one; it stays inside the block when `offset < size()`.
    pub fn at(self, offset: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.base.wrapping_add(offset))
    }

    /// Whether `address` lies in the block.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        address.to_bits() & mask(self.len) == self.base
    }

    /// Whether the whole of `other` lies in the block.
    pub fn covers(self, other: Self) -> bool {
        self.len <= other.len && self.contains(other.first())
    }

    /// Whether the two blocks share an address.
    pub fn overlaps(self, other: Self) -> bool {
        self.covers(other) || other.covers(self)
    }

    /// Every address, lowest first.
    pub fn addresses(self) -> impl Iterator<Item = Ipv4Addr> {
        (self.base..=self.last().to_bits()).map(Ipv4Addr::from_bits)
    }
}

fn mask(len: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0)
}

impl FromStr for Cidr {
    type Err = BadCidr;

    fn from_str(text: &str) -> Result<Self, BadCidr> {
        text.split_once('/')
            .and_then(|(base, len)| Self::new(base.parse().ok()?, len.parse().ok()?))
            .ok_or_else(|| BadCidr(text.to_owned()))
    }
}

impl TryFrom<String> for Cidr {
    type Error = BadCidr;

    fn try_from(text: String) -> Result<Self, BadCidr> {
        text.parse()
    }
}

impl From<Cidr> for String {
    fn from(block: Cidr) -> Self {
        block.to_string()
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first(), self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_parses_only_with_zero_host_bits() {
        let block: Cidr = "10.0.1.16/28".parse().unwrap();
        assert_eq!(
            (block.first(), block.last(), block.size()),
            ([10, 0, 1, 16].into(), [10, 0, 1, 31].into(), 16)
        );
        for bad in ["10.0.1.17/28", "10.0.1.0", "10.0.1.0/33", "10.0.1/24", ""] {
            assert!(bad.parse::<Cidr>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_whole_space_contains_everything() {
        let all: Cidr = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains([255, 255, 255, 255].into()));
        assert!(all.covers("10.0.0.0/8".parse().unwrap()));
        assert!(!Cidr::address([10, 0, 0, 1].into()).overlaps(Cidr::address([10, 0, 0, 2].into())));
    }
}
