//! Against a real registry, Debian's `docker-registry`: what is pushed is fetched by digest, passwords
//! are asked for and given, signatures hold or do not.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use onsen_registry::{Credentials, Pinned, PublicKey, Registry, RegistryError, Tagged};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::json;
use sha2::{Digest, Sha256};

const LIMIT: u64 = 1 << 20;
/// The user `onsen` with the password `warm`, as `htpasswd -B` writes it.
const PASSWORDS: &str = "onsen:$2y$05$abcdefghijklmnopqrstuuvp0euTNKfyMJdPppMxrlIGaOs8IdIIm\n";

/// A registry of its own on a port of its own.
struct Served {
    process: Child,
    address: String,
    _folder: tempfile::TempDir,
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Debian's, or where `cargo xtask setup` puts it.
fn program() -> PathBuf {
    let set = |name| std::env::var_os(name).map(PathBuf::from);
    let tools =
        set("ONSEN_TOOLS").or_else(|| set("HOME").map(|home| home.join(".cache/onsen/tools")));
    tools
        .map(|folder| folder.join("bin/docker-registry"))
        .filter(|path| path.is_file())
        .unwrap_or_else(|| "docker-registry".into())
}

/// Absent when the machine has no `docker-registry`, which is told.
fn serve(with_password: bool) -> Option<Served> {
    let folder = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let address = format!("127.0.0.1:{port}");
    let root = folder.path().display();
    let mut config = format!(
        "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage: {{filesystem: {{rootdirectory: {root}/data}}}}\nhttp: {{addr: {address}}}\n"
    );
    if with_password {
        std::fs::write(folder.path().join("htpasswd"), PASSWORDS).unwrap();
        let auth = format!("auth: {{htpasswd: {{realm: lab, path: {root}/htpasswd}}}}\n");
        config.push_str(&auth);
    }
    let path = folder.path().join("config.yml");
    std::fs::write(&path, config).unwrap();
    let started = Command::new(program())
        .arg("serve")
        .arg(&path)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(process) = started else {
        println!("not run: docker-registry: it is not installed");
        return None;
    };
    let served = Served {
        process,
        address,
        _folder: folder,
    };
    let deadline = Instant::now() + Duration::from_secs(30);
    while std::net::TcpStream::connect(&served.address).is_err() {
        assert!(Instant::now() < deadline, "the registry does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    Some(served)
}

fn login() -> Credentials {
    let auth = STANDARD.encode("onsen:warm");
    let config = json!({"auths": {"127.0.0.1": {"auth": auth}}}).to_string();
    Credentials::from_docker_config(config.as_bytes()).unwrap()
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text.push_str(": ");
        text.push_str(&error.to_string());
        next = error.source();
    }
    text
}

fn sha256(bytes: &[u8]) -> String {
    let mut text = "sha256:".to_owned();
    for byte in Sha256::digest(bytes) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[tokio::test]
async fn what_is_pushed_is_fetched_by_its_digest() {
    let Some(served) = serve(false) else { return };
    let registry = Registry::default();
    let component = b"\0asm and so on".to_vec();
    let tag: Tagged = format!("{}/policies/demo:v1", served.address)
        .parse()
        .unwrap();
    let place = registry.push(&tag, component.clone()).await.unwrap();
    let again = registry.push(&tag, component.clone()).await.unwrap();
    assert_eq!(place, again, "the same component has the same digest");
    assert_eq!(registry.fetch(&place, LIMIT).await.unwrap(), component);

    let small = registry.fetch(&place, 4).await.unwrap_err();
    assert!(
        matches!(
            small,
            RegistryError::TooLarge {
                bytes: 14,
                limit: 4,
                ..
            }
        ),
        "{small}"
    );
    let other: Pinned = format!("{}/policies/demo@{}", served.address, sha256(b"x"))
        .parse()
        .unwrap();
    let absent = chain(&registry.fetch(&other, LIMIT).await.unwrap_err());
    assert!(
        absent.contains("cannot get the manifest") && absent.contains("manifest unknown"),
        "{absent}"
    );
}

#[tokio::test]
async fn a_registry_with_a_password_wants_it() {
    let Some(served) = serve(true) else { return };
    let tag: Tagged = format!("{}/p:v1", served.address).parse().unwrap();
    let mut credentials = json!({"auths": {}});
    credentials["auths"][&served.address] = json!({"auth": STANDARD.encode("onsen:warm")});
    let known =
        Registry::new(Credentials::from_docker_config(credentials.to_string().as_bytes()).unwrap());
    let place = known.push(&tag, b"p".to_vec()).await.unwrap();
    assert_eq!(known.fetch(&place, LIMIT).await.unwrap(), b"p");
    // Credentials are for a registry with its port.
    for stranger in [Registry::default(), Registry::new(login())] {
        let refused = chain(&stranger.fetch(&place, LIMIT).await.unwrap_err());
        assert!(refused.to_lowercase().contains("authori"), "{refused}");
    }
}

#[tokio::test]
async fn a_registry_that_is_down_is_named() {
    // Nobody listens on this port any more.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let place: Pinned = format!("127.0.0.1:{port}/p@{}", sha256(b"p"))
        .parse()
        .unwrap();
    let error = chain(&Registry::default().fetch(&place, LIMIT).await.unwrap_err());
    assert!(error.contains(&format!("127.0.0.1:{port}/p@")), "{error}");
}

/// Puts a manifest with these layers, as some other tool would.
async fn put(served: &Served, name: &str, layers: &[(&str, &[u8], serde_json::Value)]) -> String {
    let config = oci_client::client::ClientConfig {
        protocol: oci_client::client::ClientProtocol::Http,
        ..Default::default()
    };
    let client = oci_client::Client::new(config);
    let place = format!("{}/{name}", served.address).parse().unwrap();
    let mut described = Vec::new();
    for (kind, bytes, annotations) in layers {
        let digest = sha256(bytes);
        client
            .push_blob(&place, bytes.to_vec(), &digest)
            .await
            .unwrap();
        described.push(json!({"mediaType": kind, "digest": digest, "size": bytes.len(), "annotations": annotations}));
    }
    let empty = sha256(b"{}");
    client
        .push_blob(&place, b"{}".to_vec(), &empty)
        .await
        .unwrap();
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({"schemaVersion": 2, "mediaType": kind,
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": empty, "size": 2},
        "layers": described})
    .to_string();
    let digest = sha256(manifest.as_bytes());
    let kind = http::HeaderValue::from_static(kind);
    client
        .push_manifest_raw(&place, manifest, kind)
        .await
        .unwrap();
    digest
}

#[tokio::test]
async fn an_image_of_another_kind_is_no_policy() {
    let Some(served) = serve(false) else { return };
    let layer = (
        "application/vnd.oci.image.layer.v1.tar",
        &b"tar"[..],
        json!({}),
    );
    let digest = put(&served, "image:v1", &[layer]).await;
    let place: Pinned = format!("{}/image@{digest}", served.address)
        .parse()
        .unwrap();
    let error = Registry::default()
        .fetch(&place, LIMIT)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("is no policy") && error.contains("layer.v1.tar"),
        "{error}"
    );
}

#[tokio::test]
async fn a_signature_counts_when_the_key_made_it_for_that_digest() {
    let Some(served) = serve(false) else { return };
    let random = SystemRandom::new();
    let make = || {
        let kind = &ECDSA_P256_SHA256_ASN1_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
        EcdsaKeyPair::from_pkcs8(kind, pkcs8.as_ref(), &random).unwrap()
    };
    let public = |pair: &EcdsaKeyPair| {
        // The fixed start of every such key.
        let mut der = STANDARD
            .decode("MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgA=")
            .unwrap();
        der.extend_from_slice(pair.public_key().as_ref());
        let pem = format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            STANDARD.encode(der)
        );
        PublicKey::from_pem(&pem).unwrap()
    };
    let (signer, stranger) = (make(), make());
    let registry = Registry::default();
    let tag: Tagged = format!("{}/p:v1", served.address).parse().unwrap();
    let place = registry.push(&tag, b"p".to_vec()).await.unwrap();
    let unsigned = registry.verify(&place, &public(&signer)).await.unwrap_err();
    assert!(unsigned.to_string().contains("there is no"), "{unsigned}");

    let sign = async |digest: &str| {
        let payload = json!({"critical": {"identity": {"docker-reference": ""}, "image": {"docker-manifest-digest": digest}, "type": "cosign container image signature"}, "optional": null}).to_string();
        let signature = signer.sign(&random, payload.as_bytes()).unwrap();
        put(
            &served,
            &format!("p:{}.sig", place.digest().replace(':', "-")),
            &[(
                "application/vnd.dev.cosign.simplesigning.v1+json",
                payload.as_bytes(),
                json!({"dev.cosignproject.cosign/signature": STANDARD.encode(signature)}),
            )],
        )
        .await;
    };
    sign(&sha256(b"another")).await;
    let wrong = registry.verify(&place, &public(&signer)).await.unwrap_err();
    assert!(
        wrong.to_string().contains("1 signatures, none by that key"),
        "{wrong}"
    );
    sign(place.digest()).await;
    registry.verify(&place, &public(&signer)).await.unwrap();
    let wrong = registry
        .verify(&place, &public(&stranger))
        .await
        .unwrap_err();
    assert!(matches!(wrong, RegistryError::Unsigned { .. }), "{wrong}");
}
