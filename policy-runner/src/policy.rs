//! A loaded policy: what it says of itself, and its two questions.
//!
//! Must hold: a policy is verified when it is loaded, and every call has a store of its own.

use std::fmt::Write as _;
use std::sync::Arc;

use onsen_core::proposal::Proposal;
use onsen_core::snapshot::{Setting, Snapshot};
use sha2::{Digest, Sha256};
use wasmtime::Store;
use wasmtime::component::Component;
use wasmtime::component::types::ComponentItem;

use crate::CONTRACT;
use crate::call::Call;
use crate::engine::{Shared, TICKS_PER_CALL};
use crate::error::PolicyError;
use crate::versions::{Guest, Version};

/// The interface that policies export, without its version.
const INTERFACE: &str = "onsen:policy/policy@";
/// Holds only types, which need no host.
const TYPES: &str = "onsen:policy/types@";

/// What a policy says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// For instance `default-warm-eni`.
    pub name: String,
    /// The policy's own version.
    pub version: String,
    /// One paragraph for people.
    pub doc: String,
    /// The settings it reads.
    pub settings: Vec<SettingSpec>,
}

/// A setting that a policy reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingSpec {
    /// Name.
    pub key: String,
    /// Type.
    pub kind: SettingKind,
    /// Used when the key is absent.
    pub default: String,
    /// Lowest value of an integer.
    pub min: Option<i64>,
    /// Highest value of an integer.
    pub max: Option<i64>,
    /// One sentence for people.
    pub doc: String,
}

/// Type of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingKind {
    /// Yes or no.
    Boolean,
    /// A whole number.
    Integer,
    /// Anything.
    Text,
}

/// What is wrong with a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Its name.
    pub key: String,
    /// What is wrong.
    pub message: String,
}

/// How much a line of the log matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// For the policy's author.
    Debug,
    /// Worth knowing.
    Info,
    /// Something is wrong.
    Warn,
}

/// One line that a policy logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// How much it matters.
    pub level: LogLevel,
    /// The text, cut at the limit.
    pub message: String,
}

/// An answer, and what it cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Decided {
    /// What the policy asks for. Nobody has checked it.
    pub proposal: Proposal,
    /// Units of fuel used; the same for the same snapshot.
    pub fuel: u64,
    /// Linear memory that it had in the end; memory never shrinks, so this is the most.
    pub memory_bytes: usize,
    /// What it logged.
    pub log: Vec<LogLine>,
}

/// A policy that can be asked, from several threads at once.
pub struct Policy {
    digest: String,
    contract: String,
    metadata: Metadata,
    guest: Box<dyn Guest>,
    shared: Arc<Shared>,
}

impl Policy {
    pub(crate) fn load(shared: &Arc<Shared>, wasm: &[u8]) -> Result<Self, PolicyError> {
        let limit = shared.limits.component_bytes;
        if wasm.len() > limit {
            return Err(PolicyError::TooLarge {
                bytes: wasm.len(),
                limit,
            });
        }
        check_kind(wasm)?;
        let digest = digest(wasm);
        let component = shared.compile(&digest, wasm)?;
        let version = find_version(&component, shared)?;
        let contract = version.interface();
        let guest = shared
            .linker
            .instantiate_pre(&component)
            .and_then(version.open)
            .map_err(|error| PolicyError::WrongWorld {
                wanted: contract.clone(),
                found: format!("its types differ: {error:#}"),
            })?;
        let mut policy = Self {
            digest,
            contract,
            metadata: Metadata {
                name: String::new(),
                version: String::new(),
                doc: String::new(),
                settings: Vec::new(),
            },
            guest,
            shared: Arc::clone(shared),
        };
        (policy.metadata, _) = policy.call(|guest, store| guest.describe(store))?;
        Ok(policy)
    }

    /// The component's digest, `sha256:` and 64 hexadecimal digits.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The interface in which it is asked, with its version.
    pub fn contract(&self) -> &str {
        &self.contract
    }

    /// What it says of itself.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// What is wrong with these settings; an empty list when nothing is.
    pub fn configure(&self, settings: &[Setting]) -> Result<Vec<Problem>, PolicyError> {
        let (problems, _) = self.call(|guest, store| guest.configure(store, settings))?;
        Ok(problems)
    }

    /// Asks for a decision.
    pub fn decide(&self, snapshot: &Snapshot) -> Result<Decided, PolicyError> {
        let (answer, store) = self.call(|guest, store| guest.decide(store, snapshot))?;
        let left = store.get_fuel().unwrap_or(0);
        let proposal = answer.map_err(PolicyError::Refused)?;
        let limits = &self.shared.limits;
        if proposal.memo.len() > limits.memo_bytes {
            return Err(PolicyError::BadOutput(format!(
                "its memo has {} bytes; {} are allowed",
                proposal.memo.len(),
                limits.memo_bytes
            )));
        }
        Ok(Decided {
            proposal,
            fuel: limits.fuel.saturating_sub(left),
            memory_bytes: store.data().memory_bytes(),
            log: store.into_data().into_log(),
        })
    }

    /// Runs one exported function in a new instance.
    fn call<T>(
        &self,
        ask: impl FnOnce(&dyn Guest, &mut Store<Call>) -> wasmtime::Result<T>,
    ) -> Result<(T, Store<Call>), PolicyError> {
        let limits = self.shared.limits;
        let mut store = Store::new(&self.shared.wasm, Call::new(limits));
        store.limiter(|call| call);
        store.set_hostcall_fuel(limits.output_bytes);
        store.set_epoch_deadline(TICKS_PER_CALL);
        let answer = store
            .set_fuel(limits.fuel)
            .and_then(|()| ask(&*self.guest, &mut store));
        match answer {
            Ok(answer) => Ok((answer, store)),
            Err(error) => Err(store.data().verdict(&error, &self.contract)),
        }
    }
}

impl std::fmt::Debug for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Policy")
            .field("digest", &self.digest)
            .field("metadata", &self.metadata)
            .finish_non_exhaustive()
    }
}

/// The digest of a component, `sha256:` and 64 hexadecimal digits.
pub fn digest(wasm: &[u8]) -> String {
    let mut text = String::from("sha256:");
    for byte in Sha256::digest(wasm) {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// A binary starts with a magic word, a version and a layer: 0 for modules, 1 for components.
fn check_kind(wasm: &[u8]) -> Result<(), PolicyError> {
    let found = match wasm {
        [0, b'a', b's', b'm', _, _, 1, 0, ..] => return Ok(()),
        [0, b'a', b's', b'm', _, _, _, _, ..] => {
            "it is a core Wasm module; build it with `onsen policy build`, which makes a component of it"
        }
        [] => "the file is empty",
        [0, b'a', b's', b'm', ..] => "the file ends within the first eight bytes",
        _ => "the file does not start as Wasm does",
    };
    Err(PolicyError::NotAComponent { found })
}

/// The version in which a component is asked. Looks at names only; the types are compared when the
/// component is linked and started.
fn find_version(component: &Component, shared: &Shared) -> Result<&'static Version, PolicyError> {
    let kind = component.component_type();
    let exports: Vec<_> = kind.exports(&shared.wasm).map(|(name, _)| name).collect();
    let offers = |version: &&Version| exports.contains(&version.interface().as_str());
    let version = shared.versions.iter().find(offers);
    // Before the imports: those of another version have other names too.
    let other = exports.iter().find_map(|name| name.strip_prefix(INTERFACE));
    if let (None, Some(made_for)) = (version, other) {
        let spoken: Vec<_> = shared.versions.iter().map(|it| it.number).collect();
        return Err(PolicyError::WrongVersion {
            made_for: made_for.to_owned(),
            spoken: spoken.join(" and "),
        });
    }
    for (name, item) in kind.imports(&shared.wasm) {
        let only_types = matches!(&item.ty, ComponentItem::ComponentInstance(instance)
            if instance.exports(&shared.wasm).all(|(_, item)| matches!(item.ty,
                ComponentItem::Type(_) | ComponentItem::Resource(_))));
        let is_log = shared.versions.iter().any(|it| it.log() == name);
        if !(is_log || name.starts_with(TYPES) && only_types) {
            return Err(PolicyError::UnknownImport(name.to_owned()));
        }
    }
    version.ok_or_else(|| PolicyError::WrongWorld {
        wanted: CONTRACT.to_owned(),
        found: if exports.is_empty() {
            "it exports nothing".to_owned()
        } else {
            format!("it exports {}", exports.join(", "))
        },
    })
}
