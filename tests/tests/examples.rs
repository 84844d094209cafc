//! The examples do what they say.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{fs, process::Command};

use zput_tests::{Machine, Ran, ServerProcess, command_path, example_path, workspace};

/// The quickstart example puts 20 MB over TLS and gets the same bytes.
#[test]
fn quickstart_puts_and_gets_over_tls() {
    let home = Machine::new();
    let ran = Ran::from(home.program(example_path("quickstart")).output().unwrap()).ok();
    assert!(ran.text().contains("put 20000000 bytes as plans/first"), "{}", ran.text());
    assert!(ran.text().ends_with("they are the same\n"), "{}", ran.text());
    assert_eq!(ran.stderr, "");
}

/// The library example puts, lists and gets numbers by a key file, repeatedly.
#[test]
fn library_example_puts_lists_and_gets_by_key_file() {
    let home = Machine::new();
    let server = ServerProcess::start(&home.path().join("store"), &[]);
    server.admit(&home);
    let run = || {
        let mut command = home.program(example_path("library"));
        Ran::from(command.arg(home.key_file()).output().unwrap()).ok()
    };
    for _ in 0..2 {
        let ran = run();
        let first = format!("the key file's server is zput://{}\n", server.address());
        assert!(ran.text().starts_with(&first), "{}", ran.text());
        assert!(
            ran.text().contains("\nlisted examples/numbers: 20000000 bytes, "),
            "{}",
            ran.text()
        );
        assert!(ran.text().ends_with("the numbers 4250000 and 4250001\n"), "{}", ran.text());
    }
    let sha256 = home.run("zblob stat", ["--json", "examples/numbers"]).ok().text();
    let stat: serde_json::Value = serde_json::from_str(&sha256).unwrap();
    // `perl -e 'print pack("N*", 0..4999999)' | sha256sum`
    assert_eq!(stat["sha256"], "588842e372a1db7a1b780bb5c052a2c4d7ffc492accc77a7fb66c1c3875f97ff");
}

/// A script of `examples/scripts`, with the built commands on its path and no patience.
fn script(home: &Machine, name: &str) -> Command {
    let mut command = home.program("bash");
    let commands = command_path("").display().to_string();
    command
        .arg(workspace().join("examples/scripts").join(name))
        .env("PATH", format!("{commands}:/usr/local/bin:/usr/bin:/bin"))
        .env("BACKUP_PAUSE_SECONDS", "0")
        .env("FLEET_PAUSE_SECONDS_MAX", "0");
    command
}

fn ran(mut command: Command, arguments: &[&str]) -> Ran {
    Ran::from(command.args(arguments).output().unwrap())
}

/// A laptop, a backup host that can only put, and a machine that can only get.
#[test]
fn example_scripts_back_up_and_pull() {
    let (laptop, backup, fleet) = (Machine::new(), Machine::new(), Machine::new());
    let server = ServerProcess::start(&laptop.path().join("store"), &[]);
    server.admit(&laptop);
    for (home, role, scopes) in [(&backup, "--put-only", "put"), (&fleet, "--get-only", "get")] {
        let key = home.file("its.zkey");
        let _made = laptop.run("zblob key", ["export", role, "-o", key.to_str().unwrap()]).ok();
        let invite = server.invite(&["--scopes", scopes]);
        let _joined =
            home.run_with("zblob key", ["join", "--key", "its.zkey"], invite.as_bytes()).ok();
    }

    let back_up = |what: &[&str]| ran(script(&backup, "backup.sh"), what);
    let stored = back_up(&["its.zkey", "pg/main", "printf", "a dump"]).ok();
    let line: serde_json::Value = serde_json::from_str(&stored.text()).unwrap();
    assert_eq!((line["name"].as_str(), line["length"].as_u64()), (Some("pg/main"), Some(6)));
    assert_eq!(laptop.run("zget", ["-o", "-", "pg/main"]).ok().text(), "a dump");
    // A command that fails leaves the backup before it in its place, and is not tried again.
    let failed = back_up(&["its.zkey", "pg/main", "sh", "-c", "echo half; exit 3"]).ended(1);
    assert_eq!(failed.stderr.matches("nothing was stored").count(), 1, "{}", failed.stderr);
    assert_eq!(laptop.run("zget", ["-o", "-", "pg/main"]).ok().text(), "a dump");
    let _usage = back_up(&["its.zkey"]).ended(2);

    // What the laptop put is pulled; what the backup host put is not vouched for by a pinned
    // writer.
    laptop.write("app.img", b"version 1");
    let _stored = laptop.run("zput", ["--name", "images/app", "app.img"]).ok();
    let pull = |name: &str| ran(script(&fleet, "fleet-pull.sh"), &["its.zkey", name, "app"]);
    let _pulled = pull("images/app").ok();
    assert_eq!(fleet.read("app"), b"version 1");
    laptop.write("app.img", b"version 2");
    let _stored = laptop.run("zput", ["--name", "images/app", "app.img"]).ok();
    let _pulled = pull("images/app").ok();
    assert_eq!(fleet.read("app"), b"version 2");
    let _forged = pull("pg/main").ended(8);
    let _absent = pull("images/none").ended(4);
    assert_eq!(fleet.read("app"), b"version 2");

    // Nobody there: tried five times, then told so.
    assert_eq!(server.stop(), Some(0));
    let tried = back_up(&["its.zkey", "pg/main", "echo", "a dump"]).ended(5);
    assert_eq!(tried.stderr.matches("is the server running?").count(), 5, "{}", tried.stderr);
    assert_eq!(tried.stderr.matches("failed for now").count(), 4, "{}", tried.stderr);
    let tried = pull("images/app").ended(5);
    assert_eq!(tried.stderr.matches("is the server running?").count(), 5, "{}", tried.stderr);
    let left: Vec<_> =
        fs::read_dir(fleet.file(".")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}
