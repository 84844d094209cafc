//! The catalogue: complete at any number of entries, each page bounded.

use std::collections::BTreeSet;

use zput_proto::{
    limits::FRAME_MAX_BYTES,
    message::{Entry, ErrorCode, Response},
};

use super::*;

/// The entries of all pages of a listing, page by page.
fn pages(store: &Store, limit: u32, headers: bool) -> Vec<Vec<Entry>> {
    let mut pages = Vec::new();
    let mut after: Option<Vec<u8>> = None;
    loop {
        let Page { entries, next, unreadable } =
            store.list(after.as_deref(), limit, headers).unwrap();
        let response = Response::Page { entries: entries.clone(), next: next.clone(), unreadable };
        assert!(postcard_len(&response) <= FRAME_MAX_BYTES);
        assert!(next.as_ref().is_none_or(|cursor| cursor.len() <= 64));
        pages.push(entries);
        assert!(pages.len() < 2000, "the cursor does not get on");
        assert!(next.is_none() || next > after, "the cursor does not move on");
        after = next;
        if after.is_none() {
            return pages;
        }
    }
}

/// An upper bound of a body's length in postcard, computed from PROTOCOL 4 to 6 without postcard.
fn postcard_len(response: &Response) -> usize {
    let Response::Page { entries, next, .. } = response else { panic!("{response:?}") };
    let bytes = |b: &[u8]| b.len() + 3;
    let entries: usize = entries
        .iter()
        .map(|e| bytes(e.key.as_bytes()) + 31 + 1 + e.header.as_deref().map_or(0, bytes))
        .sum();
    1 + 3 + entries + 1 + next.as_deref().map_or(0, bytes) + 5
}

/// A listing is complete and in one order at any page size.
#[test]
fn store_list_is_complete_and_ordered_at_any_page_size() {
    let home = Home::new();
    let keys: BTreeSet<_> = (0..700).map(|i| key(&format!("key {i}"))).collect();
    for key in &keys {
        let upload = home.store.begin(key, Kind::Plain, Condition::Any, None).unwrap();
        upload.commit().unwrap();
    }
    let whole = pages(&home.store, 1000, false).concat();
    for limit in [1, 3, 699, 700, 701, 0, u32::MAX] {
        let pages = pages(&home.store, limit, false);
        let most = limit.clamp(1, 1000) as usize;
        assert!(pages.iter().all(|page| page.len() <= most), "limit {limit}");
        assert_eq!(pages.concat(), whole, "limit {limit}");
    }
    assert_eq!(whole.len(), 700);
    assert_eq!(whole.iter().map(|e| e.key.clone()).collect::<BTreeSet<_>>(), keys);
    let hashes: Vec<_> = whole.iter().map(|e| ObjectName::for_key(&e.key)).collect();
    assert!(hashes.is_sorted());
}

/// A page of a listing has at most 1,000 entries.
#[test]
fn store_list_page_has_at_most_1000_entries() {
    let home = Home::new();
    for i in 0..1001 {
        let key = key(&format!("key {i}"));
        home.store.begin(&key, Kind::Plain, Condition::Any, None).unwrap().commit().unwrap();
    }
    let pages: Vec<_> = pages(&home.store, u32::MAX, false).iter().map(Vec::len).collect();
    assert_eq!(pages, [1000, 1]);
}

/// A page with headers of 65,536 bytes and keys of 1,024 bytes has one entry.
#[test]
fn store_list_page_with_longest_headers_fits_into_frame() {
    let home = Home::new();
    for i in 0..5u8 {
        let mut name = vec![i; 1024];
        name[0] = b'k';
        let object = ObjectKey::new(name.clone()).unwrap();
        let header = zput_framed::header(&name, 65_536, PART_SIZE_LOG2, 1, [7; 32]);
        let [_, body, footer] = sealed("", b"");
        let mut upload = home.store.begin(&object, Kind::Sealed, Condition::Any, None).unwrap();
        for slice in [&header, &body, &footer] {
            upload.start_slice(slice.len() as u32, Digest::of(slice)).unwrap();
            upload.write(slice).unwrap();
            upload.end_slice().unwrap();
        }
        upload.commit().unwrap();
    }
    let with = pages(&home.store, 1000, true);
    assert_eq!(with.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 1, 1, 1]);
    let header = with[0][0].header.as_ref().unwrap();
    assert_eq!((header.len(), &header[..5]), (65_536, &b"\x8azput"[..]));
    let without = pages(&home.store, 1000, false);
    assert_eq!(without.iter().map(Vec::len).collect::<Vec<_>>(), [5]);
    assert!(without[0].iter().all(|entry| entry.header.is_none()));
}

/// Corrupt objects shorten pages of a listing but hide no other object.
#[test]
fn store_list_is_complete_beside_corrupt_objects() {
    let home = Home::new();
    for i in 0..40 {
        home.put(&format!("key {i}"), b"1");
    }
    for i in 0..30 {
        fs::write(home.object_path(&format!("key {i}")), "rubbish").unwrap();
    }
    let pages = pages(&home.store, 5, false);
    assert!(pages.len() >= 8, "each page looks at 5 files");
    let found: BTreeSet<_> = pages.concat().into_iter().map(|e| e.key).collect();
    assert_eq!(found, (30..40).map(|i| key(&format!("key {i}"))).collect());
}

/// A cursor of any other length than 32 bytes is malformed.
#[test]
fn store_list_rejects_malformed_cursor() {
    let home = Home::new();
    for cursor in [&b""[..], &[0; 31], &[0; 33], &[0; 64]] {
        let error = home.store.list(Some(cursor), 10, false).unwrap_err();
        assert_eq!(error.code(), ErrorCode::Malformed);
    }
    assert_eq!(home.store.list(Some(&[0xff; 32]), 10, false).unwrap(), Page::default());
}
