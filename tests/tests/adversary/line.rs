//! Somebody on the line between the real client and the real server.

use std::{collections::BTreeSet, fs, net::SocketAddr, ops::Range, sync::Mutex, thread};

use tempfile::TempDir;
use zput::{
    Silent,
    cli::{Directories, FileSource, GetOptions, PutOptions, Session},
};
use zput_cli::ExitCode;
use zput_proto::{
    envelope::FOOTER_MAGIC,
    keys::{Remote, ServerPublicKey},
    message::Response,
    name::BlobName,
};
use zput_seal::{
    chunked::sealed_len,
    keys::{KeyFile, ModePolicy},
};
use zput_tests::{
    Machine, Ran,
    hostile::{Conversation, Damage, Direction, Proxy},
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

    pub(crate) fn directories(&self, whose: usize) -> Directories {
        let base = self.directory.path().join(whose.to_string());
        Directories { config: base.join("c"), data: base.join("d"), state: base.join("s") }
    }

    /// The library gets the blob through `proxy`: exit code, and what reached the sink.
    pub(crate) fn get(&self, proxy: &Proxy, whose: usize) -> (u8, Vec<u8>) {
        let key_file = self.by(proxy.remote(), ModePolicy::Tls);
        let name = BlobName::parse(NAME).unwrap();
        let (got, sink) = get(&key_file, &self.directories(whose), &name, &GetOptions::default());
        (got.err().unwrap_or(0), sink)
    }

    /// The library puts the file through `proxy`: exit code.
    pub(crate) fn put(&self, proxy: &Proxy, whose: usize) -> u8 {
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
    pub(crate) fn conversation(&self, act: impl Fn(&Proxy)) -> Conversation {
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

pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Vec<usize> {
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
/// each, which say what TLS 1.3 ignores (RFC 8446, 5.2). From behind the hello up to `end`, or up
/// to the record that ends the connection.
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
    // The server picks what it was told is offered; the client knows better. With both modes on
    // offer it picks tls, and the echo tells it that somebody lied.
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
