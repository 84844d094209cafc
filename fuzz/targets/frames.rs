//! What holds of every frame, of either protocol.

use std::fmt::Debug;

use zput_proto::{
    limits::FRAME_MAX_BYTES,
    message::{
        Message,
        frame::{self, FrameReader, LENGTH_BYTES},
    },
};

/// A body that is read is written in at most as many bytes: a varint has a shortest form.
pub(crate) fn body<M: Message + PartialEq + Debug>(input: &[u8]) -> Option<M> {
    let body = input.get(..FRAME_MAX_BYTES).unwrap_or(input);
    let message = frame::decode::<M>(body).ok()?;
    let Ok(written) = frame::encode(&message, FRAME_MAX_BYTES) else {
        panic!("what was read is not written: {message:?}");
    };
    let written = &written[LENGTH_BYTES..];
    assert!(written.len() <= body.len());
    assert_eq!(frame::decode::<M>(written).as_ref(), Ok(&message));
    assert!(format!("{message:?}").len() < 64 * 1024);
    Some(message)
}

/// The same frames at once and byte by byte; no byte beyond a frame is taken.
pub(crate) fn stream<M: Message + PartialEq + Debug>(input: &[u8]) {
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
