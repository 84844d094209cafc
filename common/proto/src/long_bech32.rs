//! Bech32 without its length limit: the text form of age keys and invites.
//!
//! c2sp.org/age: "Bech32 is as specified in BIP173, but without length limits on the data part.
//! Note that Bech32 strings can only be all uppercase or all lowercase, but the checksum is always
//! computed over the lowercase string."

use bech32::primitives::decode::UncheckedHrpstring;
use bech32::{Bech32, Checksum, Hrp};
use thiserror::Error;
use zeroize::Zeroizing;

/// Why a text is not the Bech32 text that was expected. It never repeats the text, which may be a
/// secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Bech32Error {
    /// The characters, the letter case or the separator are not those of Bech32.
    #[error("it is not Bech32 text")]
    NotBech32,
    /// The text has another human-readable prefix.
    #[error("it does not begin with \"{0}1\"")]
    Prefix(&'static str),
    /// The checksum does not match: the text was mistyped or cut short.
    #[error("its checksum does not match: it was mistyped or cut short")]
    Checksum,
    /// The text has padding bits or a letter case that no encoder writes.
    #[error("it is not in its canonical form")]
    NotCanonical,
}

/// BIP 173's checksum for texts of any length.
enum LongBech32 {}

impl Checksum for LongBech32 {
    type MidstateRepr = <Bech32 as Checksum>::MidstateRepr;
    type CorrectionField = <Bech32 as Checksum>::CorrectionField;
    const ROOT_GENERATOR: Self::CorrectionField = Bech32::ROOT_GENERATOR;
    const ROOT_EXPONENTS: core::ops::RangeInclusive<usize> = Bech32::ROOT_EXPONENTS;
    const CODE_LENGTH: usize = usize::MAX;
    const CHECKSUM_LENGTH: usize = Bech32::CHECKSUM_LENGTH;
    const GENERATOR_SH: [Self::MidstateRepr; 5] = Bech32::GENERATOR_SH;
    const TARGET_RESIDUE: Self::MidstateRepr = Bech32::TARGET_RESIDUE;
}

/// Encodes `data` with the human-readable `prefix`, in the prefix's letter case.
///
/// `prefix` is a constant: ASCII of one case.
pub fn encode(prefix: &'static str, data: &[u8]) -> Zeroizing<String> {
    let hrp = Hrp::parse_unchecked(prefix);
    // The whole capacity at once, since a buffer that grows would leave copies of a secret in
    // memory.
    let length = prefix.len() + 1 + data.len().div_ceil(5) * 8 + LongBech32::CHECKSUM_LENGTH;
    let mut text = Zeroizing::new(String::with_capacity(length));
    let written = if prefix.starts_with(|c: char| c.is_ascii_uppercase()) {
        bech32::encode_upper_to_fmt::<LongBech32, String>(&mut text, hrp, data)
    } else {
        bech32::encode_lower_to_fmt::<LongBech32, String>(&mut text, hrp, data)
    };
    debug_assert!(written.is_ok(), "writing to a string fails only at the code's length limit");
    text
}

/// Decodes the data of a `text` with this `prefix`. Only what [`encode`] would write is accepted. #
/// Errors Says how `text` differs from that.
pub fn decode(prefix: &'static str, text: &str) -> Result<Zeroizing<Vec<u8>>, Bech32Error> {
    let parsed = UncheckedHrpstring::new(text).map_err(|_| Bech32Error::NotBech32)?;
    if parsed.hrp() != Hrp::parse_unchecked(prefix) {
        return Err(Bech32Error::Prefix(prefix));
    }
    let checked =
        parsed.validate_and_remove_checksum::<LongBech32>().map_err(|_| Bech32Error::Checksum)?;
    let bytes = checked.byte_iter();
    let mut data = Zeroizing::new(Vec::with_capacity(bytes.len()));
    data.extend(bytes);
    if encode(prefix, &data).as_str() != text {
        return Err(Bech32Error::NotCanonical);
    }
    Ok(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The checksum parameters of the long Bech32 pass the library's sanity check.
    #[test]
    fn long_bech32_checksum_passes_sanity_check() {
        LongBech32::sanity_check();
    }

    /// BIP 173's own valid string, which is 90 characters and 82 of data, all zero.
    #[test]
    fn long_bech32_decodes_bip173_string() {
        let text = "11qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqc8247j";
        // 82 characters carry 51 bytes and two bits of padding.
        assert_eq!(decode("1", text).unwrap().as_slice(), [0; 51]);
    }

    /// Bech32 text with a changed character, mixed case or another prefix is refused.
    #[test]
    fn long_bech32_refuses_damaged_text() {
        // Computed by another implementation (BIP 173's Python).
        let text = "zputtest1qqqsyqcyq5rqwzqfmy0rck";
        assert_eq!(encode("zputtest", &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]).as_str(), text);
        assert_eq!(decode("zputtest", "zputtest1").unwrap_err(), Bech32Error::Checksum);
        assert_eq!(decode("zputtest", "").unwrap_err(), Bech32Error::NotBech32);
        assert_eq!(decode("zputtest", "zputtest").unwrap_err(), Bech32Error::NotBech32);
        assert_eq!(decode("other", text).unwrap_err(), Bech32Error::Prefix("other"));
        assert_eq!(
            decode("zputtest", &text.to_ascii_uppercase()).unwrap_err(),
            Bech32Error::NotCanonical
        );
        let mixed = text.replace("qqq", "QQQ");
        assert_eq!(decode("zputtest", &mixed).unwrap_err(), Bech32Error::NotBech32);
        for at in 9..text.len() {
            let mut damaged = text.as_bytes().to_vec();
            damaged[at] = if damaged[at] == b'q' { b'p' } else { b'q' };
            let damaged = String::from_utf8(damaged).unwrap();
            assert_eq!(decode("zputtest", &damaged).unwrap_err(), Bech32Error::Checksum, "{at}");
        }
    }

    /// A valid checksum over padding bits that are not zero (made by hand: the last of the five-bit
    /// groups carries a bit that belongs to no byte).
    #[test]
    fn long_bech32_refuses_nonzero_padding_bits() {
        use bech32::{Fe32, Fe32IterExt};
        let hrp = Hrp::parse_unchecked("zputtest");
        let groups = [Fe32::P, Fe32::P];
        let text: String = groups.into_iter().with_checksum::<LongBech32>(&hrp).chars().collect();
        assert_eq!(decode("zputtest", &text).unwrap_err(), Bech32Error::NotCanonical);
    }
}
