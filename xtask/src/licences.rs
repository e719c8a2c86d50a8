//! Licences of everything that is linked, against the list in deny.toml.
//!
//! A crate passes when its SPDX expression can be satisfied with allowed licences only. The list has
//! the format of cargo-deny, so that cargo-deny can be used where it is installed.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::failure::Failure;
use crate::run;

/// Checks every package; what is wrong, one line each.
pub(crate) fn check() -> Result<Vec<String>, Failure> {
    let path = run::root().join("deny.toml");
    let text = std::fs::read_to_string(&path).map_err(Failure::io("read deny.toml"))?;
    let allowed = allowed(&text);
    if allowed.is_empty() {
        return Err(Failure::Unreadable(
            "deny.toml allows no licence".to_owned(),
        ));
    }
    let metadata = run::metadata(true)?;
    let packages = metadata
        .get("packages")
        .and_then(Value::as_array)
        .ok_or_else(|| Failure::Unreadable("cargo metadata lists no packages".to_owned()))?;
    Ok(packages
        .iter()
        .filter_map(|package| {
            let name = package.get("name").and_then(Value::as_str).unwrap_or("?");
            let licence = package.get("license").and_then(Value::as_str);
            let licence = licence.unwrap_or("none named");
            (!permits(licence, &allowed)).then(|| format!("licence of {name}: {licence}"))
        })
        .collect())
}

/// The strings of the list `allow = [ … ]`.
fn allowed(text: &str) -> BTreeSet<&str> {
    let list = text
        .split_once("allow = [")
        .and_then(|(_, rest)| rest.split_once(']'))
        .map_or("", |(list, _)| list);
    list.lines()
        .map(|line| line.split('#').next().unwrap_or(line))
        .flat_map(|line| line.split(','))
        .map(|item| item.trim().trim_matches('"'))
        .filter(|item| !item.is_empty())
        .collect()
}

/// True when a choice among the alternatives of an SPDX expression is allowed. OR binds weaker than
/// AND; `/` is the old spelling of OR.
fn permits(expression: &str, allowed: &BTreeSet<&str>) -> bool {
    let text = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let tokens: Vec<&str> = text.split_whitespace().collect();
    let mut at = 0;
    let verdict = any(&tokens, &mut at, allowed);
    verdict && at == tokens.len()
}

fn any(tokens: &[&str], at: &mut usize, allowed: &BTreeSet<&str>) -> bool {
    let mut verdict = all(tokens, at, allowed);
    while tokens.get(*at) == Some(&"OR") {
        *at += 1;
        verdict |= all(tokens, at, allowed);
    }
    verdict
}

fn all(tokens: &[&str], at: &mut usize, allowed: &BTreeSet<&str>) -> bool {
    let mut verdict = one(tokens, at, allowed);
    while tokens.get(*at) == Some(&"AND") {
        *at += 1;
        verdict &= one(tokens, at, allowed);
    }
    verdict
}

fn one(tokens: &[&str], at: &mut usize, allowed: &BTreeSet<&str>) -> bool {
    let Some(token) = tokens.get(*at) else {
        return false;
    };
    *at += 1;
    if *token == "(" {
        let verdict = any(tokens, at, allowed);
        let closed = tokens.get(*at) == Some(&")");
        *at += 1;
        return verdict && closed;
    }
    if tokens.get(*at) == Some(&"WITH") {
        let whole = format!("{token} WITH {}", tokens.get(*at + 1).unwrap_or(&""));
        *at += 2;
        return allowed.contains(whole.as_str());
    }
    allowed.contains(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_judged_by_their_alternatives() {
        let list = "[licenses]\nallow = [\n  \"MIT\", # plain\n  \"Apache-2.0\",\n  \"Apache-2.0 WITH LLVM-exception\",\n]";
        let allowed = allowed(list);
        for (expression, expected) in [
            ("MIT", true),
            ("GPL-3.0", false),
            ("MIT OR GPL-3.0", true),
            ("MIT/GPL-3.0", true),
            ("MIT AND GPL-3.0", false),
            ("(MIT OR GPL-3.0) AND Apache-2.0", true),
            ("(GPL-3.0 OR ISC) AND Apache-2.0", false),
            ("Apache-2.0 WITH LLVM-exception", true),
            ("MIT WITH nonsense", false),
            ("MIT)", false),
            ("none named", false),
            ("", false),
        ] {
            assert_eq!(permits(expression, &allowed), expected, "{expression}");
        }
    }
}
