//! Waits without a cause: nothing that is sent over loopback waits for a timer of TCP.
//! `benches/waits` looks at all sizes; these are the sizes at which it happened.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    fs, io,
    time::{Duration, Instant},
};

use zput_proto::{
    message::{Kind, Request, Response, Section},
    name::ObjectKey,
    session::ClientConfig,
};
use zput_tests::{Configured, RawClient, WebClient, WebResponse};

const ENGINES: [&str; 4] = ["splice", "sendfile", "mmap", "copy"];

const CONNECTIONS: usize = 30;

/// Of each connection, one after the other.
const RANGES: u64 = 8;

/// Bytes of a range: two segments of loopback. All ranges of a connection together have less than
/// the 1 MiB after which more may be unsent than a segment has.
const LENGTH: u64 = 120_000;

/// Beginning in the middle of a page, and of another one each time.
fn offset(number: u64) -> u64 {
    900 + number * 7919
}

/// With the fault splice and sendfile waited twice to six times on each connection, 0.2 s each: 14
/// s and 37 s. Without it all four engines together take less than 1 s on a machine that has other
/// things to do.
const ALLOWED: Duration = Duration::from_secs(6);

fn for_each_engine(of_connection: impl Fn(&Configured)) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("f"), vec![7; 400_000]).unwrap();
    for engine in ENGINES {
        let config = format!(
            "engine = {engine:?}\nworkers = 1\n[[mount]]\ndir = {:?}\npublic = true\n",
            dir.path()
        );
        let server = Configured::start(&config);
        let began = Instant::now();
        (0..CONNECTIONS).for_each(|_| of_connection(&server));
        let took = began.elapsed();
        assert!(took < ALLOWED, "{engine}: {took:?} for {CONNECTIONS} times {RANGES} ranges");
    }
}

/// Ranges over HTTP on one connection wait for no timer of TCP, by any engine.
#[test]
fn http_ranges_wait_for_no_tcp_timer() {
    for_each_engine(|server| {
        let mut client = WebClient::connect(server.http()).unwrap();
        for number in 0..RANGES {
            let (first, last) = (offset(number), offset(number) + LENGTH - 1);
            let fields = format!("Range: bytes={first}-{last}\r\n");
            let WebResponse { head, body } = client.get_with("/f", &fields).unwrap();
            assert_eq!((head.status, body.len()), (206, 120_000));
        }
    });
}

/// Ranges over the zput protocol on one connection wait for no TCP timer, by any engine.
#[test]
fn zput_protocol_ranges_wait_for_no_tcp_timer() {
    for_each_engine(|server| {
        let mut client = RawClient::connect(server.zput(), &ClientConfig::Plaintext).unwrap();
        for number in 0..RANGES {
            let get = Request::Get {
                key: ObjectKey::new("f").unwrap(),
                version: None,
                sections: vec![Section::Range { offset: offset(number), length: LENGTH }],
                kind: Kind::Plain,
            };
            let Response::Object { payload: 120_000, .. } = client.ask(&get).unwrap() else {
                panic!("range {number} was not got");
            };
            client.payload_to(&mut io::sink()).unwrap();
        }
    });
}
