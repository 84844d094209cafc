//! A tail of format 2, read from its end: one that parses is the only encoding of what it says, and
//! a server takes none under the golden header but one that the golden writer signed.

use zput_proto::blob::{
    Tail, TailEnd,
    check::{self, Entered},
};

use super::golden_v2::{BLOB, HELD};

pub(crate) fn run(input: &[u8]) {
    let end = TailEnd::parse(input);
    let Ok(tail) = Tail::parse_end(input) else {
        return;
    };
    assert_eq!(end, Ok(tail.end()));
    assert!(input.ends_with(tail.as_bytes()));
    assert_eq!(tail.as_bytes().len(), usize::from(tail.end().tail_length()));
    let front_length = tail.end().front_length();
    let written = tail.fields().sealed(tail.file_mac(), tail.vault(), front_length);
    assert_eq!(written.as_ref(), Ok(&tail));

    let Some(golden) = &*BLOB else {
        panic!("the golden blob does not come apart");
    };
    let vault = Entered::Anonymous(HELD[0].state());
    let slices = golden.slices.iter().copied();
    if check::footer(&golden.header, golden.front, &tail, slices, vault, 0).is_ok() {
        // MACs are for readers.
        assert_eq!(tail.fields(), golden.tail.fields(), "a tail that nobody has signed is taken");
        let signature = |tail: &Tail| tail.vault().map(|seal| seal.signature.clone());
        assert_eq!(signature(&tail), signature(&golden.tail));
    }
}
