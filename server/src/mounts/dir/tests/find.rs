//! A path finds its file, and nothing else.

use std::{
    os::unix::{
        fs::{FileExt, symlink},
        net::UnixListener,
    },
    sync::atomic::AtomicBool,
    thread,
    time::{Duration, SystemTime},
};

use rustix::{
    fs::{CWD, FileType, Mode, inotify},
    io::Errno,
};
use zput_proto::message::ErrorCode;
use zput_skip as skip;

use super::*;
use crate::mounts::{FileTime, PathError};

fn bytes(found: &FoundFile) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(found.length).unwrap()];
    found.file.read_exact_at(&mut bytes, found.offset).unwrap();
    bytes
}

fn fifo(path: PathBuf) {
    rustix::fs::mkfifoat(CWD, path, Mode::RWXU).unwrap();
}

/// DirMount::find returns a file's bytes, length and modification time, or NotFound.
#[test]
fn dir_mount_finds_file_with_length_and_mtime() {
    let home = Home::new();
    home.file("images/app.img");
    home.file("Grüße/日本");
    home.file("empty");
    fs::write(home.path("empty"), "").unwrap();
    let time = SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_789);
    fs::File::open(home.path("images/app.img")).unwrap().set_modified(time).unwrap();

    let found = home.mount.find("images/app.img").unwrap();
    assert_eq!((found.offset, found.length), (0, 14));
    assert_eq!(bytes(&found), b"images/app.img");
    assert_eq!(found.modified, FileTime { seconds: 1_700_000_000, nanoseconds: 123_456_789 });
    assert_eq!(bytes(&home.mount.find("Grüße/日本").unwrap()), "Grüße/日本".as_bytes());
    assert_eq!(home.mount.find("empty").unwrap().length, 0);
    for path in ["images/other", "images/app.img/x", "other/app.img", "x"] {
        let error = home.mount.find(path).unwrap_err();
        assert!(matches!(error, MountError::NotFound), "{path}: {error}");
        assert_eq!(error.code(), ErrorCode::NotFound);
    }
    let long = "x".repeat(1000);
    assert!(matches!(home.mount.find(&long), Err(MountError::NotFound)));
}

/// DirMount rejects dot segments, absolute, empty, long and NUL paths as not found.
#[test]
fn dir_mount_rejects_path_that_leaves_root() {
    let home = Home::new();
    home.file("dir/file");
    fs::write(home.dir.path().join("secret"), "secret").unwrap();
    let absolute = home.dir.path().join("secret").to_str().unwrap().to_owned();
    for (path, kind) in [
        ("", PathError::Empty),
        ("../secret", PathError::Dots),
        ("dir/../../secret", PathError::Dots),
        ("dir/../dir/file", PathError::Dots),
        ("./dir/file", PathError::Dots),
        (".", PathError::Dots),
        ("dir//file", PathError::EmptyComponent),
        ("dir/file/", PathError::EmptyComponent),
        ("/", PathError::EmptyComponent),
        (&absolute, PathError::EmptyComponent),
        ("dir/file\0", PathError::Nul),
        (&"x/".repeat(513), PathError::TooLong),
    ] {
        let error = home.mount.find(path).unwrap_err();
        assert!(matches!(error, MountError::Path(found) if found == kind), "{path}: {error}");
        assert_eq!(error.code(), ErrorCode::NotFound);
    }
}

/// The kernel refuses these paths, even if they were not checked before.
#[test]
fn openat2_refuses_unchecked_path_outside_root() {
    let home = Home::new();
    home.file("dir/file");
    fs::write(home.dir.path().join("secret"), "secret").unwrap();
    let absolute = home.dir.path().join("secret").to_str().unwrap().to_owned();
    for path in ["../secret", "dir/../../secret", &absolute] {
        for error in [
            tree::open_path(&*home.mount.current(), path).unwrap_err(),
            tree::open_read(&*home.mount.current(), path).unwrap_err(),
            tree::open_dir(&*home.mount.current(), path).unwrap_err(),
        ] {
            assert_eq!(Errno::from_io_error(&error), Some(Errno::XDEV), "{path}");
        }
    }
}

/// DirMount finds and lists nothing through a symbolic link, inside or outside the tree.
#[test]
fn dir_mount_follows_no_link() {
    let home = Home::new();
    home.file("dir/file");
    let outside = home.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "secret").unwrap();
    let link = |target: &str, name: &str| symlink(target, home.path(name)).unwrap();
    link(outside.to_str().unwrap(), "absolute");
    link("../outside", "upwards");
    link("dir", "inside");
    link(".", "itself");
    link(outside.join("file").to_str().unwrap(), "to-file-outside");
    link("dir/file", "to-file-inside");
    link("nowhere", "dangling");
    link("loop", "loop");
    link("/proc/self/root", "magic");
    for path in [
        "absolute/file",
        "upwards/file",
        "inside/file",
        "itself/dir/file",
        "to-file-outside",
        "to-file-inside",
        "dangling",
        "loop",
        "loop/x",
        "magic/etc/passwd",
    ] {
        let error = home.mount.find(path).unwrap_err();
        assert!(matches!(error, MountError::NotFound), "{path}: {error}");
    }
    assert_eq!(home.list(10), ["dir/file"]);
}

/// DirMount refuses directories, pipes, sockets and devices, and does not list them.
#[test]
fn dir_mount_serves_only_regular_files() {
    let home = Home::new();
    home.file("dir/file");
    fifo(home.path("pipe"));
    let _socket = UnixListener::bind(home.path("socket")).unwrap();
    match rustix::fs::mknodat(
        CWD,
        home.path("null"),
        FileType::CharacterDevice,
        Mode::RUSR,
        rustix::fs::makedev(1, 3),
    ) {
        Ok(()) => {}
        Err(Errno::PERM) => println!("no device was made: this needs root"),
        Err(error) => panic!("{error}"),
    }
    for path in ["dir", "pipe", "socket", "null"] {
        match home.mount.find(path) {
            Err(MountError::NotAFile) => {}
            Err(MountError::NotFound) if path == "null" && !home.path("null").exists() => {}
            other => panic!("{path}: {other:?}"),
        }
    }
    assert_eq!(home.list(10), ["dir/file"]);
}

/// A process at the other end of a pipe, or a driver that acts when its device is opened, does not
/// notice a lookup.
#[test]
fn dir_mount_lookup_never_opens_pipe() {
    let home = Home::new();
    home.file("file");
    fifo(home.path("pipe"));
    let watch = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
    let mut buffer = [std::mem::MaybeUninit::uninit(); 1024];
    let mut opened = |name: &str| {
        inotify::add_watch(&watch, home.path(name), inotify::WatchFlags::OPEN).unwrap();
        let _ = home.mount.find(name);
        let mut events = inotify::Reader::new(&watch, &mut buffer);
        events.next().map(|event| event.events()).ok()
    };
    assert_eq!(opened("pipe"), None);
    assert_eq!(opened("file"), Some(inotify::ReadFlags::OPEN));
}

/// A name that keeps changing between a file, a directory, a pipe and links never returns anything
/// but the file, and never blocks.
#[test]
fn dir_mount_find_is_safe_while_tree_changes() {
    let home = Home::new();
    let outside = home.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "secret").unwrap();
    home.file("good/file");
    let shapes = home.dir.path().join("shapes");
    fs::create_dir(&shapes).unwrap();
    let done = AtomicBool::new(false);
    let (mut found, mut lost) = (0, 0);
    thread::scope(|scope| {
        scope.spawn(|| {
            let swap = |name: &str| {
                fs::rename(shapes.join(name), home.path("d")).unwrap();
                thread::yield_now();
                fs::rename(home.path("d"), shapes.join(name)).unwrap();
            };
            symlink(&outside, shapes.join("link")).unwrap();
            symlink("good", shapes.join("link-inside")).unwrap();
            fs::create_dir(shapes.join("dir")).unwrap();
            fs::write(shapes.join("dir/file"), "good/file").unwrap();
            fs::create_dir(shapes.join("dir-of-link")).unwrap();
            symlink(outside.join("file"), shapes.join("dir-of-link/file")).unwrap();
            fs::create_dir(shapes.join("dir-of-pipe")).unwrap();
            fifo(shapes.join("dir-of-pipe/file"));
            while !done.load(Ordering::SeqCst) {
                for shape in ["link", "link-inside", "dir-of-link", "dir-of-pipe"] {
                    swap(shape);
                    swap("dir");
                }
            }
        });
        // On a busy machine one of the two threads may not run for long.
        for round in 0.. {
            if round >= 30_000 && found > 0 && lost > 0 {
                break;
            }
            assert!(round < 10_000_000, "{found} {lost}");
            match home.mount.find("d/file") {
                Ok(file) => {
                    assert_eq!(bytes(&file), b"good/file");
                    found += 1;
                }
                Err(MountError::NotFound | MountError::NotAFile) => lost += 1,
                Err(error) => panic!("{error}"),
            }
        }
        done.store(true, Ordering::SeqCst);
    });
    assert!(found > 0 && lost > 0, "{found} {lost}");
}

/// A replaced file has another fingerprint even with equal name, bytes and time.
#[test]
fn dir_mount_fingerprint_changes_with_replaced_file() {
    let home = Home::new();
    home.file("file");
    let before = home.mount.find("file").unwrap();
    let same = home.mount.find("file").unwrap();
    assert_eq!(before.fingerprint, same.fingerprint);
    assert_eq!(before.fingerprint.etag(), same.fingerprint.etag());
    let listed = home.mount.list(None, 10).unwrap().entries;
    assert_eq!(listed[0].fingerprint, before.fingerprint);
    assert_eq!((listed[0].length, listed[0].modified), (4, before.modified));

    // Another file with the same bytes, the same time and the same name.
    fs::write(home.path("new"), "file").unwrap();
    let time = fs::metadata(home.path("file")).unwrap().modified().unwrap();
    fs::File::open(home.path("new")).unwrap().set_modified(time).unwrap();
    fs::rename(home.path("new"), home.path("file")).unwrap();
    let after = home.mount.find("file").unwrap();
    assert_eq!(after.modified, before.modified);
    assert_ne!(after.fingerprint, before.fingerprint);
    // The file that is open is unchanged.
    assert_eq!(bytes(&before), b"file");
}

/// DirMount::open needs an existing directory, and keeps the one it opened.
#[test]
fn dir_mount_root_must_be_existing_directory() {
    let home = Home::new();
    home.file("file");
    let open = |path: &str| DirMount::open(&home.path(path), Clock::system());
    assert!(matches!(open("file"), Err(MountError::NotADirectory)));
    assert!(matches!(open("nothing"), Err(MountError::Io { .. })));
    // The operator may have a link in the path of the root; the root remains the directory that was
    // opened.
    symlink("tree", home.dir.path().join("link")).unwrap();
    let mount = DirMount::open(&home.dir.path().join("link"), Clock::system()).unwrap();
    fs::rename(home.dir.path().join("tree"), home.dir.path().join("elsewhere")).unwrap();
    assert_eq!(bytes(&mount.find("file").unwrap()), b"file");
}

/// DirMount answers Denied for a file or directory that the server may not read.
#[test]
fn dir_mount_answers_denied_for_unreadable_file() {
    if rustix::process::geteuid().is_root() {
        return skip::because("root may read everything");
    }
    let home = Home::new();
    home.file("file");
    home.file("locked/file");
    home.file("open");
    rustix::fs::chmodat(CWD, home.path("file"), Mode::empty(), rustix::fs::AtFlags::empty())
        .unwrap();
    rustix::fs::chmodat(CWD, home.path("locked"), Mode::empty(), rustix::fs::AtFlags::empty())
        .unwrap();
    for path in ["file", "locked/file"] {
        assert_eq!(home.mount.find(path).unwrap_err().code(), ErrorCode::Denied, "{path}");
    }
    assert_eq!(home.list(10), ["file", "open"]);
    rustix::fs::chmodat(CWD, home.path("locked"), Mode::RWXU, rustix::fs::AtFlags::empty())
        .unwrap();
}
