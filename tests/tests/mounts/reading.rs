//! What members, strangers and HTTP read of each mount.

use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt as _,
    time::{Duration, UNIX_EPOCH},
};

use zput_tests::{Configured, Machine, Ran, WebClient, WebResponse, command_words};

use crate::published::{ARTIFACTS, Published, assert_reads, plain, turn};

/// A public tree and archive are read by members and anonymous peers, a private one is not.
#[test]
fn public_mounts_are_read_by_members_and_anonymous_peers() {
    let published = Published::new();
    let server = Configured::start(&published.config());
    let member = &published.publisher;
    server.admit(member, &published.at("store"), "");
    for mount in ["tree", "pack", "members"] {
        turn(member, &server, mount);
        assert_reads(member, &format!("{mount} over TLS"));
        // Nothing of the tree can be changed by whoever may read it.
        member.write("notes", b"mine");
        let _refused = member.run("zput", ["notes"]).ended(6);
        let _refused = member.run("zblob rm", ["notes"]).ended(6);
    }
    for mount in ["tree", "pack"] {
        let reader = published.reader(&server, mount);
        assert_reads(&reader, &format!("{mount} in clear"));
        let _refused = reader.run("zget", ["--key", "none", "notes"]).ended(7);
    }
    // What is not public is not there for who has no account, nor for HTTP.
    let stranger = published.reader(&server, "members");
    let refused = stranger.run("zget", ["-o", "-", "notes"]);
    assert!(matches!(refused.code, Some(4 | 6)) && refused.stdout.is_empty(), "{refused:?}");
    let listed = stranger.run("zblob ls", [] as [&str; 0]);
    assert!(matches!(listed.code, Some(4 | 6)) && listed.stdout.is_empty(), "{listed:?}");
    let mut web = WebClient::connect(server.http()).unwrap();
    for path in ["/members/notes", "/notes", "/store", "/tree", "/tree/", "/tree/../members/notes"]
    {
        let status = web.get(path).map_or(400, |response| response.status);
        assert!(matches!(status, 400 | 404), "{path}: {status}");
        web = WebClient::connect(server.http()).unwrap();
    }
}

/// With sealed names a file is called by its name's hash: whoever has the tree learns no name.
#[test]
fn zblob_seal_into_tree_hides_names_and_members_read_it() {
    let published = Published::new();
    let home = Machine::new();
    let _made = home.run("zblob key", ["new"]).ok();
    home.write("plans", b"the plans");
    let source = File::open(home.file("plans")).unwrap();
    source.set_modified(UNIX_EPOCH + Duration::from_secs(1_000_000_000)).unwrap();
    let tree = published.at("tree");
    let seal = ["--into", tree.to_str().unwrap(), "plans"];
    let mut shell = home.program("sh");
    shell.args(["-c", "umask 022; exec \"$@\"", "sh"]).args(command_words("zblob seal")).args(seal);
    let _sealed = Ran::from(shell.output().unwrap()).ok();
    let names: Vec<_> = fs::read_dir(&tree)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    let hashes = names.iter().filter(|n| n.len() == 64 && n.bytes().all(|b| b.is_ascii_hexdigit()));
    assert_eq!(hashes.count(), 1, "{names:?}");
    let hash = names.iter().find(|name| name.len() == 64).unwrap();
    assert!(!names.contains(&"plans".to_owned()), "{names:?}");
    // What is there is not replaced, and no tree is made.
    let _exists = home.run("zblob seal", seal).ended(10);
    let missing = published.at("missing");
    let _refused = home.run("zblob seal", ["--into", missing.to_str().unwrap(), "plans"]).ended(1);
    assert!(!missing.exists());

    let server = Configured::start(&published.config());
    server.admit(&home, &published.at("store"), "tree");
    assert_eq!(home.run("zget", ["-o", "-", "plans"]).ok().text(), "the plans");
    let listed = home.run("zblob ls", [] as [&str; 0]).ok();
    assert_eq!(listed.text(), "plans\n");
    assert!(listed.stderr.contains("3 more are sealed to other keys"), "{}", listed.stderr);
    // The server's user may read it, and learns nothing of when the plans were made.
    let metadata = fs::metadata(published.file(hash)).unwrap();
    assert_eq!(metadata.mode() & 0o777, 0o644);
    assert!(metadata.modified().unwrap().elapsed().unwrap() < Duration::from_secs(600));
    // At another name it is another object.
    fs::copy(published.file(hash), published.file("plans")).unwrap();
    home.set_key_field("names", "clear");
    let _swapped = home.run("zget", ["-o", "-", "plans"]).ended(8);
}

/// The body of a sealed file over HTTP opens with zblob open, and not with a flipped bit.
#[test]
fn http_body_of_sealed_file_is_opened_by_zblob_open() {
    let published = Published::new();
    let server = Configured::start(&published.config());
    let mut web = WebClient::connect(server.http()).unwrap();
    for mount in ["tree", "pack"] {
        for (name, length) in ARTIFACTS {
            let sealed = fs::read(published.file(name)).unwrap();
            let WebResponse { head, body } = web.get(&format!("/{mount}/{name}")).unwrap();
            assert_eq!((head.status, head.length()), (200, sealed.len() as u64));
            assert!(body == sealed, "{mount}/{name}");
            let opened = published.publisher.run_with("zblob open", ["-"], &body).ok();
            assert!(opened.stdout == plain(name, length), "{mount}/{name}");
            let range = format!("Range: bytes=-{}\r\n", body.len().min(1000));
            let WebResponse { head, body: tail } =
                web.get_with(&format!("/{mount}/{name}"), &range).unwrap();
            assert_eq!(head.status, 206);
            assert_eq!(tail, &sealed[sealed.len() - tail.len()..], "{mount}/{name}");
            // One bit on the way, and it opens no more.
            let mut flipped = body.clone();
            let in_footer = flipped.len() - 30;
            flipped[in_footer] ^= 1;
            published.publisher.write("flipped", &flipped);
            let _refused = published.publisher.run("zblob open", ["-o", "-", "flipped"]).ended(8);
        }
    }
}
