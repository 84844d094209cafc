//! Archives of the system's tar are read as they were meant.

use std::{
    os::unix::fs::{FileExt, symlink},
    path::Path,
    process::Command,
    time::SystemTime,
};

use zput_skip::or_skip;

use super::*;

/// A directory with an archive of `tree`; the error says why none could be made.
fn tar(tree: &Path, arguments: &[&str]) -> Result<TempDir, String> {
    let dir = tempfile::tempdir().unwrap();
    let command = Command::new("tar")
        .arg("-C")
        .arg(tree)
        .arg("-cf")
        .arg(dir.path().join("archive.tar"))
        .args(arguments)
        .status();
    match command {
        Ok(status) if status.success() => Ok(dir),
        Ok(status) => Err(format!("this tar does not know {arguments:?} ({status})")),
        Err(error) => Err(format!("there is no tar ({error})")),
    }
}

/// A tree with files that distinguish the formats.
fn tree() -> TempDir {
    let tree = tempfile::tempdir().unwrap();
    let at = |path: &str| tree.path().join(path);
    fs::create_dir_all(at("dir/empty")).unwrap();
    fs::write(at("a"), "hello").unwrap();
    fs::write(at("dir/empty file"), "").unwrap();
    fs::write(at("dir/block"), [7; 512]).unwrap();
    fs::write(at("dir/more"), [8; 513]).unwrap();
    fs::write(at("Grüße-日本.txt"), "non-ASCII").unwrap();
    fs::hard_link(at("a"), at("z-hard")).unwrap();
    symlink("a", at("symbolic")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe"), rustix::fs::Mode::RWXU).unwrap();
    let time = SystemTime::UNIX_EPOCH + std::time::Duration::new(1_600_000_000, 500_000_000);
    fs::File::open(at("a")).unwrap().set_modified(time).unwrap();
    tree
}

const CONTENTS: [(&str, &[u8]); 6] = [
    ("Grüße-日本.txt", b"non-ASCII"),
    ("a", b"hello"),
    ("dir/block", &[7; 512]),
    ("dir/empty file", b""),
    ("dir/more", &[8; 513]),
    ("z-hard", b"hello"),
];

fn paths(mount: &TarMount) -> Vec<String> {
    let page = mount.list(None, 1000).unwrap();
    page.entries.into_iter().map(|listed| listed.path).collect()
}

/// Archives of the system's tar in its six formats are read with times and contents.
#[test]
fn system_tar_archive_of_every_format_is_read() {
    let tree = tree();
    for format in ["v7", "ustar", "oldgnu", "gnu", "pax", "posix"] {
        // The oldest format has no type for a pipe.
        let without = if format == "v7" { "./pipe" } else { "none" };
        let arguments = [&format!("--format={format}"), "--exclude", without, "."];
        let dir = or_skip!(tar(tree.path(), &arguments), continue);
        let mount = TarMount::open(&dir.path().join("archive.tar"), None).unwrap();
        let mut expected: Vec<&str> = CONTENTS.iter().map(|(path, _)| *path).collect();
        expected.sort_unstable();
        assert_eq!(paths(&mount), expected, "{format}");
        for (path, content) in CONTENTS {
            assert_eq!(bytes(&mount.find(path).unwrap()), content, "{format} {path}");
        }
        let modified = mount.find("a").unwrap().modified;
        let nanoseconds = if matches!(format, "pax" | "posix") { 500_000_000 } else { 0 };
        assert_eq!(modified, FileTime { seconds: 1_600_000_000, nanoseconds }, "{format}");
        let special = if format == "v7" { 1 } else { 2 };
        assert_eq!(mount.current().index.skipped().special, special, "{format}");
    }
}

/// Long names and links in archives of the system's tar are read.
#[test]
fn system_tar_long_names_are_read() {
    let tree = tempfile::tempdir().unwrap();
    let directory = ["d".repeat(90), "e".repeat(60)].join("/");
    fs::create_dir_all(tree.path().join(&directory)).unwrap();
    // 100 and 155 bytes are the most that fit into ustar's fields.
    let fits = format!("{directory}/{}", "f".repeat(99));
    let long = format!("{directory}/{}", "é".repeat(100));
    let link = format!("{directory}/{}", "z".repeat(200));
    fs::write(tree.path().join(&fits), "fits").unwrap();
    for format in ["ustar", "gnu", "pax"] {
        if format == "gnu" {
            fs::write(tree.path().join(&long), "long").unwrap();
            fs::hard_link(tree.path().join(&long), tree.path().join(&link)).unwrap();
        }
        let arguments = ["--sort=name", &format!("--format={format}"), &"d".repeat(90)];
        let dir = or_skip!(tar(tree.path(), &arguments), continue);
        let mount = TarMount::open(&dir.path().join("archive.tar"), None).unwrap();
        assert_eq!(bytes(&mount.find(&fits).unwrap()), b"fits", "{format}");
        if format != "ustar" {
            assert_eq!(bytes(&mount.find(&long).unwrap()), b"long", "{format}");
            assert_eq!(bytes(&mount.find(&link).unwrap()), b"long", "{format}");
            assert_eq!(paths(&mount), [fits.clone(), link.clone(), long.clone()]);
        }
        let inside = TarMount::open(&dir.path().join("archive.tar"), Some(&directory)).unwrap();
        assert_eq!(bytes(&inside.find(&"f".repeat(99)).unwrap()), b"fits");
    }
}

/// A sparse file with more data ranges than fit into a header's map.
#[test]
fn system_tar_sparse_member_is_refused_by_name() {
    let tree = tempfile::tempdir().unwrap();
    let file = fs::File::create(tree.path().join("disk")).unwrap();
    for i in 0..60 {
        file.write_all_at(&[1; 4096], i * 1_048_576).unwrap();
    }
    fs::write(tree.path().join("z"), "after").unwrap();
    for arguments in [
        &["--format=gnu"][..],
        &["--format=oldgnu"],
        &["--format=pax", "--sparse-version=0.0"],
        &["--format=pax", "--sparse-version=0.1"],
        &["--format=pax", "--sparse-version=1.0"],
    ] {
        let all = [arguments, &["--sparse", "--sort=name", "disk", "z"]].concat();
        let dir = or_skip!(tar(tree.path(), &all), continue);
        let mount = TarMount::open(&dir.path().join("archive.tar"), None).unwrap();
        assert_eq!(paths(&mount), ["z"], "{arguments:?}");
        assert_eq!(bytes(&mount.find("z").unwrap()), b"after", "{arguments:?}");
        match mount.find("disk") {
            Err(error @ MountError::Unavailable(Unavailable::Sparse)) => assert_eq!(
                error.to_string(),
                "this member cannot be served: it is sparse; make the archive without --sparse \
                 (GNU tar), or \
                 with --no-read-sparse (bsdtar)"
            ),
            // The file system does not keep holes.
            other => panic!("{arguments:?}: {other:?}"),
        }
    }
}

/// A member appended by the system's tar replaces the earlier one of its name.
#[test]
fn system_tar_appended_member_replaces_earlier_one() {
    let tree = tree();
    let dir = or_skip!(tar(tree.path(), &["--format=gnu", "a", "dir"]));
    fs::write(tree.path().join("a"), "hello again").unwrap();
    let archive = dir.path().join("archive.tar");
    let status =
        Command::new("tar").arg("-C").arg(tree.path()).arg("-rf").arg(&archive).arg("a").status();
    assert!(status.unwrap().success());
    let mount = TarMount::open(&archive, None).unwrap();
    assert_eq!(bytes(&mount.find("a").unwrap()), b"hello again");
    assert_eq!(paths(&mount).iter().filter(|path| *path == "a").count(), 1);
}

/// Archives of `tar -P`, and compressed archives, are refused.
#[test]
fn system_tar_absolute_or_compressed_archive_is_refused() {
    let tree = tree();
    let absolute = tree.path().join("a");
    let dir = or_skip!(tar(tree.path(), &["-P", absolute.to_str().unwrap()]));
    let error = TarMount::open(&dir.path().join("archive.tar"), None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the archive is refused: at byte 0: a name is absolute (made with -P?)"
    );
    let dir = or_skip!(tar(tree.path(), &["-z", "a"]));
    let error = TarMount::open(&dir.path().join("archive.tar"), None).unwrap_err();
    assert!(matches!(error, MountError::Compressed(Compression::Gzip)), "{error}");
}

/// Labels and global headers may come before members.
#[test]
fn system_tar_label_is_skipped() {
    let tree = tree();
    for format in ["gnu", "pax"] {
        let arguments = [&format!("--format={format}"), "-V", "a label", "a"];
        let dir = or_skip!(tar(tree.path(), &arguments), continue);
        let mount = TarMount::open(&dir.path().join("archive.tar"), None).unwrap();
        assert_eq!(paths(&mount), ["a"], "{format}");
    }
}
