//! Signatures as `cosign sign --key` makes them: ECDSA on P-256 over a payload that names the digest. Since
//! version 3 the payload is a statement in an envelope in a bundle; before, it was a document of cosign's own.
//!
//! Keyless signing, certificates and transparency logs are not looked at: a cluster that wants a
//! signature holds the public key.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use serde::Deserialize;

use crate::error::RegistryError;

/// DER of a P-256 `SubjectPublicKeyInfo`, up to the point itself.
const HEADER: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// Type of the payload in a bundle.
const STATEMENT: &str = "application/vnd.in-toto+json";
/// What `cosign sign` says of its subject.
const IS_SIGNED: &str = "https://sigstore.dev/cosign/sign/v1";
/// An uncompressed point.
const POINT: usize = 65;

/// A public key on the curve P-256, as `cosign generate-key-pair` writes it to `cosign.pub`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(Vec<u8>);

impl PublicKey {
    /// Reads PEM.
    pub fn from_pem(text: &str) -> Result<Self, RegistryError> {
        let body = text
            .trim()
            .strip_prefix("-----BEGIN PUBLIC KEY-----")
            .and_then(|rest| rest.strip_suffix("-----END PUBLIC KEY-----"))
            .ok_or(RegistryError::Key(
                "it does not start with -----BEGIN PUBLIC KEY-----, or has no end",
            ))?;
        let body: String = body.split_whitespace().collect();
        let der = STANDARD.decode(body).unwrap_or_default();
        match der.strip_prefix(&HEADER) {
            Some(point) if point.len() == POINT => Ok(Self(point.to_owned())),
            _ => Err(RegistryError::Key("it is no ECDSA key on the curve P-256")),
        }
    }

    /// Whether the holder of the key has signed `payload`, and `payload` speaks of `digest`.
    pub(crate) fn vouches(&self, payload: &[u8], signature: &str, digest: &str) -> bool {
        // Read only after the signature holds.
        self.has_signed(payload, signature)
            && serde_json::from_slice(payload).is_ok_and(|payload: Payload| {
                payload.critical.image.docker_manifest_digest == digest
            })
    }

    /// Whether `bundle` holds the statement that `digest` is signed, and the holder of the key has made it.
    pub(crate) fn vouches_by_bundle(&self, bundle: &[u8], digest: &str) -> bool {
        let Ok(Bundle { dsse_envelope: it }) = serde_json::from_slice(bundle) else {
            return false;
        };
        let Ok(payload) = STANDARD.decode(&it.payload) else {
            return false;
        };
        let signed = enveloped(&it.payload_type, &payload);
        let is_signed = it
            .signatures
            .iter()
            .any(|signature| self.has_signed(&signed, &signature.sig));
        // The same key may have made other statements of it: what it was built from, what is wrong with it.
        is_signed
            && it.payload_type == STATEMENT
            && serde_json::from_slice(&payload).is_ok_and(|statement: Statement| {
                statement.predicate_type == IS_SIGNED
                    && statement.subject.iter().any(|subject| {
                        let named = subject.digest.get("sha256");
                        named.is_some_and(|named| digest.strip_prefix("sha256:") == Some(named))
                    })
            })
    }

    fn has_signed(&self, message: &[u8], signature: &str) -> bool {
        STANDARD.decode(signature).is_ok_and(|signature| {
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.0)
                .verify(message, &signature)
                .is_ok()
        })
    }
}

/// What is signed of an envelope.
fn enveloped(kind: &str, payload: &[u8]) -> Vec<u8> {
    let mut text = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).into_bytes();
    text.extend_from_slice(payload);
    text
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bundle {
    dsse_envelope: Envelope,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<Signature>,
}

#[derive(Deserialize)]
struct Signature {
    sig: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    subject: Vec<Subject>,
    predicate_type: String,
}

#[derive(Deserialize)]
struct Subject {
    digest: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Payload {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    image: Image,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Image {
    docker_manifest_digest: String,
}

#[cfg(test)]
mod tests {
    use ring::signature::{EcdsaKeyPair, KeyPair};
    use serde_json::json;

    use super::*;

    /// Made with `openssl ecparam -name prime256v1 -genkey` and `openssl ec -pubout`.
    const KEY: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEAJ/E27jkKs1aJJ6SebOVmRXM9jI6
n93Q7nOGwRzga1b4aVkAF3sO1CMYHuAZajhUm6IFplYqaqekdHZCeKYo/A==
-----END PUBLIC KEY-----
";
    const PAYLOAD: &str = r#"{"critical":{"identity":{"docker-reference":"r.example/p"},"image":{"docker-manifest-digest":"sha256:1"},"type":"cosign container image signature"},"optional":null}"#;
    /// `openssl dgst -sha256 -sign` over the payload.
    const SIGNATURE: &str = "MEQCICSAQrKiZvdOV9p70WssyTXPerCyBlMKMMIVrWPP0c/KAiBIMg33iCu7somlTyCA0VhzwDS8lb4/FEVFpTUFRctuVg==";

    #[test]
    fn a_signature_of_openssl_holds_for_its_payload_and_digest_only() {
        let key = PublicKey::from_pem(KEY).unwrap();
        assert!(key.vouches(PAYLOAD.as_bytes(), SIGNATURE, "sha256:1"));
        assert!(!key.vouches(PAYLOAD.as_bytes(), SIGNATURE, "sha256:2"));
        assert!(!key.vouches(PAYLOAD.replace('p', "q").as_bytes(), SIGNATURE, "sha256:1"));
        assert!(!key.vouches(PAYLOAD.as_bytes(), "AAAA", "sha256:1"));
    }

    /// Of cosign 3.1.3, by `cosign generate-key-pair`.
    const COSIGN_KEY: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEJIVcia6tVjrb5EDpM1AI5XAZvjx0
BW/B5pjj/CaYka094NLr0Tj8R4p1sd9WT/5GS/F424EzUUHIuYjWqnVKlA==
-----END PUBLIC KEY-----
";
    /// What `cosign sign --key` pushed for [`COSIGN_DIGEST`].
    const BUNDLE: &str = r#"{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","dsseEnvelope":{"payload":"eyJfdHlwZSI6Imh0dHBzOi8vaW4tdG90by5pby9TdGF0ZW1lbnQvdjEiLCAic3ViamVjdCI6W3siZGlnZXN0Ijp7InNoYTI1NiI6IjJiYWNmNDM0YTczZmFhMTdiOWZmMWUzNDA3ZTI5OGM0YjE5YzAyMmI1MTAxZjYzZjZjNDVhYWM0ZTFmNDNmY2UifSwgImFubm90YXRpb25zIjp7fX1dLCAicHJlZGljYXRlVHlwZSI6Imh0dHBzOi8vc2lnc3RvcmUuZGV2L2Nvc2lnbi9zaWduL3YxIiwgInByZWRpY2F0ZSI6e319","payloadType":"application/vnd.in-toto+json","signatures":[{"sig":"MEUCIQDuTbxnBPX2ZoEPVQx/ZMc4bUXy2FTOIpQqQ3f4tJTdrAIgdju04U9w5u2tMRpX/WCfC+5RSsSogTZwL97mtRWqLzk="}]}}"#;
    const COSIGN_DIGEST: &str =
        "sha256:2bacf434a73faa17b9ff1e3407e298c4b19c022b5101f63f6c45aac4e1f43fce";

    #[test]
    fn a_bundle_of_cosign_holds_for_its_digest_and_its_key_only() {
        let key = PublicKey::from_pem(COSIGN_KEY).unwrap();
        let other = PublicKey::from_pem(KEY).unwrap();
        assert!(key.vouches_by_bundle(BUNDLE.as_bytes(), COSIGN_DIGEST));
        assert!(!key.vouches_by_bundle(BUNDLE.as_bytes(), "sha256:1"));
        assert!(!other.vouches_by_bundle(BUNDLE.as_bytes(), COSIGN_DIGEST));
        for (from, to) in [
            ("MEUC", "MEUD"),
            ("vnd.in-toto+json", "json"),
            ("eyJf", "eyJg"),
        ] {
            let spoilt = BUNDLE.replace(from, to);
            assert_ne!(spoilt, BUNDLE);
            assert!(
                !key.vouches_by_bundle(spoilt.as_bytes(), COSIGN_DIGEST),
                "{to}"
            );
        }
    }

    #[test]
    fn another_statement_of_the_same_key_is_no_signature() {
        let random = ring::rand::SystemRandom::new();
        let kind = &ring::signature::ECDSA_P256_SHA256_ASN1_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(kind, pkcs8.as_ref(), &random).unwrap();
        let key = PublicKey(pair.public_key().as_ref().to_owned());
        let bundle = |predicate: &str| {
            let statement = json!({"_type": "https://in-toto.io/Statement/v1",
                "subject": [{"digest": {"sha256": "1"}}], "predicateType": predicate, "predicate": {}});
            let payload = statement.to_string();
            let sig = pair
                .sign(&random, &enveloped(STATEMENT, payload.as_bytes()))
                .unwrap();
            json!({"dsseEnvelope": {"payloadType": STATEMENT, "payload": STANDARD.encode(payload),
                "signatures": [{"sig": STANDARD.encode(sig)}]}})
            .to_string()
        };
        assert!(key.vouches_by_bundle(bundle(IS_SIGNED).as_bytes(), "sha256:1"));
        let found_bad = "https://cosign.sigstore.dev/attestation/vuln/v1";
        assert!(!key.vouches_by_bundle(bundle(found_bad).as_bytes(), "sha256:1"));
    }

    #[test]
    fn what_is_no_key_of_the_curve_is_told() {
        for text in [
            "",
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
        ] {
            assert!(PublicKey::from_pem(text).is_err(), "{text}");
        }
    }
}
