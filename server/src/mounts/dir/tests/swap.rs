//! The path of a tree leads to another directory than before.

use std::{os::unix::fs::symlink, time::Duration};

use super::*;

/// A mount of `path` that checks it for each request.
fn mount_checking_always(path: &Path) -> DirMount {
    DirMount::open(path, Clock::system()).unwrap().check_every(Duration::ZERO)
}

fn text(mount: &DirMount, path: &str) -> Result<String, MountError> {
    let found = mount.find(path)?;
    let mut bytes = vec![0; found.length as usize];
    std::os::unix::fs::FileExt::read_exact_at(&*found.file, &mut bytes, 0).unwrap();
    Ok(String::from_utf8(bytes).unwrap())
}

fn with_file(dir: &Path, text: &str) {
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join("v"), text).unwrap();
}

/// DirMount serves the directory that its path leads to after a link or rename changed it.
#[test]
fn dir_mount_serves_directory_that_replaced_its_path() {
    let home = tempfile::tempdir().unwrap();
    let at = |path: &str| home.path().join(path);
    with_file(&at("rel1"), "one");
    with_file(&at("rel2"), "two");
    symlink("rel1", at("current")).unwrap();
    let mount = mount_checking_always(&at("current"));
    let first = mount.find("v").unwrap();
    assert_eq!(text(&mount, "v").unwrap(), "one");
    // Changes the link as `ln -s` and `mv -T` do.
    symlink("rel2", at("tmp")).unwrap();
    fs::rename(at("tmp"), at("current")).unwrap();
    assert!(!mount.is_unchanged("v", first.fingerprint), "what is kept open is opened again");
    assert_eq!(text(&mount, "v").unwrap(), "two");
    assert_ne!(mount.find("v").unwrap().fingerprint, first.fingerprint);
    assert_eq!(mount.list(None, 10).unwrap().entries[0].length, 3);

    with_file(&at("pub"), "old");
    let mount = mount_checking_always(&at("pub"));
    // Two renames; the old directory is removed.
    with_file(&at("new"), "new");
    fs::rename(at("pub"), at("old")).unwrap();
    assert_eq!(text(&mount, "v").unwrap(), "old", "between the two");
    fs::rename(at("new"), at("pub")).unwrap();
    fs::remove_dir_all(at("old")).unwrap();
    assert_eq!(text(&mount, "v").unwrap(), "new");
    // Removed and made again: the inode number may be the same.
    for n in 0..20 {
        fs::remove_dir_all(at("pub")).unwrap();
        with_file(&at("pub"), &format!("{n}"));
        assert_eq!(text(&mount, "v").unwrap(), format!("{n}"));
        assert_eq!(mount.list(None, 10).unwrap().entries.len(), 1);
    }
}

/// DirMount keeps the old directory when its path leads to nothing, a file or a store.
#[test]
fn dir_mount_keeps_old_root_when_new_one_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let at = |path: &str| home.path().join(path);
    with_file(&at("pub"), "kept");
    with_file(&at("srv/store"), "secret");
    let mount = mount_checking_always(&at("pub"));
    let mut protected = ProtectedPaths::default();
    protected.add_store(&at("srv/store"));
    mount.set_protected(Arc::new(protected)).unwrap();
    fs::rename(at("pub"), at("kept")).unwrap();
    assert_eq!(text(&mount, "v").unwrap(), "kept");
    for to in ["srv", "srv/store", "."] {
        symlink(at(to), at("pub")).unwrap();
        assert_eq!(text(&mount, "v").unwrap(), "kept", "{to}");
        assert!(matches!(mount.reopen(), Err(MountError::Exposes(_))), "{to}");
        fs::remove_file(at("pub")).unwrap();
    }
    fs::write(at("pub"), "a file").unwrap();
    assert_eq!(text(&mount, "v").unwrap(), "kept");
    assert!(matches!(mount.reopen(), Err(MountError::NotADirectory)));
}

/// DirMount checks its path at the set interval, and reopen does so at once.
#[test]
fn dir_mount_checks_path_at_set_interval() {
    let home = tempfile::tempdir().unwrap();
    let at = |path: &str| home.path().join(path);
    with_file(&at("pub"), "old");
    let hour = Duration::from_secs(3600);
    let mount = DirMount::open(&at("pub"), Clock::system()).unwrap().check_every(hour);
    with_file(&at("new"), "new");
    fs::rename(at("pub"), at("old")).unwrap();
    fs::rename(at("new"), at("pub")).unwrap();
    assert_eq!(text(&mount, "v").unwrap(), "old");
    // A signal does not wait for the next check.
    assert!(mount.reopen().unwrap());
    assert_eq!(text(&mount, "v").unwrap(), "new");
    assert!(!mount.reopen().unwrap());
}

/// A public DirMount hides key files and files that only their owner may read.
#[test]
fn dir_mount_public_hides_key_and_private_files() {
    let home = tempfile::tempdir().unwrap();
    for name in ["server.key", "default.zkey", "v"] {
        fs::write(home.path().join(name), name).unwrap();
    }
    let open = || DirMount::open(home.path(), Clock::system()).unwrap();
    assert_eq!(text(&open(), "server.key").unwrap(), "server.key");
    let public = open().public();
    for name in ["server.key", "default.zkey"] {
        assert!(matches!(public.find(name), Err(MountError::Unreadable)), "{name}");
    }
    assert_eq!(text(&public, "v").unwrap(), "v");
    if !rustix::process::geteuid().is_root() {
        return zput_skip::because("only root reads what another user has closed to all others");
    }
    use std::os::unix::fs::{PermissionsExt, chown};
    let path = home.path().join("v");
    chown(&path, Some(54_321), None).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(matches!(public.find("v"), Err(MountError::Unreadable)));
    assert_eq!(text(&open(), "v").unwrap(), "v");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(text(&public, "v").unwrap(), "v");
}

/// Files of /proc claim 0 bytes, those of /sys 4096.
#[test]
fn dir_mount_refuses_proc_and_sys_files() {
    for (root, file) in
        [("/proc", "version"), ("/proc/sys/kernel", "ostype"), ("/sys/kernel", "uevent_seqnum")]
    {
        if !Path::new(root).join(file).exists() {
            return zput_skip::because(format!("there is no {root}/{file}"));
        }
        let mount = DirMount::open(Path::new(root), Clock::system()).unwrap();
        let refused = mount.find(file).unwrap_err();
        assert!(matches!(refused, MountError::NoSize), "{root}/{file}: {refused}");
        assert_eq!(refused.code(), zput_proto::message::ErrorCode::NotFound);
    }
    let home = Home::new();
    fs::write(home.path("empty"), "").unwrap();
    assert_eq!(home.mount.find("empty").unwrap().length, 0);
}
