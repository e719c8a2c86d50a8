//! Random pools for property tests with proptest.
//!
//! In: nothing. Out: pools as a node may have them, and settings inside or outside of a range.
//! Must hold: a pool breaks no law of its own, so what a policy is blamed for is its own doing.
//!
//! ```
//! use onsen_policy_sdk::strategies::pools;
//! use proptest::prelude::*;
//!
//! proptest!(|(node in pools())| {
//!     prop_assert!(node.enis.len() as u32 <= node.max_enis);
//! });
//! ```

use alloc::string::{String, ToString};

use proptest::prelude::*;

use crate::Unit;
use crate::settings::Integer;
use crate::testing::Pool;

/// Sizes of real nodes: ENIs, slots of each.
const SIZES: [(u32, u32); 5] = [(2, 3), (3, 9), (4, 14), (8, 29), (15, 49)];

/// An address or a prefix.
pub fn units() -> impl Strategy<Value = Unit> {
    prop_oneof![Just(Unit::Address), Just(Unit::Prefix)]
}

/// A node of some size, with some pods, some time later.
pub fn pools() -> impl Strategy<Value = Pool> {
    let size = prop::sample::select(&SIZES[..]);
    (size, units(), 0.0..1.0f64, 0..60u32, 0..60u32, 0..600u64).prop_map(
        |((enis, slots), unit, filled, pods, gone, later)| {
            let mut node = Pool::new(enis, slots, unit);
            node.fill(0, unit, (f64::from(slots) * filled) as u32);
            for _ in 0..pods {
                node.add_pod();
            }
            for _ in 0..gone.min(pods) {
                node.delete_pod();
            }
            node.pass(later * crate::SECOND);
            node
        },
    )
}

/// Texts for an integer setting: values in its range, just outside of it, and nonsense.
pub fn texts(setting: &Integer) -> impl Strategy<Value = String> + use<> {
    let (min, max) = (i64::from(setting.min), i64::from(setting.max));
    prop_oneof![
        4 => (min..=max).prop_map(|value| value.to_string()),
        1 => Just((min - 1).to_string()),
        1 => Just((max + 1).to_string()),
        1 => "\\PC{0,8}",
    ]
}
