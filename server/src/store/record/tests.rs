use super::*;

/// The file of the plain object "greeting", made by a script that is based on STORE and shares no
/// code with this crate: "hello, store" in two slices, written by the device 00 01 … 1f.
const GOLDEN: &str = "\
    68656c6c6f2c2073746f726500000005ea8f163db38682925e4491c5e58d4bb3506ef8c14eb78a86\
    e908c5624a67200f0000000770e46f2e8577cb582106be4677b77f5c125997397fce127dc86a9e4a\
    4eb96db56772656574696e67010117979cfe3d85cd15000000000000000c00000000000000000001\
    02030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f0000000275b8b5fd4360\
    fa409cb70a18dd3a9df127074af36d81083f5304eaa8f9b7ea530008fa72bdbcee7f1ddd52899296\
    070a42cb3586d300729f071eb93df6e41f32a81b8a7a707574726563";
/// "greeting" and 136 bytes.
const GOLDEN_TRAILER_BYTES: usize = 144;

fn golden() -> Vec<u8> {
    hex::decode(GOLDEN).unwrap()
}

fn current_file_path(bytes: &[u8]) -> File {
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file
}

fn rot(bytes: &[u8]) -> Corruption {
    match Trailer::read(&current_file_path(bytes)) {
        Err(StoreError::Corrupt(rot)) => rot,
        other => panic!("{other:?}"),
    }
}

fn greeting() -> (Trailer, SliceTable) {
    let mut table = SliceTable::default();
    table.push(5, &Digest::of(b"hello"));
    table.push(7, &Digest::of(b", store"));
    let trailer = Trailer {
        key: ObjectKey::new("greeting").unwrap(),
        kind: Kind::Plain,
        version: Version(1_700_000_000_123_456_789),
        payload_length: 12,
        header_length: 0,
        footer_length: 0,
        client: Some(DevicePublicKey::from_bytes(std::array::from_fn(|i| i as u8))),
        slice_count: 2,
        slices_digest: table.digest(),
    };
    (trailer, table)
}

/// A record's trailer and slice table encode to the bytes that STORE documents.
#[test]
fn record_encodes_to_documented_bytes() {
    let (trailer, table) = greeting();
    let mut file = b"hello, store".to_vec();
    file.extend_from_slice(&table.into_bytes());
    file.extend_from_slice(&trailer.encode());
    assert_eq!(hex::encode(file), GOLDEN);
}

/// The documented bytes of a record are parsed to its trailer and slice table.
#[test]
fn record_documented_bytes_are_parsed() {
    let (trailer, table) = greeting();
    let file = current_file_path(&golden());
    assert_eq!(Trailer::read(&file).unwrap(), trailer);
    assert_eq!(SliceTable::read(&file, &trailer).unwrap(), table);
}

/// A trailer without a writer holds 32 zero bytes, and they parse to no writer.
#[test]
fn trailer_of_anonymous_writer_has_zero_key() {
    let (mut trailer, _) = greeting();
    trailer.client = None;
    let bytes = trailer.encode();
    // key, format, kind, version, three lengths: 8 + 1 + 1 + 8 + 8 + 4 + 4.
    assert_eq!(bytes[34..66], [0; 32]);
    assert_eq!(Trailer::parse(&bytes).unwrap().client, None);
}

/// A change of any byte of a trailer is detected.
#[test]
fn trailer_detects_every_changed_byte() {
    let good = golden();
    for at in good.len() - GOLDEN_TRAILER_BYTES..good.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut bad = good.clone();
            bad[at] ^= flip;
            let found = rot(&bad);
            let expected = match at {
                220.. => Corruption::Magic,
                // A key length beyond the file is detected before the digest is checked.
                186 | 187 if found == Corruption::Short => Corruption::Short,
                _ => Corruption::TrailerDigest,
            };
            assert_eq!(found, expected, "byte {at} ^ {flip:02x}");
        }
    }
}

/// A change of any byte of the slice table is detected.
#[test]
fn slice_table_detects_every_changed_byte() {
    let (trailer, _) = greeting();
    for at in 12..12 + 72 {
        let mut bad = golden();
        bad[at] ^= 1;
        let result = SliceTable::read(&current_file_path(&bad), &trailer);
        assert!(matches!(result, Err(StoreError::Corrupt(Corruption::SliceTable))), "byte {at}");
    }
}

/// Trailer::read refuses a file that lost or gained bytes at either end.
#[test]
fn trailer_read_refuses_file_of_other_length() {
    let good = golden();
    assert_eq!(rot(&good[1..]), Corruption::Length);
    assert_eq!(rot(&good[..good.len() - 1]), Corruption::Magic);
    assert_eq!(rot(&[b"x", &good[..]].concat()), Corruption::Length);
    assert_eq!(rot(&[&good[..], b"x"].concat()), Corruption::Magic);
    assert_eq!(rot(b""), Corruption::Short);
    assert_eq!(rot(&good[good.len() - 8..]), Corruption::Short);
    assert_eq!(rot(&good[good.len() - GOLDEN_TRAILER_BYTES + 1..]), Corruption::Short);
}

/// Field values that this version does not write, with a valid digest.
#[test]
fn trailer_refuses_impossible_fields() {
    let resealed = |at: usize, value: u8| {
        let (trailer, _) = greeting();
        let mut bytes = trailer.encode();
        bytes[at] = value;
        let digest_at = bytes.len() - 40;
        let digest = Digest::of(&bytes[..digest_at]);
        bytes[digest_at..digest_at + 32].copy_from_slice(digest.as_bytes());
        Trailer::parse(&bytes)
    };
    assert!(resealed(8, 1).is_ok());
    assert_eq!(resealed(8, 2), Err(Corruption::Field));
    assert_eq!(resealed(9, 2), Err(Corruption::Field));
}

/// A trailer whose lengths overflow 64 bits is refused.
#[test]
fn trailer_refuses_lengths_that_overflow() {
    let (mut trailer, table) = greeting();
    trailer.payload_length = u64::MAX - 10;
    let bytes = [&b"hello, store"[..], &table.into_bytes(), &trailer.encode()].concat();
    assert_eq!(rot(&bytes), Corruption::Length);
}

/// Trailer::read refuses a directory.
#[test]
fn trailer_read_refuses_directory() {
    let dir = tempfile::tempdir().unwrap();
    let result = Trailer::read(&File::open(dir.path()).unwrap());
    assert!(matches!(result, Err(StoreError::Corrupt(Corruption::NotAFile))));
}
