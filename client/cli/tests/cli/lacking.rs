//! File systems and users that lack something: owners, attributes, readable directories. The output
//! is there nevertheless, and gives no user more access than before.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
};

use rustix::process::geteuid;
use zput_skip::{self as skip, or_skip};
use zput_testkit::Machine;

use crate::outputs::{NOBODY, machine, mode, refused};

/// A user that may not give files away, NFS with squashed root, vfat.
#[test]
fn zget_warns_and_narrows_mode_when_chown_is_refused() {
    if !geteuid().is_root() {
        return skip::because("only root can make another user's file");
    }
    let machine = machine();
    let out = machine.file("out");
    // All of it is refused, or only the owner: a member of the group may set the group.
    for (calls, group, expected) in [("", 0, 0o600), (":when=1", NOBODY + 1, 0o640)] {
        machine.write("out", "old");
        fs::set_permissions(&out, Permissions::from_mode(0o640)).unwrap();
        chown(&out, Some(NOBODY), Some(NOBODY + 1)).unwrap();
        let faults = format!("-e inject=fchown:error=EPERM{calls}");
        let ran = or_skip!(refused(&machine, &faults, "zget --force -o out f")).ok();
        ran.says("warning: out was written, but the owner or the access list of the replaced file could not");
        assert_eq!(machine.read("out"), b"the plans\n");
        let metadata = fs::metadata(&out).unwrap();
        assert_eq!((metadata.uid(), metadata.gid(), mode(&out)), (0, group, expected));
        fs::remove_file(&out).unwrap();
    }
    // A key file is written nevertheless, and stays private.
    machine.run_line("zblob key new --key k.zkey").ok();
    chown(machine.file("k.zkey"), Some(NOBODY), Some(NOBODY)).unwrap();
    let set = "zblob key passphrase set --key k.zkey --passphrase-command 'echo x'";
    refused(&machine, "-e inject=fchown:error=EPERM", set).unwrap().ok();
    assert_eq!(mode(&machine.file("k.zkey")), 0o600);
    assert!(fs::read_to_string(machine.file("k.zkey")).unwrap().contains("[protected]"));
}

/// Root puts and gets in a home whose file system refuses chown.
#[test]
fn root_uses_home_on_file_system_without_owners() {
    if !geteuid().is_root() {
        return skip::because("only root can be root in another user's home");
    }
    let machine = Machine::new();
    for directory in [machine.path(), &machine.file("")] {
        chown(directory, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    machine.write("f", "the plans\n");
    for error in ["EPERM", "EOPNOTSUPP", "EROFS", "EINVAL"] {
        let faults = format!("-e inject=fchown,fchownat,chown:error={error}");
        or_skip!(refused(&machine, &faults, "zput f")).ok();
        assert_eq!(refused(&machine, &faults, "zget -o - f").unwrap().ok().text(), "the plans\n");
    }
}

/// A file is replaced without a warning where the file system has no extended attributes.
#[test]
fn zget_replaces_file_on_file_system_without_xattrs() {
    let machine = machine();
    machine.write("out", "old");
    let faults = "-e inject=llistxattr:error=EOPNOTSUPP";
    let ran = or_skip!(refused(&machine, faults, "zget --force -o out f")).ok();
    assert_eq!((ran.stderr.as_str(), machine.read("out").as_slice()), ("", &b"the plans\n"[..]));
}

/// A directory in which a user may create names need not be readable, and then it cannot be synced.
#[test]
fn outputs_are_written_to_an_unreadable_directory() {
    let machine = machine();
    fs::create_dir(machine.file("drop")).unwrap();
    for line in ["zget -o drop/out f", "zblob seal -o drop/out f", "zblob key new --key drop/out"] {
        let faults = "-P drop -e inject=open,openat:error=EACCES";
        let ran = or_skip!(refused(&machine, faults, line)).ok();
        assert!(!ran.stderr.contains("denied"), "{}", ran.stderr);
        fs::remove_file(machine.file("drop/out")).unwrap();
    }
}

/// Without renames and links an empty file claims the name first; it does not stay behind.
#[test]
fn zget_removes_placeholder_when_copy_fails() {
    let machine = machine();
    let faults = "-e inject=renameat2,rename,renameat,link,linkat:error=EOPNOTSUPP \
                  -e inject=copy_file_range,sendfile:error=ENOSPC";
    or_skip!(refused(&machine, faults, "zget -o out f")).ended(9);
    assert_eq!(machine.names(), ["f", "f.zput"]);
    machine.run_line("zget -o out f").ok();
}
