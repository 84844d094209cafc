//! Header and tail of protocol 2's frames: a header is given where the digest is over tail and
//! header, and only there.

use zput_proto::{
    digest::Digest,
    message_v2::{About, Head, NewHead, Request, Response},
};

use super::frames;

pub(crate) fn run(input: &[u8]) {
    // Variant 14 of a request is a Commit, with a head.
    if let Some(Request::Commit { head: Some(new) }) =
        frames::body::<Request>(&[&[14, 1], input].concat())
    {
        new_head(&new, input);
    }
    // Variant 16 of an answer is an error, here of code 15, without a text, about a head.
    if let Some(Response::Error(error)) =
        frames::body::<Response>(&[&[16, 15, 0, 2], input].concat())
    {
        let About::Head(Head { header, tail }) = error.about else {
            panic!("the error is about something else");
        };
        let new = NewHead::new(header.clone(), tail.clone());
        assert_eq!(new.verified_header(None), Some(&*header));
        let same = NewHead::for_header(&header, tail);
        assert_eq!(same.verified_header(Some(&header)), Some(&*header));
        assert_eq!(same.verified_header(None), None);
        assert_eq!(same.digest, new.digest);
    }
}

fn new_head(new: &NewHead, earlier: &[u8]) {
    let header = new.header.as_deref().unwrap_or(earlier);
    let holds = Digest::of(&[&*new.tail, header].concat()) == new.digest;
    assert_eq!(new.verified_header(Some(earlier)), holds.then_some(header));
    let again = match &new.header {
        Some(header) => NewHead::new(header.clone(), new.tail.clone()),
        None => NewHead::for_header(earlier, new.tail.clone()),
    };
    assert_eq!(again == *new, holds);
}
