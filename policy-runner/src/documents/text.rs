//! Values that documents spell as text: CIDRs, times, durations, bytes, settings.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use onsen_core::cidr::Cidr;
use onsen_core::time::Millis;
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A block's range, `10.0.0.16/28`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CidrText(pub(crate) Cidr);

/// A point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Time {
    /// Milliseconds since 1970.
    At(Millis),
    /// Milliseconds before the snapshot's `now`.
    Before(Millis),
    /// Milliseconds after it.
    After(Millis),
}

impl Time {
    pub(crate) fn resolve(self, now: Millis) -> Millis {
        match self {
            Self::At(time) => time,
            Self::Before(span) => now.saturating_sub(span),
            Self::After(span) => now.saturating_add(span),
        }
    }
}

/// A length of time in milliseconds; people write `90s` or `1m 30s` too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span(pub Millis);

/// Bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

/// The value of a setting. People write numbers and flags without quotes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scalar(pub String);

fn millis(span: Duration) -> Option<Millis> {
    Millis::try_from(span.as_millis()).ok()
}

fn parse_span(text: &str) -> Option<Millis> {
    millis(humantime::parse_duration(text).ok()?)
}

fn parse_time(text: &str) -> Option<Time> {
    if let Some(offset) = text.strip_prefix("now") {
        return match (offset.split_at_checked(1), offset) {
            (None, _) => Some(Time::Before(0)),
            (Some(("-", span)), _) => parse_span(span).map(Time::Before),
            (Some(("+", span)), _) => parse_span(span).map(Time::After),
            _ => None,
        };
    }
    let time = humantime::parse_rfc3339(text).ok()?;
    millis(time.duration_since(UNIX_EPOCH).ok()?).map(Time::At)
}

/// Takes a number or a text; `expected` says what the text may be.
struct NumberOr<T> {
    expected: &'static str,
    number: Option<fn(u64) -> T>,
    text: fn(&str) -> Option<T>,
}

impl<T> Visitor<'_> for NumberOr<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        let make = self
            .number
            .ok_or_else(|| E::invalid_type(Unexpected::Unsigned(number), &self))?;
        Ok(make(number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.text)(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberOr {
            expected: "milliseconds since 1970, \"2026-01-01T00:00:00Z\", \"now-90s\" or \"now+90s\"",
            number: Some(Self::At),
            text: parse_time,
        })
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberOr {
            expected: "milliseconds or text such as \"1m 30s\"",
            number: Some(Self),
            text: |text| parse_span(text).map(Self),
        })
    }
}

impl<'de> Deserialize<'de> for CidrText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(NumberOr {
            expected: "an address or an aligned range such as \"10.0.0.16/28\"",
            number: None,
            text: |text| Cidr::parse(text).map(Self),
        })
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(NumberOr {
            expected: "Base64",
            number: None,
            text: |text| STANDARD.decode(text).ok().map(Self),
        })
    }
}

impl Serialize for Time {
    /// A relative time has no meaning outside of its document; none is ever written.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::At(time) => serializer.serialize_u64(*time),
            Self::Before(span) => serializer.collect_str(&format_args!("now-{span}ms")),
            Self::After(span) => serializer.collect_str(&format_args!("now+{span}ms")),
        }
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl Serialize for CidrText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl Serialize for Scalar {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl Visitor<'_> for Any {
            type Value = Scalar;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text, a whole number, true or false")
            }

            fn visit_bool<E>(self, value: bool) -> Result<Scalar, E> {
                Ok(Scalar(value.to_string()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Scalar, E> {
                Ok(Scalar(value.to_string()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Scalar, E> {
                Ok(Scalar(value.to_string()))
            }

            fn visit_str<E>(self, value: &str) -> Result<Scalar, E> {
                Ok(Scalar(value.to_owned()))
            }
        }

        deserializer.deserialize_any(Any)
    }
}

/// For fields where `null` says something else than leaving them out.
pub(crate) fn given<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}
