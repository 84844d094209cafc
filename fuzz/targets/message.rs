//! What is read as a message can be sent, and is read as the same again.

use std::fmt::Debug;

use zput_proto::{
    limits::FRAME_MAX_BYTES,
    message::{
        Message, Request, Response,
        frame::{self, LENGTH_BYTES},
    },
};

use super::frames;

pub(crate) fn run(input: &[u8]) {
    once::<Request>(input);
    once::<Response>(input);
    frames::stream::<Request>(input);
    frames::stream::<Response>(input);
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
