//! Signatures as `cosign sign --key` makes them: ECDSA on P-256 over a payload that names the digest.
//!
//! Keyless signing, certificates and transparency logs are not looked at: a cluster that wants a
//! signature holds the public key.

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
        let Ok(signature) = STANDARD.decode(signature) else {
            return false;
        };
        let signed = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.0)
            .verify(payload, &signature)
            .is_ok();
        // Read only after the signature holds.
        signed
            && serde_json::from_slice(payload).is_ok_and(|payload: Payload| {
                payload.critical.image.docker_manifest_digest == digest
            })
    }
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
