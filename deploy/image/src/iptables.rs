//! Which of the two iptables a node uses: the one on `nf_tables`, or the legacy one.
//!
//! In: the mangle tables of both, in which kubelet keeps a chain for exactly this question. Out: the folder
//! whose programs the daemon must find first.
//! Must hold: the legacy program is not run on a node without legacy tables, since asking makes them,
//! and then they stand in everybody's way.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Tables that the legacy kernel module holds, one name a line.
const LEGACY_TABLES: &str = "/proc/net/ip_tables_names";
/// Kubelet makes the first one; the second is of versions before 1.24.
const HINTS: [&str; 2] = ["KUBE-IPTABLES-HINT", "KUBE-KUBELET-CANARY"];

/// The folder of the node's kind below `folder`; nothing where the image has no kinds to choose from.
pub fn folder(folder: &Path) -> Option<PathBuf> {
    let kind = kind(
        || mangle(&folder.join("nft")),
        &std::fs::read_to_string(LEGACY_TABLES).unwrap_or_default(),
        || mangle(&folder.join("legacy")),
    );
    Some(folder.join(kind)).filter(|folder| folder.is_dir())
}

fn kind(
    nft: impl FnOnce() -> String,
    legacy_tables: &str,
    legacy: impl FnOnce() -> String,
) -> &'static str {
    let hinted = |rules: String| HINTS.iter().any(|hint| rules.contains(hint));
    let has_legacy = legacy_tables.lines().any(|table| table.trim() == "mangle");
    if !hinted(nft()) && has_legacy && hinted(legacy()) {
        "legacy"
    } else {
        "nft"
    }
}

/// Empty when it cannot be told: then nothing hints at this kind.
fn mangle(folder: &Path) -> String {
    Command::new(folder.join("iptables-save"))
        .args(["-t", "mangle"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HINT: &str = "*mangle\n:KUBE-IPTABLES-HINT - [0:0]\nCOMMIT\n";

    #[test]
    fn the_kind_in_which_kubelet_left_its_hint_is_used() {
        let with = || HINT.to_owned();
        let without = String::new;
        let tables = "nat\nmangle\n";
        assert_eq!(kind(with, tables, without), "nft");
        assert_eq!(kind(without, tables, with), "legacy");
        assert_eq!(kind(without, tables, without), "nft");
        let old = || HINT.replace("IPTABLES-HINT", "KUBELET-CANARY");
        assert_eq!(kind(without, tables, old), "legacy");
    }

    #[test]
    fn without_legacy_tables_the_legacy_program_is_not_run() {
        let never = || -> String { unreachable!("it would make the tables") };
        assert_eq!(kind(String::new, "", never), "nft");
        assert_eq!(kind(String::new, "nat\n", never), "nft");
        assert_eq!(kind(|| HINT.to_owned(), "mangle\n", never), "nft");
    }

    #[test]
    fn an_image_without_kinds_leaves_the_path_alone() {
        assert_eq!(folder(Path::new("/no/such/folder")), None);
    }
}
