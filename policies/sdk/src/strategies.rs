//! Random pools for property tests with proptest.
//!
//! In: the settings that a policy reads. Out: pools as a node may have them, and what an operator
//! may have written. Must hold: a pool breaks no law of its own, so what a policy is blamed for is
//! its own doing.
//!
//! ```
//! use onsen_policy_sdk::settings::Integer;
//! use onsen_policy_sdk::steps::{Supply, settle};
//! use onsen_policy_sdk::strategies::{pools, settings};
//! use onsen_policy_sdk::{Draft, Placement};
//! use proptest::prelude::*;
//!
//! const KEEP: Integer = Integer { key: "KEEP", default: 4, min: 0, max: 64, doc: "Kept free." };
//!
//! proptest!(|(mut node in pools(), settings in settings(&[KEEP.spec()]))| {
//!     node.settings = settings;
//!     node.rest(|view| {
//!         let mut draft = Draft::default();
//!         let wanted = Supply::of(view).wanted(KEEP.read(view.settings()).into());
//!         let verdict = settle(view, wanted, 60, &mut draft);
//!         Ok(draft.finish(Placement::Pack, verdict.into()))
//!     });
//! });
//! ```

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use proptest::prelude::*;

use crate::testing::Pool;
use crate::{Setting, SettingKind, SettingSpec, Unit};

/// Sizes of real nodes: ENIs, slots of each.
const SIZES: [(u32, u32); 5] = [(2, 3), (3, 9), (4, 14), (8, 29), (15, 49)];

/// An address or a prefix.
pub fn units() -> impl Strategy<Value = Unit> {
    prop_oneof![Just(Unit::Address), Just(Unit::Prefix)]
}

/// A node of some size, with some pods, some time later.
pub fn pools() -> impl Strategy<Value = Pool> {
    let size = prop::sample::select(&SIZES[..]);
    (size, units(), 0..100u32, 0..60u32, 0..60u32, 0..600u64).prop_map(
        |((enis, slots), unit, filled, pods, gone, later)| {
            let mut node = Pool::new(enis, slots, unit);
            node.fill(0, unit, slots * filled / 100);
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

/// Texts for a setting: values that it may have, for integers also those just outside of the range,
/// and nonsense.
pub fn texts(spec: &SettingSpec) -> BoxedStrategy<String> {
    let nonsense = "\\PC{0,8}";
    match spec.kind {
        SettingKind::Text => nonsense.boxed(),
        SettingKind::Boolean => {
            prop_oneof![4 => any::<bool>().prop_map(|value| value.to_string()), 1 => nonsense]
                .boxed()
        }
        SettingKind::Integer => {
            let (min, max) = (spec.min.unwrap_or(i64::MIN), spec.max.unwrap_or(i64::MAX));
            let outside = [min.saturating_sub(1), max.saturating_add(1)];
            prop_oneof![
                4 => (min..=max).prop_map(|value| value.to_string()),
                1 => prop::sample::select(outside.to_vec()).prop_map(|value| value.to_string()),
                1 => nonsense,
            ]
            .boxed()
        }
    }
}

/// What an operator may have written for some of these settings.
pub fn settings(specs: &[SettingSpec]) -> impl Strategy<Value = Vec<Setting>> + use<> {
    let each: Vec<_> = specs
        .iter()
        .map(|spec| {
            let key = spec.key.clone();
            prop::option::of(texts(spec).prop_map(move |value| Setting {
                key: key.clone(),
                value,
            }))
        })
        .collect();
    each.prop_map(|all| all.into_iter().flatten().collect())
}
