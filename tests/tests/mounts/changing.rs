//! Mounts that change while the server runs.

use std::{
    fs,
    io::Read as _,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use zput_tests::{Configured, PATIENCE, WebClient, narrow};

use crate::published::{Published, assert_reads, plain, status};

/// A replaced file is served within seconds, and a client refuses a return to the old one.
#[test]
fn tree_mount_notices_file_replaced_under_the_server() {
    let published = Published::new();
    let server = Configured::start(&published.config());
    let reader = published.reader(&server, "tree");
    let get = || reader.run("zget", ["-o", "-", "notes"]);
    assert_eq!(get().ok().stdout, plain("notes", 11));
    let first = fs::read(published.file("notes")).unwrap();
    published.seal("notes", b"the second edition");
    let started = Instant::now();
    loop {
        let got = get().ok().stdout;
        if got == b"the second edition" {
            break;
        }
        assert_eq!(got, plain("notes", 11), "neither the old nor the new one");
        // The default of revalidate_after is 2 s.
        assert!(started.elapsed() < Duration::from_secs(8), "it was not noticed");
        thread::sleep(Duration::from_millis(50));
    }
    // The tree's owner goes back: the reader has seen the newer one, and says so.
    fs::write(published.at("first"), first).unwrap();
    fs::rename(published.at("first"), published.file("notes")).unwrap();
    let started = Instant::now();
    loop {
        let got = get();
        if got.code == Some(8) {
            assert!(got.stdout.is_empty());
            break;
        }
        assert_eq!(got.ok().stdout, b"the second edition");
        assert!(started.elapsed() < Duration::from_secs(8), "it was not noticed");
        thread::sleep(Duration::from_millis(50));
    }
    fs::remove_file(published.file("notes")).unwrap();
    thread::sleep(Duration::from_millis(2100));
    let _gone = get().ended(4);
    assert_eq!(
        reader.run("zblob ls", [] as [&str; 0]).ok().text(),
        "deep/er/empty\nimages/app.img\n"
    );
}

/// A reload applies a valid configuration; a wrong one is reported and changes nothing.
#[test]
fn reload_takes_good_configuration_and_refuses_wrong_one() {
    let published = Published::new();
    let good = published.config();
    let server = Configured::start(&format!("sandbox = false\n{good}"));
    let head = "sandbox = false\n";
    assert_eq!(status(&server, "/tree/notes"), 200);

    // Wrong in its words, in its values, and in what it names: each is said, and nothing changes.
    let missing = published.at("missing");
    fs::write(published.at("archive.tgz"), b"\x1f\x8b\x08\x00rest").unwrap();
    let mount =
        |what: &str, path: &Path| format!("{good}[[mount]]\nprefix = \"x\"\n{what} = {path:?}\n");
    for (config, why) in [
        (format!("{good}publik = true\n"), "unknown field `publik`"),
        (format!("{good}revalidate_after = 2\n"), "expected a time with its unit"),
        (format!("{good}[[mount]]\nprefix = \"pack\"\ndir = {:?}\n", published.at("tree")), "pack"),
        (mount("dir", &missing), "No such file or directory"),
        (mount("tar", &missing), "No such file or directory"),
        (mount("tar", &published.at("archive.tgz")), "compressed"),
        (mount("dir", &published.at("pack.tar")), "cannot mount"),
        ("[[mount".to_owned(), "the configuration is unchanged"),
        (String::new(), "the configuration is unchanged"),
    ] {
        let said = server.reload(&format!("{head}{config}"));
        assert!(said.contains("reload failed, the configuration is unchanged"), "{config}\n{said}");
        assert!(said.contains(why), "{why} is not said: {said}");
        for (path, expected) in
            [("/tree/notes", 200), ("/pack/notes", 200), ("/x/notes", 404), ("/more/notes", 404)]
        {
            assert_eq!(status(&server, path), expected, "{path} after {why}");
        }
    }
    assert!(!missing.exists());

    // A get under way ends as it began, though its mount is gone.
    let mut slow = WebClient::over(narrow(server.http())).unwrap();
    slow.say("GET /tree/images/app.img", "").unwrap();
    let length = slow.head().unwrap().length();
    let next = format!(
        "{head}[[mount]]\nstore = {:?}\n[[mount]]\nprefix = \"more\"\ndir = {:?}\npublic = true\n",
        published.at("store"),
        published.at("tree")
    );
    let said = server.reload(&next);
    assert!(said.contains("configuration reloaded"), "{said}");
    let started = Instant::now();
    // Each worker hears of it with its next turn.
    while status(&server, "/tree/notes") != 404 || status(&server, "/pack/notes") != 404 {
        assert!(started.elapsed() < PATIENCE, "an old mount is still served");
    }
    assert_eq!(status(&server, "/more/notes"), 200);
    let mut body = Vec::new();
    slow.stream().take(length).read_to_end(&mut body).unwrap();
    assert!(body == fs::read(published.file("images/app.img")).unwrap());
    // The accounts are those of the store, which is still there.
    server.admit(&published.publisher, &published.at("store"), "more");
    assert_reads(&published.publisher, "a mount that came with a reload");
    let (code, log) = server.stop();
    assert_eq!(code, Some(0), "{log}");
}

/// An archive of two members, `a` of which says `text`.
fn small_archive(text: &str) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, body) in [("release-1/a", text), ("release-1/b", "the same")] {
        let mut header = tar::Header::new_ustar();
        header.set_size(body.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, body.as_bytes()).unwrap();
    }
    archive.into_inner().unwrap()
}

/// A reload indexes a replaced archive; a truncated or hostile one leaves the old one served.
#[test]
fn reload_reindexes_archive_and_refuses_hostile_one() {
    let published = Published::new();
    published.install("pack.tar", &small_archive("first"));
    let config = published.config();
    let server = Configured::start(&config);
    let get = || WebClient::connect(server.http()).unwrap().get("/pack/a").unwrap();
    assert_eq!(get().body, b"first");

    // In its place, and nobody said so: the old one is served.
    published.install("pack.tar", &small_archive("second edition"));
    assert_eq!(get().body, b"first");
    let said = server.reload(&config);
    assert!(said.contains("configuration reloaded"), "{said}");
    let started = Instant::now();
    while get().body != b"second edition" {
        assert!(started.elapsed() < PATIENCE, "the new archive is not served");
    }

    let whole = small_archive("third");
    let mut escaping = whole.clone();
    // ../elsewhere/a, with the sum of the header's bytes set right.
    escaping[..14].copy_from_slice(b"../elsewhere/a");
    let sum: u32 = escaping[..512]
        .iter()
        .enumerate()
        .map(|(n, byte)| if (148..156).contains(&n) { 32 } else { u32::from(*byte) })
        .sum();
    escaping[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut damaged = whole.clone();
    damaged[1024 + 3] ^= 1;
    for (archive, why) in [
        (whole[..whole.len() - 1024].to_vec(), "end"),
        (whole[..600].to_vec(), "end"),
        (escaping, ".."),
        (damaged, "checksum"),
        (b"no archive at all".to_vec(), "cannot mount"),
    ] {
        published.install("pack.tar", &archive);
        let said = server.reload(&config);
        assert!(said.contains("reload failed, the configuration is unchanged"), "{why}: {said}");
        assert!(said.contains("pack.tar") && said.contains(why), "{why} is not said: {said}");
        assert_eq!(get().body, b"second edition", "{why}");
    }
    published.install("pack.tar", &whole);
    let _read_again = server.reload(&config);
    let started = Instant::now();
    while get().body != b"third" {
        assert!(started.elapsed() < PATIENCE, "the good archive is not served");
    }
    let (code, log) = server.stop();
    assert_eq!(code, Some(0), "{log}");
}
