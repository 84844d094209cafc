//! Uploads: slices, framing, conditions, and what is left of a failed one.

use zput_proto::{keys::DevicePublicKey, limits::SLICE_MAX_BYTES, message::ErrorCode};

use super::*;
use crate::store::FormatViolation;

/// An object has the bytes that were put, however they were split into slices.
#[test]
fn upload_body_is_independent_of_slice_splits() {
    let home = Home::new();
    let body: Vec<u8> = (0..50_000u32).map(|i| (i % 251) as u8).collect();
    let mut upload = home.store.begin(&key("a"), Kind::Plain, Condition::Any, None).unwrap();
    for slice in body.chunks(20_001) {
        upload.start_slice(slice.len() as u32, Digest::of(slice)).unwrap();
        for piece in slice.chunks(777) {
            upload.write(piece).unwrap();
        }
        upload.end_slice().unwrap();
    }
    assert_eq!(upload.length(), 50_000);
    assert_eq!(upload.commit().unwrap(), Version(1000));
    assert_eq!(home.body("a"), Some(body));
    assert_eq!(home.staged(), 0);
}

/// An object of no bytes is stored and read as empty.
#[test]
fn put_of_empty_object_is_read_as_empty() {
    let home = Home::new();
    home.put("none", b"");
    assert_eq!(home.body("none"), Some(vec![]));
}

/// A version's record holds the key of the device that wrote it.
#[test]
fn version_record_holds_its_writer() {
    let home = Home::new();
    let device = DevicePublicKey::from_bytes([0xd5; 32]);
    let upload = home.store.begin(&key("a"), Kind::Plain, Condition::Any, Some(device));
    upload.unwrap().commit().unwrap();
    let file = fs::read(home.object_path("a")).unwrap();
    // key, format, kind, version, three lengths.
    assert_eq!(file[27..59], [0xd5; 32]);
}

/// A slice with wrong bytes or length ends the upload and removes its file at once.
#[test]
fn upload_with_wrong_bytes_ends_and_is_removed() {
    let home = Home::new();
    let cases: [(&str, &[u8], bool); 3] =
        [("flipped", b"abcx", true), ("short", b"abc", false), ("long", b"abcde", false)];
    for (case, bytes, is_digest) in cases {
        let mut upload = home.store.begin(&key("a"), Kind::Plain, Condition::Any, None).unwrap();
        upload.start_slice(4, Digest::of(b"abcd")).unwrap();
        assert_eq!(home.staged(), 1);
        let error = upload.write(bytes).and_then(|()| upload.end_slice()).unwrap_err();
        match error {
            StoreError::Digest => assert!(is_digest, "{case}"),
            StoreError::Malformed(FormatViolation::SliceFraming) => assert!(!is_digest, "{case}"),
            other => panic!("{case}: {other:?}"),
        }
        // Removed at once, not when the caller drops the upload.
        assert_eq!(home.staged(), 0, "{case}");
        let after = upload.start_slice(1, Digest::of(b"x")).unwrap_err();
        assert_eq!(after.code(), ErrorCode::State);
        assert_eq!(upload.commit().unwrap_err().code(), ErrorCode::State);
    }
    assert_eq!(home.body("a"), None);
}

/// Bytes outside of a slice, nested or too long slices, and open ones are malformed.
#[test]
fn upload_refuses_calls_out_of_order_and_long_slices() {
    let home = Home::new();
    let begin = || home.store.begin(&key("a"), Kind::Plain, Condition::Any, None).unwrap();
    let code = |result: Result<(), StoreError>| result.unwrap_err().code();
    assert_eq!(code(begin().write(b"x")), ErrorCode::Malformed);
    assert_eq!(code(begin().end_slice()), ErrorCode::Malformed);
    let too_long = SLICE_MAX_BYTES + 1;
    assert_eq!(code(begin().start_slice(too_long, Digest::of(b""))), ErrorCode::Malformed);
    let mut twice = begin();
    twice.start_slice(SLICE_MAX_BYTES, Digest::of(b"")).unwrap();
    assert_eq!(code(twice.start_slice(1, Digest::of(b""))), ErrorCode::Malformed);
    let mut open = begin();
    open.start_slice(1, Digest::of(b"x")).unwrap();
    open.write(b"x").unwrap();
    assert_eq!(open.commit().unwrap_err().code(), ErrorCode::Malformed);
    assert_eq!(home.staged(), 0);
}

/// An upload may have 64 slices and one more for each 65,536 bytes received.
#[test]
fn upload_slice_count_is_bounded_by_bytes_received() {
    let home = Home::new();
    let mut upload = home.store.begin(&key("a"), Kind::Plain, Condition::Any, None).unwrap();
    let short = Digest::of(b"x");
    let free = |upload: &mut crate::store::Upload, count: usize| {
        for _ in 0..count {
            upload.start_slice(1, short).unwrap();
            upload.write(b"x").unwrap();
            upload.end_slice().unwrap();
        }
    };
    // PROTOCOL 9: 64, and one for each 65,536 bytes received.
    free(&mut upload, 62);
    for length in [65_473, 65_537] {
        let bytes = vec![7; length];
        upload.start_slice(bytes.len() as u32, Digest::of(&bytes)).unwrap();
        upload.write(&bytes).unwrap();
        upload.end_slice().unwrap();
    }
    free(&mut upload, 2);
    let error = upload.start_slice(1, short).unwrap_err();
    assert!(matches!(error, StoreError::Malformed(FormatViolation::SliceCount)), "{error:?}");
}

/// A store has at most 1,024 uploads under way, and the next one is Busy.
#[test]
fn store_limits_uploads_under_way_to_1024() {
    let home = Home::new();
    assert!(crate::sys::net::raise_descriptor_limit() > 2048, "each upload has a descriptor");
    let begin = || home.store.begin(&key("a"), Kind::Plain, Condition::Any, None);
    let mut uploads: Vec<_> = (0..1024).map(|_| begin().unwrap()).collect();
    let refusal = begin().unwrap_err();
    assert_eq!(refusal.code(), ErrorCode::Busy, "{refusal}");
    assert_eq!(home.staged(), 1024);
    uploads.pop();
    uploads.push(begin().unwrap());
}

/// A dropped small upload leaves no file and no object.
#[test]
fn upload_dropped_leaves_no_file() {
    let home = Home::new();
    let mut upload = home.store.begin(&key("a"), Kind::Plain, Condition::Any, None).unwrap();
    upload.start_slice(3, Digest::of(b"abc")).unwrap();
    upload.write(b"ab").unwrap();
    assert_eq!(home.staged(), 1);
    drop(upload);
    assert_eq!(home.staged(), 0);
    assert_eq!(home.body("a"), None);
}

/// A sealed object's lengths of header and footer follow from its framing.
#[test]
fn sealed_object_info_has_lengths_of_its_framing() {
    let home = Home::new();
    let parts = sealed("doc", &[3; 5000]);
    let slices = parts.iter().map(Vec::as_slice);
    put_slices(&home.store, "doc", Kind::Sealed, Condition::Any, slices).unwrap();
    let object = home.store.lookup(&key("doc"), None).unwrap();
    let info = object.info();
    assert_eq!((info.kind, info.length), (Kind::Sealed, 5287));
    assert_eq!((info.header_length, info.footer_length), (200, 87));
    assert_eq!(object.read_header().unwrap().unwrap(), parts[0]);
}

/// A plain object has no header.
#[test]
fn plain_object_has_no_header() {
    let home = Home::new();
    home.put("a", b"abc");
    let object = home.store.lookup(&key("a"), None).unwrap();
    assert_eq!(object.read_header().unwrap(), None);
}

/// Sealed objects with wrong framing, and plain ones that look sealed, are refused.
#[test]
fn commit_refuses_sealed_object_with_wrong_framing() {
    let home = Home::new();
    let [header, body, footer] = sealed("doc", &[3; 5000]);
    let change = |bytes: &[u8], at: usize, value: u8| {
        let mut bytes = bytes.to_vec();
        bytes[at] = value;
        bytes
    };
    let cases: Vec<(&str, Vec<Vec<u8>>)> = vec![
        ("no bytes", vec![]),
        ("no magic", vec![change(&header, 0, 0), body.clone(), footer.clone()]),
        ("another version", vec![change(&header, 9, 2), body.clone(), footer.clone()]),
        ("header beyond the object", vec![change(&header, 12, 0x40), body.clone(), footer.clone()]),
        ("another key", vec![sealed("cod", b"")[0].clone(), body.clone(), footer.clone()]),
        ("no key", vec![sealed("", b"")[0].clone(), body.clone(), footer.clone()]),
        ("no end magic", vec![header.clone(), body.clone(), change(&footer, 86, 0)]),
        ("footer beyond the body", vec![header.clone(), body.clone(), change(&footer, 77, 0x40)]),
        ("footer cut off", vec![header.clone(), body.clone(), footer[..86].to_vec()]),
        ("header alone", vec![header.clone()]),
    ];
    for (case, slices) in cases {
        let slices = slices.iter().map(Vec::as_slice);
        let result = put_slices(&home.store, "doc", Kind::Sealed, Condition::Any, slices);
        assert_eq!(result.unwrap_err().code(), ErrorCode::Malformed, "{case}");
        assert_eq!(home.staged(), 0, "{case}");
    }
    assert_eq!(home.body("doc"), None);
    let slices = [&header[..], &body, &footer].into_iter();
    let plain = put_slices(&home.store, "doc", Kind::Plain, Condition::Any, slices);
    assert!(matches!(plain, Err(StoreError::Malformed(FormatViolation::PlainLooksSealed))));
    home.put("doc", b"\x8azput\r\n");
}

/// Upload::write_header accepts only a complete header of the upload's own key and digest.
#[test]
fn write_header_accepts_whole_header_of_its_key_only() {
    let home = Home::new();
    let [header, body, footer] = sealed("doc", &[3; 5000]);
    let begin = || home.store.begin(&key("doc"), Kind::Sealed, Condition::Any, None).unwrap();
    let [mut short, mut long] = [header.clone(), header.clone()];
    short.pop();
    long.push(0);
    let other = sealed("cod", b"")[0].clone();
    for bytes in [&short, &long, &other, &body] {
        let error = begin().write_header(bytes, Digest::of(bytes)).unwrap_err();
        assert_eq!(error.code(), ErrorCode::Malformed);
    }
    let error = begin().write_header(&header, Digest::of(&body)).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Digest);
    assert_eq!(home.staged(), 0);
    let mut upload = begin();
    upload.write_header(&header, Digest::of(&header)).unwrap();
    for slice in [&body, &footer] {
        upload.start_slice(slice.len() as u32, Digest::of(slice)).unwrap();
        upload.write(slice).unwrap();
        upload.end_slice().unwrap();
    }
    upload.commit().unwrap();
    assert_eq!(home.body("doc"), Some([header, body, footer].concat()));
}

/// An upload whose condition already fails is refused at its begin.
#[test]
fn begin_refuses_upload_whose_condition_fails() {
    let home = Home::new();
    let version = home.put("a", b"1");
    let begin = |condition| home.store.begin(&key("a"), Kind::Plain, condition, None);
    let there = |result: Result<_, StoreError>| match result {
        Err(StoreError::Exists(current)) => current.map(|version| version.0),
        other => panic!("{other:?}"),
    };
    assert_eq!(there(begin(Condition::Absent)), Some(version));
    assert_eq!(there(begin(Condition::Version(Version(version + 1)))), Some(version));
    begin(Condition::Version(Version(version))).unwrap();
    let other = home.store.begin(&key("b"), Kind::Plain, Condition::Version(Version(1)), None);
    assert_eq!(there(other), None);
}

/// An upload's condition is decided at its commit.
#[test]
fn commit_decides_condition() {
    let home = Home::new();
    let begin = |condition| home.store.begin(&key("a"), Kind::Plain, condition, None).unwrap();
    let late = begin(Condition::Absent);
    let version = home.put("a", b"1");
    let error = late.commit().unwrap_err();
    assert!(matches!(error, StoreError::Exists(Some(Version(v))) if v == version));
    let late = begin(Condition::Version(Version(version)));
    home.store.delete(&key("a"), Condition::Any).unwrap();
    assert!(matches!(late.commit(), Err(StoreError::Exists(None))));
    assert_eq!(home.staged(), 0);
}

/// Version numbers increase over all keys although the clock stops or goes back, up to the last.
#[test]
fn version_numbers_increase_when_clock_stands_or_goes_back() {
    let home = Home::new();
    assert_eq!(home.put("a", b"1"), 1000);
    assert_eq!(home.put("a", b"2"), 1001);
    home.set_time(5);
    assert_eq!(home.put("a", b"3"), 1002);
    assert_eq!(home.put("b", b"1"), 1003);
    home.set_time(2000);
    assert_eq!(home.put("a", b"4"), 2000);
    home.set_time(6);
    // The newest version is in the trash, then in the history; neither number is given twice.
    home.store.delete(&key("a"), Condition::Any).unwrap();
    assert_eq!(home.put("a", b"5"), 2001);
    // STORE: "Once `last` is 2^64 - 2, the store takes no more writes (error code 11)."
    home.set_time(u64::MAX);
    assert_eq!(home.put("a", b"6"), 18_446_744_073_709_551_614);
    for (name, time) in [("a", u64::MAX), ("b", 7)] {
        home.set_time(time);
        let last = put(&home.store, name, b"7", Condition::Any).unwrap_err();
        let newest = Version(18_446_744_073_709_551_614);
        assert!(matches!(last, StoreError::VersionsExhausted(version) if version == newest));
        assert_eq!(last.code() as u8, 11);
    }
    assert_eq!(home.body("a"), Some(b"6".to_vec()));
}

/// An open object can be read after its file and store were removed.
#[test]
fn open_object_is_readable_after_store_is_removed() {
    let home = Home::new();
    home.put("a", b"first");
    let object = home.store.lookup(&key("a"), None).unwrap();
    home.put("a", b"second");
    home.store.delete(&key("a"), Condition::Any).unwrap();
    fs::remove_dir_all(home.path()).unwrap();
    assert_eq!(read(&object), b"first");
}

/// A restored copy has the writer, the payload and the slice table of its version.
#[test]
fn restore_copy_keeps_writer_and_slices() {
    let home = Home::new();
    let device = DevicePublicKey::from_bytes([0xd5; 32]);
    let mut upload =
        home.store.begin(&key("a"), Kind::Plain, Condition::Any, Some(device)).unwrap();
    for slice in [&b"one"[..], b"s", b"three"] {
        upload.start_slice(slice.len() as u32, Digest::of(slice)).unwrap();
        upload.write(slice).unwrap();
        upload.end_slice().unwrap();
    }
    let first = upload.commit().unwrap();
    let before = fs::read(home.object_path("a")).unwrap();
    home.put("a", b"2");
    assert_eq!(home.store.restore(&key("a"), first).unwrap(), Version(1002));
    let after = fs::read(home.object_path("a")).unwrap();
    // Payload and table of slices; then key, format and kind; the version differs; lengths, writer,
    // count, digest.
    let version = 9 + 3 * 36 + 1 + 1 + 1;
    assert_eq!(before[..version], after[..version]);
    assert_eq!(before[version + 8..version + 94], after[version + 8..version + 94]);
    assert_eq!(after[version..version + 8], 1002u64.to_be_bytes());
}
