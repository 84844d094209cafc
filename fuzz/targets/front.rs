//! The front of a footer of format 2, behind a byte for its content and one for its parts: one that
//! parses is the only encoding of what it says, and references need what their bits say.

use zput_proto::blob::{BodyDigest, Content, Front, Needed, Reference};

use super::golden_v2::BLOB;

pub(crate) fn run(input: &[u8]) {
    let [content, parts, bytes @ ..] = input else {
        return;
    };
    let Some(content) = Content::from_u8(*content) else {
        return;
    };
    let Ok(front) = Front::parse(bytes, u64::from(*parts), content) else {
        return;
    };
    assert_eq!(front.as_bytes(), bytes);
    let digests: Vec<_> = front.digests().collect();
    assert_eq!(digests.len(), usize::from(*parts));
    let packs: Option<Vec<Reference<'_>>> = front.references().map(|packs| packs.iter().collect());
    assert_eq!(packs.is_some(), content == Content::Folder);
    let written = Front::encode(&digests, front.facts(), packs.as_deref());
    assert!(written.is_ok_and(|written| written == bytes));
    for pack in packs.iter().flatten() {
        check(pack);
    }
    let Some(golden) = &*BLOB else {
        panic!("the golden blob does not come apart");
    };
    let (shape, tail) = (golden.header.fields().core.shape, golden.tail.fields());
    let digest = BodyDigest::of(shape, tail.total_length, &front);
    assert_eq!(digest == tail.body_digest, bytes == golden.front);
}

/// A pack is needed whole, or in part and then not as a whole.
fn check(pack: &Reference<'_>) {
    let needed = (0..pack.parts).filter(|part| pack.needs(*part)).count();
    let is_whole = needed == pack.parts as usize;
    assert_eq!(is_whole, pack.needed == Needed::All);
    assert!(needed > 0 && !pack.needs(pack.parts));
}
