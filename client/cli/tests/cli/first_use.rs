//! Things that are created once, by several processes at once, behind links, as root in another
//! user's home, and in minimal environments: key files and stores.

use std::{
    fs,
    os::unix::fs::{MetadataExt, chown, symlink},
    process::{Child, Stdio},
};

use rustix::process::geteuid;
use zput_proto::message::Scopes;
use zput_skip as skip;
use zput_testkit::{Machine, Ran, StoreServer, names};

use crate::support::copy;

/// Runs all commands at once and waits for them.
fn at_once(machine: &Machine, lines: &[String]) -> Vec<Ran> {
    let start = |line: &String| -> Child {
        let mut words = line.split_whitespace();
        let mut command = machine.command(words.next().unwrap());
        command.args(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let children: Vec<Child> = lines.iter().map(start).collect();
    children.into_iter().map(|child| child.wait_with_output().unwrap().into()).collect()
}

fn puts(machine: &Machine) -> Vec<String> {
    let put = |number| {
        machine.write(&format!("f{number}"), "1");
        format!("zput f{number}")
    };
    (0..6).map(put).collect()
}

/// First puts at once create one key file and one store and are all stored.
#[test]
fn concurrent_first_puts_are_all_stored() {
    for _ in 0..3 {
        let machine = Machine::new();
        let ran: Vec<_> = at_once(&machine, &puts(&machine)).into_iter().map(Ran::ok).collect();
        let made = |what: &str| ran.iter().filter(|ran| ran.stderr.contains(what)).count();
        assert_eq!((made("created a key file"), made("created a store")), (1, 1));
        assert_eq!(machine.run_line("zblob ls").ok().text(), "f0\nf1\nf2\nf3\nf4\nf5\n");
        assert_eq!(names(machine.store().parent().unwrap()), ["store"]);
        assert_eq!(names(machine.key_file().parent().unwrap()), ["default.zkey"]);
    }
}

/// Puts at once with a new key file create one store.
#[test]
fn concurrent_puts_create_one_store_for_a_new_key_file() {
    let machine = Machine::new();
    machine.run_line("zblob key new").ok();
    let ran: Vec<_> = at_once(&machine, &puts(&machine)).into_iter().map(Ran::ok).collect();
    assert_eq!(ran.iter().filter(|ran| ran.stderr.contains("created a store")).count(), 1);
    assert_eq!(machine.run_line("zblob ls").ok().text(), "f0\nf1\nf2\nf3\nf4\nf5\n");
}

/// Of several zblob key new at once one succeeds, and the others exit with 10.
#[test]
fn concurrent_zblob_key_new_creates_one_key_file() {
    let machine = Machine::new();
    let ran = at_once(&machine, &vec!["zblob key new".to_owned(); 4]);
    let mut codes: Vec<_> = ran.iter().map(|ran| ran.code.unwrap()).collect();
    codes.sort_unstable();
    assert_eq!(codes, [0, 10, 10, 10]);
}

/// Joins at once with several invites all succeed and create one key file.
#[test]
fn concurrent_zblob_key_join_creates_one_key_file() {
    let served = StoreServer::private();
    let machine = Machine::new();
    let join = |number| {
        machine.write(&format!("i{number}"), served.invite_text(Scopes::ALL));
        format!("zblob key join --invite-file i{number}")
    };
    let lines: Vec<_> = (0..3).map(join).collect();
    let ran: Vec<_> = at_once(&machine, &lines).into_iter().map(Ran::ok).collect();
    assert_eq!(ran.iter().filter(|ran| ran.stderr.contains("created a key file")).count(), 1);
    machine.write("a", "1");
    machine.run_line("zput a").ok();
}

/// An empty directory, or another store, in place of the key file's store is an error.
#[test]
fn empty_or_foreign_directory_is_not_the_store_of_a_key_file() {
    let machine = Machine::new();
    machine.write("a", "1");
    machine.run_line("zput a").ok();
    let away = machine.file("away");
    fs::rename(machine.store(), &away).unwrap();
    fs::create_dir(machine.store()).unwrap();
    for line in ["zblob ls", "zput a", "zget -o b a", "zblob stat a", "zblob rm a"] {
        machine.run_line(line).ended(4).says("there is no store").says("is its disk mounted?");
    }
    assert_eq!(names(&machine.store()), [""; 0]);

    // Another disk is mounted there.
    let other = Machine::new();
    other.write("a", "2");
    other.run_line("zput a").ok();
    copy(&other.store(), &machine.store());
    for line in ["zblob ls", "zput a", "zget -o b a"] {
        machine.run_line(line).ended(8).says("does not match the key file");
    }
    fs::remove_dir_all(machine.store()).unwrap();
    copy(&away, &machine.store());
    assert_eq!(machine.run_line("zget -o - a").ok().stdout, b"1");
    // A key file for another device does not name this machine's store.
    machine.run_line("zblob key export --full -o other.zkey").ok();
    let text = fs::read_to_string(machine.file("other.zkey")).unwrap();
    assert!(!text.contains("server_key"), "{text}");
}

/// A machine whose key file is a link to `work/real/k.zkey`.
fn linked() -> Machine {
    let machine = Machine::new();
    fs::create_dir(machine.file("real")).unwrap();
    machine.run_line("zblob key new --key real/k.zkey").ok();
    fs::create_dir_all(machine.key_file().parent().unwrap()).unwrap();
    symlink(machine.file("real/k.zkey"), machine.key_file()).unwrap();
    machine
}

/// The contents behind the link, if it is still a link.
fn real(machine: &Machine) -> String {
    assert!(fs::symlink_metadata(machine.key_file()).unwrap().is_symlink());
    assert_eq!(names(&machine.file("real")), ["k.zkey"]);
    assert_eq!(names(machine.key_file().parent().unwrap()), ["default.zkey"]);
    fs::read_to_string(machine.file("real/k.zkey")).unwrap()
}

/// Every command that writes a key file writes the target of a link and keeps the link.
#[test]
fn key_file_writers_follow_a_link() {
    let machine = linked();
    let (is_open, secret) = (|text: &str| text.contains("\ndevice_seed = "), "hunter2");
    let by = |command: &str| format!("--passphrase-command echo${{IFS}}{command}");
    machine.run_line(&format!("zblob key passphrase set {}", by(secret))).ok();
    let locked = real(&machine);
    assert!(!is_open(&locked) && locked.contains("[protected]"), "{locked}");
    let change = format!(
        "zblob key passphrase change {} --new-passphrase-command echo${{IFS}}x",
        by(secret)
    );
    machine.run_line(&change).ok();
    assert_ne!(real(&machine), locked);
    machine.run_line(&format!("zblob key passphrase remove {}", by(secret))).ended(7);
    machine.run_line(&format!("zblob key passphrase remove {}", by("x"))).ok();
    assert!(is_open(&real(&machine)));

    machine.write("a", "1");
    machine.run_line("zput a").ok().says("created a store");
    assert!(real(&machine).contains("remote = \"file://"));
    let served = StoreServer::private();
    machine.run_line_on(served.invite_text(Scopes::ALL).as_bytes(), "zblob key join").ok();
    assert!(real(&machine).contains("remote = \"zput://"));
    let other = StoreServer::private();
    machine.run_line_on(other.invite_text(Scopes::ALL).as_bytes(), "zblob key join").ended(2);
    machine.run_line_on(other.invite_text(Scopes::ALL).as_bytes(), "zblob key join --force").ok();
    assert!(real(&machine).contains(&other.remote().to_string()));
    let before = real(&machine);
    machine.run_line("zblob key new").ended(10);
    assert_eq!(real(&machine), before);
    machine.run_line("zblob key new --force").ok();
    assert_ne!(real(&machine), before);
    let export = format!("zblob key export --full --force -o {}", machine.key_file().display());
    machine.run_line(&export).ok();
    assert_ne!(real(&machine), before);
}

/// A key file is not written through a dangling link, and the error names its target.
#[test]
fn key_file_is_not_written_through_a_dangling_link() {
    let machine = Machine::new();
    machine.run_line("zblob key new").ok();
    symlink("away/k.zkey", machine.file("link")).unwrap();
    for line in [
        "zblob key new --key link",
        "zblob key new --key link --force",
        "zblob key export --full -o link",
        "zblob key export --full --force -o link",
        "zput --key link a",
    ] {
        machine.write("a", "1");
        machine
            .run_line(line)
            .ended(7)
            .says("link is a link to ")
            .says("away/k.zkey, which is missing");
    }
    assert_eq!(machine.names(), ["a", "link"]);
}

/// `sudo zput` with HOME kept, and containers.
#[test]
fn root_creates_files_in_a_users_home_as_that_user() {
    if !geteuid().is_root() {
        return skip::because("only root can be root in another user's home");
    }
    let machine = Machine::new();
    let user = 54_321;
    for directory in [machine.path(), &machine.file("")] {
        chown(directory, Some(user), Some(user)).unwrap();
    }
    machine.write("a", vec![1; 20_000_000]);
    machine.run_line("zput a").ok();
    machine.run_line("zget -o b a").ok();
    machine.run_line("zblob key passphrase set --passphrase-command echo${IFS}x").ok();
    machine.run_line("zblob key passphrase remove --passphrase-command echo${IFS}x").ok();
    machine.run_line("zblob key export --get-only -o other.zkey").ok();
    let mut left = vec![machine.path().join(".config"), machine.path().join(".local")];
    let mut looked_at = 0;
    while let Some(path) = left.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (user, user), "{}", path.display());
        looked_at += 1;
        // The files in a store belong to the store.
        if metadata.is_dir() && path != machine.store() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    assert!(looked_at >= 9, "{looked_at}");
    assert_eq!(fs::metadata(machine.file("other.zkey")).unwrap().uid(), user);
}

/// A relative HOME is an error before anything is created.
#[test]
fn relative_home_is_an_error_before_anything_is_created() {
    let machine = Machine::new();
    machine.write("a", "1");
    let put = |home: Option<&str>| {
        let mut command = machine.command("zput");
        match home {
            Some(home) => command.env("HOME", home),
            None => command.env_remove("HOME"),
        };
        command
            .arg("a")
            .env("XDG_CONFIG_HOME", "relative is ignored")
            .output()
            .map(Ran::from)
            .unwrap()
    };
    put(Some("rel")).ended(1).says("HOME is rel, which is relative");
    assert_eq!(machine.names(), ["a"]);
}

/// A service takes key file and passphrase from its credentials and has its own state.
#[test]
fn service_uses_its_state_and_credentials_directories() {
    let machine = Machine::new();
    machine.write("a", "1");
    let credentials = machine.path().join("credentials");
    fs::create_dir(&credentials).unwrap();
    machine.run_line("zput a").ok();
    fs::rename(machine.key_file(), credentials.join("zput.key")).unwrap();
    fs::remove_dir_all(machine.path().join(".local/state")).unwrap();
    let run = |line: &str| {
        let mut words = line.split_whitespace();
        let mut command = machine.command(words.next().unwrap());
        command.args(words).env("CREDENTIALS_DIRECTORY", &credentials);
        Ran::from(command.env("STATE_DIRECTORY", machine.path().join("s")).output().unwrap())
    };
    assert_eq!(run("zget -o - a").ok().stdout, b"1");
    assert_eq!(names(&machine.path().join("s/zput")), ["seen"]);
    assert!(!machine.path().join(".local/state").exists());

    fs::write(credentials.join("zput.passphrase"), "hunter2\n").unwrap();
    run("zblob key passphrase set").ok();
    let text = fs::read_to_string(credentials.join("zput.key")).unwrap();
    assert!(text.contains("[protected]"), "{text}");
    assert_eq!(run("zget -o - a").ok().stdout, b"1");
}

/// A passphrase comes from a command or a descriptor, and a failed source is an error.
#[test]
fn passphrase_comes_from_a_command_or_a_descriptor() {
    let machine = Machine::new();
    machine.write("a", "1");
    machine.run_line("zput a").ok();
    machine.sh("zblob key passphrase set --passphrase-fd 3 3<<E\nhunter2\nE\n").ok();
    for line in [
        "zget --passphrase-fd 3 -o - a 3<<E\nhunter2\nE\n",
        "echo hunter2 | zget --passphrase-fd 0 -o - a",
        "zget --passphrase-command 'echo hunter2' -o - a",
        "ZPUT_PASSPHRASE_COMMAND='echo hunter2' zget -o - a",
    ] {
        assert_eq!(machine.sh(line).ok().text(), "1", "{line}");
    }
    machine
        .run_line("zget --passphrase-command false -o - a")
        .ended(7)
        .says("it failed with exit status: 1");
    machine.run_line("zget --passphrase-command true -o - a").ended(7).says("it is empty");
    machine
        .run_line("zget --passphrase-command pwd -o - a")
        .ended(7)
        .says("the passphrase is wrong");
    machine.run_line("zget --passphrase-fd 9 -o - a").ended(7).says("descriptor 9");
    let change = "zblob key passphrase change --passphrase-command 'echo hunter2'";
    machine.sh(&format!("{change} --new-passphrase-fd 3 3<<E\nnew\nE\n")).ok();
    assert_eq!(machine.sh("zget --passphrase-command 'echo new' -o - a").ok().text(), "1");
}
