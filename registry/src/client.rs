//! Talks to registries.

use std::time::Duration;

use futures_util::TryStreamExt;
use oci_client::client::{Client, ClientConfig, ClientProtocol};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::manifest::{OCI_IMAGE_MEDIA_TYPE, OciDescriptor, OciImageManifest};
use oci_client::secrets::RegistryAuth;
use oci_client::{Reference, RegistryOperation};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::credentials::Credentials;
use crate::error::RegistryError;
use crate::place::{Pinned, Tagged, is_loopback};
use crate::signature::PublicKey;

/// The layer that is a policy.
const WASM: &str = "application/wasm";
/// Its description, as tools for Wasm in registries expect it.
const WASM_CONFIG: &str = "application/vnd.wasm.config.v0+json";
/// What `cosign sign` makes since version 3: an artifact that refers to what it signs.
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// A payload that it signed before.
const SIGNED: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// Where its signature is, in base64.
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
const MANIFESTS: [&str; 2] = [
    OCI_IMAGE_MEDIA_TYPE,
    "application/vnd.docker.distribution.manifest.v2+json",
];
const PAYLOAD_LIMIT: u64 = 64 << 10;
const CONNECT: Duration = Duration::from_secs(10);
/// Of one whole errand: some megabytes over a slow line.
const PATIENCE: Duration = Duration::from_mins(2);

/// Fetches and pushes policies.
#[derive(Debug, Default)]
pub struct Registry {
    credentials: Credentials,
}

impl Registry {
    /// With these credentials. Connects to nothing yet.
    pub fn new(credentials: Credentials) -> Self {
        Self { credentials }
    }

    /// The component at `place`, if it has at most `limit` bytes.
    pub async fn fetch(&self, place: &Pinned, limit: u64) -> Result<Vec<u8>, RegistryError> {
        in_time(place, async {
            let client = self.client(place, RegistryOperation::Pull).await?;
            let manifest = manifest(&client, place, place.reference()).await?;
            let layer = only_component(&manifest).map_err(|why| RegistryError::NotAPolicy {
                place: place.to_string(),
                why,
            })?;
            blob(&client, place, layer, limit).await
        })
        .await
    }

    /// Fails unless the holder of `key` has signed what lies at `place`, by `cosign sign --key KEY`.
    pub async fn verify(&self, place: &Pinned, key: &PublicKey) -> Result<(), RegistryError> {
        let unsigned = |why: String| RegistryError::Unsigned {
            place: place.to_string(),
            why,
        };
        in_time(place, async {
            let client = self.client(place, RegistryOperation::Pull).await?;
            let mut seen = 0;
            for bundle in bundles(&client, place).await? {
                seen += 1;
                if key.vouches_by_bundle(&bundle, place.digest()) {
                    return Ok(());
                }
            }
            let at = place.signatures();
            let signatures = match manifest(&client, place, &at).await {
                Err(RegistryError::Request { source, .. }) if is_absent(&source) && seen == 0 => {
                    return Err(unsigned(format!(
                        "no bundle refers to it and there is no {at}"
                    )));
                }
                Err(RegistryError::Request { source, .. }) if is_absent(&source) => {
                    OciImageManifest::default()
                }
                signatures => signatures?,
            };
            for layer in &signatures.layers {
                let signature = layer.annotations.as_ref().and_then(|it| it.get(SIGNATURE));
                let (true, Some(signature)) = (layer.media_type == SIGNED, signature) else {
                    continue;
                };
                seen += 1;
                let payload = blob(&client, place, layer, PAYLOAD_LIMIT).await?;
                if key.vouches(&payload, signature, place.digest()) {
                    return Ok(());
                }
            }
            Err(unsigned(format!(
                "it has {seen} signatures, none by that key for that digest"
            )))
        })
        .await
    }

    /// Puts a component to `place`; the answer is where it lies for ever.
    pub async fn push(&self, place: &Tagged, component: Vec<u8>) -> Result<Pinned, RegistryError> {
        let digest = digest(&component);
        let config = json!({
            // The same component always gets the same digest.
            "created": "1970-01-01T00:00:00Z",
            "architecture": "wasm",
            "os": "wasip2",
            "layerDigests": [digest],
        })
        .to_string();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_IMAGE_MEDIA_TYPE,
            "config": {"mediaType": WASM_CONFIG, "digest": self::digest(config.as_bytes()), "size": config.len()},
            "layers": [{"mediaType": WASM, "digest": digest, "size": component.len()}],
        })
        .to_string();
        let pinned = place.pinned(self::digest(manifest.as_bytes()));
        in_time(&pinned, async {
            let client = self.client(&pinned, RegistryOperation::Push).await?;
            let failed = failed("push a part", &pinned);
            for blob in [component, config.into_bytes()] {
                let digest = self::digest(&blob);
                client
                    .push_blob(place.reference(), blob, &digest)
                    .await
                    .map_err(&failed)?;
            }
            client
                .push_manifest_raw(
                    place.reference(),
                    manifest,
                    http::HeaderValue::from_static(OCI_IMAGE_MEDIA_TYPE),
                )
                .await
                .map_err(&failed)
        })
        .await?;
        Ok(pinned)
    }

    /// A client that has logged in where that is asked for.
    async fn client(&self, place: &Pinned, to: RegistryOperation) -> Result<Client, RegistryError> {
        // Fails when a provider is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let at = place.reference();
        let config = ClientConfig {
            protocol: if is_loopback(at.resolve_registry()) {
                ClientProtocol::Http
            } else {
                ClientProtocol::Https
            },
            connect_timeout: Some(CONNECT),
            user_agent: concat!("onsen/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        let client =
            Client::try_from(config).map_err(|error| RegistryError::Client(Box::new(error)))?;
        client
            .auth(at, &self.credentials.of(at), to)
            .await
            .map_err(failed("log in to the registry", place))?;
        Ok(client)
    }
}

async fn in_time<T>(
    place: &Pinned,
    errand: impl Future<Output = Result<T, RegistryError>>,
) -> Result<T, RegistryError> {
    let done = tokio::time::timeout(PATIENCE, errand).await;
    done.unwrap_or_else(|_| {
        Err(RegistryError::TooSlow {
            place: place.to_string(),
            seconds: PATIENCE.as_secs(),
        })
    })
}

fn failed(what: &'static str, place: &Pinned) -> impl Fn(OciDistributionError) -> RegistryError {
    let place = place.to_string();
    move |source| RegistryError::Request {
        what,
        place: place.clone(),
        source: Box::new(source),
    }
}

/// A manifest; compared with its digest when `at` has one.
async fn manifest(
    client: &Client,
    place: &Pinned,
    at: &Reference,
) -> Result<OciImageManifest, RegistryError> {
    // The client has logged in; these credentials are not looked at.
    let (body, _) = client
        .pull_manifest_raw(at, &RegistryAuth::Anonymous, &MANIFESTS)
        .await
        .map_err(failed("get the manifest", place))?;
    serde_json::from_slice(&body).map_err(|error| RegistryError::NotAPolicy {
        place: place.to_string(),
        why: format!("its manifest is of another shape: {error}"),
    })
}

/// The bundles that refer to an artifact.
async fn bundles(client: &Client, place: &Pinned) -> Result<Vec<Vec<u8>>, RegistryError> {
    let index = client
        .pull_referrers(place.reference(), Some(BUNDLE))
        .await
        .map_err(failed("list what refers to it", place))?;
    let mut found = Vec::new();
    for entry in index.manifests {
        let manifest = manifest(client, place, &place.beside(entry.digest)).await?;
        // A registry may list more than was asked for.
        for layer in manifest.layers.iter().filter(|it| it.media_type == BUNDLE) {
            found.push(blob(client, place, layer, PAYLOAD_LIMIT).await?);
        }
    }
    Ok(found)
}

fn only_component(manifest: &OciImageManifest) -> Result<&OciDescriptor, String> {
    match &manifest.layers[..] {
        [layer] if layer.media_type == WASM => Ok(layer),
        layers => {
            let kinds: Vec<_> = layers.iter().map(|it| it.media_type.as_str()).collect();
            Err(format!(
                "it has {} layers [{}]; a policy has one, {WASM}",
                kinds.len(),
                kinds.join(", ")
            ))
        }
    }
}

/// One layer. Its digest is compared by the client as it comes.
async fn blob(
    client: &Client,
    place: &Pinned,
    layer: &OciDescriptor,
    limit: u64,
) -> Result<Vec<u8>, RegistryError> {
    let too_large = |bytes: u64| RegistryError::TooLarge {
        place: place.to_string(),
        bytes,
        limit,
    };
    let told = u64::try_from(layer.size).unwrap_or(u64::MAX);
    if told > limit {
        return Err(too_large(told));
    }
    let failed = failed("get the component", place);
    let mut stream = client
        .pull_blob_stream(place.reference(), layer)
        .await
        .map_err(&failed)?
        .stream;
    let mut bytes = Vec::new();
    while let Some(chunk) = stream
        .try_next()
        .await
        .map_err(|error| failed(error.into()))?
    {
        bytes.extend_from_slice(&chunk);
        let read = bytes.len() as u64;
        if read > limit {
            return Err(too_large(read));
        }
    }
    // The stream's last item is an error when the bytes do not have the layer's digest.
    Ok(bytes)
}

fn is_absent(error: &OciDistributionError) -> bool {
    if let OciDistributionError::RegistryError { envelope, .. } = error {
        return envelope.errors.iter().any(|it| {
            it.code == OciErrorCode::ManifestUnknown || it.code == OciErrorCode::NotFound
        });
    }
    matches!(
        error,
        OciDistributionError::ServerError { code: 404, .. }
            | OciDistributionError::ImageManifestNotFoundError(_)
    )
}

fn digest(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::from("sha256:");
    for byte in Sha256::digest(bytes) {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
