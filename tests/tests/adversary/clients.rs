//! Clients that ask for what is not theirs, and clients that lie about what they bring.

use std::{collections::BTreeSet, thread, time::Duration};

use zput_proto::{
    digest::Digest,
    limits::{OBJECT_KEY_MAX_BYTES, SLICE_MAX_BYTES},
    message::{
        ClaimedSlice, Condition, ErrorCode, HeaderSlice, Kind, Request, Response, Scopes, Section,
        Version,
    },
    mount::MountName,
};

use crate::guarded::{
    Guarded, begin, begin_blob, blob, code, device, get, join, key, put, slices, whole,
};

/// PROTOCOL 5's number of a request. One that is new does not compile here: [`requests`] then needs
/// it too.
const fn number(request: &Request) -> u8 {
    match request {
        Request::Echo { .. } => 0,
        Request::Ping => 1,
        Request::Join { .. } => 2,
        Request::Get { .. } => 3,
        Request::Stat { .. } => 4,
        Request::List { .. } => 5,
        Request::Versions { .. } => 6,
        Request::Begin { .. } => 7,
        Request::Slice { .. } => 8,
        Request::Commit => 9,
        Request::Abort => 10,
        Request::Delete { .. } => 11,
        Request::Restore { .. } => 12,
        Request::Mount { .. } => 13,
        Request::Resume { .. } => 14,
        Request::Claim { .. } => 15,
    }
}

/// One of each that a session lets through to where requests are admitted, for the object "k": all
/// but Echo, which opens a connection and ends one that is open.
fn requests() -> Vec<Request> {
    let condition = Condition::Any;
    let header = vec![Section::Header];
    let digest = Digest::of(b"k");
    let requests = vec![
        Request::Join { secret: [7; 32], label: "nobody".to_owned() },
        Request::Mount { name: MountName::ROOT },
        Request::Resume { key: key(b"k"), condition, header: HeaderSlice::of(blob(b"k", b"")) },
        Request::Claim { slices: vec![ClaimedSlice { length: 1, digest }] },
        Request::Slice { length: 1, digest },
        get(b"k"),
        Request::Get { key: key(b"k"), version: None, sections: header, kind: Kind::Sealed },
        Request::Stat { key: key(b"k"), version: None },
        Request::Versions { key: key(b"k"), after: None, limit: 1000 },
        Request::List { after: None, limit: 1000, headers: true },
        Request::Delete { key: key(b"k"), condition },
        Request::Restore { key: key(b"k"), version: Version(1) },
        begin(b"k"),
        Request::Commit,
        Request::Abort,
        Request::Ping,
    ];
    let numbers: BTreeSet<u8> = requests.iter().map(number).collect();
    assert_eq!(numbers, (1..=15).collect(), "one is missing");
    requests
}

/// A device without an account is denied every request, and the store stays as it was.
#[test]
fn device_without_account_is_denied_every_request() {
    let guarded = Guarded::new(&[]);
    let member = guarded.member("put,get,list,delete");
    put(&mut guarded.connect(&member), b"k", &blob(b"k", b"secret"));
    let before = guarded.tree();
    for request in requests() {
        let mut stranger = guarded.connect(&device());
        let answer = stranger.ask(&request).unwrap();
        assert_eq!(code(&answer), Some(ErrorCode::Denied), "{request:?}");
        assert!(stranger.is_hung_up_on(), "{request:?}");
    }
    // A whole put without waiting for the answers.
    let mut stranger = guarded.connect(&device());
    stranger.send(&begin(b"k")).unwrap();
    let _maybe_gone = stranger.slice(&blob(b"k", &[7; 100_000]));
    assert_eq!(code(&stranger.receive().unwrap()), Some(ErrorCode::Denied));
    assert!(stranger.receive().is_err());
    let after = guarded.tree();
    for (path, bytes) in &before {
        assert!(after.get(path) == Some(bytes), "{} changed", path.display());
    }
    guarded.is_well();
}

/// A device with the scope put cannot get, list or delete, and its puts keep older versions.
#[test]
fn scope_put_allows_no_get_list_or_delete() {
    let guarded = Guarded::new(&[]);
    let backup = guarded.member("put");
    let mut client = guarded.connect(&backup);
    let (first, second) = (blob(b"k", b"the first"), blob(b"k", b"the second"));
    let Response::Committed { version } = put(&mut client, b"k", &first) else { panic!() };
    let mut denied = 0;
    for request in requests() {
        // Which of them its scope is for, and which need none.
        match number(&request) {
            1 | 2 | 7..=10 | 13..=15 => continue,
            3..=6 | 11 | 12 => {}
            other => panic!("the request {other}: may this device ask for it?"),
        }
        assert_eq!(code(&client.ask(&request).unwrap()), Some(ErrorCode::Denied), "{request:?}");
        denied += 1;
    }
    assert_eq!(denied, 7, "the object's header and all of it, and five others");
    // Without an invite there are no more scopes to be had.
    let mut asking = guarded.connect(&backup);
    let join = Request::Join { secret: [7; 32], label: String::new() };
    assert_eq!(asking.ask(&join).unwrap(), Response::Joined { scopes: Scopes::PUT });
    let mut again = guarded.connect(&backup);
    assert_eq!(code(&again.ask(&get(b"k")).unwrap()), Some(ErrorCode::Denied));
    // What it puts on top destroys nothing.
    assert!(matches!(put(&mut client, b"k", &second), Response::Committed { .. }));
    let mut reader = guarded.connect(&guarded.member("get"));
    let old = Request::Get {
        key: key(b"k"),
        version: Some(version),
        sections: vec![Section::Header, Section::Body, Section::Footer],
        kind: Kind::Sealed,
    };
    assert!(whole(&mut reader, &old) == Ok(first));
    assert!(whole(&mut reader, &get(b"k")) == Ok(second));
    // And a device that may only read cannot put.
    assert_eq!(code(&reader.ask(&begin(b"k")).unwrap()), Some(ErrorCode::Denied));
    assert!(reader.is_hung_up_on());
    assert_eq!(guarded.staged(), 0);
}

/// An invite is redeemed by one device only, and by none after it has expired.
#[test]
fn invite_is_redeemed_once_and_before_it_expires() {
    let guarded = Guarded::new(&[]);
    let invite = guarded.invite(&["--scopes", "get"]);
    let joined = guarded.connect(&device()).ask(&join(&invite)).unwrap();
    assert_eq!(joined, Response::Joined { scopes: Scopes::GET });
    let mut second = guarded.connect(&device());
    assert_eq!(code(&second.ask(&join(&invite)).unwrap()), Some(ErrorCode::Denied));
    assert!(second.is_hung_up_on());

    let expired = guarded.invite(&["--expires", "1ms"]);
    thread::sleep(Duration::from_millis(50));
    let mut late = guarded.connect(&device());
    assert_eq!(code(&late.ask(&join(&expired)).unwrap()), Some(ErrorCode::Denied));

    // Two at once: one of them gets it.
    let invite = guarded.invite(&["--scopes", "put,get,list,delete"]);
    let race = |_| {
        let mut client = guarded.connect(&device());
        let invite = &invite;
        move || client.ask(&join(invite)).unwrap()
    };
    let racers: Vec<_> = (0..8).map(race).collect();
    let answers: Vec<Response> = thread::scope(|scope| {
        let running: Vec<_> = racers.into_iter().map(|racer| scope.spawn(racer)).collect();
        running.into_iter().map(|racer| racer.join().unwrap()).collect()
    });
    let joined = answers.iter().filter(|a| matches!(a, Response::Joined { .. })).count();
    assert_eq!(joined, 1, "{answers:?}");
    assert!(
        answers.iter().all(|a| {
            code(a) == Some(ErrorCode::Denied) || matches!(a, Response::Joined { .. })
        })
    );
}

/// A wrong invite secret closes the connection before a second one is heard.
#[test]
fn invite_guess_that_is_wrong_closes_connection() {
    let guarded = Guarded::new(&[]);
    let invite = guarded.invite(&[]);
    let mut client = guarded.connect(&device());
    let mut guess = |secret| client.send(&Request::Join { secret, label: String::new() });
    for wrong in 0..20 {
        let mut secret = *invite.secret.as_bytes();
        secret[wrong] ^= 1;
        guess(secret).unwrap();
    }
    let _maybe_gone = guess(*invite.secret.as_bytes());
    assert_eq!(code(&client.receive().unwrap()), Some(ErrorCode::Denied));
    assert!(client.receive().is_err());
    // The right one behind them was not heard, and is still good.
    let joined = guarded.connect(&device()).ask(&join(&invite)).unwrap();
    assert_eq!(joined, Response::Joined { scopes: Scopes::ALL });
}

/// The digest travels inside the protected channel; the bytes of the slice do not.
#[test]
fn slice_that_differs_from_its_digest_ends_upload() {
    let guarded = Guarded::new(&[]);
    let mut client = guarded.connect(&guarded.member("put,get"));
    let blob = blob(b"k", &[7; 100_000]);
    for at in [0, 1, 65_535, blob.len() - 1] {
        let mut damaged = blob.clone();
        damaged[at] ^= 1;
        client.send(&begin(b"k")).unwrap();
        let length = u32::try_from(blob.len()).unwrap();
        client.send(&Request::Slice { length, digest: Digest::of(&blob) }).unwrap();
        client.write(&damaged).unwrap();
        client.slice(b"behind it").unwrap();
        client.send(&Request::Commit).unwrap();
        let answers: Vec<_> = (0..4).map(|_| client.receive().unwrap()).collect();
        assert_eq!(answers[0], Response::Begun);
        let codes: Vec<_> = answers[1..].iter().map(|answer| code(answer).unwrap()).collect();
        assert_eq!(codes, [ErrorCode::Digest, ErrorCode::State, ErrorCode::State]);
        assert!(guarded.forgets_uploads());
    }
    let stat = Request::Stat { key: key(b"k"), version: None };
    assert_eq!(code(&client.ask(&stat).unwrap()), Some(ErrorCode::NotFound));
}

/// A commit of a blob with bad framing, another key or the other kind is refused.
#[test]
fn commit_of_malformed_or_misdeclared_object_is_refused() {
    let guarded = Guarded::new(&["--anonymous", "put,get", "--allow-unsealed"]);
    let honest = blob(b"k", b"hello");
    let framing = |offset: usize, bytes: &[u8]| {
        let mut changed = honest.clone();
        changed[offset..offset + bytes.len()].copy_from_slice(bytes);
        changed
    };
    let end = honest.len();
    let sealed = [
        ("another key in its header", blob(b"another", b"hello")),
        ("a longer key in its header", blob(b"kk", b"hello")),
        ("no key in its header", {
            let identity = zput_seal::age::Identity::generate_x25519(&mut rand::rng());
            let author = zput_seal::keys::KeyFile::from_identity(identity, &mut rand::rng());
            let forgery =
                zput_tests::hostile::Forgery::honest(&author, &key(b"k"), "name", b"hello");
            zput_tests::hostile::Forgery { object_key: Vec::new(), ..forgery }.seal()
        }),
        ("no magic", framing(0, b"\x00")),
        ("a version that is not known", framing(8, &[0, 2])),
        ("a header of 4 GiB", framing(10, &[0xff; 4])),
        ("a header longer than the blob", framing(10, &[0, 0, 0xff, 0xff])),
        ("no footer", framing(end - 1, b"\x00")),
        ("a footer of 4 GiB", framing(end - 12, &[0xff; 4])),
        ("a footer longer than the blob", framing(end - 12, &[0, 0, 0xff, 0xff])),
        ("nothing but a header", honest[..200].to_vec()),
        ("a single byte", vec![0x8a]),
        ("clear bytes", b"not sealed at all".to_vec()),
    ];
    let device = guarded.member("put,get");
    for (what, object) in &sealed {
        let mut client = guarded.connect(&device);
        let answer = put(&mut client, b"k", object);
        assert_eq!(code(&answer), Some(ErrorCode::Malformed), "{what}: {answer:?}");
        assert!(client.is_hung_up_on(), "{what}");
    }
    // Nothing at all.
    let mut client = guarded.connect(&device);
    assert_eq!(client.ask(&begin(b"k")).unwrap(), Response::Begun);
    assert_eq!(code(&client.ask(&Request::Commit).unwrap()), Some(ErrorCode::Malformed));

    // A sealed blob as an unsealed object: a reader would take it for what it is not.
    let plain = Request::Begin {
        key: key(b"k"),
        kind: Kind::Plain,
        condition: Condition::Any,
        header: None,
    };
    let mut client = guarded.plain();
    client.send(&plain).unwrap();
    client.slice(&honest).unwrap();
    client.send(&Request::Commit).unwrap();
    let answers: Vec<_> = (0..3).map(|_| client.receive().unwrap()).collect();
    assert_eq!(code(&answers[2]), Some(ErrorCode::Malformed), "{answers:?}");

    // And no clear payload on a protected connection, either way.
    let mut client = guarded.plain();
    client.send(&plain).unwrap();
    client.slice(b"clear").unwrap();
    client.send(&Request::Commit).unwrap();
    let answers: Vec<_> = (0..3).map(|_| client.receive().unwrap()).collect();
    assert!(matches!(answers[2], Response::Committed { .. }), "{answers:?}");
    let mut client = guarded.connect(&device);
    assert_eq!(code(&client.ask(&plain).unwrap()), Some(ErrorCode::Kind));
    let mut client = guarded.connect(&device);
    let read = Request::Get {
        key: key(b"k"),
        version: None,
        sections: vec![Section::All],
        kind: Kind::Plain,
    };
    assert_eq!(code(&client.ask(&read).unwrap()), Some(ErrorCode::Kind));
    // Nor in place of a sealed one.
    assert_eq!(code(&client.ask(&get(b"k")).unwrap()), Some(ErrorCode::Kind));
    assert!(guarded.forgets_uploads());
}

/// Object keys that look like paths are stored under hashed names inside the store.
#[test]
fn object_key_cannot_name_a_path_outside_the_store() {
    let guarded = Guarded::new(&[]);
    let mut client = guarded.connect(&guarded.member("put,get,list,delete"));
    let keys: [&[u8]; 14] = [
        b"../../escaped",
        b"/etc/zput-escaped",
        b"..",
        b".",
        b"a/../../../b",
        b"\0",
        b"a\0b",
        b"..\\..\\x",
        b"%2e%2e%2f",
        b"~/x",
        b"../server.key",
        b"\n\r\t\x1b[2J",
        b"objects/00/../../staging/x",
        &[0xff; OBJECT_KEY_MAX_BYTES],
    ];
    let before = guarded.tree();
    for hostile in keys {
        let blob = blob(hostile, b"hello");
        for _ in 0..2 {
            let answer = put(&mut client, hostile, &blob);
            assert!(matches!(answer, Response::Committed { .. }), "{answer:?}");
        }
        assert!(whole(&mut client, &get(hostile)) == Ok(blob));
        let delete = Request::Delete { key: key(hostile), condition: Condition::Any };
        let Response::Deleted { version } = client.ask(&delete).unwrap() else { panic!() };
        let restore = Request::Restore { key: key(hostile), version };
        assert!(matches!(client.ask(&restore).unwrap(), Response::Committed { .. }));
    }
    // Whatever is there now has a name that no client chose.
    let after = guarded.tree();
    let added: Vec<_> = after.keys().filter(|path| !before.contains_key(*path)).collect();
    assert!(added.len() >= 2 * keys.len(), "{added:?}");
    for path in added {
        let inside = path.strip_prefix(guarded.server.store()).unwrap().to_str().unwrap();
        let parts: Vec<_> = inside.split(['/', '.']).collect();
        let is_hex = |text: &str, length| {
            text.len() == length && text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
        };
        let is_named_by_the_server = match parts[..] {
            ["locks" | "objects" | "history" | "trash", shard] => is_hex(shard, 2),
            ["objects", shard, hash] => is_hex(shard, 2) && is_hex(hash, 64),
            ["history" | "trash", shard, hash, version] => {
                is_hex(shard, 2) && is_hex(hash, 64) && is_hex(version, 20)
            }
            _ => false,
        };
        assert!(is_named_by_the_server, "{inside}");
    }
    // What was there before is as it was, but for the newest version number.
    for (path, bytes) in before.iter().filter(|(path, _)| !path.ends_with("clock")) {
        assert!(after.get(path) == Some(bytes), "{} changed", path.display());
    }
}

/// An upload leaves nothing in staging when its client vanishes.
#[test]
fn upload_of_vanished_client_leaves_nothing_staged() {
    let guarded = Guarded::new(&[]);
    let device = guarded.member("put,get");
    let blob = blob(b"k", &[7; 200_000]);
    let length = u32::try_from(blob.len()).unwrap();
    let slice = Request::Slice { length, digest: Digest::of(&blob) };
    for written in [0, 1, 100_000, blob.len() - 1] {
        let mut client = guarded.connect(&device);
        assert_eq!(client.ask(&begin(b"k")).unwrap(), Response::Begun);
        client.send(&slice).unwrap();
        client.write(&blob[..written]).unwrap();
        client.vanish();
        assert!(guarded.forgets_uploads(), "after {written} bytes");
    }
    // Between its requests.
    let mut client = guarded.connect(&device);
    assert_eq!(client.ask(&begin(b"k")).unwrap(), Response::Begun);
    client.vanish();
    assert!(guarded.forgets_uploads());
    let mut client = guarded.connect(&device);
    client.send(&begin(b"k")).unwrap();
    client.slice(&blob).unwrap();
    assert_eq!(client.receive().unwrap(), Response::Begun);
    assert_eq!(client.receive().unwrap(), Response::SliceHeld);
    assert_eq!(guarded.staged(), 1);
    client.vanish();
    assert!(guarded.forgets_uploads());
    let stat = Request::Stat { key: key(b"k"), version: None };
    let mut client = guarded.connect(&device);
    assert_eq!(code(&client.ask(&stat).unwrap()), Some(ErrorCode::NotFound));
    // With the commit on its way: all of it or nothing, and nothing staged.
    for _ in 0..8 {
        let mut client = guarded.connect(&device);
        let (begin, rest) = begin_blob(b"k", &blob);
        client.send(&begin).unwrap();
        slices(rest).into_iter().for_each(|slice| client.slice(slice).unwrap());
        client.send(&Request::Commit).unwrap();
        client.vanish();
    }
    assert!(guarded.forgets_uploads());
    let mut client = guarded.connect(&device);
    match whole(&mut client, &get(b"k")) {
        Ok(stored) => assert!(stored == blob),
        Err(answer) => assert_eq!(code(&answer), Some(ErrorCode::NotFound)),
    }
    guarded.is_well();
}

/// The session refuses these before a byte of them is read, so nothing is allocated for them.
#[test]
fn slice_of_zero_or_too_many_bytes_is_refused() {
    let guarded = Guarded::new(&["--anonymous", "put"]);
    for length in [0, SLICE_MAX_BYTES + 1, u32::MAX] {
        let mut client = guarded.plain();
        assert_eq!(client.ask(&begin(b"k")).unwrap(), Response::Begun);
        let mut varint = Vec::new();
        let mut left = length;
        while left >= 0x80 {
            varint.push((left & 0x7f) as u8 | 0x80);
            left >>= 7;
        }
        varint.push(left as u8);
        let body = [&[8][..], &varint, &[0; 32]].concat();
        let frame = [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], &body].concat();
        client.write(&frame).unwrap();
        // To which its answer will be taken.
        let _maybe_gone = client.send(&Request::Ping);
        assert_eq!(code(&client.receive().unwrap()), Some(ErrorCode::Malformed), "{length}");
        assert!(client.is_hung_up_on());
        assert!(guarded.forgets_uploads());
    }
}
