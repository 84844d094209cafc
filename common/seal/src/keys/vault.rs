//! The secret that the members of a vault share, and the two keys that are derived from it.

use hmac::Mac;
use rand::CryptoRng;
use thiserror::Error;
use zput_proto::name::{BlobName, ObjectKey};
use zput_proto::secret::Secret;

use super::derive;
use super::mac::hmac;

/// The secret of a vault: 32 random bytes that every member's key file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultSecret(Secret<32>);

impl VaultSecret {
    /// Draws the secret of a new vault from `rng`.
    pub fn generate(rng: &mut dyn CryptoRng) -> Self {
        Self(Secret::generate(rng))
    }

    /// Takes over a secret that was read from a key file.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Secret::from_bytes(bytes))
    }

    /// The 32 secret bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// The key that turns names into object keys (FORMAT 10, `name_key`).
    #[must_use]
    pub fn name_key(&self) -> NameKey {
        NameKey(derive::key(self.as_bytes(), "zput/v1/vault/name"))
    }

    /// The key that vouches for blobs (FORMAT 10, `vault_mac_key`).
    #[must_use]
    pub fn mac_key(&self) -> VaultMacKey {
        VaultMacKey(derive::key(self.as_bytes(), "zput/v1/vault/mac"))
    }
}

/// The key that turns names into object keys. It is zeroized on drop.
#[derive(Clone, Debug)]
pub struct NameKey(Secret<32>);

impl NameKey {
    /// FORMAT 10: "lower-case hex of HMAC(name_key, name), 64 bytes".
    #[must_use]
    #[expect(clippy::expect_used, reason = "64 bytes are within the bounds of an object key")]
    pub fn object_key(&self, name: &BlobName) -> ObjectKey {
        let digest = hmac(self.0.as_bytes(), &[name.as_str().as_bytes()]).finalize().into_bytes();
        ObjectKey::new(hex::encode(digest)).expect("64 bytes")
    }
}

/// The key by which a vault vouches for its blobs. It is zeroized on drop.
#[derive(Clone, Debug)]
pub struct VaultMacKey(Secret<32>);

/// The vault's MAC does not match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the vault's MAC does not match")]
#[non_exhaustive]
pub struct VaultMacMismatch;

impl VaultMacKey {
    /// HMAC-SHA-256 of the concatenation of `pieces`.
    #[must_use]
    pub fn mac(&self, pieces: &[&[u8]]) -> [u8; 32] {
        hmac(self.0.as_bytes(), pieces).finalize().into_bytes().into()
    }

    /// Compares `mac` with that of `pieces`, in constant time.
    ///
    /// # Errors
    /// [`VaultMacMismatch`] when they differ.
    pub fn verify(&self, pieces: &[&[u8]], mac: &[u8; 32]) -> Result<(), VaultMacMismatch> {
        hmac(self.0.as_bytes(), pieces).verify_slice(mac).map_err(|_| VaultMacMismatch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All values computed by Python's `hmac` from the secret 00 01 … 1F.
    #[test]
    fn vault_secret_derives_keys_of_fixed_value() {
        let vault = VaultSecret::from_bytes(std::array::from_fn(|i| i as u8));
        let name_key = vault.name_key();
        assert_eq!(
            hex::encode(name_key.0.as_bytes()),
            "3b729bacb230201011b1dc584a68fa8dc52e530c3d2ae094258fd83120ab56f0"
        );
        let object_key = name_key.object_key(&BlobName::parse("Grüße/secret.bin").unwrap());
        assert_eq!(
            object_key.as_bytes(),
            b"e86141dc4f570226aa49f55b118446c0934782521310c5831bb60dc9f381a653"
        );
        let mac_key = vault.mac_key();
        assert_eq!(
            hex::encode(mac_key.0.as_bytes()),
            "098129b76281bb7824d40c853b48c3b642ba2782068b7a16660f28e30d854ee8"
        );
        let mac = mac_key.mac(&[b"zput/v1/vault-mac", &[7; 64]]);
        assert_eq!(
            hex::encode(mac),
            "dcb79faef942a08d7857c20865a8d681826a6df0b61ec4d9efbbacf824edf184"
        );
        assert_eq!(mac_key.verify(&[b"zput/v1/", b"vault-mac", &[7; 64]], &mac), Ok(()));
        for at in [0, 31] {
            let mut wrong = mac;
            wrong[at] ^= 1;
            let verdict = mac_key.verify(&[b"zput/v1/vault-mac", &[7; 64]], &wrong);
            assert_eq!(verdict, Err(VaultMacMismatch), "{at}");
        }
    }

    /// The Debug texts of the vault's secret and keys show nothing of them.
    #[test]
    fn vault_secret_debug_hides_the_keys() {
        let vault = VaultSecret::from_bytes([0x5a; 32]);
        let shown = format!("{vault:?} {:?} {:?}", vault.name_key(), vault.mac_key());
        assert_eq!(shown, "VaultSecret([secret]) NameKey([secret]) VaultMacKey([secret])");
    }
}
