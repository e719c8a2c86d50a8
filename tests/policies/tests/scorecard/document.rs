//! A document with tables that tests write and hold current.
//!
//! A table stands between `<!-- NAME, written by the test -->`, or without the name, and `<!-- end -->`.
//! `ONSEN_RENEW=1` writes it; else it must be what is there.

use std::path::{Path, PathBuf};

pub(crate) struct Document {
    name: &'static str,
    path: PathBuf,
    found: String,
    wanted: String,
}

impl Document {
    /// Reads it, by its path in the workspace.
    pub(crate) fn open(name: &'static str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../..")
            .join(name);
        let found = std::fs::read_to_string(&path).unwrap();
        Self {
            name,
            path,
            wanted: found.clone(),
            found,
        }
    }

    /// Puts a table in its place.
    pub(crate) fn put(&mut self, table: &str, text: &str) {
        let comma = if table.is_empty() { "" } else { ", " };
        let begin = format!("<!-- {table}{comma}written by the test -->\n");
        let (before, rest) = self
            .wanted
            .split_once(&begin)
            .unwrap_or_else(|| panic!("{} has no place for {table:?}", self.name));
        let (_, after) = rest.split_once("<!-- end -->\n").unwrap();
        let text = text.trim();
        self.wanted = format!("{before}{begin}\n{text}\n\n<!-- end -->\n{after}");
    }

    /// Writes it, or compares.
    pub(crate) fn close(self) {
        if std::env::var_os("ONSEN_RENEW").is_some() {
            std::fs::write(&self.path, self.wanted).unwrap();
        } else {
            let name = self.name;
            assert!(
                self.found == self.wanted,
                "{name} is out of date: run `cargo xtask scorecard`. It should be:\n{}",
                self.wanted
            );
        }
    }
}
