//! The `mlkem768x25519` recipient type (c2sp.org/age, "The MLKEM768-X25519 (i.e. X-Wing) hybrid
//! post-quantum recipient type"): HPKE SealBase with the KEM 0x647A.

use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::XWing;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use rand::CryptoRng;
use zeroize::Zeroizing;
use zput_proto::envelope::{ENCAPSULATED_BYTES, HYBRID, Stanza, is_canonical, is_low_order};

use super::file_key::{FileKey, WrapError};
use super::x25519::{LowOrder, stanza};

const INFO: &[u8] = b"age-encryption.org/mlkem768x25519";

/// A public key that has been checked.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct PublicKey(Box<<XWing as Kem>::PublicKey>);

impl PublicKey {
    /// Accepts `bytes` as a public key: of the right length, with coefficients below the modulus
    /// (FIPS 203, 7.2) and an X25519 key that is canonical and not of low order.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let classical = bytes.last_chunk()?;
        if is_low_order(classical) || !is_canonical(classical) {
            return None;
        }
        <XWing as Kem>::PublicKey::from_bytes(bytes).ok().map(|key| Self(Box::new(key)))
    }

    /// The public key of the secret `seed`.
    pub(super) fn of(seed: &[u8; 32]) -> Self {
        Self(Box::new(XWing::sk_to_pk(&private_key(seed))))
    }

    /// The 1,216 bytes of the key: ML-KEM-768's key, then X25519's.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        self.0.to_bytes().to_vec()
    }

    /// Wraps `file_key` for this key.
    pub(super) fn wrap(
        &self,
        file_key: &FileKey,
        rng: &mut dyn CryptoRng,
    ) -> Result<Stanza, WrapError> {
        let mut rng = rng;
        let (encapsulated, body) =
            hpke::single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, XWing>(
                &OpModeS::Base,
                &self.0,
                INFO,
                file_key.as_bytes(),
                b"",
                &mut rng,
            )
            .map_err(|_| WrapError)?;
        stanza(HYBRID, &encapsulated.to_bytes(), body)
    }
}

/// Tries the secret `seed` on a stanza's encapsulated key and body.
///
/// `Ok(None)`: the stanza is for another recipient. `Err`: the X25519 half would agree on zeros,
/// which X-Wing by itself does not refuse.
pub(super) fn unwrap(
    seed: &[u8; 32],
    encapsulated: &[u8; ENCAPSULATED_BYTES],
    body: &[u8],
) -> Result<Option<FileKey>, LowOrder> {
    if encapsulated.last_chunk().is_some_and(is_low_order) {
        return Err(LowOrder);
    }
    Ok(open(seed, encapsulated, body))
}

fn open(seed: &[u8; 32], encapsulated: &[u8], body: &[u8]) -> Option<FileKey> {
    let encapsulated = <XWing as Kem>::EncappedKey::from_bytes(encapsulated).ok()?;
    let opened = hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, XWing>(
        &OpModeR::Base,
        &private_key(seed),
        &encapsulated,
        INFO,
        body,
        b"",
    )
    .ok()
    .map(Zeroizing::new)?;
    opened.as_slice().try_into().ok().map(FileKey::from_bytes)
}

/// The identity is the seed from which X-Wing expands both private keys.
#[expect(clippy::expect_used, reason = "every seed of 32 bytes is a private key")]
fn private_key(seed: &[u8; 32]) -> <XWing as Kem>::PrivateKey {
    <XWing as Kem>::PrivateKey::from_bytes(seed).expect("32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// filippo.io/hpke-pq and draft-ietf-hpke-pq: the KEM's number, and the sizes that age's text
    /// gives.
    #[test]
    fn hybrid_kem_has_the_id_and_sizes_of_age() {
        assert_eq!(XWing::KEM_ID, 0x647a);
        assert_eq!(ENCAPSULATED_BYTES, 1120);
        assert_eq!(PublicKey::of(&[7; 32]).to_bytes().len(), 1216);
    }
}
