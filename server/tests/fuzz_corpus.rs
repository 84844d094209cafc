//! The server's functions under fuzz over all inputs that were ever worth keeping, and over some
//! random ones.

#[path = "../../fuzz/targets/http.rs"]
mod http;

use std::{fs, path::PathBuf};

use proptest::prelude::*;

#[test]
fn every_input_of_the_corpus_passes() {
    let corpus = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/http");
    let mut inputs = 0;
    for entry in fs::read_dir(corpus).unwrap() {
        http::run(&fs::read(entry.unwrap().path()).unwrap());
        inputs += 1;
    }
    assert!(inputs > 0, "http has no corpus");
}

/// Words that heads are made of.
const WORDS: [&str; 44] = [
    "GET ",
    "HEAD ",
    "PUT ",
    "/",
    "/d",
    "/e",
    "/h",
    "/n",
    "/b",
    "/i",
    "http://h/",
    "*",
    "..",
    ".",
    "%2e",
    "%2f",
    "%5c",
    "%00",
    "%",
    "?",
    "#",
    "\\",
    " HTTP/1.1\r\n",
    " HTTP/1.0\r\n",
    "Host: h\r\n",
    "Connection: close\r\n",
    "Connection: keep-alive\r\n",
    "Content-Length: 0\r\n",
    "Content-Length: 3\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Range: bytes=",
    "0-0",
    "-1",
    "5-",
    "If-None-Match: ",
    "If-Match: ",
    "If-Range: ",
    "\"v1\"",
    "W/",
    ", ",
    ": ",
    "\r\n",
    "\r\n\r\n",
    "GET /d HTTP/1.1\r\nHost: h\r\n",
];

proptest! {
    #[test]
    fn random_input_passes(
        step: u8,
        pieces in prop::collection::vec(
            prop_oneof![
                12 => prop::sample::select(&WORDS[..]).prop_map(|word| word.as_bytes().to_vec()),
                4 => Just(b"GET /d HTTP/1.1\r\nHost: h\r\n\r\n".to_vec()),
                1 => prop::collection::vec(any::<u8>(), 0..10),
            ],
            0..40,
        ),
    ) {
        http::run(&[vec![step], pieces.concat()].concat());
    }
}
