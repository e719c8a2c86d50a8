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
use crate::bindings::{IpamPolicy, IpamPolicyPre};
use crate::call::Call;
use crate::convert;
use crate::engine::{Shared, TICKS_PER_CALL};
use crate::error::PolicyError;

/// The interface that policies export, without its version.
const INTERFACE: &str = "onsen:policy/policy@";
/// The interface that policies may call, in any compatible version.
const LOG: &str = "onsen:policy/log@0.1.";
/// Holds only types, which need no host.
const TYPES: &str = "onsen:policy/types@0.1.";

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
    metadata: Metadata,
    pre: IpamPolicyPre<Call>,
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
        check_world(&component, &shared.wasm)?;
        let misfit = |error: wasmtime::Error| PolicyError::WrongWorld {
            wanted: CONTRACT,
            found: format!("its types differ: {error:#}"),
        };
        let pre = shared
            .linker
            .instantiate_pre(&component)
            .and_then(IpamPolicyPre::new)
            .map_err(misfit)?;
        let mut policy = Self {
            digest,
            metadata: Metadata {
                name: String::new(),
                version: String::new(),
                doc: String::new(),
                settings: Vec::new(),
            },
            pre,
            shared: Arc::clone(shared),
        };
        let (told, _) =
            policy.call(|guest, store| guest.onsen_policy_policy().call_describe(store))?;
        policy.metadata = told.into();
        Ok(policy)
    }

    /// The component's digest, `sha256:` and 64 hexadecimal digits.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// What it says of itself.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// What is wrong with these settings; an empty list when nothing is.
    pub fn configure(&self, settings: &[Setting]) -> Result<Vec<Problem>, PolicyError> {
        let settings: Vec<_> = settings.iter().map(convert::setting).collect();
        let (answer, _) =
            self.call(|guest, store| guest.onsen_policy_policy().call_configure(store, &settings))?;
        Ok(match answer {
            Ok(()) => Vec::new(),
            Err(problems) => problems.into_iter().map(Problem::from).collect(),
        })
    }

    /// Asks for a decision.
    pub fn decide(&self, snapshot: &Snapshot) -> Result<Decided, PolicyError> {
        let snapshot = convert::snapshot(snapshot);
        let (answer, store) =
            self.call(|guest, store| guest.onsen_policy_policy().call_decide(store, &snapshot))?;
        let left = store.get_fuel().unwrap_or(0);
        let decision = answer.map_err(PolicyError::Refused)?;
        let limits = &self.shared.limits;
        if decision.memo.len() > limits.memo_bytes {
            return Err(PolicyError::BadOutput(format!(
                "its memo has {} bytes; {} are allowed",
                decision.memo.len(),
                limits.memo_bytes
            )));
        }
        Ok(Decided {
            proposal: convert::proposal(decision),
            fuel: limits.fuel.saturating_sub(left),
            memory_bytes: store.data().memory_bytes(),
            log: store.into_data().into_log(),
        })
    }

    /// Runs one exported function in a new instance.
    fn call<T>(
        &self,
        ask: impl FnOnce(&IpamPolicy, &mut Store<Call>) -> wasmtime::Result<T>,
    ) -> Result<(T, Store<Call>), PolicyError> {
        let limits = self.shared.limits;
        let mut store = Store::new(&self.shared.wasm, Call::new(limits));
        store.limiter(|call| call);
        store.set_hostcall_fuel(limits.output_bytes);
        store.set_epoch_deadline(TICKS_PER_CALL);
        let answer = store
            .set_fuel(limits.fuel)
            .and_then(|()| self.pre.instantiate(&mut store))
            .and_then(|guest| ask(&guest, &mut store));
        match answer {
            Ok(answer) => Ok((answer, store)),
            Err(error) => Err(store.data().verdict(&error)),
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
        [0, b'a', b's', b'm', ..] => {
            "it is a core Wasm module; build it with `onsen policy build`, which makes a component of it"
        }
        [] => "the file is empty",
        _ => "the file does not start as Wasm does",
    };
    Err(PolicyError::NotAComponent { found })
}

/// Looks at names only; the types are compared when the component is linked.
fn check_world(component: &Component, engine: &wasmtime::Engine) -> Result<(), PolicyError> {
    let kind = component.component_type();
    let exports: Vec<_> = kind
        .exports(engine)
        .map(|(name, _)| name.to_owned())
        .collect();
    let offers = component.get_export_index(None, CONTRACT).is_some();
    // Before the imports: those of another version have other names too.
    let other = exports.iter().find_map(|name| name.strip_prefix(INTERFACE));
    if let Some(version) = other.filter(|_| !offers) {
        return Err(PolicyError::WrongVersion {
            made_for: version.to_owned(),
            spoken: CONTRACT.trim_start_matches(INTERFACE),
        });
    }
    for (name, item) in kind.imports(engine) {
        let only_types = matches!(&item.ty, ComponentItem::ComponentInstance(instance)
            if instance.exports(engine).all(|(_, item)| matches!(item.ty,
                ComponentItem::Type(_) | ComponentItem::Resource(_))));
        if !(name.starts_with(LOG) || name.starts_with(TYPES) && only_types) {
            return Err(PolicyError::UnknownImport(name.to_owned()));
        }
    }
    if offers {
        return Ok(());
    }
    Err(PolicyError::WrongWorld {
        wanted: CONTRACT,
        found: if exports.is_empty() {
            "it exports nothing".to_owned()
        } else {
            format!("it exports {}", exports.join(", "))
        },
    })
}
