//! What clients have sent to a server in `plaintext` mode, read back from the line.

use std::{collections::BTreeMap, ops::Range};

use zput_proto::message::{Message as _, Request, Response, frame};

use crate::cutter::{Talk, Way};

/// A slice of an upload, as far as it was sent.
#[derive(Clone, Debug)]
pub struct SentSlice {
    /// Which one of the upload, from 0, behind the header.
    pub number: u64,
    /// How many bytes were announced.
    pub length: u64,
    /// The bytes that were sent, at most `length`.
    pub bytes: Vec<u8>,
    /// Where in the client's stream the last of them ends, or would.
    pub end: u64,
}

impl SentSlice {
    /// Whether all of it was sent.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.bytes.len() as u64 == self.length
    }
}

/// What one connection was about.
#[derive(Clone, Debug, Default)]
pub struct Uploads {
    /// The requests whose frames came whole.
    pub requests: Vec<Request>,
    /// The server's answers to them, as far as they came.
    pub answers: Vec<Response>,
    /// The slices of all its uploads, in order.
    pub slices: Vec<SentSlice>,
}

impl Uploads {
    /// Reads a conversation in `plaintext` mode, which may end anywhere.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn of(talk: &Talk) -> Self {
        let mut uploads = Self::default();
        let mut down = behind_hello(&talk.down);
        while let Some((body, rest)) = next_frame(down) {
            uploads.answers.push(frame::decode(body).unwrap_or_else(|e| panic!("an answer: {e}")));
            down = rest;
        }
        let mut up = behind_hello(&talk.up);
        let mut number = 0;
        while let Some((body, rest)) = next_frame(up) {
            let request: Request = frame::decode(body).unwrap_or_else(|e| panic!("a request: {e}"));
            let length = request.announces();
            let came = usize::try_from(length).unwrap_or(usize::MAX).min(rest.len());
            let answer = uploads.answers.get(uploads.requests.len());
            match (&request, answer) {
                (Request::Begin { .. } | Request::Resume { .. }, _) => number = 0,
                (Request::Claim { .. }, Some(Response::Held { slices })) => {
                    number += u64::from(*slices);
                }
                (Request::Slice { .. }, _) => {
                    let end = (talk.up.len() - rest.len()) as u64 + length;
                    let bytes = rest[..came].to_vec();
                    uploads.slices.push(SentSlice { number, length, bytes, end });
                    number += 1;
                }
                _ => {}
            }
            uploads.requests.push(request);
            up = &rest[came..];
        }
        uploads
    }
}

/// Every part that was ever sent by its salt and its number: none has two ciphertexts. Gives how
/// many there are.
///
/// # Panics
/// When one has.
pub fn assert_no_salt_has_two_ciphertexts(talks: &[Talk], parts: u64) {
    let mut known: BTreeMap<(u64, Vec<u8>), Vec<u8>> = BTreeMap::new();
    for slice in talks.iter().flat_map(|talk| Uploads::of(talk).slices) {
        // What is behind the parts is a footer; and what has no whole salt tells nothing.
        if slice.number >= parts || slice.bytes.len() < SALT_BYTES {
            continue;
        }
        let salt = slice.bytes[..SALT_BYTES].to_vec();
        let longest = known.entry((slice.number, salt)).or_default();
        let both = longest.len().min(slice.bytes.len());
        assert!(
            longest[..both] == slice.bytes[..both],
            "part {} has two ciphertexts under one salt",
            slice.number
        );
        if slice.bytes.len() > longest.len() {
            *longest = slice.bytes;
        }
    }
    assert!(!known.is_empty(), "no part was sent");
}

/// Where the frames of an upload lie in one side's stream in `plaintext` mode, each with its
/// length; the echo is the first.
///
/// # Panics
/// When it is no such stream.
#[must_use]
pub fn frames(talk: &Talk, way: Way) -> Vec<Range<u64>> {
    let stream = if way == Way::Up { &talk.up } else { &talk.down };
    let (mut rest, mut frames) = (behind_hello(stream), Vec::new());
    while let Some((body, behind)) = next_frame(rest) {
        let begin = (stream.len() - rest.len()) as u64;
        frames.push(begin..begin + 4 + body.len() as u64);
        let payload = match way {
            Way::Up => frame::decode::<Request>(body).map_or(0, |request| request.announces()),
            Way::Down => 0,
        };
        let payload = usize::try_from(payload).unwrap_or(usize::MAX).min(behind.len());
        rest = &behind[payload..];
    }
    frames
}

/// FORMAT 1: "24-byte random salt".
const SALT_BYTES: usize = 24;

/// What is behind a hello: PROTOCOL 1, "magic[8] || length[2]" and that many bytes.
fn behind_hello(stream: &[u8]) -> &[u8] {
    match stream.get(8..10) {
        Some(length) => {
            let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
            stream.get(10 + length..).unwrap_or_default()
        }
        None => &[],
    }
}

/// The next whole frame's body, and what is behind it: PROTOCOL 3.
fn next_frame(stream: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = stream.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_be_bytes(*length) as usize)
}
