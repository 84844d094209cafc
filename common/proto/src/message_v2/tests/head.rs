use super::*;

/// PROTOCOL 4: the digest is that of the tail and, behind it, of the header.
#[test]
fn new_head_digest_is_over_tail_and_header() {
    let (header, tail) = (b"header".to_vec(), b"tail".to_vec());
    assert_eq!(NewHead::digest(&tail, &header), digest_of_tail_and_header());
    let new = NewHead::new(header.clone(), tail.clone());
    assert_eq!(new.digest, digest_of_tail_and_header());
    assert_eq!(new.header, Some(header.clone()));
    let same = NewHead::for_header(&header, tail);
    assert_eq!((same.digest, same.header), (digest_of_tail_and_header(), None));
}

/// The header that came is the one that counts, and else the one that an earlier request brought.
/// Where the digest is not that of both, there is none.
#[test]
fn new_head_gives_no_header_that_its_digest_is_not_over() {
    let (header, tail) = (b"header".to_vec(), b"tail".to_vec());
    let new = NewHead::new(header.clone(), tail.clone());
    assert_eq!(new.verified_header(None), Some(&b"header"[..]));
    assert_eq!(new.verified_header(Some(b"earlier")), Some(&b"header"[..]));
    let same = NewHead::for_header(&header, tail);
    assert_eq!(same.verified_header(Some(&header)), Some(&b"header"[..]));
    assert_eq!(same.verified_header(Some(b"Header")), None);
    assert_eq!(same.verified_header(None), None);
    for changed in [
        NewHead { header: Some(b"headeR".to_vec()), ..new.clone() },
        NewHead { tail: b"tai1".to_vec(), ..new.clone() },
        NewHead { digest: Digest::from_bytes([0; 32]), ..new.clone() },
        // The same bytes one behind the other, cut elsewhere, have the same digest; this one is the
        // header before the tail.
        NewHead { header: Some(b"tail".to_vec()), tail: b"header".to_vec(), ..new },
    ] {
        assert_eq!(changed.verified_header(Some(&header)), None, "{changed:?}");
    }
}
