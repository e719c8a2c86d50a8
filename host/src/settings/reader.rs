//! Reads one variable at a time and remembers what was wrong with each.
//!
//! Must hold: a bad value is either replaced, or the daemon does not start with it; it is named in
//! both cases.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::{Listen, Problem};

/// What Go's `ParseBool` takes, which decides for upstream.
pub(crate) fn parse_flag(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

pub(super) fn parse_mark(text: &str) -> Option<u32> {
    let mark = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u32::from_str_radix(hex, 16).ok()?,
        None => text.parse().ok()?,
    };
    (mark != 0).then_some(mark)
}

/// An IPv4 range, its host bits cleared as upstream does.
fn parse_cidr(text: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = text.split_once('/')?;
    let address: std::net::Ipv4Addr = address.parse().ok()?;
    let length: u8 = length.parse().ok().filter(|length| *length <= 32)?;
    let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
    Some((IpAddr::V4((u32::from(address) & mask).into()), length))
}

/// Reads one variable at a time and remembers what was wrong.
pub(super) struct Reader<'a> {
    pub(super) var: &'a dyn Fn(&str) -> Option<String>,
    pub(super) problems: Vec<Problem>,
}

impl Reader<'_> {
    /// The text, when it is set and not empty.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        (self.var)(name).filter(|text| !text.is_empty())
    }

    pub(super) fn path(&self, name: &str) -> Option<PathBuf> {
        self.text(name).map(PathBuf::from)
    }

    /// A bad value stops the daemon.
    pub(super) fn strict<T>(
        &mut self,
        name: &'static str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let value = (self.var)(name)?;
        let parsed = parse(value.trim());
        if parsed.is_none() {
            self.stop(name, expected);
        }
        parsed
    }

    /// A bad value is replaced by the default.
    pub(super) fn lenient<T>(
        &mut self,
        name: &'static str,
        expected: &str,
        instead: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let value = (self.var)(name)?;
        let parsed = parse(value.trim());
        if parsed.is_none() {
            self.problems.push(Problem {
                name,
                value,
                expected: expected.into(),
                instead: Some(instead.into()),
            });
        }
        parsed
    }

    pub(super) fn stop(&mut self, name: &'static str, expected: &str) {
        self.problems.push(Problem {
            name,
            value: (self.var)(name).unwrap_or_default(),
            expected: expected.into(),
            instead: None,
        });
    }

    pub(super) fn flag(&mut self, name: &'static str, default: bool) -> bool {
        self.lenient(name, "true or false", &default.to_string(), parse_flag)
            .unwrap_or(default)
    }

    pub(super) fn seconds(&mut self, name: &'static str, default: u64) -> Duration {
        self.strict(name, "seconds from 0, also with a fraction", |text| {
            Duration::try_from_secs_f64(text.parse().ok()?).ok()
        })
        .unwrap_or(Duration::from_secs(default))
    }

    pub(super) fn url(&mut self, name: &'static str) -> Option<String> {
        self.text(name)?;
        self.strict(name, "a URL, http://HOST:PORT or https://HOST", |text| {
            let uri: hyper::Uri = text.parse().ok()?;
            let scheme = uri.scheme_str()?;
            (uri.host().is_some() && ["http", "https"].contains(&scheme)).then(|| text.to_owned())
        })
    }

    /// A list with commas; bad parts are left out, as upstream does.
    pub(super) fn cidrs(&mut self, name: &'static str) -> Vec<(IpAddr, u8)> {
        let mut cidrs = Vec::new();
        for part in self
            .text(name)
            .unwrap_or_default()
            .split(',')
            .map(str::trim)
        {
            if part.is_empty() {
                continue;
            }
            match parse_cidr(part) {
                Some(cidr) => cidrs.push(cidr),
                None => self.problems.push(Problem {
                    name,
                    value: part.into(),
                    expected: "IPv4 ranges such as 10.0.0.0/8, separated by commas".into(),
                    instead: Some("the list without it".into()),
                }),
            }
        }
        cidrs
    }

    /// Keys that AWS and Kubernetes keep for themselves are left out, as upstream does.
    pub(super) fn eni_tags(&mut self) -> BTreeMap<String, String> {
        let tags: BTreeMap<String, String> = match self.text("ADDITIONAL_ENI_TAGS") {
            Some(_) => self
                .lenient(
                    "ADDITIONAL_ENI_TAGS",
                    "a JSON object of strings",
                    "no tag",
                    |text| serde_json::from_str(text).ok(),
                )
                .unwrap_or_default(),
            None => BTreeMap::new(),
        };
        tags.into_iter()
            .filter(|(key, _)| !key.contains("k8s.amazonaws.com"))
            .collect()
    }

    /// Where something listens, unless a flag switches it off.
    pub(super) fn listen(
        &mut self,
        off: &'static str,
        name: &'static str,
        default: Listen,
    ) -> Option<Listen> {
        if self.flag(off, false) {
            return None;
        }
        match self.text(name) {
            None => Some(default),
            Some(_) => self.strict(name, "ADDRESS:PORT or unix:PATH", |text| {
                match text.strip_prefix("unix:") {
                    Some(path) if !path.is_empty() => Some(Listen::Unix(path.into())),
                    Some(_) => None,
                    None => text.parse().ok().map(Listen::Tcp),
                }
            }),
        }
    }
}
