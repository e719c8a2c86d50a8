//! Sysctls that the data plane needs and that only a privileged container can set.
//!
//! In: the MAC of the primary ENI. Out: `rp_filter` loose on its link, since answers of node ports come
//! back by another way than they left; TCP early demultiplexing as asked for.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Why a sysctl is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum SysctlError {
    /// No link has the MAC that instance metadata tells.
    #[error("no link below {} has the MAC {mac} of the primary ENI", folder.display())]
    NoLink {
        /// Where was looked.
        folder: PathBuf,
        /// For what.
        mac: String,
    },
    /// The kernel does not let us.
    #[error("cannot {step} {}", path.display())]
    File {
        /// What was tried.
        step: &'static str,
        /// With what.
        path: PathBuf,
        /// What came of it.
        source: io::Error,
    },
}

/// The name of the link with this MAC. VLAN links on top of it share it: the oldest counts.
pub fn link_of(mac: &str, net: &Path) -> Result<String, SysctlError> {
    let failed = |source| SysctlError::File {
        step: "list",
        path: net.to_owned(),
        source,
    };
    let mut found: Option<(u32, String)> = None;
    for entry in fs::read_dir(net).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        // A link may vanish while we look, and not everything here is a link.
        let read = |name| fs::read_to_string(entry.path().join(name)).unwrap_or_default();
        let Ok(index) = read("ifindex").trim().parse() else {
            continue;
        };
        let older = found.as_ref().is_none_or(|(oldest, _)| index < *oldest);
        if older && read("address").trim().eq_ignore_ascii_case(mac) {
            found = Some((index, entry.file_name().to_string_lossy().into_owned()));
        }
    }
    found
        .map(|(_, name)| name)
        .ok_or_else(|| SysctlError::NoLink {
            folder: net.to_owned(),
            mac: mac.to_owned(),
        })
}

/// Sets what the node needs below `sysctls`, which is `/proc/sys`.
pub fn apply(
    sysctls: &Path,
    primary_link: &str,
    disable_early_demux: bool,
) -> Result<(), SysctlError> {
    let rp_filter = format!("net/ipv4/conf/{primary_link}/rp_filter");
    set(&sysctls.join(rp_filter), "2")?;
    let early_demux = sysctls.join("net/ipv4/tcp_early_demux");
    if early_demux.exists() {
        set(&early_demux, if disable_early_demux { "0" } else { "1" })?;
    }
    Ok(())
}

fn set(path: &Path, value: &str) -> Result<(), SysctlError> {
    let failed = |step| {
        let path = path.to_owned();
        move |source| SysctlError::File { step, path, source }
    };
    // Read first: where it is right already, no privilege is needed.
    if fs::read_to_string(path).map_err(failed("read"))?.trim() == value {
        return Ok(());
    }
    fs::write(path, value).map_err(failed("write"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn the_oldest_link_with_the_mac_is_the_primary_one() {
        let net = tree(&[
            ("lo/address", "00:00:00:00:00:00\n"),
            ("lo/ifindex", "1\n"),
            ("vlan.eth.1/address", "02:0a:00:00:00:01\n"),
            ("vlan.eth.1/ifindex", "12\n"),
            ("ens5/address", "02:0a:00:00:00:01\n"),
            ("ens5/ifindex", "2\n"),
            ("bonding_masters", ""),
        ]);
        assert_eq!(link_of("02:0A:00:00:00:01", net.path()).unwrap(), "ens5");
        let error = link_of("02:00:00:00:00:99", net.path()).unwrap_err();
        assert!(error.to_string().contains("02:00:00:00:00:99"), "{error}");
    }

    #[test]
    fn the_reverse_path_filter_becomes_loose_and_early_demultiplexing_as_asked() {
        let rp_filter = "net/ipv4/conf/ens5/rp_filter";
        let early = "net/ipv4/tcp_early_demux";
        let root = tree(&[(rp_filter, "1\n"), (early, "1\n")]);
        apply(root.path(), "ens5", true).unwrap();
        let read = |path| fs::read_to_string(root.path().join(path)).unwrap();
        assert_eq!((read(rp_filter), read(early)), ("2".into(), "0".into()));
        apply(root.path(), "ens5", false).unwrap();
        assert_eq!(read(early), "1");
        let error = apply(root.path(), "ens6", false).unwrap_err();
        assert!(error.to_string().contains("conf/ens6/rp_filter"), "{error}");
    }

    #[test]
    fn a_kernel_without_early_demultiplexing_is_no_error() {
        let root = tree(&[("net/ipv4/conf/ens5/rp_filter", "2\n")]);
        apply(root.path(), "ens5", true).unwrap();
        assert!(!root.path().join("net/ipv4/tcp_early_demux").exists());
    }
}
