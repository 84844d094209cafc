//! Somebody on the line between the real client and the real server.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    net::SocketAddr,
    ops::Range,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use tempfile::TempDir;
use zput::{
    Silent,
    cli::{Directories, FileSource, GetOptions, PutOptions, Session},
};
use zput_cli::ExitCode;
use zput_proto::{
    envelope::{FOOTER_MAGIC, HEADER_MAGIC},
    keys::{Remote, ServerPublicKey},
    message::Response,
    name::BlobName,
};
use zput_seal::{
    chunked::sealed_len,
    keys::{KeyFile, ModePolicy},
};
use zput_tests::{
    Machine, Ran, RawClient,
    hostile::{Conversation, Damage, Direction, HostileServer, Proxy, RawServer},
};

use crate::{
    guarded::{Guarded, join, quick_directory},
    victim::{NAME, get, is_for_terminals, lead, member, write_key_file},
};

/// A server, a member of a vault that it knows, and a line between them.
pub(crate) struct Line {
    pub(crate) guarded: Guarded,
    pub(crate) member: KeyFile,
    pub(crate) plaintext: Vec<u8>,
    server_key: ServerPublicKey,
    directory: TempDir,
}

impl Line {
    pub(crate) fn new() -> Self {
        let guarded = Guarded::new(&["--anonymous", "get"]);
        let member = member();
        let invite = guarded.invite(&[]);
        let mut client = guarded.connect(&member.device_seed().tls_key());
        assert!(matches!(client.ask(&join(&invite)).unwrap(), Response::Joined { .. }));
        let directory = quick_directory();
        let plaintext: Vec<u8> = (0..600).map(|_| rand::random()).collect();
        fs::write(directory.path().join("file"), &plaintext).unwrap();
        Self { guarded, member, plaintext, server_key: invite.server_key, directory }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.guarded.server.address().parse().unwrap()
    }

    /// The member's key file, leading to `remote` instead.
    pub(crate) fn by(&self, remote: Remote, mode: ModePolicy) -> KeyFile {
        let mut key_file = self.member.clone();
        lead(&mut key_file, mode, remote, self.server_key);
        key_file
    }

    fn directories(&self, whose: usize) -> Directories {
        let base = self.directory.path().join(whose.to_string());
        Directories { config: base.join("c"), data: base.join("d"), state: base.join("s") }
    }

    /// The library gets the blob through `proxy`: exit code, and what reached the sink.
    fn get(&self, proxy: &Proxy, whose: usize) -> (u8, Vec<u8>) {
        let key_file = self.by(proxy.remote(), ModePolicy::Tls);
        let name = BlobName::parse(NAME).unwrap();
        let (got, sink) = get(&key_file, &self.directories(whose), &name, &GetOptions::default());
        (got.err().unwrap_or(0), sink)
    }

    /// The library puts the file through `proxy`: exit code.
    fn put(&self, proxy: &Proxy, whose: usize) -> u8 {
        let key_file = self.by(proxy.remote(), ModePolicy::Tls);
        let name = BlobName::parse(NAME).unwrap();
        let mut client = Session::new(key_file, &self.directories(whose)).unwrap();
        let file = FileSource::open(&self.directory.path().join("file")).unwrap();
        match client.put(&name, file, &PutOptions::default(), &Silent) {
            Ok(_) => 0,
            Err(error) => ExitCode::from(error.kind()) as u8,
        }
    }

    /// What passes when nobody interferes.
    fn conversation(&self, act: impl Fn(&Proxy)) -> Conversation {
        let proxy = Proxy::new(self.address());
        act(&proxy);
        let mut recorded = proxy.recorded();
        assert_eq!(recorded.len(), 1);
        recorded.remove(0)
    }

    /// Bytes of the blob's one sealed part.
    fn part_bytes(&self) -> usize {
        usize::try_from(sealed_len(self.plaintext.len() as u64)).unwrap()
    }

    /// Current versions that the server has.
    fn objects(&self) -> BTreeSet<String> {
        let objects = self.guarded.server.store().join("objects");
        let paths = self.guarded.tree().into_keys();
        let files = paths.filter(|path| path.starts_with(&objects) && path.is_file());
        files.map(|path| path.to_str().unwrap().to_owned()).collect()
    }

    /// Does each damage to a connection of its own, several at a time.
    fn each(
        &self,
        direction: Direction,
        damages: impl IntoIterator<Item = Damage>,
        act: impl Fn(&Proxy, &Damage, usize) + Sync,
    ) {
        let damages = Mutex::new(damages.into_iter().collect::<Vec<_>>().into_iter());
        thread::scope(|scope| {
            for whose in 0..4 {
                let (damages, act) = (&damages, &act);
                scope.spawn(move || {
                    let proxy = Proxy::new(self.address());
                    loop {
                        let Some(damage) = damages.lock().unwrap().next() else { break };
                        proxy.damage(direction, damage.clone());
                        act(&proxy, &damage, whose);
                    }
                });
            }
        });
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Vec<usize> {
    haystack
        .windows(needle.len())
        .enumerate()
        .filter(|(_, w)| *w == needle)
        .map(|(i, _)| i)
        .collect()
}

/// Where the one footer is in what a side said.
fn footer_in(said: &[u8]) -> Range<usize> {
    let end = find(said, &FOOTER_MAGIC)[0] + FOOTER_MAGIC.len();
    let length = u32::from_be_bytes(said[end - 12..end - 8].try_into().unwrap());
    end - length as usize..end
}

fn flips(offsets: impl Iterator<Item = usize>, mask: u8) -> Vec<Damage> {
    offsets.map(|offset| Damage::Flip(offset as u64, mask)).collect()
}

/// Where the bytes of TLS records are that a flip may do something to: all but the first three of
/// each, which say what TLS 1.3 ignores (RFC 8446, 5.2). From behind the hello up to `end`, or up to
/// the record that ends the connection.
fn in_records(bytes: &[u8], hello: usize, end: usize) -> Vec<usize> {
    let mut offsets = Vec::new();
    let mut at = hello;
    while at < end {
        let behind = at + 5 + usize::from(u16::from_be_bytes([bytes[at + 3], bytes[at + 4]]));
        // An alert: two bytes, their real type, and a tag.
        if behind - at != 5 + 19 {
            offsets.extend(at + 3..behind);
        }
        at = behind;
    }
    assert_eq!(at, end);
    offsets
}

const SERVER_HELLO_BYTES: usize = 36;
const CLIENT_HELLO_BYTES: usize = 17;

/// A get fails on changed, moved or cut bytes of an answer, and writes nothing.
#[test]
fn get_refuses_answer_changed_on_the_way() {
    let line = Line::new();
    let proxy = Proxy::new(line.address());
    assert_eq!(line.put(&proxy, 9), 0);
    let conversation = line.conversation(|proxy| {
        assert!(line.get(proxy, 9) == (0, line.plaintext.clone()));
    });
    let down = &conversation.down;
    // Footer and part, raw behind each other.
    let footer = footer_in(down);
    let blob = footer.start..footer.end + line.part_bytes();
    let records = in_records(down, SERVER_HELLO_BYTES, blob.start);
    let damages = flips(0..SERVER_HELLO_BYTES, 0x01)
        .into_iter()
        .chain(flips(0..SERVER_HELLO_BYTES, 0x80))
        .chain(flips(records.into_iter().step_by(11), 0x01))
        .chain(flips(blob.clone(), 0x01));
    line.each(Direction::Down, damages, |proxy, damage, whose| {
        let (exit, sink) = line.get(proxy, whose);
        let Damage::Flip(at, mask) = *damage else { unreachable!() };
        assert!(sink.is_empty(), "{damage:?}");
        match at as usize {
            // Status: a refusal that nobody vouches for. A mode that is none, a length, a magic.
            0..=10 | 12 | 31..=35 => assert!(matches!(exit, 1 | 5), "{damage:?}: {exit}"),
            // Version and features that were not offered.
            11 | 13..=16 => assert_eq!(exit, 8, "{damage:?}"),
            // Limits, which both sides echo inside the channel.
            17..=30 => assert!(matches!(exit, 1 | 5), "{damage:?}: {exit}"),
            at if at < blob.start => assert!(matches!(exit, 5 | 8), "{damage:?}: {exit}"),
            _ => assert_eq!(exit, 8, "{damage:?} {mask}"),
        }
    });
    // Whole stretches.
    let middle = (blob.start + blob.end) as u64 / 2;
    let stretches = [
        Damage::Drop(middle, 1),
        Damage::Drop(middle, 100),
        Damage::Duplicate(middle, 1),
        Damage::Duplicate(blob.start as u64, blob.len() / 2),
        Damage::Insert(middle, vec![0]),
        Damage::Insert(blob.start as u64, down[footer.clone()].to_vec()),
        Damage::Replace(middle, vec![0; 10_000]),
        Damage::Drop(0, 1),
        Damage::Insert(0, vec![0]),
        Damage::Insert(SERVER_HELLO_BYTES as u64, b"\x17\x03\x03\x00\x10................".to_vec()),
        Damage::Duplicate(SERVER_HELLO_BYTES as u64, blob.start - SERVER_HELLO_BYTES),
    ];
    line.each(Direction::Down, stretches, |proxy, damage, whose| {
        let (exit, sink) = line.get(proxy, whose);
        assert!(matches!(exit, 1 | 5 | 8), "{damage:?}: {exit}");
        assert!(sink.is_empty(), "{damage:?}");
    });
    line.each(
        Direction::Down,
        (0..blob.end).step_by(7).map(|n| Damage::Cut(n as u64)),
        |proxy, damage, whose| {
            assert_eq!(line.get(proxy, whose), (5, Vec::new()), "{damage:?}");
        },
    );
    // And by the command, into a file.
    let proxy = Proxy::new(line.address());
    let home = Machine::new();
    write_key_file(&home.path().join("k"), &line.by(proxy.remote(), ModePolicy::Tls));
    let zget = |args: &[&str]| -> Ran {
        let args = ["--key", "../k"].iter().chain(args);
        home.run("zget", args)
    };
    let last = blob.end as u64 - 1;
    for (damage, code) in [
        (Damage::Flip(last, 1), 8),
        (Damage::Flip(blob.start as u64 - 1, 1), 8),
        (Damage::Flip(12, 3), 8),
        (Damage::Cut(last), 5),
    ] {
        proxy.damage(Direction::Down, damage);
        for args in [&[NAME][..], &["-o", "-", NAME]] {
            let ran = zget(args).ended(code);
            assert!(ran.stdout.is_empty());
            assert!(is_for_terminals(&ran.stderr));
            assert_eq!(fs::read_dir(home.file("")).unwrap().count(), 0);
        }
    }
    proxy.pass();
    assert!(zget(&["-o", "-", NAME]).ok().stdout == line.plaintext);
}

/// A get fails if what it sends is changed or cut, and writes nothing.
#[test]
fn get_fails_when_its_request_is_changed_on_the_way() {
    let line = Line::new();
    let proxy = Proxy::new(line.address());
    assert_eq!(line.put(&proxy, 9), 0);
    let up = line.conversation(|proxy| assert_eq!(line.get(proxy, 9).0, 0)).up;
    let records = in_records(&up, CLIENT_HELLO_BYTES, up.len());
    let asked = records.last().unwrap() + 1;
    let damages = flips(0..CLIENT_HELLO_BYTES, 0x01)
        .into_iter()
        .chain(flips(0..CLIENT_HELLO_BYTES, 0x80))
        .chain(flips(records.into_iter().step_by(7), 0x01));
    line.each(Direction::Up, damages, |proxy, damage, whose| {
        let (exit, sink) = line.get(proxy, whose);
        assert!(matches!(exit, 1 | 5 | 8), "{damage:?}: {exit}");
        assert!(sink.is_empty(), "{damage:?}");
    });
    line.each(
        Direction::Up,
        (0..asked).step_by(7).map(|n| Damage::Cut(n as u64)),
        |proxy, damage, whose| {
            assert_eq!(line.get(proxy, whose), (5, Vec::new()), "{damage:?}");
        },
    );
    // The server picks what it was told is offered; the client knows better. With both modes on offer
    // it picks tls, and the echo tells it that somebody lied.
    for (mask, code) in [(3, 8), (1, 5)] {
        proxy.damage(Direction::Up, Damage::Flip(12, mask));
        assert_eq!(line.get(&proxy, 9), (code, Vec::new()), "{mask}");
    }
}

/// SECURITY: "The network corrupts an upload".
#[test]
fn put_with_changed_upload_fails_and_stores_nothing() {
    let line = Line::new();
    let up = line.conversation(|proxy| assert_eq!(line.put(proxy, 9), 0)).up;
    let objects = line.objects();
    assert_eq!(objects.len(), 1);
    fs::remove_file(objects.first().unwrap()).unwrap();
    let footer = footer_in(&up);
    let between = find(&up[..footer.start], b"\x17\x03\x03").pop().unwrap();
    let (blob, footer) = (between - line.part_bytes(), footer.end - FOOTER_MAGIC.len());
    // Between the pieces of the blob there are records; see `in_records`.
    let framing: BTreeSet<usize> =
        find(&up, b"\x17\x03\x03").into_iter().flat_map(|at| at..at + 3).collect();
    let damages = flips(0..CLIENT_HELLO_BYTES, 0x01)
        .into_iter()
        .chain(flips(in_records(&up, CLIENT_HELLO_BYTES, blob).into_iter().step_by(11), 0x01))
        .chain(flips((blob..footer + 8).filter(|at| !framing.contains(at)), 0x01))
        .chain((0..footer).step_by(13).map(|n| Damage::Cut(n as u64)))
        .chain([
            Damage::Drop(blob as u64 + 20, 100),
            Damage::Duplicate(blob as u64 + 20, 100),
            Damage::Insert(blob as u64, vec![0; 100]),
            Damage::Replace(blob as u64, vec![0x8a; 10_000]),
        ]);
    line.each(Direction::Up, damages, |proxy, damage, whose| {
        let exit = line.put(proxy, whose);
        match damage {
            Damage::Cut(_) => assert_eq!(exit, 5, "{damage:?}"),
            Damage::Flip(at, _) if (*at as usize) < CLIENT_HELLO_BYTES => {
                assert!(matches!(exit, 1 | 5 | 8), "{damage:?}: {exit}");
            }
            _ => assert!(matches!(exit, 5 | 8), "{damage:?}: {exit}"),
        }
    });
    assert!(line.objects().is_empty(), "a damaged upload was taken");
    assert!(line.guarded.forgets_uploads());
    // The bytes of the blob itself: the server says that they are not what was announced.
    let proxy = Proxy::new(line.address());
    for at in [blob, blob + 300, footer + 7] {
        proxy.damage(Direction::Up, Damage::Flip(at as u64, 0x40));
        assert_eq!(line.put(&proxy, 9), 8, "{at}");
    }
    assert!(line.objects().is_empty());
    proxy.pass();
    assert_eq!(line.put(&proxy, 9), 0);
    assert_eq!(line.objects().len(), 1);
}

/// A put counts only once the server's own word for it has come.
#[test]
fn put_fails_unless_committed_answer_arrives_intact() {
    let line = Line::new();
    let down = line.conversation(|proxy| assert_eq!(line.put(proxy, 9), 0)).down;
    // What comes last is "committed".
    let records = in_records(&down, SERVER_HELLO_BYTES, down.len());
    let committed = records.last().unwrap() + 1;
    let damages = flips(records.into_iter().step_by(7), 0x01)
        .into_iter()
        .chain((0..committed).step_by(13).map(|n| Damage::Cut(n as u64)))
        .chain((committed - 20..committed).map(|n| Damage::Cut(n as u64)));
    line.each(Direction::Down, damages, |proxy, damage, whose| {
        let exit = line.put(proxy, whose);
        assert!(matches!(exit, 1 | 5 | 8), "{damage:?}: {exit}");
    });
}

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
