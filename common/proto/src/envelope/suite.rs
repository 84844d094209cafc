//! The numbers and names of the AEADs that seal a blob.

use std::fmt;

/// The AEAD that seals a blob (FORMAT 1). The discriminant is the suite's number in a header.
/// Exhaustive: what seals and opens has to implement each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Suite {
    /// AES-256 in GCM; with the chunked scheme, the C2SP's Cobblestone-256.
    #[default]
    Aes256Gcm = 1,
    /// ChaCha20-Poly1305 (RFC 8439), for machines without AES instructions.
    ChaCha20Poly1305 = 2,
}

impl Suite {
    /// All suites, in the order of their numbers.
    pub const ALL: [Self; 2] = [Self::Aes256Gcm, Self::ChaCha20Poly1305];

    /// The suite with this number in a header; `None` when there is none.
    #[must_use]
    pub const fn from_u8(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Aes256Gcm),
            2 => Some(Self::ChaCha20Poly1305),
            _ => None,
        }
    }

    /// The suite's number in a header.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The suite's name in the IANA registry of AEAD algorithms, an input of every key derivation.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aes256Gcm => "AEAD_AES_256_GCM",
            Self::ChaCha20Poly1305 => "AEAD_CHACHA20_POLY1305",
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// AEAD suites have the numbers and names of FORMAT.
    #[test]
    fn aead_suite_numbers_and_names_match_the_format() {
        assert_eq!(Suite::from_u8(1), Some(Suite::Aes256Gcm));
        assert_eq!(Suite::from_u8(2), Some(Suite::ChaCha20Poly1305));
        assert_eq!(Suite::from_u8(0), None);
        assert_eq!(Suite::from_u8(3), None);
        assert_eq!(Suite::Aes256Gcm.number(), 1);
        assert_eq!(Suite::ChaCha20Poly1305.number(), 2);
        assert_eq!(Suite::Aes256Gcm.name(), "AEAD_AES_256_GCM");
        assert_eq!(Suite::ChaCha20Poly1305.name(), "AEAD_CHACHA20_POLY1305");
        assert_eq!(Suite::default(), Suite::Aes256Gcm);
    }
}
