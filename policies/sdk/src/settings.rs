//! Settings with a type, a default and a range.
//!
//! In: text as the operator wrote it. Out: values that are always inside their range, and the
//! problems in words. Must hold: garbage reads as the default, so that a typing error never
//! changes a pool by more than the absence of the setting would. A name with a slip of the pen is
//! honoured when the proper one is absent, and always told.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::{Problem, Setting, SettingKind, SettingSpec};

/// A whole number. A value that is no number or lies outside the range reads as the default.
///
/// ```
/// use onsen_policy_sdk::settings::{Integer, problems};
/// use onsen_policy_sdk::{Unit, testing::Pool};
///
/// const KEEP: Integer = Integer { key: "KEEP", default: 4, min: 0, max: 64, doc: "Kept free." };
///
/// let given = Pool::new(3, 9, Unit::Address).with("KEEP", 12).settings;
/// assert_eq!(KEEP.read(&given), 12);
/// let given = Pool::new(3, 9, Unit::Address).with("KEEP", "many").settings;
/// assert_eq!(KEEP.read(&given), 4);
/// let told = &problems(&[KEEP.spec()], &given)[0].message;
/// assert_eq!(told, "\"many\" is not a whole number from 0 to 64; 4 is used");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Integer {
    /// Name, `WARM_IP_TARGET`.
    pub key: &'static str,
    /// Used when absent or bad.
    pub default: u32,
    /// Lowest value.
    pub min: u32,
    /// Highest value.
    pub max: u32,
    /// One sentence for people.
    pub doc: &'static str,
}

impl Integer {
    /// The value in force.
    pub fn read(&self, given: &[Setting]) -> u32 {
        find(given, self.key)
            .and_then(|text| text.parse::<u32>().ok())
            .filter(|value| (self.min..=self.max).contains(value))
            .unwrap_or(self.default)
    }

    /// What the host and its users are told of it.
    pub fn spec(&self) -> SettingSpec {
        SettingSpec {
            key: self.key.into(),
            kind: SettingKind::Integer,
            default: self.default.to_string(),
            min: Some(i64::from(self.min)),
            max: Some(i64::from(self.max)),
            doc: self.doc.into(),
        }
    }
}

/// Yes or no, spelled as Go's `ParseBool` takes it: `1 t T TRUE true True 0 f F FALSE false False`.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// Name.
    pub key: &'static str,
    /// Used when absent or bad.
    pub default: bool,
    /// One sentence for people.
    pub doc: &'static str,
}

impl Flag {
    /// The value in force.
    pub fn read(&self, given: &[Setting]) -> bool {
        self.given(given).unwrap_or(self.default)
    }

    /// The value as written; absent when the setting is, or is garbage.
    pub fn given(&self, given: &[Setting]) -> Option<bool> {
        find(given, self.key).and_then(boolean)
    }

    /// What the host and its users are told of it.
    pub fn spec(&self) -> SettingSpec {
        SettingSpec {
            key: self.key.into(),
            kind: SettingKind::Boolean,
            default: self.default.to_string(),
            min: None,
            max: None,
            doc: self.doc.into(),
        }
    }
}

/// What is wrong with the settings that these specifications name, and with names that nearly are
/// theirs. Other keys are not looked at: they may be meant for somebody else. Empty text means
/// "not set".
pub fn problems(specs: &[SettingSpec], given: &[Setting]) -> Vec<Problem> {
    let mut found = Vec::new();
    for setting in given.iter().filter(|setting| !setting.value.is_empty()) {
        let complain = |message| Problem {
            key: setting.key.clone(),
            message,
        };
        if let Some(spec) = specs.iter().find(|spec| spec.key == setting.key) {
            found.extend(complaint(spec, &setting.value).map(complain));
        } else if let Some(spec) = specs.iter().find(|spec| is_slip(&setting.key, &spec.key)) {
            let proper = &spec.key;
            let fate = match (written(given, proper), find(given, proper)) {
                (Some(_), _) => format!("{proper} is set, so this is not used"),
                (None, Some(used)) if used == setting.value => "its value is used".into(),
                (None, _) => "another name like it comes first".into(),
            };
            let value =
                complaint(spec, &setting.value).map_or(String::new(), |it| format!("; {it}"));
            found.push(complain(format!("did you mean {proper}? {fate}{value}")));
        }
    }
    found
}

fn complaint(spec: &SettingSpec, text: &str) -> Option<String> {
    let default = &spec.default;
    match spec.kind {
        SettingKind::Text => None,
        SettingKind::Boolean => boolean(text)
            .is_none()
            .then(|| format!("{text:?} is neither true nor false; {default} is used")),
        SettingKind::Integer => {
            let (min, max) = (spec.min.unwrap_or(i64::MIN), spec.max.unwrap_or(i64::MAX));
            let inside = text
                .parse::<i64>()
                .is_ok_and(|value| (min..=max).contains(&value));
            (!inside).then(|| {
                format!("{text:?} is not a whole number from {min} to {max}; {default} is used")
            })
        }
    }
}

/// The text of a setting, under its own name or else under one with a slip.
fn find<'a>(given: &'a [Setting], key: &str) -> Option<&'a str> {
    written(given, key).or_else(|| {
        let slip = |setting: &&Setting| is_slip(&setting.key, key) && !setting.value.is_empty();
        given.iter().find(slip).map(|setting| &*setting.value)
    })
}

fn written<'a>(given: &'a [Setting], key: &str) -> Option<&'a str> {
    let found = given.iter().find(|setting| setting.key == key)?;
    (!found.value.is_empty()).then_some(&*found.value)
}

/// Whether a name was meant to be this key: the key behind the prefix that some guides put before
/// it, or with one letter missing, added, changed or swapped with its neighbour.
fn is_slip(name: &str, key: &str) -> bool {
    if name == key {
        return false;
    }
    let bare = name.strip_prefix("AWS_VPC_K8S_CNI_").unwrap_or(name);
    bare == key || is_one_edit(bare.as_bytes(), key.as_bytes())
}

fn is_one_edit(a: &[u8], b: &[u8]) -> bool {
    let same = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let (a, b) = (&a[same..], &b[same..]);
    match (a, b) {
        ([_, rest @ ..], _) if rest == b => true,
        (_, [_, rest @ ..]) if rest == a => true,
        ([_, a @ ..], [_, b @ ..]) if a == b => true,
        ([a1, a2, a @ ..], [b1, b2, b @ ..]) => a1 == b2 && a2 == b1 && a == b,
        _ => false,
    }
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    const TARGET: Integer = Integer {
        key: "TARGET",
        default: 1,
        min: 0,
        max: 100,
        doc: "",
    };
    const FLAG: Flag = Flag {
        key: "FLAG",
        default: true,
        doc: "",
    };

    fn given(key: &str, value: &str) -> Vec<Setting> {
        vec![Setting {
            key: key.into(),
            value: value.into(),
        }]
    }

    #[test]
    fn garbage_reads_as_the_default_and_zero_is_a_real_value() {
        for garbage in ["", "-1", "abc", "1.5", "101", "99999999999", " 3"] {
            assert_eq!(TARGET.read(&given("TARGET", garbage)), 1, "{garbage:?}");
        }
        assert_eq!(TARGET.read(&given("TARGET", "0")), 0);
        assert_eq!(TARGET.read(&[]), 1);
    }

    #[test]
    fn booleans_are_spelled_as_go_spells_them() {
        assert!(!FLAG.read(&given("FLAG", "F")));
        assert!(
            FLAG.read(&given("FLAG", "no")),
            "not a Go boolean: the default"
        );
        assert_eq!(FLAG.given(&given("FLAG", "no")), None);
    }

    #[test]
    fn a_name_with_a_slip_is_told_and_honoured_while_the_proper_one_is_absent() {
        for slip in [
            "TARGT",
            "TARGETS",
            "TRAGET",
            "TARGED",
            "AWS_VPC_K8S_CNI_TARGET",
        ] {
            let mut settings = given(slip, "7");
            assert_eq!(TARGET.read(&settings), 7, "{slip}");
            let found = problems(&[TARGET.spec()], &settings);
            assert_eq!(found.len(), 1, "{slip}");
            assert!(
                found[0]
                    .message
                    .starts_with("did you mean TARGET? its value is used")
            );
            settings.extend(given("TARGET", "9"));
            assert_eq!(TARGET.read(&settings), 9, "{slip}");
            let found = problems(&[TARGET.spec()], &settings);
            assert!(found[0].message.contains("TARGET is set"), "{found:?}");
        }
        for other in [
            "TAR",
            "OTHER_TARGET",
            "TARGET_ABC",
            "",
            "AWS_VPC_K8S_CNI_OTHER",
        ] {
            assert_eq!(TARGET.read(&given(other, "7")), 1, "{other}");
        }
    }

    #[test]
    fn problems_name_the_key_the_text_and_the_range() {
        let found = problems(&[TARGET.spec(), FLAG.spec()], &given("TARGET", "-1"));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].key, "TARGET");
        assert!(found[0].message.contains("\"-1\"") && found[0].message.contains("0 to 100"));
        assert!(problems(&[TARGET.spec()], &given("OTHER", "x")).is_empty());
    }
}
