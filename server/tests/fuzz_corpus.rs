//! The server's functions under fuzz over all inputs that were ever worth keeping, and over some
//! random heads.

#[path = "../../fuzz/targets/server/mod.rs"]
mod targets;

use std::{fs, path::PathBuf};

use proptest::prelude::*;

fn fuzz() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

/// Every input of the corpus passes its fuzz target of the server.
#[test]
fn fuzz_corpus_every_server_input_passes() {
    for (name, _) in targets::TARGETS {
        let mut inputs = 0;
        for entry in fs::read_dir(fuzz().join("corpus").join(name)).unwrap() {
            targets::run(name, &fs::read(entry.unwrap().path()).unwrap());
            inputs += 1;
        }
        assert!(inputs > 0, "{name} has no corpus");
    }
}

/// The tests of `zput-seal` see to those of the others.
#[test]
fn fuzz_corpus_replays_every_server_target() {
    let mut servers = 0;
    for entry in fs::read_dir(fuzz().join("fuzz_targets")).unwrap() {
        let path = entry.unwrap().path();
        if fs::read_to_string(&path).unwrap().contains("../targets/server/mod.rs") {
            let name = path.file_stem().unwrap().to_str().unwrap();
            assert!(targets::TARGETS.iter().any(|(known, _)| *known == name), "{name}");
            servers += 1;
        }
    }
    assert_eq!(servers, targets::TARGETS.len());
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
    /// The http fuzz target holds for heads of random words and bytes.
    #[test]
    fn fuzz_http_target_accepts_random_heads(
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
        targets::run("http", &[vec![step], pieces.concat()].concat());
    }
}
