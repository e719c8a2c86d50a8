//! Who we are to a registry: `config.json` as `docker login` writes it and Kubernetes' pull secrets
//! hold it.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use oci_client::Reference;
use oci_client::secrets::RegistryAuth;
use serde::Deserialize;

use crate::error::RegistryError;

/// Credentials by registry, or by a part of it. Empty: we are anonymous.
#[derive(Clone, Default)]
pub struct Credentials(BTreeMap<String, RegistryAuth>);

#[derive(Deserialize)]
struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
}

impl Credentials {
    /// Reads a `config.json`; what helper programs keep elsewhere is not in it.
    pub fn from_docker_config(json: &[u8]) -> Result<Self, RegistryError> {
        let unreadable = |why: String| RegistryError::Credentials(why);
        let config: DockerConfig =
            serde_json::from_slice(json).map_err(|error| unreadable(error.to_string()))?;
        let mut all = BTreeMap::new();
        for (key, entry) in config.auths {
            let pair = match (entry.auth, entry.username, entry.password) {
                (Some(auth), ..) => decode(&auth).ok_or_else(|| {
                    unreadable(format!(
                        "the entry {key:?} has an `auth` that is not USER:PASSWORD in base64"
                    ))
                })?,
                (None, Some(user), Some(password)) => (user, password),
                // Written when a helper program keeps the password.
                _ => continue,
            };
            all.insert(bare(&key).to_owned(), RegistryAuth::Basic(pair.0, pair.1));
        }
        Ok(Self(all))
    }

    /// For one artifact: the entry that names most of its path.
    pub(crate) fn of(&self, place: &Reference) -> RegistryAuth {
        let path = format!("{}/{}", place.registry(), place.repository());
        let fits = |key: &str| {
            path.strip_prefix(key)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.0
            .iter()
            .filter(|(key, _)| fits(key))
            .max_by_key(|(key, _)| key.len())
            .map_or(RegistryAuth::Anonymous, |(_, auth)| auth.clone())
    }
}

impl std::fmt::Debug for Credentials {
    /// Without the passwords.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// `https://index.docker.io/v1/` is an old way to say `docker.io`.
fn bare(key: &str) -> &str {
    let key = key
        .trim_start_matches("https://")
        .trim_start_matches("http://");
    match key.trim_end_matches('/') {
        "index.docker.io/v1" | "index.docker.io" => "docker.io",
        key => key.trim_end_matches("/v1").trim_end_matches("/v2"),
    }
}

fn decode(auth: &str) -> Option<(String, String)> {
    let text = String::from_utf8(STANDARD.decode(auth.trim()).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Reference {
        text.parse().unwrap()
    }

    #[test]
    fn the_entry_that_names_most_of_the_path_is_used() {
        let config = br#"{"auths": {
            "https://ghcr.io/v2/": {"auth": "YTpvbmU="},
            "ghcr.io/team": {"username": "b", "password": "two"},
            "helped.example": {}
        }, "credsStore": "desktop"}"#;
        let credentials = Credentials::from_docker_config(config).unwrap();
        let basic = |user: &str, password: &str| RegistryAuth::Basic(user.into(), password.into());
        assert_eq!(credentials.of(&place("ghcr.io/x/p:1")), basic("a", "one"));
        assert_eq!(
            credentials.of(&place("ghcr.io/team/p:1")),
            basic("b", "two")
        );
        assert_eq!(
            credentials.of(&place("ghcr.io/teams/p:1")),
            basic("a", "one")
        );
        for other in ["helped.example/p:1", "ghcr.io.evil.example/p:1"] {
            assert_eq!(credentials.of(&place(other)), RegistryAuth::Anonymous);
        }
        let shown = format!("{credentials:?}");
        assert!(!shown.contains("one") && !shown.contains("two"), "{shown}");
    }

    #[test]
    fn what_is_no_docker_config_is_told_and_names_the_entry() {
        assert!(Credentials::from_docker_config(b"{").is_err());
        let bad = Credentials::from_docker_config(br#"{"auths":{"r.example":{"auth":"?"}}}"#);
        assert!(bad.unwrap_err().to_string().contains("r.example"));
    }
}
