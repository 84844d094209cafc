//! Outputs: where the path of `-o` leads decides how plaintext is written.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    path::Path,
    process::Stdio,
};

use rustix::{
    fs::{XattrFlags, getxattr, setxattr},
    process::geteuid,
};
use zput_skip::{self as skip, or_skip};
use zput_testkit::{Machine, Ran, command_path, names};

use crate::{keys::shell_on_terminal, support::files};

/// The id of a user that does not exist.
pub(crate) const NOBODY: u32 = 54_321;

/// A machine with a blob `f`, a sealed file `f.zput`, and the file itself.
pub(crate) fn machine() -> Machine {
    let machine = Machine::new();
    machine.write("f", "the plans\n");
    machine.run_line("zput f").ok();
    machine.run_line("zblob seal f").ok();
    machine
}

/// A closed stdout is an error of every program that prints; a closed stderr is not.
#[test]
fn closed_stdout_is_an_error_and_closed_stderr_is_not() {
    let machine = machine();
    for line in [
        "zget -o - f",
        "zget -o /dev/stdout f",
        "zget --json -o x --force f",
        "zblob open -o - f.zput",
        "zblob seal -o - f",
        "zblob ls",
        "zblob ls --json",
        "zblob stat f",
        "zput --json f",
        "zblob key public",
        "zblob key show",
        "zblob key export --get-only -o -",
    ] {
        machine.sh(&format!("{line} >&-")).ended(1).says("it is closed");
    }
    assert_eq!(machine.sh("zget -o - f 2>&-").ok().stdout, b"the plans\n");
    assert_eq!(machine.sh("zblob ls 2>&-").ok().text(), "f\n");
}

/// Commands that write data, without the output that follows.
const WRITERS: [(&str, &str); 2] = [("zget", "f"), ("zblob open", "f.zput")];

/// An output path that leads to a descriptor, also by links, is written at its position.
#[test]
fn output_path_to_a_descriptor_writes_that_descriptor() {
    let machine = machine();
    symlink("/proc/self/fd/1", machine.file("link")).unwrap();
    symlink("link", machine.file("chain")).unwrap();
    for (command, input) in WRITERS {
        for path in ["/dev/fd/1", "/proc/self/fd/1", "/proc/thread-self/fd/1", "link", "chain"] {
            for force in ["", "--force"] {
                let get = format!("{command} {force} -o {path} {input}");
                machine.sh(&format!("(echo before; {get}; echo behind) > out")).ok();
                assert_eq!(machine.read("out"), b"before\nthe plans\nbehind\n", "{get}");
                machine.sh(&format!("echo old > out; {get} >> out; {get} | cat >> out")).ok();
                assert_eq!(machine.read("out"), b"old\nthe plans\nthe plans\n", "{get}");
            }
        }
        let get = format!("{command} -o /dev/stdout {input}");
        machine.sh(&format!("{get} > out")).ok();
        assert_eq!(machine.read("out"), b"the plans\n");
        let get = format!("{command} -o /dev/fd/7 {input}");
        machine.sh(&format!("(echo before >&7; {get}; echo behind >&7) 7> out")).ok();
        assert_eq!(machine.read("out"), b"before\nthe plans\nbehind\n");
        let get = format!("{command} -o /proc/$$/fd/7 {input}");
        machine.sh(&format!("exec 7> out; echo before >&7; {get}; echo behind >&7")).ok();
        assert_eq!(machine.read("out"), b"before\nthe plans\nbehind\n");
    }
    assert!(fs::symlink_metadata(machine.file("link")).unwrap().is_symlink());
    // Sealed and exported bytes differ each time.
    for (write, read) in [
        ("zblob seal -o /dev/fd/1 f", "zblob open -o - out"),
        ("zblob key export --get-only -o /proc/self/fd/1", "zblob key show --key out"),
        ("zblob key export --get-only -o link", "zblob key show --key out"),
    ] {
        machine.sh(&format!("{write} > out; {read}")).ok();
    }
}

/// A descriptor that is not open would be a file of the program's own, or of the next file that it
/// opens.
#[test]
fn output_to_a_closed_or_read_only_descriptor_is_an_error() {
    let machine = machine();
    // The program that runs the tests may have passed on descriptors.
    let given = "exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-";
    for number in 3..10 {
        let get = format!("{given}; zget -o /dev/fd/{number} f");
        machine.sh(&get).ended(1).says("Bad file descriptor");
    }
    machine.sh("zget -o /dev/fd/7 f 7< f").ended(1).says("Bad file descriptor");
    machine.sh("zget -o - f 1< f").ended(1).says("Bad file descriptor");
}

/// Another user's pipe is written only by --force, and a planted link never.
#[test]
fn output_to_another_users_pipe_needs_force() {
    let machine = machine();
    machine.sh("mkfifo mine; cat mine > got & zget -o mine f; wait").ok();
    assert_eq!(machine.read("got"), b"the plans\n");
    if !geteuid().is_root() {
        return skip::because("only root can make another user's pipe");
    }
    for directory in ["shared", "theirs"] {
        machine.sh(&format!("mkdir {directory}; mkfifo {directory}/pipe")).ok();
        chown(machine.file(directory).join("pipe"), Some(NOBODY), None).unwrap();
        symlink("pipe", machine.file(directory).join("link")).unwrap();
    }
    fs::set_permissions(machine.file("shared"), Permissions::from_mode(0o1777)).unwrap();
    chown(machine.file("theirs"), Some(NOBODY), None).unwrap();
    for (command, input) in WRITERS {
        for path in ["shared/pipe", "shared/link", "theirs/pipe"] {
            let ran = machine.run_line(&format!("{command} -o {path} {input}")).ended(1);
            ran.says("belongs to another user (uid 54321)");
        }
    }
    let forced = "cat shared/pipe > got & zget --force -o shared/pipe f; wait";
    machine.sh(forced).ok();
    assert_eq!(machine.read("got"), b"the plans\n");
    // A link that another user planted in a world-writable directory is not followed, wherever it
    // leads.
    let planted = machine.file("shared/planted");
    symlink("../elsewhere", &planted).unwrap();
    std::os::unix::fs::lchown(&planted, Some(NOBODY), None).unwrap();
    for force in ["", "--force"] {
        let ran = machine.run_line(&format!("zget {force} -o shared/planted f")).ended(1);
        ran.says("is a link of another user (uid 54321)");
    }
    assert!(!machine.file("elsewhere").exists());
}

/// A device of the machine belongs to no user, whoever may use it; one outside of /dev was placed
/// there.
#[test]
fn output_to_another_users_descriptor_or_device_needs_force() {
    if !geteuid().is_root() {
        return skip::because("only root can make another user's files and devices");
    }
    let machine = machine();
    machine.write("theirs", "");
    chown(machine.file("theirs"), Some(NOBODY), None).unwrap();
    let script = "exec 7> theirs; zget -o /proc/$$/fd/7 f";
    machine.sh(script).ended(1).says("belongs to another user (uid 54321)");
    assert_eq!(machine.read("theirs"), b"");
    machine.sh(&script.replace("zget", "zget --force")).ok();
    assert_eq!(machine.read("theirs"), b"the plans\n");

    let zget = command_path("zget");
    let zget = zget.display();
    let line = format!("chown {NOBODY} $(tty); {zget} --quiet -o $(tty) f");
    let (code, shown) = shell_on_terminal(&machine, &line, &[]);
    assert_eq!((code, shown.as_str()), (Some(0), "the plans\r\n"));

    machine.sh("mkdir made").ok();
    let made = machine.sh(&format!("mknod made/null c 1 3 && chown {NOBODY} made/null"));
    if made.code != Some(0) {
        return skip::because(format!("no device can be made: {}", made.stderr));
    }
    machine.run_line("zget -o made/null f").ended(1).says("belongs to another user (uid 54321)");
}

/// An output that is a link writes the link's target, and the link stays.
#[test]
fn output_follows_links_and_keeps_them() {
    let machine = machine();
    fs::create_dir(machine.file("real")).unwrap();
    symlink("real/out", machine.file("out")).unwrap();
    for (command, input) in WRITERS {
        machine.run_line(&format!("{command} -o out {input}")).ended(10);
        assert_eq!(names(&machine.file("real")), [""; 0]);
        machine.run_line(&format!("{command} --force -o out {input}")).ok();
        assert_eq!(machine.read("real/out"), b"the plans\n");
        assert!(fs::symlink_metadata(machine.file("out")).unwrap().is_symlink());
        fs::write(machine.file("real/out"), "something longer than the plans").unwrap();
        machine.run_line(&format!("{command} --force -o out {input}")).ok();
        assert_eq!(machine.read("real/out"), b"the plans\n");
        fs::remove_file(machine.file("real/out")).unwrap();
    }
    assert_eq!(names(&machine.file("real")), [""; 0]);
}

pub(crate) fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

/// A replaced file keeps its owner and gets no wider mode; a planted one is replaced.
#[test]
fn replaced_output_keeps_owner_and_gets_no_wider_mode() {
    let machine = machine();
    let out = machine.file("out");
    for (before, expected) in [(0o600, 0o600), (0o640, 0o640), (0o664, 0o644), (0o755, 0o644)] {
        machine.write("out", "old");
        fs::set_permissions(&out, Permissions::from_mode(before)).unwrap();
        machine.run_line("zget --force -o out f").ok();
        assert_eq!(format!("{:o}", mode(&out)), format!("{expected:o}"), "{before:o}");
    }
    // A range of a blob does not get its mode.
    fs::set_permissions(&out, Permissions::from_mode(0o640)).unwrap();
    machine.run_line("zget --force --range 0-2 -o out f").ok();
    assert_eq!((machine.read("out").as_slice(), mode(&out)), (&b"the"[..], 0o640));
    machine.run_line("zblob seal --force -o out f").ok();
    assert_eq!(mode(&out), 0o640);
    if !geteuid().is_root() {
        return skip::because("only root can give a file to another user");
    }
    chown(&out, Some(NOBODY), Some(NOBODY + 1)).unwrap();
    machine.run_line("zget --force -o out f").ok();
    let metadata = fs::metadata(&out).unwrap();
    assert_eq!((metadata.uid(), metadata.gid(), mode(&out)), (NOBODY, NOBODY + 1, 0o640));
    assert_eq!(machine.read("out"), b"the plans\n");
    // A file that another user planted in a world-writable directory is replaced, and the new one
    // does not belong to that user.
    fs::set_permissions(machine.file(""), Permissions::from_mode(0o1777)).unwrap();
    fs::hard_link(&out, machine.file("theirs")).unwrap();
    fs::write(&out, "old").unwrap();
    machine.run_line("zget --force -o out f").ok();
    assert_eq!((fs::metadata(&out).unwrap().uid(), machine.read("theirs")), (0, b"old".to_vec()));
}

/// A replaced file keeps its extended attributes and its access control list.
#[test]
fn replaced_output_keeps_xattrs_and_acl() {
    let machine = machine();
    machine.write("out", "old");
    let out = machine.file("out");
    fs::set_permissions(&out, Permissions::from_mode(0o640)).unwrap();
    // acl(5): version 2; owner rw-, user 54321 r--, group r--, mask r--, others nothing.
    let mut list = 2u32.to_le_bytes().to_vec();
    for (tag, bits, id) in
        [(1u16, 6u16, !0), (2, 4, NOBODY), (4, 4, !0), (0x10, 4, !0), (0x20, 0, !0)]
    {
        list.extend([tag.to_le_bytes(), bits.to_le_bytes()].concat());
        list.extend(id.to_le_bytes());
    }
    let set = |name: &str, value: &[u8]| {
        setxattr(&out, name, value, XattrFlags::empty())
            .map_err(|error| format!("this file system has no {name}: {error}"))
    };
    let value = |name: &str| {
        let mut value = vec![0; 1024];
        let length = getxattr(&out, name, &mut value[..]).unwrap();
        value.truncate(length);
        value
    };
    or_skip!(set("system.posix_acl_access", &list));
    or_skip!(set("user.note", b"kept"));
    machine.run_line("zget --force -o out f").ok();
    assert_eq!(machine.read("out"), b"the plans\n");
    assert_eq!(value("user.note"), b"kept");
    assert_eq!(value("system.posix_acl_access"), list);
    assert_eq!(mode(&out), 0o640);
}

/// An output or key file that is a bind mount is overwritten in place.
#[test]
fn output_on_a_mounted_file_is_overwritten_in_place() {
    let machine = machine();
    let mount = "echo 'something longer than the plans' > inner; chmod 640 inner; mkdir d; echo > d/out; \
                 mount --bind inner d/out; ";
    let run = |script: &str| {
        let ran = machine.sh_with_mounts(&format!("{mount}{script}"));
        let _again = fs::remove_dir_all(machine.file("d"));
        ran
    };
    let ran = or_skip!(run("zget --force -o d/out f; zget -o d/out f")).ended(10);
    assert!(!ran.stderr.contains("busy"), "{}", ran.stderr);
    assert_eq!(
        (machine.read("inner").as_slice(), mode(&machine.file("inner"))),
        (&b"the plans\n"[..], 0o640)
    );
    // In a tree where no file can be created.
    let read_only = "mount --bind d d; mount --bind inner d/out; mount -o remount,ro,bind d; ";
    run(&format!("{read_only}zblob open --force -o d/out f.zput")).unwrap().ok();
    assert_eq!(machine.read("inner"), b"the plans\n");
    // A key file in a container.
    let key = "zblob key new --key inner --force; mkdir k; echo > k/key; mount --bind inner k/key; \
               zblob key passphrase set --passphrase-command 'echo x' --key k/key; ls -a k";
    let ran = run(key).unwrap().ok();
    assert_eq!(ran.text(), ".\n..\nkey\n");
    let text = fs::read_to_string(machine.file("inner")).unwrap();
    assert!(text.contains("[protected]") && !text.contains("device_seed ="), "{text}");
}

/// Runs a command line while the kernel fails the system calls in `faults` (in strace's syntax).
pub(crate) fn refused(machine: &Machine, faults: &str, line: &str) -> Result<Ran, String> {
    let probe = std::process::Command::new("strace").args(["-o", "/dev/null", "true"]).output();
    match probe {
        Ok(probed) if probed.status.success() => {
            Ok(machine.sh(&format!("strace -f -qq -o /dev/null {faults} {line}")))
        }
        _ => Err("strace is not installed, or may not trace".to_owned()),
    }
}

/// SMB, WSL, FUSE, vfat: cp, curl, rsync and tar leave a file there too.
#[test]
fn output_attribute_failures_are_warnings() {
    let machine = machine();
    fs::set_permissions(machine.file("f"), Permissions::from_mode(0o755)).unwrap();
    machine.run_line("zput f").ok();
    for error in ["EPERM", "EOPNOTSUPP", "ENOSYS", "EINVAL"] {
        let fault = |calls: &str| format!("-e inject={calls}:error={error}");
        for (faults, warning) in [
            (
                fault("fchmod,chmod,fchmodat,?fchmodat2"),
                "warning: the mode of out could not be set",
            ),
            (
                fault("utimensat,futimesat,utime,utimes"),
                "warning: the time of out could not be set",
            ),
            (fault("renameat2"), ""),
            (format!("{} {}", fault("renameat2"), fault("link,linkat")), ""),
            (format!("{} {}", fault("renameat2,rename,renameat"), fault("link,linkat")), ""),
            (fault("fsync,fdatasync"), ""),
        ] {
            if error == "EPERM" && faults.contains(",rename,") {
                continue; // A rename that is not permitted is no missing feature.
            }
            let ran = or_skip!(refused(&machine, &faults, "zget -o out f")).ok();
            assert!(ran.stderr.contains(warning), "{faults}: {}", ran.stderr);
            assert_eq!(ran.stderr.is_empty(), warning.is_empty(), "{faults}: {}", ran.stderr);
            assert_eq!(machine.read("out"), b"the plans\n", "{faults}");
            // Nothing is replaced there either.
            refused(&machine, &faults, "zget -o out f").unwrap().ended(10);
            fs::remove_file(machine.file("out")).unwrap();
            assert_eq!(machine.names(), ["f", "f.zput"], "{faults}");
        }
    }
    let faults = "-e inject=renameat2:error=EINVAL -e inject=link,linkat:error=EPERM -e inject=fchmod:error=EPERM";
    refused(&machine, faults, "zblob key new --key new.zkey").unwrap().ok();
    refused(&machine, faults, "zblob key new --key new.zkey").unwrap().ended(10);
}

/// A failed fsync of the output is an error, with code 9 for a full disk or quota.
#[test]
fn output_fsync_failure_is_an_error() {
    let machine = machine();
    for (error, code) in [("EDQUOT", 9), ("ENOSPC", 9), ("EIO", 1)] {
        let faults = format!("-e inject=fsync,fdatasync:error={error}");
        for line in ["zget --plaintext --force -o out p", "zget --plaintext --force -o - p > out"] {
            machine.run_line("zput --plaintext --name p f").ok();
            let ran = or_skip!(refused(&machine, &faults, line)).ended(code);
            assert!(!ran.stderr.contains(".tmp"), "{}", ran.stderr);
        }
        let _partly = fs::remove_file(machine.file("out"));
    }
    assert_eq!(machine.names(), ["f", "f.zput"]);
}

/// Like `cat`, which a signal ends.
#[test]
fn closed_pipe_reader_exits_141_without_a_message() {
    let machine = machine();
    let unread = |line: &str| {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let mut words = line.split_whitespace();
        let mut command = machine.command(words.next().unwrap());
        command.args(words).stdout(writer).stderr(Stdio::piped());
        Ran::from(command.output().unwrap())
    };
    for line in [
        "zget -o - f",
        "zget -o /dev/stdout f",
        "zget --json --force -o out f",
        "zblob open -o - f.zput",
        "zblob seal -o - f",
        "zblob ls",
        "zblob ls -l",
        "zblob ls --json",
        "zblob stat f",
        "zblob key public",
        "zblob key show",
        "zblob key export --get-only -o -",
        "zput --json f",
    ] {
        let ran = unread(line).ended(141);
        assert_eq!(ran.stderr, "", "{line}");
    }
    // The remaining work is done nevertheless.
    machine.write("g", "1");
    machine.write("h", "2");
    assert_eq!(unread("zput --json g h").ended(141).stderr, "");
    assert_eq!(machine.run_line("zblob ls").ok().text(), "f\ng\nh\n");
    // A blob that fails verification does not look like one whose reader left early.
    let object = files(&machine.store().join("objects"))
        .into_iter()
        .max_by_key(|object| fs::metadata(object).unwrap().len())
        .unwrap();
    let mut damaged = fs::read(&object).unwrap();
    let header = damaged.len() / 2;
    damaged[header] ^= 1;
    fs::write(&object, damaged).unwrap();
    let codes = ["f", "g", "h"].map(|name| unread(&format!("zget -o - {name}")).code.unwrap());
    assert_eq!(codes.iter().filter(|code| **code == 141).count(), 2, "{codes:?}");
}

/// Missing directories are created for a trailing slash or --parents, and not otherwise.
#[test]
fn zget_creates_directories_only_when_asked() {
    let machine = machine();
    machine.run_line("zput --name plans/a/b f").ok();
    machine.run_line("zget -o new/deep/ f plans/a/b").ok();
    assert_eq!(names(&machine.file("new/deep")), ["b", "f"]);
    machine.run_line("zget -p -o tree/ plans/a/b").ok();
    assert_eq!(machine.read("tree/plans/a/b"), b"the plans\n");
    machine.run_line("zget --parents -o other/out f").ok();
    assert_eq!(machine.read("other/out"), b"the plans\n");
    machine.run_line("zget --parents plans/a/b").ok();
    assert_eq!(machine.read("plans/a/b"), b"the plans\n");

    machine.run_line("zget -o none/of/these/ nothing").ended(4);
    assert!(!machine.file("none").exists());
    for line in ["zget -o none/out f", "zblob open -o none/out f.zput", "zblob seal -o none/out f"]
    {
        let ran = machine
            .run_line(line)
            .ended(1)
            .says("cannot write none/out: No such file or directory");
        assert!(!ran.stderr.contains(".tmp"), "{}", ran.stderr);
    }
    let long = "n".repeat(300);
    machine.run_line(&format!("zget -o {long} f")).ended(1).says("File name too long");
}

/// A sealed file with late damage yields no byte on stdout.
#[test]
fn zblob_open_verifies_a_file_before_writing_to_stdout() {
    let machine = Machine::new();
    machine.run_line("zblob key new").ok();
    machine.write("a", vec![1; 20_000_000]);
    machine.run_line("zblob seal a").ok();
    let mut damaged = machine.read("a.zput");
    let late = damaged.len() - 100_000;
    damaged[late] ^= 1;
    machine.write("d", &damaged);
    for output in ["-", "/dev/fd/1"] {
        let ran = machine.run_line(&format!("zblob open -o {output} d")).ended(8);
        assert_eq!(ran.stdout.len(), 0);
    }
    damaged.insert(100_000, 0);
    machine.write("d", &damaged);
    let ran = machine.run_line("zblob open -o - d").ended(8);
    assert!(!ran.stderr.contains("server"), "{}", ran.stderr);
}

/// Without /proc a got file has its sealed mode under the umask.
#[test]
fn zget_applies_the_umask_without_proc() {
    let machine = machine();
    fs::set_permissions(machine.file("f"), Permissions::from_mode(0o777)).unwrap();
    machine.run_line("zput f").ok();
    let script = "umount -l /proc; umask 027; zget -o out f; zget -o - f; zget -o /dev/fd/1 f";
    let ran = or_skip!(machine.sh_with_mounts(script)).ok();
    assert_eq!(ran.text(), "the plans\nthe plans\n");
    assert_eq!(mode(&machine.file("out")), 0o750);
}

/// A get with a read-only state directory succeeds and warns about rollbacks.
#[test]
fn read_only_state_directory_is_a_warning() {
    let machine = machine();
    machine.run_line("zput --name g f").ok();
    fs::remove_dir_all(machine.path().join(".local/state/zput/seen")).unwrap();
    let script = "mount --bind ../.local/state ../.local/state; mount -o remount,ro,bind ../.local/state; \
                  zget -o - g; zget -o out g";
    let ran = or_skip!(machine.sh_with_mounts(script)).ok();
    assert_eq!(
        (ran.text().as_str(), machine.read("out").as_slice()),
        ("the plans\n", &b"the plans\n"[..])
    );
    ran.says("warning: this machine will not detect a rollback").says(".local/state/zput");
}
