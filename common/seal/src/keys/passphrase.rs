//! The secrets of a key file under a passphrase (FORMAT 11, `protected`): Argon2id and one sealed
//! message.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use rand::CryptoRng;
use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};
use zput_proto::fallible;

use crate::aead::{Engine, Suite};
use crate::chunked::{self, InputKey};

/// Number of bytes of the salt.
pub(super) const SALT_BYTES: usize = 16;

/// The largest costs that a reader takes from a file.
const COST_MAX: Cost = Cost { memory_kib: 1_048_576, passes: 16, lanes: 16 };
/// The costs that are written: RFC 9106, section 4, the second recommended option.
const COST: Cost = Cost { memory_kib: 65_536, passes: 3, lanes: 4 };
const CONTEXT: &[u8] = b"zput/v1/keyfile";

/// The costs of Argon2id (RFC 9106).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cost {
    /// Memory in KiB, `m`.
    pub(super) memory_kib: u32,
    /// Number of passes, `t`.
    pub(super) passes: u32,
    /// Number of lanes, `p`.
    pub(super) lanes: u32,
}

/// Secrets that a passphrase opens. The sealed form is not secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Protected {
    pub(super) cost: Cost,
    pub(super) salt: [u8; SALT_BYTES],
    /// A message of suite 2.
    pub(super) sealed: Vec<u8>,
}

/// Why a passphrase did not lock or unlock a key file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PassphraseError {
    /// The passphrase is empty.
    #[error("the passphrase is empty")]
    Empty,
    /// The passphrase is wrong, or the file was changed. The two cannot be told apart.
    #[error("the passphrase is wrong, or the key file is damaged")]
    Wrong,
    /// The file asks for more than 1 GiB, 16 passes or 16 lanes, or for what Argon2id does not
    /// allow.
    #[error("the key file asks for costs of Argon2id that are not allowed")]
    Cost,
    /// The memory that Argon2id needs cannot be had.
    #[error(
        "not enough memory (Argon2id of its passphrase takes {0} KiB beside the program; \
         raise its limit: ulimit -v, LimitAS=)"
    )]
    Memory(u32),
    /// The cipher engine failed.
    #[error("the secrets could not be sealed")]
    Seal,
}

impl Protected {
    /// Seals `secrets` under `passphrase`, with a fresh salt.
    pub(super) fn lock(
        passphrase: &str,
        secrets: &[u8],
        rng: &mut dyn CryptoRng,
    ) -> Result<Self, PassphraseError> {
        Self::lock_at(COST, passphrase, secrets, rng)
    }

    fn lock_at(
        cost: Cost,
        passphrase: &str,
        secrets: &[u8],
        rng: &mut dyn CryptoRng,
    ) -> Result<Self, PassphraseError> {
        let mut salt = [0; SALT_BYTES];
        rng.fill_bytes(&mut salt);
        let key = cost.key(passphrase, &salt)?;
        let mut sealed = Vec::new();
        let (suite, engine) = (Suite::ChaCha20Poly1305, Engine::RustCrypto);
        chunked::seal(suite, engine, &key, CONTEXT, secrets, rng, &mut sealed)
            .map_err(|_| PassphraseError::Seal)?;
        Ok(Self { cost, salt, sealed })
    }

    /// Opens the secrets.
    pub(super) fn unlock(&self, passphrase: &str) -> Result<Zeroizing<Vec<u8>>, PassphraseError> {
        let key = self.cost.key(passphrase, &self.salt)?;
        let (suite, engine) = (Suite::ChaCha20Poly1305, Engine::RustCrypto);
        chunked::open(suite, engine, &key, CONTEXT, &self.sealed)
            .map_err(|_| PassphraseError::Wrong)
    }
}

impl Cost {
    /// The costs as parameters of Argon2id.
    ///
    /// # Errors
    /// [`PassphraseError::Cost`] when a cost is out of bounds.
    pub(super) fn params(self) -> Result<Params, PassphraseError> {
        if self.memory_kib > COST_MAX.memory_kib
            || self.passes > COST_MAX.passes
            || self.lanes > COST_MAX.lanes
        {
            return Err(PassphraseError::Cost);
        }
        Params::new(self.memory_kib, self.passes, self.lanes, Some(32))
            .map_err(|_| PassphraseError::Cost)
    }

    /// Derives the input key of the message from `passphrase`.
    fn key(self, passphrase: &str, salt: &[u8]) -> Result<InputKey, PassphraseError> {
        if passphrase.is_empty() {
            return Err(PassphraseError::Empty);
        }
        let params = self.params()?;
        // Allocated here, because the library would abort without memory and would not wipe it.
        let mut memory = Vec::new();
        fallible::reserve(&mut memory, params.block_count())
            .map_err(|_| PassphraseError::Memory(self.memory_kib))?;
        memory.resize(params.block_count(), Block::default());
        let mut memory = Zeroizing::new(memory);
        let mut key = [0; 32];
        let hashed = Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into_with_memory(
                passphrase.as_bytes(),
                salt,
                &mut key,
                memory.as_mut_slice(),
            )
            .map(|()| InputKey::from_bytes(key))
            .map_err(|_| PassphraseError::Cost);
        key.zeroize();
        hashed
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    const CHEAP: Cost = Cost { memory_kib: 64, passes: 1, lanes: 2 };

    /// Locking writes the documented Argon2id cost of 64 MiB, 3 passes and 4 lanes.
    #[test]
    fn passphrase_lock_writes_the_documented_argon2_cost() {
        let written = Protected::lock("x", b"secrets", &mut StdRng::seed_from_u64(1)).unwrap();
        assert_eq!(written.cost, Cost { memory_kib: 65_536, passes: 3, lanes: 4 });
        assert_eq!(written.unlock("x").unwrap().as_slice(), b"secrets");
    }

    /// Unlocking fails for another passphrase, changed bytes, another salt or another cost.
    #[test]
    fn passphrase_unlock_refuses_wrong_passphrase_or_changed_bytes() {
        let mut rng = StdRng::seed_from_u64(2);
        let locked = Protected::lock_at(CHEAP, "correct horse", b"secrets", &mut rng).unwrap();
        assert_eq!(locked.unlock("correct horse").unwrap().as_slice(), b"secrets");
        assert_eq!(locked.unlock("correct horsf").unwrap_err(), PassphraseError::Wrong);
        assert_eq!(locked.unlock("").unwrap_err(), PassphraseError::Empty);
        let empty = Protected::lock_at(CHEAP, "", b"secrets", &mut rng);
        assert_eq!(empty.unwrap_err(), PassphraseError::Empty);
        for at in 0..locked.sealed.len() {
            let mut damaged = locked.clone();
            damaged.sealed[at] ^= 1;
            assert_eq!(damaged.unlock("correct horse").unwrap_err(), PassphraseError::Wrong);
        }
        let mut damaged = locked.clone();
        damaged.salt[0] ^= 1;
        assert_eq!(damaged.unlock("correct horse").unwrap_err(), PassphraseError::Wrong);
        for cost in [
            Cost { memory_kib: 65, ..CHEAP },
            Cost { passes: 2, ..CHEAP },
            Cost { lanes: 1, ..CHEAP },
        ] {
            let damaged = Protected { cost, ..locked.clone() };
            assert_eq!(damaged.unlock("correct horse").unwrap_err(), PassphraseError::Wrong);
        }
    }

    /// Unlocking refuses Argon2id memory, passes or lanes out of bounds.
    #[test]
    fn passphrase_unlock_refuses_argon2_cost_out_of_bounds() {
        let protected = |cost| Protected { cost, salt: [0; 16], sealed: vec![0; 72] };
        for cost in [
            Cost { memory_kib: 1_048_577, ..CHEAP },
            Cost { memory_kib: u32::MAX, ..CHEAP },
            Cost { memory_kib: 15, ..CHEAP },
            Cost { passes: 17, ..CHEAP },
            Cost { passes: 0, ..CHEAP },
            Cost { lanes: 17, memory_kib: 1024, ..CHEAP },
            Cost { lanes: 0, ..CHEAP },
        ] {
            assert_eq!(protected(cost).unlock("x").unwrap_err(), PassphraseError::Cost, "{cost:?}");
        }
    }
}
