//! `zblob key`: key files are made, shown, shared and protected.

use std::{
    fs,
    io::{Read, Write},
    os::unix::{
        fs::{MetadataExt, PermissionsExt, symlink},
        process::CommandExt,
    },
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::geteuid;
use zput_testkit::{Machine, command_path};

/// A new key file has mode 0600, and an existing one is replaced only by --force.
#[test]
fn zblob_key_new_keeps_existing_key_file_unless_forced() {
    let machine = Machine::new();
    machine.run_line("zblob key new").ok().says("back it up");
    let key_file = fs::read(machine.key_file()).unwrap();
    assert_eq!(fs::metadata(machine.key_file()).unwrap().mode() & 0o7777, 0o600);
    machine.run_line("zblob key new").ended(10).says("--force");
    assert_eq!(fs::read(machine.key_file()).unwrap(), key_file);
    machine.run_line("zblob key new --force").ok();
    assert_ne!(fs::read(machine.key_file()).unwrap(), key_file);
    machine.run_line("zblob key new --key other.zkey --names clear").ok();
    assert!(
        machine
            .run_line("zblob key show --key other.zkey")
            .ok()
            .text()
            .contains("names      clear")
    );
}

/// A home whose `.config/zput` is on a disk that is not mounted is not an unconfigured one.
#[test]
fn dangling_link_to_key_file_is_named_and_makes_no_store() {
    let machine = Machine::new();
    machine.write("a", "1");
    let config = machine.key_file().parent().unwrap().to_owned();
    fs::create_dir(config.parent().unwrap()).unwrap();
    symlink("../elsewhere", &config).unwrap();
    for line in ["zput a", "zblob key new", "zblob key new --force", "zblob ls"] {
        let ran = machine.run_line(line).ended(7).says("/.config/zput is a link to ");
        let ran = ran.says("/.config/../elsewhere, which is missing (make that, ");
        assert!(!ran.stderr.contains("exists"), "{line}: {}", ran.stderr);
    }
    assert!(!machine.store().exists());

    fs::create_dir(machine.path().join("elsewhere")).unwrap();
    symlink("/nowhere/k.zkey", machine.key_file()).unwrap();
    for line in ["zput a", "zblob key new", "zblob ls"] {
        machine
            .run_line(line)
            .ended(7)
            .says("default.zkey is a link to /nowhere/k.zkey, which is missing");
    }
    assert!(!machine.store().exists());
    fs::remove_file(machine.key_file()).unwrap();
    machine.run_line("zput a").ok();
}

/// An identity file without end is refused after 65,536 bytes.
#[test]
fn endless_identity_file_is_refused() {
    let machine = Machine::new();
    machine.write("a", "1");
    for line in ["zblob open -i /dev/zero a", "zblob key import --identity /dev/zero"] {
        machine.run_line(line).ended(1).says("cannot read /dev/zero: it has more than 65536 bytes");
    }
}

/// The commands zblob key show and zblob key public print no secret of the key file.
#[test]
fn zblob_key_show_and_public_print_no_secret() {
    let machine = Machine::new();
    machine.run_line("zblob key new").ok();
    let text = fs::read_to_string(machine.key_file()).unwrap();
    let secrets: Vec<&str> = ["device_seed", "vault_secret", "identity"]
        .iter()
        .map(|field| {
            let line = text.lines().find(|line| line.starts_with(field)).unwrap();
            line.split('"').nth(1).unwrap()
        })
        .collect();
    for line in ["zblob key show", "zblob key public", "zblob key public --json"] {
        let shown = machine.run_line(line).ok().text();
        for secret in &secrets {
            assert!(secret.len() >= 64 && !shown.contains(secret), "{line}");
        }
    }
    assert!(machine.run_line("zblob key public").ok().text().starts_with("recipient age1pq1"));
}

/// Exported key files have the role asked for, export no more and replace no file.
#[test]
fn zblob_key_export_restricts_roles_and_keeps_existing_files() {
    let machine = Machine::new();
    machine.run_line("zblob key new").ok();
    machine.run_line("zblob key export --put-only -o put.zkey").ok();
    machine.run_line("zblob key export --get-only -o get.zkey").ok();
    assert!(
        machine.run_line("zblob key show --key put.zkey").ok().text().contains("role       put")
    );
    assert!(
        machine.run_line("zblob key show --key get.zkey").ok().text().contains("role       get")
    );
    machine.run_line("zblob key export --get-only -o put.zkey").ended(10);
    machine.run_line("zblob key export --full --key put.zkey -o full.zkey").ended(7);
    machine.run_line("zblob key export --get-only --key put.zkey -o full.zkey").ended(7);
    machine.run_line("zblob key export -o full.zkey").ended(2);
    assert_eq!(machine.names(), ["get.zkey", "put.zkey"]);
    assert!(
        machine.run_line("zblob key export --put-only -o -").ok().text().contains("role = \"put\"")
    );
}

/// An exported key file does not name the exporting machine's embedded store.
#[test]
fn zblob_key_export_omits_the_embedded_store() {
    let machine = Machine::new();
    machine.write("a", "1");
    machine.run_line("zput a").ok();
    machine.run_line("zblob key export --full -o other.zkey").ok();
    assert!(
        machine.run_line("zblob key show --key other.zkey").ok().text().contains("remote     none")
    );
}

/// A command warns about a key file that others can read.
#[test]
fn key_file_readable_by_others_is_a_warning() {
    use std::os::unix::fs::PermissionsExt;
    let machine = Machine::new();
    machine.write("a", "1");
    machine.run_line("zput a").ok();
    fs::set_permissions(machine.key_file(), fs::Permissions::from_mode(0o644)).unwrap();
    machine.run_line("zblob ls").ok().says("other users can read the key file");
}

/// Without a controlling terminal no passphrase is asked for and the exit code is 7.
#[test]
fn passphrase_prompt_without_terminal_is_an_error() {
    let machine = Machine::new();
    machine.run_line("zblob key new").ok();
    // A new session has no controlling terminal, whatever runs the tests.
    let mut command = std::process::Command::new("setsid");
    let output = command
        .arg("-w")
        .arg(command_path("zblob"))
        .args(["key", "passphrase", "set"])
        .env("HOME", machine.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(7));
}

/// Runs a command line on a terminal of its own; each line of `typed` is typed when it is asked
/// for.
pub(crate) fn on_terminal(machine: &Machine, line: &str, typed: &[&str]) -> (Option<i32>, String) {
    let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
    shell_on_terminal(machine, &format!("{} {rest}", command_path(name).display()), typed)
}

/// The same for a line of the shell.
pub(crate) fn shell_on_terminal(
    machine: &Machine,
    line: &str,
    typed: &[&str],
) -> (Option<i32>, String) {
    let mut child = std::process::Command::new("script")
        .args(["-q", "-e", "-c", line, "/dev/null"])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", machine.path())
        .current_dir(machine.file(""))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut shown = Vec::new();
    let mut block = [0; 1024];
    let mut typed = typed.iter();
    loop {
        match stdout.read(&mut block).unwrap() {
            0 => break,
            read => shown.extend_from_slice(&block[..read]),
        }
        if shown.ends_with(b": ")
            && let Some(line) = typed.next()
        {
            writeln!(stdin, "{line}").unwrap();
        }
    }
    (child.wait().unwrap().code(), String::from_utf8_lossy(&shown).into_owned())
}

/// A passphrase is set, asked for with three tries, changed and removed on a terminal.
#[test]
fn zblob_key_passphrase_is_set_prompted_changed_and_removed() {
    let machine = Machine::new();
    machine.write("a", "1");
    machine.run_line("zput a").ok();
    let run = |line: &str, typed: &[&str]| on_terminal(&machine, line, typed);
    let locked = || fs::read_to_string(machine.key_file()).unwrap().contains("[protected]");

    assert_eq!(run("zblob key passphrase set", &["one", "two"]).0, Some(2));
    assert!(!locked());
    let (code, shown) = run("zblob key passphrase set", &["hunter2", "hunter2"]);
    assert_eq!(code, Some(0), "{shown}");
    assert!(locked() && !shown.contains("hunter2"), "{shown}");
    assert!(!fs::read_to_string(machine.key_file()).unwrap().contains("AGE-SECRET-KEY"));

    let (code, shown) = run("zget -o b a", &["wrong", "hunter2"]);
    assert_eq!(code, Some(0), "{shown}");
    assert_eq!(machine.read("b"), b"1");
    let (code, _) = run("zget -o c a", &["wrong", "wrong", "wrong"]);
    assert_eq!(code, Some(7));
    assert!(machine.run_line("zblob key show").ok().text().contains("encrypted with a passphrase"));

    assert_eq!(run("zblob key passphrase change", &["hunter2", "new", "new"]).0, Some(0));
    assert_eq!(run("zblob ls", &["new"]).0, Some(0));
    assert_eq!(run("zblob key passphrase remove", &["new"]).0, Some(0));
    assert!(!locked());
    assert_eq!(machine.run_line("zget -o - a").ok().stdout, b"1");
}

/// A wrong passphrase is reported with the number of tries left.
#[test]
fn passphrase_prompt_tells_the_tries_left() {
    let machine = Machine::new();
    machine.run_line("zblob key new").ok();
    machine.run_line("zblob key passphrase set --passphrase-command echo${IFS}x").ok();
    let (code, shown) = on_terminal(&machine, "zblob key public", &["a", "b", "c"]);
    assert_eq!(code, Some(7));
    for line in ["wrong passphrase, 2 tries left", "wrong passphrase, 1 try left"] {
        assert_eq!(shown.matches(line).count(), 1, "{shown}");
    }
}

/// Binary data is refused for a terminal, which would act upon it.
#[test]
fn zget_refuses_binary_to_a_terminal_unless_forced() {
    let machine = Machine::new();
    machine.write("text", "the plans");
    machine.write("binary", b"\x7fELF\0\x1b[2J");
    machine.run_line("zput text binary").ok();
    let get = |line: &str| on_terminal(&machine, line, &[]);
    let (code, shown) = get("zget -o - text");
    assert_eq!((code, shown.contains("the plans")), (Some(0), true), "{shown}");
    let (code, shown) = get("zget -o - binary");
    assert_eq!((code, shown.contains("ELF")), (Some(1), false), "{shown}");
    assert!(shown.contains("binary data is not written"), "{shown}");
    let (code, shown) = get("zget --force -o - binary");
    assert_eq!((code, shown.contains("ELF")), (Some(0), true), "{shown}");
}

/// The error about a secret key given as a recipient does not repeat it.
#[test]
fn secret_key_as_zblob_seal_recipient_is_not_repeated() {
    let machine = Machine::new();
    machine.write("a", "1");
    let identity = zput_seal::age::Identity::generate_x25519(&mut rand::rng());
    let secret = identity.to_secret_string();
    for secret in [secret.as_str(), &secret.to_lowercase()] {
        let ran = machine
            .run_line(&format!("zblob seal -r {secret} a"))
            .ended(2)
            .says("an argument is a secret");
        assert!(!ran.stderr.contains(secret), "{}", ran.stderr);
    }
}

/// PR_SET_DUMPABLE makes /proc/PID root's. Root may read everything, so one unprivileged process
/// looks at another.
#[test]
fn process_environ_is_unreadable_for_the_same_user() {
    const USER: u32 = 54_321;
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // The built program may be below directories that the user cannot read.
    let copy = dir.path().join("zblob");
    fs::copy(command_path("zblob"), &copy).unwrap();
    let by_user = |program: &std::ffi::OsStr| {
        let mut command = Command::new(program);
        command.env_clear().env("HOME", "/nonexistent").current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if geteuid().is_root() {
            command.uid(USER).gid(USER);
        }
        command
    };
    let identity = zput_seal::age::Identity::generate_x25519(&mut rand::rng());
    let recipient = identity.to_recipient().to_string();
    let mut seal = by_user(copy.as_os_str());
    let mut seal = seal.args(["seal", "-r", &recipient, "-o", "-", "-"]).spawn().unwrap();
    let mut other = by_user("cat".as_ref()).spawn().unwrap();
    // It has started sealing once it has threads.
    let tasks = format!("/proc/{}/task", seal.id());
    let begun = Instant::now();
    while fs::read_dir(&tasks).unwrap().count() < 2 {
        assert!(begun.elapsed() < Duration::from_secs(60), "it does not begin");
        thread::sleep(Duration::from_millis(5));
    }
    let looks = |pid: u32| {
        let path = format!("/proc/{pid}/environ");
        let owner = fs::metadata(&path).unwrap().uid();
        let ran = by_user("cat".as_ref()).arg(path).output().unwrap();
        (owner, ran.status.success())
    };
    let user = if geteuid().is_root() { USER } else { geteuid().as_raw() };
    assert_eq!(looks(other.id()), (user, true), "one that is not guarded");
    assert_eq!(looks(seal.id()), (0, false));
    for child in [&mut seal, &mut other] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

/// An identity is found among other lines of its file; none, or UTF-16, is an error.
#[test]
fn zblob_open_finds_identity_among_lines_of_other_kinds() {
    let machine = Machine::new();
    machine.write("a", "1");
    let identity = zput_seal::age::Identity::generate_x25519(&mut rand::rng());
    let (secret, recipient) = (identity.to_secret_string(), identity.to_recipient());
    machine.run_line(&format!("zblob seal -r {recipient} a")).ok();
    let mixed = format!("AGE-PLUGIN-YUBIKEY-1QQQQ\nssh-ed25519 AAAA me\n{}\n", secret.as_str());
    for text in [mixed, format!("\u{feff}{}\r\n", secret.as_str())] {
        machine.write("key.txt", &text);
        assert_eq!(machine.run_line("zblob open -i key.txt -o - a.zput").ok().stdout, b"1");
        assert_eq!(
            machine.run_line_on(text.as_bytes(), "zblob open -i - -o - a.zput").ok().stdout,
            b"1"
        );
    }
    machine.write("key.txt", "AGE-PLUGIN-YUBIKEY-1QQQQ\n");
    machine
        .run_line("zblob open -i key.txt -o - a.zput")
        .ended(7)
        .says("line 1 of the identity file");
    let utf16: Vec<u8> = "\u{feff}x".encode_utf16().flat_map(u16::to_le_bytes).collect();
    machine.write("key.txt", utf16);
    machine
        .run_line("zblob open -i key.txt -o - a.zput")
        .ended(1)
        .says("it is UTF-16: save it as UTF-8");
}
