//! What operators do to the directories of a server: they copy a store, tidy it up, move it, work
//! in it as another user, lose the right to read a file of it, and let a mount's path lead
//! elsewhere. The programs are those that a user has.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    collections::BTreeSet,
    fs,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, chown, symlink},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, Output},
};

use rustix::process::geteuid;
use tempfile::TempDir;
use zput_skip as skip;
use zput_tests::{
    Configured, Machine, Ran, ServerProcess, WebClient, WebResponse, command_path, names, until,
};

/// A user and a group ID that need not exist on the machine.
const USER: u32 = 54_321;

/// Everything below `dir` and itself.
fn below(dir: &Path) -> Vec<PathBuf> {
    let mut all = vec![dir.to_owned()];
    let mut at = 0;
    while let Some(path) = all.get(at).cloned() {
        if fs::symlink_metadata(&path).unwrap().is_dir() {
            all.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        at += 1;
    }
    all
}

/// The files of `from` alone, as rclone, object storage, git or `zip -D` copy them, with modes as a
/// careless one sets them.
fn copy_files_alone(from: &Path, to: &Path) {
    let mut copied = 0;
    for path in below(from).iter().filter(|path| path.is_file()) {
        let target = to.join(path.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(path, &target).unwrap();
        fs::set_permissions(&target, fs::Permissions::from_mode(0o644)).unwrap();
        copied += 1;
    }
    for path in below(to).iter().filter(|path| path.is_dir()) {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    assert!(copied > 3, "{copied} files");
}

/// A store copied without its empty directories passes a check, is served and takes puts.
#[test]
fn store_without_its_empty_directories_is_served() {
    let home = Machine::new();
    home.write("f", b"hi");
    let _stored = home.run("zput", ["f"]).ok();
    let store = home.path().join(".local/share/zput/store");
    let whole = home.path().join("whole");
    fs::rename(&store, &whole).unwrap();
    copy_files_alone(&whole, &store);
    assert!(!store.join("staging").exists(), "the copy has empty directories");

    let checked: Ran = zserve(None, &["check", "--store", store.to_str().unwrap()]).into();
    let _sound = checked.ok();
    let server = ServerProcess::start(&store, &[]);
    let client = Machine::new();
    server.admit(&client);
    client.write("g", b"more");
    let _stored = client.run("zput", ["g"]).ok();
    assert_eq!(client.run("zget", ["-o", "-", "g"]).ok().stdout, b"more");
    assert_eq!(server.stop(), Some(0));

    // In one's home it is as it was, and so are its modes.
    assert_eq!(home.run("zget", ["-o", "-", "f"]).ok().stdout, b"hi");
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!(mode(&store.join("server.key")), 0o600);
    for path in below(&store).iter().filter(|path| path.is_dir() && **path != store) {
        assert_eq!(mode(path), 0o700, "{}", path.display());
    }
    // Those of the first level; the others are made when they are first needed.
    let directories = |dir: &Path| -> BTreeSet<_> {
        let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
        let dirs = entries.filter(|entry| entry.path().is_dir());
        dirs.map(|entry| entry.file_name()).collect()
    };
    assert_eq!(directories(&store), directories(&whole));
    assert_eq!(directories(&store).len(), 8);
}

/// Beneath a server that runs, within its sandbox.
#[test]
fn store_makes_removed_directories_and_refuses_puts_once_moved() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let config = format!("[[mount]]\nstore = {:?}\n", at("store"));
    let server = Configured::start(&config);
    let home = Machine::new();
    server.admit(&home, &at("store"), "");
    home.turn_to(&format!("zput://{}", server.zput()));
    home.write("f", b"one");
    let _stored = home.run("zput", ["f"]).ok();
    for removed in ["staging", "history", "trash", "locks", "invites"] {
        fs::remove_dir_all(at("store").join(removed)).unwrap();
        let _stored = home.run("zput", ["f"]).ok();
    }
    // A disk that is gone, and the directory below it.
    fs::rename(at("store"), at("elsewhere")).unwrap();
    fs::create_dir(at("store")).unwrap();
    let refused = home.run("zput", ["f"]).ended(1);
    assert!(refused.stderr.contains(" takes no writes: "), "{}", refused.stderr);
    assert_eq!(home.run("zget", ["-o", "-", "f"]).ok().stdout, b"one");
    assert_eq!(fs::read_dir(at("store")).unwrap().count(), 0);
    fs::remove_dir(at("store")).unwrap();
    fs::rename(at("elsewhere"), at("store")).unwrap();
    let _stored = home.run("zput", ["f"]).ok();
    let (code, log) = server.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("recreated a missing directory of the store"), "{log}");
    assert!(log.contains("the store's directory was moved, unmounted or replaced"), "{log}");
}

/// A `zserve` that another user may start, whatever directories the built one is below.
struct Theirs {
    dir: TempDir,
    program: PathBuf,
}

impl Theirs {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let program = dir.path().join("zserve");
        fs::copy(command_path("zserve"), &program).unwrap();
        let theirs = Self { dir, program };
        fs::create_dir(theirs.store()).unwrap();
        chown(theirs.store(), Some(USER), Some(USER)).unwrap();
        fs::set_permissions(theirs.store(), fs::Permissions::from_mode(0o700)).unwrap();
        theirs
    }

    fn store(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    /// As that user, in no other groups.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.uid(USER).gid(USER).current_dir("/");
        command
    }

    fn start(&self) -> ServerProcess {
        ServerProcess::start_by(self.command(), &self.store(), &[])
    }

    /// An invite that the server's user makes, and a machine that takes it.
    fn member(&self, server: &ServerProcess) -> Machine {
        let (home, store) = (Machine::new(), self.store());
        let arguments =
            ["invite", "--store", store.to_str().unwrap(), "--address", server.address()];
        let invite = zserve(Some(self), &arguments);
        assert!(invite.status.success(), "{}", String::from_utf8_lossy(&invite.stderr));
        let _joined = home.run_with("zblob key", ["join"], &invite.stdout).ok();
        home
    }
}

/// Runs the server's program as its user, or as the test's.
fn zserve(theirs: Option<&Theirs>, arguments: &[&str]) -> Output {
    let own = || Command::new(command_path("zserve"));
    let mut command = theirs.map_or_else(own, Theirs::command);
    command.args(arguments).env("RUST_LOG", "warn").output().unwrap()
}

/// Files that zserve run by root makes in a store belong to the store's owner.
#[test]
fn zserve_run_by_root_keeps_the_owner_of_a_store() {
    if !geteuid().is_root() {
        return skip::because("only root can work in another user's store");
    }
    let theirs = Theirs::new();
    let (path, mine) = (theirs.store(), (USER, USER));
    let store = path.to_str().unwrap();
    let all_theirs = |when: &str| {
        for path in below(&theirs.store()) {
            let metadata = fs::symlink_metadata(&path).unwrap();
            assert_eq!((metadata.uid(), metadata.gid()), mine, "{when}: {}", path.display());
        }
    };
    let server = theirs.start();
    let home = theirs.member(&server);
    home.write("f", b"1");
    let _stored = home.run("zput", ["f"]).ok();

    // Root's invite is redeemed by the server, and root's scrub leaves nothing in the way of the
    // next one.
    server.admit(&Machine::new());
    let scrub = ["scrub", "--store", store];
    let _scrubbed = Ran::from(zserve(None, &scrub)).ok();
    let _scrubbed = Ran::from(zserve(Some(&theirs), &scrub)).ok();
    let _checked = Ran::from(zserve(None, &["check", "--store", store])).ok();
    all_theirs("after root's commands");
    assert_eq!(server.stop(), Some(0));

    // A start as root, with what it stores, replaces and removes.
    let server = ServerProcess::start(&path, &[]);
    home.turn_to(&format!("zput://{}", server.address()));
    for (name, bytes) in [("g", &b"2"[..]), ("f", b"3"), ("h", b"4")] {
        home.write(name, bytes);
        let _stored = home.run("zput", [name]).ok();
    }
    let _removed = home.run("zblob rm", ["h"]).ok();
    assert_eq!(server.stop(), Some(0));
    all_theirs("after a start as root");

    let server = theirs.start();
    home.turn_to(&format!("zput://{}", server.address()));
    assert_eq!(home.run("zget", ["-o", "-", "f"]).ok().stdout, b"3");
    assert_eq!(home.run("zblob ls", [] as [&str; 0]).ok().text(), "f\ng\n");
    home.write("f", b"5");
    let _stored = home.run("zput", ["f"]).ok();
    assert_eq!(server.stop(), Some(0));
}

/// Objects that the server may not read are counted in a listing, and the others are listed.
#[test]
fn zblob_ls_counts_unreadable_objects_and_lists_the_others() {
    if !geteuid().is_root() {
        return skip::because("only root can close a file to the server's user");
    }
    let theirs = Theirs::new();
    let server = theirs.start();
    let home = theirs.member(&server);
    let names: Vec<String> = (0..30).map(|number| format!("f{number:02}")).collect();
    for name in &names {
        home.write(name, name.as_bytes());
    }
    let _stored = home.run("zput", &names).ok();
    let objects: Vec<PathBuf> =
        below(&theirs.store().join("objects")).into_iter().filter(|path| path.is_file()).collect();
    assert_eq!(objects.len(), 30);
    for (closed, path) in objects.iter().take(2).enumerate() {
        chown(path, Some(0), Some(0)).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        let closed = closed + 1;
        let listed = home.run("zblob ls", [] as [&str; 0]).ended(3);
        assert_eq!(listed.text().lines().count(), 30 - closed, "{}", listed.stderr);
        assert_eq!(
            listed.stderr,
            format!(
                "zblob ls: objects that the server could not read: {closed} (its operator's zserve check \
                 says why)\n"
            )
        );
    }
    // The commands that take what a listing names do the rest, and the closed ones are told of.
    let listed = home.run("zblob ls", [] as [&str; 0]).ended(3).text();
    let mut refused = 0;
    for name in &names {
        let got = home.run("zget", ["-o", "-", name]);
        if listed.contains(name) {
            assert_eq!(got.ok().stdout, name.as_bytes());
        } else {
            let got = got.ended(1);
            assert!(got.stdout.is_empty() && got.stderr.contains("read"), "{}", got.stderr);
            refused += 1;
        }
    }
    assert_eq!(refused, 2);
    assert_eq!(server.stop(), Some(0));
}

/// A directory or link that replaces a mount's directory is served within the sandbox.
#[test]
fn tree_mount_follows_replaced_directory_within_sandbox() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for (name, body) in
        [("releases/1", "one"), ("releases/2", "two"), ("pub", "old"), ("newpub", "new")]
    {
        fs::create_dir_all(at(name)).unwrap();
        fs::write(at(name).join("v"), body).unwrap();
    }
    fs::create_dir(at("links")).unwrap();
    symlink(at("releases/1"), at("links/current")).unwrap();
    // One is looked at every two seconds, which is the default; the others when a signal says so.
    let mut config = String::new();
    for (prefix, path, more) in [
        ("watched", "links/current", ""),
        ("current", "links/current", "revalidate_after = \"1h\"\n"),
        ("pub", "pub", "revalidate_after = \"1h\"\n"),
    ] {
        config += &format!(
            "[[mount]]\nprefix = \"{prefix}\"\ndir = {:?}\npublic = true\n{more}",
            at(path)
        );
    }
    let server = Configured::start(&config);
    let get = |mount: &str| {
        let WebResponse { head, body } =
            WebClient::connect(server.http()).unwrap().get(&format!("/{mount}/v")).unwrap();
        (head.status, String::from_utf8(body).unwrap())
    };
    let is = |mount: &str, body: &str| get(mount) == (200, body.to_owned());
    assert!(is("watched", "one") && is("current", "one") && is("pub", "old"));

    symlink(at("releases/2"), at("links/next")).unwrap();
    fs::rename(at("links/next"), at("links/current")).unwrap();
    fs::rename(at("pub"), at("oldpub")).unwrap();
    fs::rename(at("newpub"), at("pub")).unwrap();
    until("the link that was flipped is followed", || is("watched", "two"));
    assert!(is("current", "one") && is("pub", "old"), "they are looked at after an hour");
    // What was open is open still; the directory that was served has gone meanwhile.
    fs::remove_dir_all(at("oldpub")).unwrap();
    let said = server.reload(&config);
    assert!(said.contains("configuration reloaded"), "{said}");
    until("the link is followed after a signal", || is("current", "two"));
    until("the directory in its place is served", || is("pub", "new"));
    assert!(is("watched", "two"));
    let (code, log) = server.stop();
    assert_eq!(code, Some(0), "{log}");
    if log.contains("sandbox: not available") {
        return skip::because("this kernel has no Landlock: it was not within a sandbox");
    }
    assert!(log.contains("sandbox: fully enforced") || log.contains("partially"), "{log}");
}

/// An archive is read after the sandbox was entered, and its name may be a link to somewhere else.
#[test]
fn archive_mount_behind_a_link_is_served_within_sandbox() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir(at("data")).unwrap();
    fs::create_dir(at("srv")).unwrap();
    let pack = |name: &str, body: &[u8]| {
        let mut tar = tar::Builder::new(fs::File::create(at(name)).unwrap());
        let mut header = tar::Header::new_ustar();
        header.set_size(body.len() as u64);
        tar.append_data(&mut header, "v", body).unwrap();
        tar.into_inner().unwrap().sync_all().unwrap();
    };
    pack("data/x.tar", b"one");
    symlink("../data/x.tar", at("srv/x.tar")).unwrap();
    let config = format!("[[mount]]\nprefix = \"t\"\ntar = {:?}\npublic = true\n", at("srv/x.tar"));
    let server = Configured::start(&config);
    let get = || WebClient::connect(server.http()).unwrap().get("/t/v").unwrap().body;
    assert_eq!(get(), b"one");
    pack("data/new.tar", b"another");
    fs::rename(at("data/new.tar"), at("data/x.tar")).unwrap();
    until("the archive in its place is served", || get() == b"another");
    let (code, log) = server.stop();
    assert_eq!(code, Some(0), "{log}");
    if log.contains("sandbox: not available") {
        return skip::because("this kernel has no Landlock: it was not within a sandbox");
    }
    assert!(log.contains("sandbox: fully enforced") || log.contains("partially"), "{log}");
}

/// What the packages hold beside the program.
#[test]
fn zserve_has_completions_manual_pages_and_numbers() {
    let home = Machine::new();
    let ran = |arguments: &[&str]| Ran::from(zserve(None, arguments));
    home.write("script", &ran(&["completions", "bash"]).ok().stdout);
    let script = home.file("script");
    let parsed = Command::new("bash").arg("-n").arg(&script).status().unwrap();
    assert!(parsed.success() && home.read("script").starts_with(b"_zserve() {"));
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        assert!(ran(&["completions", shell]).ok().text().contains("zserve"), "{shell}");
    }
    let pages = home.file("new/pages");
    let _written = ran(&["man", pages.to_str().unwrap()]).ok();
    assert_eq!(
        names(&pages),
        [
            "zserve-check.1",
            "zserve-completions.1",
            "zserve-invite.1",
            "zserve-man.1",
            "zserve-scrub.1",
            "zserve.1"
        ]
    );
    let page = fs::read_to_string(pages.join("zserve.1")).unwrap().replace("\\-", "-");
    for part in ["--max-connections", "--no-create", "ZSERVE_WORKERS", "zserve-scrub(1)"] {
        assert!(page.contains(part), "{part}");
    }
    let refused = ran(&["man", script.to_str().unwrap()]).ended(1);
    assert!(refused.stderr.starts_with("zserve: cannot write into "), "{}", refused.stderr);
    let version = ran(&["--version"]).ok().text();
    assert!(version.ends_with("\nblob format 1, protocol 1\n"), "{version}");
}
