//! What is read as a message can be sent, and is read as the same again.

use std::fmt::Debug;

use zput_proto::{
    limits::FRAME_MAX_BYTES,
    message::{
        Message, Request, Response,
        frame::{self, FrameReader, LENGTH_BYTES},
    },
};

pub(crate) fn run(input: &[u8]) {
    once::<Request>(input);
    once::<Response>(input);
    stream::<Request>(input);
    stream::<Response>(input);
}

fn once<M: Message + PartialEq + Debug>(body: &[u8]) {
    if body.len() > FRAME_MAX_BYTES {
        return;
    }
    if let Ok(message) = frame::decode::<M>(body) {
        let again = frame::encode(&message, FRAME_MAX_BYTES)
            .and_then(|frame| frame::decode::<M>(&frame[LENGTH_BYTES..]));
        assert_eq!(again, Ok(message));
    }
}

/// The same frames at once and byte by byte.
fn stream<M: Message + PartialEq + Debug>(input: &[u8]) {
    let mut whole = FrameReader::new(FRAME_MAX_BYTES);
    let mut pieces = FrameReader::new(FRAME_MAX_BYTES);
    let mut rest = input;
    loop {
        let before = rest;
        let result = whole.read::<M>(&mut rest);
        let taken = &before[..before.len() - rest.len()];
        let mut last = Ok(None);
        for byte in taken {
            last = pieces.read::<M>(&mut &[*byte][..]);
        }
        match result {
            Ok(Some(message)) => assert_eq!(last, Ok(Some(message))),
            _ => return,
        }
    }
}
