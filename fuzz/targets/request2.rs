//! A frame of protocol 2's requests: what is read can be written, and is read as the same again.

use zput_proto::message_v2::Request;

use super::frames;

pub(crate) fn run(input: &[u8]) {
    frames::body::<Request>(input);
    frames::stream::<Request>(input);
}
