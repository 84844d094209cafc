//! The commands with nothing configured: a key file and a store in the home.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    time::{Duration, Instant},
};

use zput_testkit::{Machine, names};

/// The first put creates a private key file and a store and says where they are.
#[test]
fn first_zput_creates_key_file_and_store() {
    let machine = Machine::new();
    machine.write("secret.bin", "the plans");
    let ran = machine.run_line("zput secret.bin").ok();
    let (key_file, store) = (machine.key_file(), machine.store());
    let ran = ran.says(key_file.to_str().unwrap()).says(store.to_str().unwrap());
    ran.says("back it up");
    assert_eq!(fs::metadata(&key_file).unwrap().mode() & 0o7777, 0o600);
    assert!(store.is_dir());
    fs::remove_file(machine.file("secret.bin")).unwrap();
    let ran = machine.run_line("zget secret.bin").ok();
    assert_eq!((ran.text().as_str(), ran.stderr.as_str()), ("", ""));
    assert_eq!(machine.read("secret.bin"), b"the plans");
    assert_eq!(machine.names(), ["secret.bin"]);
}

/// A second put creates nothing and prints nothing.
#[test]
fn second_zput_creates_nothing() {
    let machine = Machine::new();
    machine.write("a", "1");
    machine.run_line("zput a").ok();
    let key_file = fs::read(machine.key_file()).unwrap();
    assert_eq!(machine.run_line("zput a").ok().stderr, "");
    assert_eq!(fs::read(machine.key_file()).unwrap(), key_file);
}

/// A first put of files that cannot be read creates neither key file nor store.
#[test]
fn zput_of_unreadable_file_creates_no_store() {
    let machine = Machine::new();
    machine.run_line("zput missing").ended(4).says("cannot read missing");
    machine.run_line("zput missing /etc").ended(3).says("zput: 2 of 2 failed");
    assert_eq!(names(machine.path()), ["work"]);
}

/// A store whose key file is missing is an error that points to the backup.
#[test]
fn store_without_its_key_file_is_an_error() {
    let machine = Machine::new();
    machine.write("a", "1");
    machine.run_line("zput a").ok();
    fs::remove_file(machine.key_file()).unwrap();
    machine.run_line("zput a").ended(7).says("restore that from your backup");
    assert!(!machine.key_file().exists());
    machine.run_line("zget -o b a").ended(7).says("there is no key file");
}

/// A key file whose store is missing is an error, and no store is created.
#[test]
fn key_file_without_its_store_is_an_error() {
    let machine = Machine::new();
    machine.write("a", "1");
    machine.run_line("zput a").ok();
    fs::rename(machine.store(), machine.file("gone")).unwrap();
    machine.run_line("zput a").ended(4).says("there is no store");
    machine.run_line("zget -o b a").ended(4).says("there is no store");
    assert!(!machine.store().exists());
}

/// The first put creates the store of a key file made by zblob key new.
#[test]
fn first_zput_creates_the_store_of_a_new_key_file() {
    let machine = Machine::new();
    machine.write("a", "1");
    machine.run_line("zblob key new --names clear").ok();
    machine.run_line("zblob ls").ended(7).says("names no server");
    machine.run_line("zput a").ok().says("created a store");
    machine.run_line("zget -o - a").ok();
    let stat = machine.run_line("zblob stat --json a").ok();
    assert_eq!(stat.json("key"), "a");
}

/// A key file named by --key or ZPUT_KEY must exist; nothing is created.
#[test]
fn named_key_file_must_exist() {
    let machine = Machine::new();
    machine.write("a", "1");
    machine.run_line("zput --key other.zkey a").ended(7).says("there is no key file other.zkey");
    let ran = machine.command("zput").arg("a").env("ZPUT_KEY", "env.zkey").output().unwrap();
    assert_eq!(ran.status.code(), Some(7));
    assert_eq!(names(machine.path()), ["work"]);
}

/// Key file, store and state are created in the XDG directories.
#[test]
fn zput_uses_the_xdg_directories() {
    let machine = Machine::new();
    machine.write("a", "1");
    let run = |name: &str, argument: &str| {
        let mut command = machine.command(name);
        for (variable, directory) in
            [("XDG_CONFIG_HOME", "c"), ("XDG_DATA_HOME", "d"), ("XDG_STATE_HOME", "s")]
        {
            command.env(variable, machine.path().join(directory));
        }
        command.arg(argument).output().unwrap().status.code()
    };
    assert_eq!(run("zput", "a"), Some(0));
    assert!(machine.path().join("c/zput/default.zkey").is_file());
    assert!(machine.path().join("d/zput/store").is_dir());
    assert!(machine.path().join("s/zput/seen").is_dir());
    assert_eq!(names(machine.path()), ["c", "d", "s", "work"]);
}

/// SIGINT and SIGTERM leave no temporary file and no running command.
#[test]
fn signals_leave_no_temporary_file_and_no_child() {
    use rustix::process::{Pid, Signal, kill_process};
    let machine = Machine::new();
    machine.write("a", vec![1; 20_000_000]);
    machine.run_line("zput a").ok();
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        // A pipe without a reader: zblob seal waits with a temporary file open.
        let mut child = machine
            .command("zblob seal")
            .args(["-o", "out", "--name", "n", "-"])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        // Waiting for the child would close the pipe, and the command would finish.
        let stdin = child.stdin.take().unwrap();
        let waiting = || machine.names().iter().any(|name| name.starts_with(".zput-"));
        while !waiting() {
            std::thread::sleep(Duration::from_millis(5));
        }
        kill_process(Pid::from_raw(child.id() as i32).unwrap(), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code));
        drop(stdin);
        assert_eq!(machine.names(), ["a"]);
    }
    // No child is left running.
    let mut child = machine
        .command("zput")
        .args(["--exec", "--name", "n", "--", "sh", "-c", "echo $$ > pid; exec sleep 1000"])
        .spawn()
        .unwrap();
    let pid = loop {
        match fs::read_to_string(machine.file("pid")) {
            Ok(text) if text.ends_with('\n') => break text.trim().to_owned(),
            _ => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    kill_process(Pid::from_raw(child.id() as i32).unwrap(), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
    let status = format!("/proc/{pid}/stat");
    // Gone, or a zombie that init has yet to reap.
    let is_running = || fs::read_to_string(&status).is_ok_and(|text| !text.contains(") Z "));
    let begun = Instant::now();
    while is_running() {
        assert!(begun.elapsed() < Duration::from_secs(20), "the command is still running");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A first put that cannot create its store or key file does not block the next one.
#[test]
fn failed_first_zput_does_not_block_the_next() {
    let machine = Machine::new();
    machine.write("a", "1");
    // The store cannot be created.
    let share = machine.path().join(".local/share");
    fs::create_dir_all(share.parent().unwrap()).unwrap();
    fs::write(&share, "").unwrap();
    machine.run_line("zput a").ended(1);
    assert!(!machine.key_file().exists());
    fs::remove_file(&share).unwrap();
    // The key file cannot be created.
    let config = machine.key_file().parent().unwrap().to_owned();
    fs::create_dir_all(config.parent().unwrap()).unwrap();
    let _made_before = fs::remove_dir(&config);
    std::os::unix::fs::symlink("/nonexistent/directory", &config).unwrap();
    machine.run_line("zput a").ended(7);
    fs::remove_file(&config).unwrap();
    let data = machine.store().parent().unwrap().to_owned();
    assert!(!data.exists());
    machine.run_line("zput a").ok().says("created a key file").says("created a store");
    assert_eq!(names(&data), ["store"]);
    assert_eq!(machine.run_line("zget -o - a").ok().stdout, b"1");
}

/// A store that cannot be created leaves the key file unchanged, and a later put works.
#[test]
fn failed_store_creation_leaves_key_file_unchanged() {
    let machine = Machine::new();
    machine.write("a", "1");
    machine.run_line("zblob key new").ok();
    let before = fs::read(machine.key_file()).unwrap();
    fs::create_dir_all(machine.path().join(".local")).unwrap();
    fs::write(machine.path().join(".local/share"), "").unwrap();
    machine.run_line("zput a").ended(1);
    assert_eq!(fs::read(machine.key_file()).unwrap(), before);
    fs::remove_file(machine.path().join(".local/share")).unwrap();
    machine.run_line("zput a").ok();
}
