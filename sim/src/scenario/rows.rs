//! The rows of a table: one file, many scenarios.
//!
//! In: the text of a file. Out: a text for each row, with `$name` replaced by the row's values. Lines
//! stay where they are, so that errors name the line of the file.
//! What must hold: every column is used, and every `$name` is a column: a slip of the pen would make
//! a scenario that says less than its author means.

use std::collections::{BTreeMap, BTreeSet};

use onsen_policy_runner::documents::Scalar;
use serde::Deserialize;

use super::ScenarioError;

/// Only what is needed to find the rows; the rest is judged later.
#[derive(Deserialize)]
struct Table {
    #[serde(default)]
    rows: Vec<BTreeMap<String, Scalar>>,
}

/// One scenario's text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// Place in the table; absent without one.
    pub(super) number: Option<usize>,
    pub(super) text: String,
}

/// The text once for each row; once as it is without rows.
pub(super) fn expand(text: &str) -> Result<Vec<Row>, ScenarioError> {
    let table: Table = super::parse(text)?;
    if table.rows.is_empty() {
        return Ok(vec![Row {
            number: None,
            text: text.to_owned(),
        }]);
    }
    let mut rows = Vec::new();
    for (at, values) in table.rows.iter().enumerate() {
        let (text, used) = replace(text, values)?;
        if let Some(unused) = values.keys().find(|key| !used.contains(key.as_str())) {
            return Err(ScenarioError::UnusedColumn {
                row: at + 1,
                column: unused.clone(),
            });
        }
        rows.push(Row {
            number: Some(at + 1),
            text,
        });
    }
    Ok(rows)
}

/// Replaces each `$name`; tells which were.
fn replace<'a>(
    text: &str,
    values: &'a BTreeMap<String, Scalar>,
) -> Result<(String, BTreeSet<&'a str>), ScenarioError> {
    let mut out = String::with_capacity(text.len());
    let mut used = BTreeSet::new();
    for (at, line) in text.split_inclusive('\n').enumerate() {
        let (code, comment) = without_comment(line);
        let mut rest = code;
        while let Some((before, after)) = rest.split_once('$') {
            out.push_str(before);
            let end = after
                .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                .unwrap_or(after.len());
            let (name, behind) = after.split_at(end);
            let Some((key, Scalar(value))) = values.get_key_value(name) else {
                return Err(ScenarioError::UnknownColumn {
                    line: at + 1,
                    name: name.to_owned(),
                    known: values.keys().cloned().collect(),
                });
            };
            used.insert(key.as_str());
            out.push_str(value);
            rest = behind;
        }
        out.push_str(rest);
        out.push_str(comment);
    }
    Ok((out, used))
}

/// A comment starts at the start of a line or behind a blank, as YAML has it.
fn without_comment(line: &str) -> (&str, &str) {
    let at = line.match_indices('#').map(|(at, _)| at).find(|at| {
        line.get(..*at)
            .is_none_or(|it| it.is_empty() || it.ends_with([' ', '\t']))
    });
    line.split_at(at.unwrap_or(line.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_is_a_text_of_its_own_on_the_same_lines() {
        let text = "rows:\n  - {pods: 3, enis: 1}\n  - {pods: 30, enis: 2}\nname: $pods on $enis # not $this\n";
        let rows = expand(text).unwrap();
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[1].number, Some(2));
        assert!(
            rows[1].text.contains("\nname: 30 on 2 # not $this\n"),
            "{}",
            rows[1].text
        );
        assert_eq!(rows[1].text.lines().count(), text.lines().count());
    }

    #[test]
    fn a_text_without_rows_is_left_alone() {
        let rows = expand("name: costs $5\n").unwrap();
        assert_eq!(rows[0].text, "name: costs $5\n");
        assert_eq!(rows[0].number, None);
    }

    #[test]
    fn a_slip_of_the_pen_is_told() {
        let unknown = expand("rows:\n  - {pods: 3}\nname: $pod\n").unwrap_err();
        assert!(
            unknown.to_string().contains("line 3: $pod") && unknown.to_string().contains("pods"),
            "{unknown}"
        );
        let unused = expand("rows:\n  - {pods: 3, enis: 1}\nname: $pods\n").unwrap_err();
        assert!(unused.to_string().contains("enis"), "{unused}");
    }
}
