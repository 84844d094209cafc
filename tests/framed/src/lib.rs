//! Objects whose framing is that of a sealed blob (FORMAT 3 to 7) and whose ciphertext is none:
//! what a server without keys checks of a blob holds of them. Written from FORMAT, and not with the
//! code that it tests.

/// `part_size_log2` of parts that are quick to make: a full one is sealed to 65,672 bytes.
pub const SMALL_PARTS: u8 = 16;

/// A header of exactly `length` bytes for the object `key`: suite 1, one stanza of a type that
/// nobody knows, and no sense in metadata and MAC. Two of one `salt` are one header.
///
/// # Panics
/// When no header of this key has that length.
#[must_use]
pub fn header(
    key: &[u8],
    length: usize,
    part_size_log2: u8,
    generation: u64,
    salt: [u8; 32],
) -> Vec<u8> {
    let mut header = b"\x8Azput\r\n\x1A\x00\x01".to_vec();
    header.extend((length as u32).to_be_bytes());
    header.extend([1, part_size_log2]);
    header.extend(salt);
    header.extend(generation.to_be_bytes());
    header.extend((key.len() as u16).to_be_bytes());
    header.extend(key);
    // The stanza fills what metadata of 91 bytes and the MAC leave.
    let stanza = length.checked_sub(header.len() + 2 + 2 + 91 + 32);
    let stanza = stanza.and_then(filling_stanza);
    let stanza = stanza.unwrap_or_else(|| panic!("a header of {length} bytes for this key"));
    header.extend((stanza.len() as u16).to_be_bytes());
    header.extend(stanza);
    header.extend(91_u16.to_be_bytes());
    header.resize(length, 9);
    header
}

/// A stanza of `length` bytes, of a type that nobody knows.
fn filling_stanza(length: usize) -> Option<Vec<u8>> {
    let more = length.checked_sub("-> x\n\n".len())?;
    Some([b"-> x", &vec![b'y'; more][..], b"\n\n"].concat())
}

/// The bare footer of a blob of these parts, sealed as they are.
///
/// # Panics
/// When no plaintext is sealed to parts of these lengths.
#[must_use]
pub fn footer(parts: &[&[u8]], part_size_log2: u8) -> Vec<u8> {
    let full = 1_u64 << part_size_log2;
    let plain: Vec<u64> = parts.iter().map(|part| plain_length(part.len() as u64)).collect();
    let (last, before) = plain.split_last().unwrap_or_else(|| panic!("a blob has a part"));
    assert!(before.iter().all(|length| *length == full) && *last < full, "{plain:?}");
    let mut footer = plain.iter().sum::<u64>().to_be_bytes().to_vec();
    footer.extend(parts.iter().flat_map(|part| *blake3::hash(part).as_bytes()));
    footer.extend([0, 0]);
    footer.push(2);
    footer.extend([0; 32]);
    footer.extend((footer.len() as u32 + 12).to_be_bytes());
    footer.extend(b"\x8Azputend");
    footer
}

/// FORMAT 6: "`S(p) = 56 + p + 16 × (⌊p / 16384⌋ + 1)`".
#[must_use]
pub fn sealed_length(plain: u64) -> u64 {
    56 + plain + 16 * (plain / 16_384 + 1)
}

/// The least that something is sealed to, of `length` bytes or more: the next chunk's tag comes all
/// at once.
#[must_use]
pub fn next_sealed_length(length: u64) -> u64 {
    let fits = |sealed: &u64| unsealed(*sealed).is_some();
    (length..=length + 72).find(fits).unwrap_or(length)
}

/// How much plaintext is sealed to so many bytes; `None` for none.
fn unsealed(sealed: u64) -> Option<u64> {
    let chunks = sealed.checked_sub(56)? / 16_400 + 1;
    sealed.checked_sub(56 + 16 * chunks).filter(|plain| sealed_length(*plain) == sealed)
}

fn plain_length(sealed: u64) -> u64 {
    unsealed(sealed).unwrap_or_else(|| panic!("nothing is sealed to {sealed} bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A made header has exactly the requested length, padded by its stanza.
    #[test]
    fn framed_header_has_requested_length() {
        for length in [200, 201, 202, 203, 300, 65_536] {
            let header = header(b"doc", length, 16, 1, [7; 32]);
            assert_eq!(header.len(), length);
            let stanzas = usize::from(u16::from_be_bytes([header[61], header[62]]));
            assert_eq!(header.len(), 63 + stanzas + 2 + 91 + 32, "{length}");
            assert!(
                header[63..].starts_with(b"-> x") && header[61 + stanzas..].starts_with(b"\n\n")
            );
        }
    }

    /// A made footer states the plaintext length, and sealed lengths follow from plain ones.
    #[test]
    fn framed_footer_states_plaintext_length() {
        let (full, last) = (vec![1; 65_672], vec![2; 72]);
        let footer = footer(&[&full, &full, &last], SMALL_PARTS);
        assert_eq!(footer[..8], 131_072_u64.to_be_bytes());
        assert_eq!(footer.len(), 8 + 3 * 32 + 2 + 1 + 32 + 4 + 8);
        assert_eq!(footer[footer.len() - 12..], *b"\x00\x00\x00\x97\x8Azputend");
        for (plain, sealed) in [(0, 72), (16_383, 16_455), (16_384, 16_472), (65_535, 65_655)] {
            assert_eq!(sealed_length(plain), sealed);
            assert_eq!(plain_length(sealed), plain);
        }
        for (length, next) in [(0, 72), (71, 72), (72, 72), (16_455, 16_455), (16_456, 16_472)] {
            assert_eq!(next_sealed_length(length), next);
        }
    }
}
