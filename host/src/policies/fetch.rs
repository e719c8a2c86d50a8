//! Gets a component's bytes from where its reference points.
//!
//! In: an [`Ask`]. Out: a [`Component`], or why not, and whether later may help.
//! Must hold: nothing larger than a component may be comes into memory, packed or not; where a public
//! key is given, nothing unsigned comes out of a registry.

use std::borrow::Cow;
use std::io::Read;
use std::path::PathBuf;

use flate2::read::GzDecoder;
use onsen_policy_runner::reference::Reference;
use onsen_registry::{Credentials, Pinned, PublicKey, Registry, RegistryError};
use tokio::fs;

use super::keep::LastGood;
use super::wish::{Ask, Place};
use crate::settings::Settings;
use crate::text::chain;

const GZIP: [u8; 2] = [0x1f, 0x8b];

/// What was got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Component {
    pub(super) wasm: Cow<'static, [u8]>,
    /// Digest of the public key that its signature was checked with; absent when none was asked for.
    pub(super) key: Option<String>,
}

/// Why there are no bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// What is asked for is no good.
    Refused(String),
    /// It may be there later.
    Unavailable(String),
}

/// What is needed to get at bytes.
#[derive(Debug)]
pub(super) struct Fetcher {
    limit: usize,
    /// `config.json` of a pull secret; read each time, since secrets change.
    credentials: Option<PathBuf>,
    /// PEM of the key that registries' policies are signed with.
    key: Option<PathBuf>,
}

impl Fetcher {
    pub(super) fn new(settings: &Settings, limit: usize) -> Self {
        Self {
            limit,
            credentials: settings.registry_config.clone(),
            key: settings.policy_key.clone(),
        }
    }

    /// The component.
    pub(super) async fn get(&self, ask: &Ask) -> Result<Component, Trouble> {
        let reference = &ask.reference;
        let refused = |why: String| Trouble::Refused(format!("policy {reference}: {why}"));
        let mut key = None;
        let bytes = match (&ask.place, reference) {
            (Place::Bytes(bytes), _) => Cow::Owned(bytes.to_vec()),
            (Place::File { path, .. }, _) => {
                let local = Reference::File(path.clone());
                let limit = self.limit;
                let read = tokio::task::spawn_blocking(move || local.bytes(limit)).await;
                read.map_err(|panicked| refused(panicked.to_string()))?
                    .map_err(|error| refused(chain(&error)))?
            }
            (Place::Named, Reference::Oci(place)) => {
                let (bytes, vouched) = self.pull(place).await?;
                key = vouched;
                Cow::Owned(bytes)
            }
            (Place::Named, _) => reference
                .bytes(self.limit)
                .map_err(|error| refused(chain(&error)))?,
        };
        let wasm = self.unpacked(bytes).map_err(refused)?;
        Ok(Component { wasm, key })
    }

    /// Whether what was fetched earlier would come out today: by the key that is asked for. Blocks.
    pub(super) fn trusts(&self, good: &LastGood) -> bool {
        let Some(path) = self
            .key
            .as_ref()
            .filter(|_| good.reference.starts_with("oci:"))
        else {
            return true;
        };
        // A key that cannot be read vouches for nothing; fetching says why.
        let digest = std::fs::read(path).map(|pem| onsen_policy_runner::digest(&pem));
        digest.is_ok_and(|digest| good.key == Some(digest))
    }

    /// The bytes, and the digest of the key that vouched for them.
    async fn pull(&self, place: &str) -> Result<(Vec<u8>, Option<String>), Trouble> {
        let place: Pinned = place.parse().map_err(|error| judge(&error))?;
        let credentials = match &self.credentials {
            Some(path) => {
                let json = fs::read(path).await.map_err(|error| {
                    Trouble::Unavailable(format!("{} cannot be read: {error}", path.display()))
                })?;
                Credentials::from_docker_config(&json).map_err(|error| judge(&error))?
            }
            None => Credentials::default(),
        };
        let registry = Registry::new(credentials);
        let mut vouched = None;
        if let Some(path) = &self.key {
            let pem = fs::read_to_string(path).await.map_err(|error| {
                Trouble::Unavailable(format!("{} cannot be read: {error}", path.display()))
            })?;
            let key = PublicKey::from_pem(&pem).map_err(|error| judge(&error))?;
            let verified = registry.verify(&place, &key).await;
            verified.map_err(|error| judge(&error))?;
            vouched = Some(onsen_policy_runner::digest(pem.as_bytes()));
        }
        let fetched = registry.fetch(&place, self.limit as u64).await;
        Ok((fetched.map_err(|error| judge(&error))?, vouched))
    }

    /// As it is, or out of gzip.
    fn unpacked(&self, bytes: Cow<'static, [u8]>) -> Result<Cow<'static, [u8]>, String> {
        if !bytes.starts_with(&GZIP) {
            return Ok(bytes);
        }
        let mut unpacked = Vec::new();
        let read = GzDecoder::new(&*bytes)
            .take(self.limit as u64 + 1)
            .read_to_end(&mut unpacked);
        match read {
            Ok(length) if length <= self.limit => Ok(unpacked.into()),
            Ok(_) => Err(format!(
                "it unpacks to more than the {} bytes that a component may have",
                self.limit
            )),
            Err(error) => Err(format!(
                "it starts as gzip does and cannot be unpacked: {error}"
            )),
        }
    }
}

fn judge(error: &RegistryError) -> Trouble {
    let why = chain(error);
    match error {
        RegistryError::Request { .. }
        | RegistryError::TooSlow { .. }
        | RegistryError::Client(_)
        | RegistryError::Unsigned { .. } => Trouble::Unavailable(why),
        RegistryError::Unreadable { .. }
        | RegistryError::Credentials(_)
        | RegistryError::Key(_)
        | RegistryError::NotAPolicy { .. }
        | RegistryError::TooLarge { .. } => Trouble::Refused(why),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::io::Write;
    use std::sync::Arc;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut packer = GzEncoder::new(Vec::new(), Compression::default());
        packer.write_all(bytes).unwrap();
        packer.finish().unwrap()
    }

    async fn get(bytes: &[u8]) -> Result<Vec<u8>, Trouble> {
        let fetcher = Fetcher {
            limit: 100,
            credentials: None,
            key: None,
        };
        let ask = Ask {
            reference: Reference::ConfigMap("p".into()),
            settings: BTreeMap::new(),
            own: BTreeSet::new(),
            place: Place::Bytes(Arc::from(bytes)),
        };
        fetcher.get(&ask).await.map(|got| got.wasm.into_owned())
    }

    #[tokio::test]
    async fn packed_or_not_the_component_comes_out() {
        assert_eq!(get(b"\0asm").await.unwrap(), b"\0asm");
        assert_eq!(get(&gzip(b"\0asm")).await.unwrap(), b"\0asm");
    }

    #[tokio::test]
    async fn a_small_file_that_unpacks_to_a_huge_one_is_refused() {
        let bomb = gzip(&vec![0; 1 << 20]);
        let Err(Trouble::Refused(why)) = get(&bomb).await else {
            panic!("taken");
        };
        assert!(why.contains("more than the 100 bytes"), "{why}");
        let cut = &gzip(b"\0asm")[..12];
        assert!(matches!(get(cut).await, Err(Trouble::Refused(_))));
    }
}
