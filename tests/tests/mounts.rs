//! A store, a tree and an archive behind one server, read by the commands and by HTTP, and changed while it runs.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    fs::{self, File},
    io::{BufWriter, Read as _, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant, UNIX_EPOCH},
};

use tempfile::TempDir;
use zput_tests::{
    Configured, Machine, PATIENCE, Pattern, Ran, WebClient, WebResponse, command_words, narrow,
};

/// Plaintexts of what the publisher seals, by name: nothing, a little, and two parts.
const ARTIFACTS: [(&str, u64); 3] =
    [("images/app.img", 20_000_000), ("notes", 11), ("deep/er/empty", 0)];

/// A publisher's machine, a tree of what it sealed, and that tree as an archive.
struct Published {
    publisher: Machine,
    dir: TempDir,
}

impl Published {
    /// Seals the artifacts into a tree, each at its name: with clear names that is its object key.
    fn new() -> Self {
        let publisher = Machine::new();
        let _made = publisher.run("zblob key", ["new", "--names", "clear"]).ok();
        let published = Self { publisher, dir: tempfile::tempdir().unwrap() };
        fs::create_dir(published.at("tree")).unwrap();
        for (name, length) in ARTIFACTS {
            published.seal(name, &plain(name, length));
        }
        published.pack("pack.tar");
        published
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.at("tree").join(name)
    }

    /// Seals `bytes` to where the tree has `name`, replacing what is there.
    fn seal(&self, name: &str, bytes: &[u8]) {
        self.publisher.write("artifact", bytes);
        let tree = self.at("tree");
        let arguments = ["--force", "--name", name, "artifact", "--into", tree.to_str().unwrap()];
        let _sealed = self.publisher.run("zblob seal", arguments).ok();
    }

    /// The tree as an archive, put to its place by a rename.
    fn pack(&self, name: &str) {
        let mut archive = tar::Builder::new(Vec::new());
        archive.append_dir_all("release-1", self.at("tree")).unwrap();
        self.install(name, &archive.into_inner().unwrap());
    }

    fn install(&self, name: &str, bytes: &[u8]) {
        fs::write(self.at("new"), bytes).unwrap();
        fs::rename(self.at("new"), self.at(name)).unwrap();
    }

    /// All three kinds of mounts, the tree a second time for members only.
    fn config(&self) -> String {
        format!(
            "{}[[mount]]\nprefix = \"members\"\ndir = {:?}\n",
            self.config_without_members(),
            self.at("tree")
        )
    }

    fn config_without_members(&self) -> String {
        format!(
            "[[mount]]\nstore = {:?}\n\
             [[mount]]\nprefix = \"tree\"\ndir = {:?}\npublic = true\n\
             [[mount]]\nprefix = \"pack\"\ntar = {:?}\nstrip_prefix = \"release-1\"\npublic = true\n",
            self.at("store"),
            self.at("tree"),
            self.at("pack.tar")
        )
    }

    /// A machine of the fleet: it can open, reads in clear, and has no account.
    fn reader(&self, server: &Configured, mount: &str) -> Machine {
        let reader = Machine::new();
        let _exported = self
            .publisher
            .run("zblob key", ["export", "--get-only", "--force", "-o", "fleet"])
            .ok();
        fs::create_dir_all(reader.key_file().parent().unwrap()).unwrap();
        fs::copy(self.publisher.file("fleet"), reader.key_file()).unwrap();
        reader.set_key_field("mode", "plaintext");
        turn(&reader, server, mount);
        reader
    }
}

fn plain(name: &str, length: u64) -> Vec<u8> {
    Pattern::bytes(name.len() as u64, length)
}

fn turn(home: &Machine, server: &Configured, mount: &str) {
    home.turn_to(&format!("zput://{}/{mount}", server.zput()));
}

/// Whether `home` reads all artifacts and lists them.
fn assert_reads(home: &Machine, what: &str) {
    for (name, length) in ARTIFACTS {
        let got = home.run("zget", ["-o", "-", name]).ok();
        assert!(got.stdout == plain(name, length), "{name} from {what}");
    }
    let part = home.run("zget", ["-o", "-", "--range", "17000000-17000099", "images/app.img"]).ok();
    assert_eq!(part.stdout, &plain("images/app.img", 20_000_000)[17_000_000..17_000_100]);
    let listed = home.run("zblob ls", [] as [&str; 0]).ok();
    assert_eq!(listed.text(), "deep/er/empty\nimages/app.img\nnotes\n", "{what}");
    assert_eq!(home.run("zblob ls", ["images/"]).ok().text(), "images/app.img\n", "{what}");
    let absent = home.run("zget", ["-o", "-", "images"]).ended(4);
    assert!(absent.stdout.is_empty(), "a directory is no blob, {what}");
}

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

/// What a GET of `path` is answered with.
fn status(server: &Configured, path: &str) -> u16 {
    WebClient::connect(server.http()).unwrap().get(path).unwrap().status
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

/// A server of all mounts, and the seconds that it took to start where its store was there already.
fn start_timed(published: &Published) -> (Configured, f64) {
    let (code, log) = Configured::start(&published.config()).stop();
    assert_eq!(code, Some(0), "{log}");
    let started = Instant::now();
    let server = Configured::start(&published.config());
    (server, started.elapsed().as_secs_f64())
}

/// Gets the last of the `unsealed` files that a mount has besides the artifacts by its name, lists all, and says what it cost.
fn list_all(published: &Published, server: &Configured, mount: &str, unsealed: usize) {
    let reader = published.reader(server, mount);
    let (kind, length) = if mount == "tree" { ("file", 0) } else { ("member", 1) };
    let target = format!("/{mount}/crowd/{kind}-{:07}", unsealed - 1);
    let started = Instant::now();
    let WebResponse { head, body } =
        WebClient::connect(server.http()).unwrap().get(&target).unwrap();
    let by_name = started.elapsed().as_secs_f64();
    assert_eq!((head.status, body.len()), (200, length), "{target}");
    let started = Instant::now();
    let listed = reader.run("zblob ls", [] as [&str; 0]).ok();
    println!(
        "{unsealed} in {mount}: the last one got in {:.1} ms, listed in {:.1} s; the server had {:.1} MiB at its peak",
        by_name * 1e3,
        started.elapsed().as_secs_f64(),
        server.vitals().peak_memory() as f64 / 1_048_576.0
    );
    assert_eq!(listed.text(), "deep/er/empty\nimages/app.img\nnotes\n");
    let more = format!("{unsealed} more are not sealed");
    assert!(listed.stderr.contains(&more), "{}", listed.stderr);
}

/// A directory of `count` files beside the published ones.
fn crowd(published: &Published, count: usize) {
    let crowd = published.file("crowd");
    fs::create_dir(&crowd).unwrap();
    for n in 0..count {
        File::create_new(crowd.join(format!("file-{n:07}"))).unwrap();
    }
}

/// The published archive, with `count` members behind its own.
fn crowded_archive(published: &Published, count: usize) {
    let file = BufWriter::new(File::create(published.at("new")).unwrap());
    let mut archive = tar::Builder::new(file);
    archive.append_dir_all("release-1", published.at("tree")).unwrap();
    for n in 0..count {
        let mut header = tar::Header::new_ustar();
        header.set_size(1);
        header.set_mode(0o644);
        let name = format!("release-1/crowd/member-{n:07}");
        archive.append_data(&mut header, name, &b"x"[..]).unwrap();
    }
    archive.into_inner().unwrap().flush().unwrap();
    fs::rename(published.at("new"), published.at("pack.tar")).unwrap();
}

/// A listing of a tree and of an archive of 20,000 files is complete.
#[test]
fn zblob_ls_of_twenty_thousand_files_is_complete() {
    let published = Published::new();
    crowded_archive(&published, 20_000);
    crowd(&published, 20_000);
    let (server, _) = start_timed(&published);
    list_all(&published, &server, "tree", 20_000);
    list_all(&published, &server, "pack", 20_000);
}

/// By hand: `cargo test -p zput-tests --test mounts -- --ignored --nocapture million`
#[test]
#[ignore = "it makes a million files, and takes minutes"]
fn zblob_ls_of_directory_of_a_million_is_complete() {
    let published = Published::new();
    crowd(&published, 1_000_000);
    let (server, seconds) = start_timed(&published);
    println!("started in {seconds:.2} s");
    list_all(&published, &server, "tree", 1_000_000);
}

/// By hand: `cargo test -p zput-tests --test mounts -- --ignored --nocapture hundred_thousand`
#[test]
#[ignore = "it takes a minute"]
fn zblob_ls_of_archive_of_a_hundred_thousand_is_complete() {
    let published = Published::new();
    crowded_archive(&published, 100_000);
    let (server, seconds) = start_timed(&published);
    println!("started in {seconds:.2} s");
    list_all(&published, &server, "pack", 100_000);
}
