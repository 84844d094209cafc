//! A frame of protocol 2's answers: what is read can be written, and is read as the same again.

use zput_proto::message_v2::Response;

use super::frames;

pub(crate) fn run(input: &[u8]) {
    frames::body::<Response>(input);
    frames::stream::<Response>(input);
}
