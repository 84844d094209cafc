//! The backup of an owner's key file: the name of its blob, and what the blob holds.

use rand::CryptoRng;
use thiserror::Error;
use zeroize::Zeroizing;
use zput_proto::keys::DevicePublicKey;

use crate::chunked::{self, ChunkError, SealMessageError};
use crate::keys::root::KitKey;

/// The longest key file (FORMAT 11).
const KEY_FILE_MAX_BYTES: usize = 1_048_576;
const CONTEXT: &[u8] = b"keys";

/// Why the backup of a key file was not sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The key file is longer than 1,048,576 bytes, or the backup than one of such a file.
    #[error("the backup of a key file is of at most {KEY_FILE_MAX_BYTES} bytes")]
    TooLong,
    /// The cipher engine failed.
    #[error("the backup of the key file could not be sealed")]
    Seal(#[from] SealMessageError),
    /// Another key sealed it: an owner with another root, or a device that is no owner's.
    #[error("no owner with this root sealed the backup of the key file, or it is damaged")]
    NotOwners,
    /// It was changed since it was sealed.
    #[error("the backup of the key file is damaged")]
    Damaged(#[source] ChunkError),
    /// An owner sealed something that is not a text.
    #[error("the backup of the key file is not UTF-8")]
    NotText,
}

/// The name of the blob in a key file's main vault, by the device that the file has there.
///
/// FORMAT 16: "`.zput/keys/` ‖ lower-case hex of the device that the file has in the vault".
#[must_use]
pub fn backup_name(device: &DevicePublicKey) -> String {
    format!(".zput/keys/{}", hex::encode(device.as_bytes()))
}

/// Seals the text of an unlocked key file for the owners of the vault alone.
///
/// # Errors
/// When the text is longer than a key file can be, and when the engine fails.
pub fn seal_keys(
    kit_key: &KitKey,
    key_file: &str,
    rng: &mut dyn CryptoRng,
) -> Result<Vec<u8>, BackupError> {
    if key_file.len() > KEY_FILE_MAX_BYTES {
        return Err(BackupError::TooLong);
    }
    Ok(kit_key.seal(CONTEXT, key_file.as_bytes(), rng)?)
}

/// Opens the text of the key file that an owner sealed. Any device that puts could have written
/// the blob; only one that has the root could have made what opens here.
///
/// # Errors
/// [`BackupError::NotOwners`] when it was sealed under any other key; otherwise says what is wrong
/// with it.
pub fn open_keys(kit_key: &KitKey, backup: &[u8]) -> Result<Zeroizing<String>, BackupError> {
    if backup.len() as u64 > chunked::sealed_len(KEY_FILE_MAX_BYTES as u64) {
        return Err(BackupError::TooLong);
    }
    let text = kit_key.open(CONTEXT, backup).map_err(|error| match error {
        ChunkError::CommitmentMismatch => BackupError::NotOwners,
        damaged => BackupError::Damaged(damaged),
    })?;
    let text = std::str::from_utf8(&text).map_err(|_| BackupError::NotText)?;
    Ok(Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aead::{Engine, Suite};
    use crate::chunked::InputKey;
    use crate::keys::root::RootSecret;
    use crate::tests::{FixedRng, GoldenFile};

    fn kit_key(root: &str) -> KitKey {
        RootSecret::from_bytes(GoldenFile::derive().array(root)).kit_key()
    }

    /// Each device has a backup of its own.
    #[test]
    fn kit_backup_name_has_device_in_hex() {
        let device = DevicePublicKey::from_bytes(std::array::from_fn(|at| 0xe8 - at as u8));
        assert_eq!(
            backup_name(&device),
            ".zput/keys/e8e7e6e5e4e3e2e1e0dfdedddcdbdad9d8d7d6d5d4d3d2d1d0cfcecdcccbcac9"
        );
    }

    /// The backups of the golden file are sealed byte for byte, and open to their key file.
    #[test]
    fn kit_keys_are_those_of_golden_file() {
        let golden = GoldenFile::kit();
        let key_file = String::from_utf8(golden.bytes("key_file")).unwrap();
        assert!(key_file.starts_with("format = 2\n"), "{key_file}");
        for (root, keys) in [("root_0", "keys_0"), ("root_1", "keys_1")] {
            let rng = &mut FixedRng::new(golden.bytes("salt"));
            let sealed = seal_keys(&kit_key(root), &key_file, rng).unwrap();
            assert_eq!(hex::encode(&sealed), golden.text(keys));
            assert_eq!(*open_keys(&kit_key(root), &sealed).unwrap(), key_file);
        }
    }

    /// Every 32 bytes that somebody without root 0 can have of its vault: what devices of each
    /// role hold, what follows from it, and the root after it.
    fn secrets_of_others() -> Vec<(&'static str, [u8; 32])> {
        let golden = GoldenFile::derive();
        let roots = ["root_0", "kit_key_0"];
        let others: Vec<_> = golden.keys().filter(|(name, _)| !roots.contains(name)).collect();
        for name in ["M", "wrap_key_0", "device_seed", "name_key", "charter_key", "E_0", "E_1023"] {
            assert!(others.iter().any(|(other, _)| *other == name), "{name}");
        }
        others
    }

    /// Attack 42: a member, a reader, or a device that puts or lists opens its owner's backup.
    #[test]
    fn kit_keys_open_by_no_secret_of_another_role() {
        let golden = GoldenFile::kit();
        let backup = golden.bytes("keys_0");
        let (suite, engine) = (Suite::ChaCha20Poly1305, Engine::RustCrypto);
        let open = |key| chunked::open(suite, engine, &InputKey::from_bytes(key), b"keys", &backup);
        assert_eq!(
            *open(GoldenFile::derive().array("kit_key_0")).unwrap(),
            golden.bytes("key_file")
        );
        for (name, secret) in secrets_of_others() {
            assert_eq!(open(secret), Err(ChunkError::CommitmentMismatch), "{name}");
            let derived = RootSecret::from_bytes(secret).kit_key();
            assert_eq!(open_keys(&derived, &backup), Err(BackupError::NotOwners), "{name}");
        }
    }

    /// Attack 43: a device that has no root plants a backup.
    #[test]
    fn kit_keys_sealed_by_another_role_are_refused() {
        let text = b"format = 2\n";
        let (suite, engine) = (Suite::ChaCha20Poly1305, Engine::RustCrypto);
        for (name, secret) in secrets_of_others() {
            let mut planted = Vec::new();
            let key = InputKey::from_bytes(secret);
            let rng = &mut FixedRng::new([5; 24]);
            chunked::seal(suite, engine, &key, b"keys", text, rng, &mut planted).unwrap();
            let opened = open_keys(&kit_key("root_0"), &planted);
            assert_eq!(opened, Err(BackupError::NotOwners), "{name}");
            let derived = RootSecret::from_bytes(secret).kit_key();
            let rng = &mut FixedRng::new([5; 24]);
            let planted = seal_keys(&derived, "format = 2\n", rng).unwrap();
            let opened = open_keys(&kit_key("root_0"), &planted);
            assert_eq!(opened, Err(BackupError::NotOwners), "{name}");
        }
        // And a text that is not sealed at all.
        let opened = open_keys(&kit_key("root_0"), &[b'x'; 100]);
        assert_eq!(opened, Err(BackupError::NotOwners));
    }

    /// A backup with a changed byte, one cut short, one of another context, one that is no text.
    #[test]
    fn kit_keys_refuse_damage() {
        let golden = GoldenFile::kit();
        let (key, backup) = (kit_key("root_0"), golden.bytes("keys_0"));
        for at in 0..backup.len() {
            let mut damaged = backup.clone();
            damaged[at] ^= 1;
            let expected = if at < chunked::PREFIX_BYTES {
                BackupError::NotOwners
            } else {
                BackupError::Damaged(ChunkError::ChunkCorrupt { chunk: 0 })
            };
            assert_eq!(open_keys(&key, &damaged), Err(expected), "{at}");
            let cut = open_keys(&key, &backup[..at]).unwrap_err();
            assert!(matches!(cut, BackupError::Damaged(_)), "{at}: {cut}");
        }
        let other = open_keys(&key, &golden.bytes("refused_keys_of_another_context"));
        assert_eq!(other, Err(BackupError::NotOwners));
        let not_text = open_keys(&key, &golden.bytes("refused_keys_not_text"));
        assert_eq!(not_text, Err(BackupError::NotText));
    }

    /// The longest key file is sealed and opened; one byte more is refused, at both ends.
    #[test]
    fn kit_keys_are_as_long_as_key_files() {
        let key = kit_key("root_0");
        let longest = "k".repeat(1_048_576);
        let mut backup = seal_keys(&key, &longest, &mut FixedRng::new([1; 24])).unwrap();
        assert_eq!(*open_keys(&key, &backup).unwrap(), longest);
        let longer = seal_keys(&key, &format!("{longest}k"), &mut FixedRng::new([1; 24]));
        assert_eq!(longer, Err(BackupError::TooLong));
        backup.push(0);
        assert_eq!(open_keys(&key, &backup), Err(BackupError::TooLong));
    }
}
