//! A person outgrows the store in their home: `zblob key join` takes along what is there.

use std::{fs, path::PathBuf};

use zput_tests::{Cutter, Fate, Machine, Pattern, ServerProcess, Talk, Way};

/// Two full parts and a short one.
const LENGTH: u64 = 40_000_000;
/// A sealed part (FORMAT 6): 56 + 16,777,216 + 16 × 1,025 bytes.
const SEALED_PART: u64 = 16_793_672;

/// A machine with a store in its home, a server, and the line between them.
struct Setting {
    home: Machine,
    server: ServerProcess,
    line: Cutter,
    invite: String,
}

impl Setting {
    fn new() -> Self {
        let home = Machine::new();
        let server = ServerProcess::start(&home.path().join("server"), &[]);
        let line = Cutter::new(server.address());
        let invite = invite_by(&server, &line);
        Self { home, server, line, invite }
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        self.home.write("f", bytes);
        let _stored = self.home.run("zput", ["--name", name, "f"]).ok();
    }

    fn join(&self, arguments: &[&str]) -> zput_tests::Ran {
        let arguments = ["join"].iter().chain(arguments);
        self.home.run_with("zblob key", arguments, self.invite.as_bytes())
    }

    fn get(&self, arguments: &[&str]) -> Vec<u8> {
        let arguments = ["-o", "-"].iter().chain(arguments);
        self.home.run("zget", arguments).ok().stdout
    }

    fn store(&self) -> PathBuf {
        self.home.path().join(".local/share/zput/store")
    }

    fn listed(&self) -> String {
        self.home.run("zblob ls", [""; 0]).ok().text()
    }

    fn leads_to_the_server(&self) -> bool {
        self.home.key_field("remote") == format!("zput://{}", self.line.address())
    }
}

fn invite_by(server: &ServerProcess, line: &Cutter) -> String {
    // Of two addresses the last one counts.
    let output = std::process::Command::new(zput_tests::command_path("zserve"))
        .args(["invite", "--address", line.address(), "--store"])
        .arg(server.store())
        .output()
        .unwrap_or_else(|e| panic!("zserve invite does not start: {e}"));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Every file below `directory` with its bytes.
fn contents(directory: &std::path::Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    let entries = fs::read_dir(directory).unwrap_or_else(|e| panic!("{directory:?}: {e}"));
    for entry in entries {
        let path = entry.unwrap_or_else(|e| panic!("{directory:?}: {e}")).path();
        if path.is_dir() {
            all.extend(contents(&path));
        } else {
            let bytes = fs::read(&path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
            all.push((path, bytes));
        }
    }
    all.sort();
    all
}

fn sent(talks: &[Talk]) -> u64 {
    talks.iter().map(|talk| talk.up.len() as u64).sum()
}

/// A join copies each blob with its versions to the server and keeps the embedded store.
#[test]
fn zblob_key_join_copies_every_version_and_keeps_the_store() {
    let setting = Setting::new();
    let big = Pattern::bytes(1, LENGTH);
    setting.put("plans/secret.bin", b"one");
    setting.put("plans/secret.bin", b"two");
    setting.put("big", &big);
    setting.put("gone", b"gone");
    let _removed = setting.home.run("zblob rm", ["gone"]).ok();
    let before = contents(&setting.store().join("objects"));
    let told = setting.join(&[]).ok().stderr;
    assert!(told.contains("moved 2 blobs"), "{told}");
    assert!(setting.leads_to_the_server());
    assert_eq!(contents(&setting.store().join("objects")), before);
    fs::rename(setting.store(), setting.home.path().join("away")).unwrap();
    assert_eq!(setting.listed(), "big\nplans/secret.bin\n");
    assert_eq!(setting.get(&["big"]), big);
    assert_eq!(setting.get(&["plans/secret.bin"]), b"two");
    let versions = setting.home.run("zblob stat", ["--versions", "plans/secret.bin"]).ok().text();
    let numbers: Vec<_> = versions.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(numbers.len(), 2, "{versions}");
    assert_eq!(setting.get(&["--at", numbers[1], "plans/secret.bin"]), b"one");
    // And the moved store takes puts.
    setting.put("plans/secret.bin", b"three");
    assert_eq!(setting.get(&["plans/secret.bin"]), b"three");
}

/// A join whose copy was cut resumes behind the parts that the server holds.
#[test]
fn zblob_key_join_resumes_interrupted_copy() {
    let setting = Setting::new();
    let big = Pattern::bytes(2, LENGTH);
    setting.put("a", b"small");
    setting.put("big", &big);
    // The second part is on its way.
    setting.line.plan([Fate::Cut(Way::Up, SEALED_PART + SEALED_PART / 2)]);
    let cut = setting.join(&[]).ended(3);
    assert!(cut.stderr.contains("run the same command to continue"), "{}", cut.stderr);
    let store = format!("file://{}", setting.store().display());
    assert_eq!(setting.home.key_field("remote"), store);
    assert_eq!(setting.listed(), "a\nbig\n");
    let _before = setting.line.talks();
    let _joined = setting.join(&[]).ok();
    let again = sent(&setting.line.talks());
    // Two parts of three, the footer and what is said about them.
    assert!(again > SEALED_PART && again < 2 * SEALED_PART, "{again}");
    assert!(setting.leads_to_the_server());
    assert_eq!(setting.listed(), "a\nbig\n");
    assert_eq!(setting.get(&["big"]), big);
    assert_eq!(setting.get(&["a"]), b"small");
}

/// A version that was restored in the embedded store is current on the server after a join.
#[test]
fn zblob_key_join_makes_restored_version_current() {
    let setting = Setting::new();
    setting.put("f", b"one");
    setting.put("f", b"two");
    let versions = setting.home.run("zblob stat", ["--versions", "f"]).ok().text();
    let first = versions.lines().last().unwrap().split(' ').next().unwrap().to_owned();
    let _restored = setting.home.run("zblob restore", ["f", &first]).ok();
    let _joined = setting.join(&[]).ok();
    assert_eq!(setting.get(&["f"]), b"one");
}

/// A join leaves a blob of a newer generation on the server as it is.
#[test]
fn zblob_key_join_replaces_nothing_newer() {
    let setting = Setting::new();
    setting.put("f", b"old");
    // Another machine with the same key file is there already.
    let other = Machine::new();
    fs::create_dir_all(other.path().join(".config/zput")).unwrap();
    fs::copy(setting.home.key_file(), other.key_file()).unwrap();
    let invite = setting.server.invite(&[]);
    let _joined = other.run_with("zblob key", ["join", "--force"], invite.as_bytes()).ok();
    other.write("f", b"new");
    let _stored = other.run("zput", ["f"]).ok();
    let told = setting.join(&[]).ok().stderr;
    assert!(told.contains("f: the server has a newer one"), "{told}");
    assert_eq!(setting.get(&["f"]), b"new");
}

/// A damaged blob fails the join, which copies the others and keeps the key file's remote.
#[test]
fn zblob_key_join_copies_others_beside_a_damaged_blob() {
    let setting = Setting::new();
    setting.put("a", b"whole");
    setting.put("b", &Pattern::bytes(3, 20_000_000));
    setting.put("c", b"whole, too");
    let store = setting.store();
    let damaged = contents(&store.join("objects"));
    let (path, mut bytes) = damaged.into_iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
    bytes[17_000_000] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let told = setting.join(&[]).ended(3).stderr;
    assert!(told.contains("zblob key join: b: "), "{told}");
    assert_eq!(setting.home.key_field("remote"), format!("file://{}", store.display()));
    let told = setting.join(&["--force"]).ok().stderr;
    assert!(!told.contains("moved"), "{told}");
    assert_eq!(setting.listed(), "a\nc\n");
}
