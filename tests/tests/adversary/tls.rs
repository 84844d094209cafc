//! What TLS and the pinned key withhold from somebody on the line.

use std::{
    fs,
    io::{Read, Write},
    sync::{Arc, Mutex},
    time::Duration,
};

use zput::cli::GetOptions;
use zput_proto::{
    envelope::{FOOTER_MAGIC, HEADER_MAGIC},
    name::BlobName,
};
use zput_seal::keys::ModePolicy;
use zput_tests::{
    Machine, RawClient,
    hostile::{HostileServer, Proxy, RawServer},
};

use crate::victim::{NAME, get, write_key_file};

use crate::line::{Line, find};

/// A recorded connection that is replayed to the server or to a client has no effect.
#[test]
fn tls_connection_replayed_has_no_effect() {
    let line = Line::new();
    let put = line.conversation(|proxy| assert_eq!(line.put(proxy, 9), 0));
    let got = line.conversation(|proxy| assert_eq!(line.get(proxy, 9).0, 0));
    let before = line.guarded.tree();
    for up in [&put.up, &got.up] {
        let said = RawClient::babble(line.address(), up).unwrap();
        // Its side of the handshake, and nothing of the blob.
        assert!(said.starts_with(b"zput/s1\n"));
        assert!(find(&said, &HEADER_MAGIC).is_empty());
    }
    assert!(line.guarded.forgets_uploads());
    assert!(line.guarded.tree() == before);
    // To a client, as its server.
    let name = BlobName::parse(NAME).unwrap();
    for down in [&put.down, &got.down] {
        let raw = RawServer::saying(down.clone());
        let key_file = line.by(raw.remote(), ModePolicy::Tls);
        let (got, sink) = get(&key_file, &line.directories(9), &name, &GetOptions::default());
        assert_eq!(got.unwrap_err(), 8);
        assert!(sink.is_empty());
    }
}

/// Clients send no request to a server whose key is not the pinned one.
#[test]
fn server_key_mismatch_is_refused_before_any_request() {
    let line = Line::new();
    let other = HostileServer::new();
    let home = Machine::new();
    home.write("file", b"for nobody else");
    write_key_file(&home.path().join("k"), &line.by(other.remote(), ModePolicy::Tls));
    for (command, args) in [
        ("zget", &[NAME][..]),
        ("zput", &["file"]),
        ("zblob ls", &[]),
        ("zblob stat", &[NAME]),
        ("zblob rm", &[NAME]),
    ] {
        let args = ["--key", "../k"].iter().chain(args);
        let ran = home.run(command, args).ended(8);
        assert!(ran.stdout.is_empty());
    }
    assert!(other.asked().is_empty(), "a server with another key was told something");
    assert!(other.shelf().is_empty());
}

/// SECURITY: "the mode is local policy".
#[test]
fn tls_downgrade_by_server_is_refused() {
    let line = Line::new();
    let home = Machine::new();
    home.write("file", b"not in the clear");
    let mut server_hello = b"zput/s1\n\x00\x1a\x00\x01\x01".to_vec();
    server_hello.extend_from_slice(&[0; 4]);
    server_hello.extend_from_slice(&131_072_u32.to_be_bytes());
    server_hello.extend_from_slice(&16_842_752_u32.to_be_bytes());
    server_hello.extend_from_slice(&64_u16.to_be_bytes());
    server_hello.extend_from_slice(&120_u32.to_be_bytes());
    server_hello.extend_from_slice(&[0; 5]);
    let client_hello = b"zput/c1\n\x00\x07\x01\x01\x02\x00\x00\x00\x00";
    // With the echo that a plaintext server would give.
    let mut echo = vec![0, 0, 0, 56, 0, 17];
    echo.extend_from_slice(client_hello);
    echo.push(36);
    echo.extend_from_slice(&server_hello);
    assert_eq!(echo.len(), 4 + 56);
    for said in [server_hello.clone(), [&server_hello[..], &echo].concat()] {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hears = heard.clone();
        let raw = RawServer::new(move |mut stream| {
            stream.write_all(&said).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            let mut bytes = Vec::new();
            // A client that hangs up in anger resets the connection.
            let _ended = stream.read_to_end(&mut bytes);
            hears.lock().unwrap().push(bytes);
        });
        write_key_file(&home.path().join("k"), &line.by(raw.remote(), ModePolicy::Tls));
        for (command, arg) in [("zget", NAME), ("zput", "file")] {
            let ran = home.run(command, ["--key", "../k", arg]).ended(8);
            assert!(ran.stdout.is_empty());
            assert!(ran.stderr.contains("not offered"), "{}", ran.stderr);
        }
        assert_eq!(fs::read_dir(home.file("")).unwrap().count(), 1);
        drop(raw);
        for bytes in heard.lock().unwrap().iter() {
            let Some(tls) = bytes.strip_prefix(&client_hello[..]) else {
                assert!(client_hello.starts_with(bytes), "{bytes:?}");
                continue;
            };
            // One record of a handshake, and not a frame behind it.
            if !tls.is_empty() {
                assert_eq!(tls[..3], [0x16, 3, 1]);
                let length = usize::from(u16::from_be_bytes([tls[3], tls[4]]));
                assert_eq!(tls.len(), 5 + length);
            }
        }
    }
}

/// Everything that the commands say to a server and hear from it, as somebody on the line sees it.
#[test]
fn tls_connection_shows_no_name_key_or_plaintext() {
    let line = Line::new();
    let proxy = Proxy::new(line.address());
    let home = Machine::new();
    write_key_file(&home.path().join("k"), &line.by(proxy.remote(), ModePolicy::Tls));
    let name = "plans/a-name-that-nobody-else-has.bin";
    home.write("file", &line.plaintext);
    for (command, args) in [
        ("zput", &["--name", name, "file"][..]),
        ("zget", &["-o", "back", name]),
        ("zblob ls", &["-l"]),
        ("zblob stat", &[name]),
        ("zblob stat", &["--versions", name]),
        ("zput", &["--name", name, "file"]),
        ("zblob rm", &[name]),
    ] {
        let args = ["--key", "../k"].iter().chain(args);
        let _done = home.run(command, args).ok();
    }
    assert!(home.read("back") == line.plaintext);
    let recorded = proxy.recorded();
    assert_eq!(recorded.len(), 7);
    let all: Vec<u8> =
        recorded.iter().flat_map(|c| [c.up.clone(), c.down.clone()]).flatten().collect();
    let secrets = line.member.to_toml().unwrap();
    let mut needles: Vec<Vec<u8>> = vec![
        name.into(),
        b"a-name-that-nobody".to_vec(),
        line.member.vault_secret().as_bytes().to_vec(),
        line.member.device_seed().as_bytes().to_vec(),
        line.member.device_seed().tls_key().as_bytes().to_vec(),
        line.member.identity().unwrap().to_secret_string().as_bytes().to_vec(),
        line.member.recipients[0].to_string().into_bytes(),
    ];
    needles.extend(line.plaintext.chunks_exact(12).map(<[u8]>::to_vec));
    needles.extend(
        secrets
            .lines()
            .filter_map(|l| Some(l.split('"').nth(1)?.into()))
            .filter(|v: &Vec<u8>| v.len() > 30),
    );
    for needle in &needles {
        assert!(find(&all, needle).is_empty(), "{:?}", String::from_utf8_lossy(needle));
    }
    // Parts and footers travel as they are; headers, which name the object, do not.
    let key = line.member.object_key(&BlobName::parse(name).unwrap());
    assert!(find(&all, key.as_bytes()).is_empty());
    assert!(find(&all, &HEADER_MAGIC).is_empty());
    // Two puts, and what zget and zblob stat got.
    assert_eq!(find(&all, &FOOTER_MAGIC).len(), 4);
    // Without TLS a request shows it, so it would have been seen.
    write_key_file(&home.path().join("k"), &line.by(proxy.remote(), ModePolicy::Plaintext));
    let _not_there = home.run("zget", ["--key", "../k", name]).ended(4);
    let recorded = proxy.recorded();
    // A get, and the look for what was removed.
    assert_eq!(find(&recorded[0].up, key.as_bytes()).len(), 2);
}
