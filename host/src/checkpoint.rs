//! What outlives the daemon: upstream's `ipam.json`, so that either daemon can follow the other,
//! and beside it our own file of what upstream does not keep: cooling addresses, ENIs that were asked
//! for and are not attached yet, and what was about to go back to EC2. The second may be lost without
//! harm.
//!
//! In: the core's `Saved`. Out: the same after a restart, or why it cannot be trusted.
//! Must hold: a file is replaced whole or not at all; a file that is not whole, or that gives one
//! address to two sandboxes, gives no allocation.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use onsen_core::cidr::{Cidr, Unit};
use onsen_core::effect::{Allocation, ComingEni, Leaving, Saved};
use onsen_core::ids::{EniId, PodName, SandboxKey, SubnetId};
pub(crate) use onsen_core::recover::Found;
use onsen_core::time::Millis;
use serde::{Deserialize, Serialize};

const VERSION: &str = "vpc-cni-ipam/1";
const BESIDE_VERSION: &str = "onsen-beside/1";
/// Before ENIs on their way were kept.
const COOLING_VERSION: &str = "onsen-cooling/1";

/// A failed step on a file.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step} {}: {source}", path.display())]
pub(crate) struct FileError {
    step: &'static str,
    path: PathBuf,
    source: io::Error,
}

#[derive(Serialize, Deserialize)]
struct Document {
    version: String,
    allocations: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    #[serde(rename = "networkName")]
    network: String,
    #[serde(rename = "containerID")]
    container: String,
    #[serde(rename = "ifName")]
    interface: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ipv4: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ipv6: Option<String>,
    /// Nanoseconds.
    #[serde(rename = "allocationTimestamp", default)]
    since: i64,
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Metadata {
    #[serde(rename = "k8sPodNamespace", skip_serializing_if = "String::is_empty")]
    namespace: String,
    #[serde(rename = "k8sPodName", skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(rename = "interfacesCount", skip_serializing_if = "Option::is_none")]
    interfaces: Option<u32>,
}

#[derive(Serialize, Deserialize)]
struct BesideDocument {
    version: String,
    /// Address and the time in milliseconds since the epoch at which it may be given again.
    cooling: Vec<(IpAddr, Millis)>,
    #[serde(default)]
    coming: Vec<ComingEntry>,
    #[serde(default)]
    leaving: Vec<LeavingEntry>,
}

/// An ENI that was asked for and is not attached yet.
#[derive(Serialize, Deserialize)]
struct ComingEntry {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    eni: Option<String>,
    subnet: String,
    card: u32,
    /// Prefixes, not single addresses.
    prefixes: bool,
    blocks: u32,
}

/// What was about to go back to EC2.
#[derive(Serialize, Deserialize)]
struct LeavingEntry {
    eni: String,
    /// None: the ENI itself.
    blocks: Vec<String>,
}

/// Claims the checkpoint for this process: of two daemons with the same one, by whatever sockets, the second
/// must not start. Held until it is dropped or the process ends.
pub(crate) fn claim(path: &Path) -> Result<Flock<File>, FileError> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed("create", folder))?;
    }
    let lock = with_suffix(path, ".lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&lock)
        .map_err(failed("create", &lock))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| {
        let step = if errno == Errno::EWOULDBLOCK {
            "claim, since another daemon has it,"
        } else {
            "lock"
        };
        failed(step, &lock)(errno.into())
    })
}

fn failed(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_owned();
    move |source| FileError { step, path, source }
}

/// Reads both files.
pub(crate) fn load(path: &Path) -> Result<Found, FileError> {
    let Some(bytes) = read(path)? else {
        return Ok(Found::Nothing);
    };
    let mut saved = match parse(&bytes) {
        Ok(saved) => saved,
        Err(why) => return Ok(Found::Bad(why)),
    };
    if let Some(beside) = read(&beside_path(path))?.and_then(|bytes| parse_beside(&bytes)) {
        // Without it all that is free cools anew, and an ENI on its way is deleted; that is no reason
        // to distrust the rest.
        (saved.cooling, saved.coming, saved.leaving) =
            (beside.cooling, beside.coming, beside.leaving);
    }
    Ok(Found::Whole(saved))
}

/// Whether it is known which addresses cool: the second file is there, and whole.
pub(crate) fn knows_cooling(path: &Path) -> Result<bool, FileError> {
    let bytes = read(&beside_path(path))?;
    Ok(bytes.is_some_and(|bytes| parse_beside(&bytes).is_some()))
}

/// Makes both files durable. Cooling comes first: an address must not be free between the two.
pub(crate) fn store(path: &Path, saved: &Saved, rest_changed: bool) -> Result<(), FileError> {
    if rest_changed {
        let coming = saved.coming.iter().map(|coming| ComingEntry {
            eni: coming.eni.as_ref().map(ToString::to_string),
            subnet: coming.subnet.to_string(),
            card: coming.card,
            prefixes: coming.unit == Unit::Prefix,
            blocks: coming.blocks,
        });
        let leaving = saved.leaving.iter().map(|leaving| LeavingEntry {
            eni: leaving.eni.to_string(),
            blocks: leaving.blocks.iter().map(ToString::to_string).collect(),
        });
        let document = BesideDocument {
            version: BESIDE_VERSION.into(),
            cooling: saved.cooling.clone(),
            coming: coming.collect(),
            leaving: leaving.collect(),
        };
        replace(&beside_path(path), &document)?;
    }
    let document = Document {
        version: VERSION.into(),
        allocations: saved.allocations.iter().map(entry).collect(),
    };
    replace(path, &document)
}

/// Removes the second file, so that no later start trusts it.
pub(crate) fn forget_beside(path: &Path) -> Result<(), FileError> {
    let beside = beside_path(path);
    match fs::remove_file(&beside) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(failed("remove", &beside)(source))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Keeps a bad file for people to look at, under a name that says when.
pub(crate) fn set_aside(path: &Path, now: Millis) -> Result<PathBuf, FileError> {
    let aside = with_suffix(path, &format!(".corrupt-{}", now / 1000));
    fs::rename(path, &aside).map_err(|source| FileError {
        step: "set aside",
        path: path.into(),
        source,
    })?;
    Ok(aside)
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(FileError {
            step: "read",
            path: path.into(),
            source,
        }),
    }
}

fn parse(bytes: &[u8]) -> Result<Saved, String> {
    let document: Document = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if document.version != VERSION {
        return Err(format!(
            "its version is {:?}, not {VERSION:?}",
            document.version
        ));
    }
    let (mut keys, mut addresses) = (BTreeSet::new(), BTreeSet::new());
    let mut allocations = Vec::new();
    for entry in document.allocations {
        let container = entry.container.clone();
        let text = [entry.ipv4.as_deref(), entry.ipv6.as_deref()]
            .into_iter()
            .flatten()
            .find(|text| !text.is_empty())
            .ok_or_else(|| format!("container {container} has no address"))?;
        let address: IpAddr = text
            .parse()
            .map_err(|_not_an_address| format!("container {container} has address {text:?}"))?;
        let key = SandboxKey {
            network: entry.network,
            container: entry.container,
            interface: entry.interface,
        };
        if !addresses.insert(address) {
            return Err(format!("address {address} is held twice"));
        }
        if !keys.insert(key.clone()) {
            return Err(format!("container {container} is listed twice"));
        }
        allocations.push(Allocation {
            key,
            address,
            pod: PodName {
                namespace: entry.metadata.namespace,
                name: entry.metadata.name,
            },
            since: u64::try_from(entry.since).unwrap_or(0) / 1_000_000,
        });
    }
    allocations.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(Saved {
        allocations,
        ..Saved::default()
    })
}

/// What cools, comes and leaves, without allocations; absent when the file is not whole.
fn parse_beside(bytes: &[u8]) -> Option<Saved> {
    let known = [BESIDE_VERSION, COOLING_VERSION];
    match serde_json::from_slice::<BesideDocument>(bytes) {
        Ok(mut document) if known.contains(&document.version.as_str()) => {
            document.cooling.sort_unstable();
            document.cooling.dedup_by_key(|entry| entry.0);
            let coming = document.coming.into_iter().map(|coming| ComingEni {
                eni: coming.eni.map(EniId::new),
                subnet: SubnetId::new(coming.subnet),
                card: coming.card,
                unit: if coming.prefixes {
                    Unit::Prefix
                } else {
                    Unit::Address
                },
                blocks: coming.blocks,
            });
            let mut leaving = Vec::new();
            for entry in document.leaving {
                let blocks = entry.blocks.iter().map(|text| Cidr::parse(text));
                leaving.push(Leaving {
                    eni: EniId::new(entry.eni),
                    blocks: blocks.collect::<Option<_>>()?,
                });
            }
            Some(Saved {
                allocations: Vec::new(),
                cooling: document.cooling,
                coming: coming.collect(),
                leaving,
            })
        }
        Ok(_) | Err(_) => None,
    }
}

fn entry(allocation: &Allocation) -> Entry {
    let text = Some(allocation.address.to_string());
    let (ipv4, ipv6) = match allocation.address {
        IpAddr::V4(_) => (text, None),
        IpAddr::V6(_) => (None, text),
    };
    Entry {
        network: allocation.key.network.clone(),
        container: allocation.key.container.clone(),
        interface: allocation.key.interface.clone(),
        ipv4,
        ipv6,
        since: i64::try_from(allocation.since.saturating_mul(1_000_000)).unwrap_or(i64::MAX),
        metadata: Metadata {
            namespace: allocation.pod.namespace.clone(),
            name: allocation.pod.name.clone(),
            interfaces: Some(1),
        },
    }
}

/// Writes a new file beside the old one, makes it durable, puts it in the old one's place and makes
/// that durable too.
fn replace(path: &Path, document: &impl Serialize) -> Result<(), FileError> {
    let temporary = with_suffix(path, ".tmp");
    let mut bytes = serde_json::to_vec(document)
        .map_err(io::Error::other)
        .map_err(failed("encode", path))?;
    bytes.push(b'\n');
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(failed("create", &temporary))?;
    file.write_all(&bytes)
        .map_err(failed("write", &temporary))?;
    file.sync_all().map_err(failed("sync", &temporary))?;
    fs::rename(&temporary, path).map_err(failed("replace", path))?;
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(failed("sync", directory))
}

/// `ipam.json` has `ipam-onsen.json` beside it.
fn beside_path(path: &Path) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push("-onsen.json");
    path.with_file_name(name)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn saved(count: u8) -> Saved {
        let allocations = (0..count)
            .map(|n| Allocation {
                key: SandboxKey {
                    network: "aws-cni".into(),
                    container: format!("c{n:03}"),
                    interface: "eth0".into(),
                },
                address: [10, 0, 0, n].into(),
                pod: PodName {
                    namespace: "default".into(),
                    name: format!("web-{n}"),
                },
                since: 1_700_000_000_000 + u64::from(n),
            })
            .collect();
        Saved {
            allocations,
            cooling: vec![([10, 0, 1, 1].into(), 1_700_000_030_000)],
            coming: [Some(EniId::new("eni-1")), None]
                .map(|eni| ComingEni {
                    eni,
                    subnet: SubnetId::new("subnet-1"),
                    card: 0,
                    unit: Unit::Prefix,
                    blocks: 2,
                })
                .into(),
            leaving: [vec![Cidr::single([10, 0, 2, 1].into())], Vec::new()]
                .map(|blocks| Leaving {
                    eni: EniId::new("eni-2"),
                    blocks,
                })
                .into(),
        }
    }

    #[test]
    fn a_checkpoint_that_is_nearly_right_is_refused_or_kept_as_it_was_read() {
        onsen_fuzz::fuzz("checkpoint", |bytes| {
            let Ok(saved) = parse(bytes) else {
                return;
            };
            let held: BTreeSet<_> = saved.allocations.iter().map(|held| held.address).collect();
            assert_eq!(
                held.len(),
                saved.allocations.len(),
                "an address is held twice"
            );
            let document = Document {
                version: VERSION.into(),
                allocations: saved.allocations.iter().map(entry).collect(),
            };
            assert_eq!(parse(&serde_json::to_vec(&document).unwrap()), Ok(saved));
        });
    }

    #[test]
    fn cooling_ends_that_are_nearly_right_hold_each_address_once() {
        onsen_fuzz::fuzz("cooling", |bytes| {
            let cooling = parse_beside(bytes).unwrap_or_default().cooling;
            let addresses: BTreeSet<_> = cooling.iter().map(|entry| entry.0).collect();
            assert_eq!(addresses.len(), cooling.len());
        });
    }

    #[test]
    fn what_was_stored_is_loaded() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ipam.json");
        assert_eq!(load(&path).unwrap(), Found::Nothing);
        store(&path, &saved(3), true).unwrap();
        assert_eq!(load(&path).unwrap(), Found::Whole(saved(3)));
        let mut names: Vec<_> = fs::read_dir(&directory)
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["ipam-onsen.json", "ipam.json"]);
    }

    #[test]
    fn a_checkpoint_has_one_claimant() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/ipam.json");
        let first = claim(&path).unwrap();
        let error = claim(&path).unwrap_err().to_string();
        assert!(error.contains("another daemon has it"), "{error}");
        drop(first);
        claim(&path).unwrap();
    }

    #[test]
    fn the_file_is_upstreams_to_the_letter() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ipam.json");
        let mut one = saved(1);
        one.allocations[0].since = 1_700_000_000_000;
        store(&path, &one, false).unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            concat!(
                r#"{"version":"vpc-cni-ipam/1","allocations":[{"networkName":"aws-cni","containerID":"c000","ifName":"eth0","#,
                r#""ipv4":"10.0.0.0","allocationTimestamp":1700000000000000000,"#,
                r#""metadata":{"k8sPodNamespace":"default","k8sPodName":"web-0","interfacesCount":1}}]}"#,
                "\n"
            )
        );
    }

    #[test]
    fn members_that_a_later_release_adds_are_ignored() {
        let text = br#"{"version":"vpc-cni-ipam/1","new":1,"allocations":[
            {"networkName":"aws-cni","containerID":"c","ifName":"eth0","ipv4":"10.0.0.9","more":[],"metadata":{"x":1}}]}"#;
        let saved = parse(text).unwrap();
        assert_eq!(saved.allocations[0].address, IpAddr::from([10, 0, 0, 9]));
        assert_eq!(saved.allocations[0].pod, PodName::default());
    }

    #[test]
    fn an_address_that_is_held_twice_makes_the_file_bad() {
        let text = br#"{"version":"vpc-cni-ipam/1","allocations":[
            {"networkName":"n","containerID":"a","ifName":"eth0","ipv4":"10.0.0.9"},
            {"networkName":"n","containerID":"b","ifName":"eth0","ipv4":"10.0.0.9"}]}"#;
        assert_eq!(parse(text), Err("address 10.0.0.9 is held twice".into()));
    }

    #[test]
    fn another_version_makes_the_file_bad() {
        let why = parse(br#"{"version":"vpc-cni-ipam/2","allocations":[]}"#).unwrap_err();
        assert!(why.contains("vpc-cni-ipam/2"), "{why}");
    }

    #[test]
    fn a_file_cut_at_any_byte_gives_all_or_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ipam.json");
        store(&path, &saved(3), true).unwrap();
        let bytes = fs::read(&path).unwrap();
        for length in 0..bytes.len() {
            fs::write(&path, &bytes[..length]).unwrap();
            match load(&path).unwrap() {
                // Only the last line feed may be missing.
                Found::Whole(found) => assert_eq!((found, length), (saved(3), bytes.len() - 1)),
                Found::Bad(_) => {}
                Found::Nothing => panic!("a file of {length} bytes was taken for none"),
            }
        }
    }

    #[test]
    fn the_second_file_costs_nothing_else_when_it_is_bad_and_is_read_in_its_older_form() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ipam.json");
        store(&path, &saved(2), true).unwrap();
        let expected = |cooling| Saved {
            cooling,
            coming: Vec::new(),
            leaving: Vec::new(),
            ..saved(2)
        };
        for bad in ["{", "", r#"{"version":"onsen-beside/9","cooling":[]}"#] {
            fs::write(beside_path(&path), bad).unwrap();
            assert_eq!(
                load(&path).unwrap(),
                Found::Whole(expected(Vec::new())),
                "{bad}"
            );
            assert!(!knows_cooling(&path).unwrap(), "{bad}");
        }
        let older = r#"{"version":"onsen-cooling/1","cooling":[["10.0.1.1",1700000030000]]}"#;
        fs::write(beside_path(&path), older).unwrap();
        assert_eq!(
            load(&path).unwrap(),
            Found::Whole(expected(saved(2).cooling))
        );
        assert!(knows_cooling(&path).unwrap());
    }

    #[test]
    fn a_write_that_fails_leaves_the_old_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ipam.json");
        store(&path, &saved(1), true).unwrap();
        // A directory in the way of the temporary file.
        fs::create_dir(with_suffix(&path, ".tmp")).unwrap();
        let error = store(&path, &saved(2), false).unwrap_err();
        assert!(error.to_string().starts_with("cannot create "), "{error}");
        assert_eq!(load(&path).unwrap(), Found::Whole(saved(1)));
    }

    #[test]
    fn a_bad_file_is_kept_aside() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ipam.json");
        fs::write(&path, b"half").unwrap();
        let aside = set_aside(&path, 1_700_000_000_123).unwrap();
        assert_eq!(aside.file_name().unwrap(), "ipam.json.corrupt-1700000000");
        assert_eq!(fs::read(aside).unwrap(), b"half");
        assert_eq!(load(&path).unwrap(), Found::Nothing);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = parse(&bytes);
            let _ = parse_beside(&bytes);
        }

        #[test]
        fn a_flipped_byte_never_gives_an_address_to_two_sandboxes(at in 0usize..600, to in any::<u8>()) {
            let document = Document {
                version: VERSION.into(),
                allocations: saved(4).allocations.iter().map(entry).collect(),
            };
            let mut bytes = serde_json::to_vec(&document).unwrap();
            let at = at % bytes.len();
            bytes[at] = to;
            if let Ok(found) = parse(&bytes) {
                let addresses: BTreeSet<_> = found.allocations.iter().map(|a| a.address).collect();
                prop_assert_eq!(addresses.len(), found.allocations.len());
            }
        }
    }
}
