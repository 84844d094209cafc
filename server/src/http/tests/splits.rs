//! The result of an input does not depend on the pieces in which it arrives.

use proptest::prelude::*;

use super::*;

/// The result of an input: requests, responses, and the end of the session.
#[derive(Debug, PartialEq)]
struct Outcome {
    requests: Vec<(Method, String)>,
    out: Vec<u8>,
    over: bool,
    /// Number of bytes that the session took.
    taken: usize,
}

/// Gives `input` in pieces of these sizes, again and again, and takes in pieces of `step`.
fn run(input: &[u8], sizes: &[usize], step: usize) -> Outcome {
    let mut connection = Connection::new();
    connection.step.set(step);
    let (mut sizes, mut rest, mut unread) = (sizes.iter().cycle(), input, &input[..0]);
    loop {
        if unread.is_empty() {
            if rest.is_empty() {
                break;
            }
            let size = *sizes.next().unwrap();
            (unread, rest) = rest.split_at(size.clamp(1, rest.len()));
        }
        let left = connection.feed(unread);
        if !left.is_empty() {
            assert!(connection.session.should_close());
            return connection.end(input.len() - rest.len() - left.len());
        }
        unread = left;
    }
    connection.end(input.len())
}

impl Connection {
    fn end(self, taken: usize) -> Outcome {
        Outcome { requests: self.requests, over: self.session.should_close(), out: self.out, taken }
    }
}

/// Pieces of heads, good and bad, with the limits among them.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let text = |texts: &'static [&'static str]| {
        prop::sample::select(texts).prop_map(|text| text.as_bytes().to_vec())
    };
    prop_oneof![
        8 => text(&[
            "GET /digits HTTP/1.1\r\nHost: h\r\n\r\n",
            "HEAD /notes.txt HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET /none HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
            "GET /digits HTTP/1.1\r\nHost: h\r\nRange: bytes=2-3\r\nIf-None-Match: \"v0\"\r\n\r\n",
            "\r\nGET /huge HTTP/1.1\r\nHost: h\r\n\r\n",
        ]),
        4 => text(&[
            "GET ", "HEAD ", "POST ", "/digits", "/a%2e", "/%2e%2e", "*", " HTTP/1.1\r\n", " HTTP/1.0\r\n",
            " HTTP/2.0\r\n", "\r\n", "\n", "\r", "\0", " ", "\t", ":", "Host: h\r\n", "Host : h\r\n",
            "Content-Length: 0\r\n", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n",
            "Connection: close\r\n", "Range: bytes=0-0\r\n", "If-Match: \"v1\", \"v2\"\r\n", "A: b\r\n",
            " folded\r\n",
        ]),
        1 => (1..10_000_usize).prop_map(|length| vec![b'a'; length]),
        1 => (1..80_usize).prop_map(|count| b"A: b\r\n".repeat(count)),
        1 => prop::collection::vec(any::<u8>(), 0..20),
    ]
}

proptest! {
    /// Session gives the same result for any input however its bytes are split.
    #[test]
    fn http_session_result_is_independent_of_input_split(
        input in prop::collection::vec(piece(), 0..12).prop_map(|pieces| pieces.concat()),
        sizes in prop::collection::vec(prop_oneof![1..4_usize, 1..200_usize, 1..20_000_usize], 1..8),
        step in prop_oneof![1..4_usize, 1..400_usize],
    ) {
        let whole = run(&input, &[usize::MAX], usize::MAX);
        prop_assert_eq!(&run(&input, &sizes, step), &whole);
        prop_assert_eq!(&run(&input, &[1], usize::MAX), &whole);
    }
}

/// Each byte at which a pipeline can be cut.
#[test]
fn http_session_result_is_same_for_each_cut_of_pipeline() {
    let input = "GET /digits HTTP/1.1\r\nHost: h\r\nRange: bytes=2-3\r\n\r\n\
                 \r\nHEAD /digits HTTP/1.1\r\nHost: h\r\n\r\n\
                 GET /none HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\nGET";
    let whole = run(input.as_bytes(), &[usize::MAX], usize::MAX);
    assert_eq!(whole.taken, input.len() - 3);
    assert_eq!(whole.requests.len(), 3);
    assert!(whole.over);
    for cut in 1..input.len() {
        let sizes = [cut, usize::MAX];
        assert_eq!(run(input.as_bytes(), &sizes, usize::MAX), whole, "at {cut}");
    }
}
