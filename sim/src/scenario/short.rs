//! Short forms: where a number or a word says all, people need not write an object.

use std::fmt;
use std::marker::PhantomData;

use onsen_policy_runner::documents::Span;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::expect::Number;
use super::format::{Arrive, ArriveMap, Leave, LeaveMap, Range};

/// Reads a number, a word or an object: people write the short form where it says all.
struct Short<N, W, M> {
    expected: &'static str,
    number: N,
    word: W,
    map: M,
}

impl<'de, T, Map, N, W, M> Visitor<'de> for Short<N, W, (M, PhantomData<Map>)>
where
    N: FnOnce(u64) -> Option<T>,
    W: FnOnce(&str) -> Option<T>,
    M: FnOnce(Map) -> Option<T>,
    Map: Deserialize<'de>,
{
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<T, E> {
        let expected = self.expected;
        (self.number)(number).ok_or_else(|| E::custom(format!("{number} is not {expected}")))
    }

    fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<T, E> {
        let expected = self.expected;
        (self.word)(word).ok_or_else(|| E::custom(format!("{word:?} is not {expected}")))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        let map = Map::deserialize(MapAccessDeserializer::new(map))?;
        (self.map.0)(map)
            .ok_or_else(|| serde::de::Error::custom(format!("this is not {}", self.expected)))
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = |range: Range| Some(Self(range));
        deserializer.deserialize_any(Short {
            expected: "a whole number or {min: N, max: N}",
            number: |number| Some(Self::exactly(number)),
            word: |_: &str| None,
            map: (map, PhantomData),
        })
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (self.0.min, self.0.max) {
            (Some(min), Some(max)) if min == max => serializer.serialize_u64(min),
            _ => self.0.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Arrive {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = |map: ArriveMap| {
            let count = match (map.count, map.names.len() as u32) {
                (Some(count), 0) => count,
                (None, names) if names > 0 => names,
                _ => return None,
            };
            Some(Self {
                count,
                every: map.every,
                names: map.names,
            })
        };
        deserializer.deserialize_any(Short {
            expected: "a number of pods, {count: N, every: TIME} or {names: [...]}",
            number: |number| {
                Some(Self {
                    count: u32::try_from(number).ok()?,
                    every: Span::default(),
                    names: Vec::new(),
                })
            },
            word: |_: &str| None,
            map: (map, PhantomData),
        })
    }
}

impl<'de> Deserialize<'de> for Leave {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = |map: LeaveMap| match (map.newest, map.oldest, map.names) {
            (Some(count), None, None) => Some(Self::Newest(count)),
            (None, Some(count), None) => Some(Self::Oldest(count)),
            (None, None, Some(names)) => Some(Self::Named(names)),
            _ => None,
        };
        deserializer.deserialize_any(Short {
            expected: "a number of the newest pods, `all`, or one of {newest: N}, {oldest: N}, {names: [...]}",
            number: |number| Some(Self::Newest(u32::try_from(number).ok()?)),
            word: |word: &str| (word == "all").then_some(Self::All),
            map: (map, PhantomData),
        })
    }
}
