//! Creating a store, and recognising one.

use std::{
    ffi::OsStr,
    io::ErrorKind,
    os::unix::fs::FileExt,
    path::{Component, Path},
    sync::Arc,
};

use zput_os::Clock;
use zput_proto::keys::ServerKeySeed;

use super::{
    clock_file::ClockFile,
    directories,
    error::{Context, StoreError},
    features::{Features, Opening},
    fsync::Fsync,
    layout::{CLOCK_FILE, SERVER_KEY_FILE, STORE_FILE},
    random,
    root::Root,
    server_key, small_file,
};
use crate::sys::fs;

/// The store's file under a temporary name while the rest of the store is being made. A directory
/// with this file is a store whose creation was interrupted.
const UNFINISHED_STORE_FILE: &str = ".tmp-zput-store.toml";
/// The directory that a new ext4 file system has in its root.
const LOST_AND_FOUND: &str = "lost+found";

/// Opens the store in `path`, or creates one in an empty or missing directory. Two processes that
/// do so at once create one store.
pub(super) fn open_or_make(
    path: &Path,
    clock: Clock,
) -> Result<(Arc<Fsync>, ServerKeySeed), StoreError> {
    make_durable_dir(path)?;
    open(path, clock, |fsync| {
        if let Some(error) = fsync.why_read_only() {
            return Err(StoreError::NotWritable(error));
        }
        // An earlier attempt may have made the directory and ended before it synced the one above.
        sync_parent(path)?;
        create_layout(fsync)
    })
}

/// Opens the store in `path`, which must exist.
pub(super) fn open_existing(
    path: &Path,
    clock: Clock,
) -> Result<(Arc<Fsync>, ServerKeySeed), StoreError> {
    open(path, clock, |_| Err(StoreError::NoStore))
}

/// Opens the store in `path`; `missing` is called for a directory without a store.
fn open(
    path: &Path,
    clock: Clock,
    missing: impl FnOnce(&Fsync) -> Result<(), StoreError>,
) -> Result<(Arc<Fsync>, ServerKeySeed), StoreError> {
    let root = fs::open_root(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => StoreError::NoStore,
        ErrorKind::NotADirectory => StoreError::NotADirectory,
        ErrorKind::PermissionDenied => StoreError::NotWritable(error),
        _ => StoreError::Io { doing: "open the store's directory", file: None, source: error },
    })?;
    let read_only = match fs::check_writable(&root) {
        Ok(()) => None,
        // A snapshot, a disk that is mounted read-only, or another user's files: serve what can be
        // read.
        Err(error) if fs::is_write_denied(&error) && fs::check_readable(&root).is_ok() => {
            Some(error)
        }
        Err(error) => return Err(StoreError::NotWritable(error)),
    };
    let mut fsync = Fsync::new(Root::new(Arc::new(root), path)?, clock, read_only.as_ref());
    {
        // Locked while the store is recognised, created or repaired.
        let alone = fs::open_dir(fsync.root(), ".").context("open the store's directory")?;
        if !fsync.is_read_only() {
            fs::lock(&alone).context("lock the store's directory")?;
        }
        match small_file::read(fsync.root(), STORE_FILE, STORE_FILE)? {
            Some(text) => match Features::read(&text)? {
                Opening::Full => {}
                Opening::ReadOnly(word) => fsync.only_read(word),
                Opening::Refused(word) => return Err(StoreError::UnknownFeature(word)),
            },
            None => missing(&fsync)?,
        }
        directories::repair(&fsync)?;
    }
    let server_key = server_key::read(fsync.root())?;
    if let Some(why) = fsync.why_read_only() {
        tracing::warn!(error = %why, "the store is read-only: gets and lists work, puts are refused");
    }
    Ok((Arc::new(fsync), server_key))
}

/// Makes the directory and its missing ancestors, and makes the name of each durable. A directory
/// that root makes belongs to the owner of the directory above.
fn make_durable_dir(path: &Path) -> Result<(), StoreError> {
    const MAKING: &str = "make the store's directory";
    let mut missing: Vec<&Path> = path.ancestors().take_while(|dir| !dir.exists()).collect();
    while let Some(dir) = missing.pop() {
        // The last ancestor of a relative path is "".
        let Some(Component::Normal(name)) = dir.components().next_back() else { continue };
        let Some(name) = OsStr::to_str(name) else {
            return Err(std::io::Error::from(ErrorKind::InvalidFilename)).context(MAKING);
        };
        let made = fs::open_root(parent_of(dir))
            .and_then(|parent| fs::make_dir(parent, name, fs::DIR_MODE));
        if let Err(error) = made {
            return Err(match error.kind() {
                ErrorKind::NotADirectory => StoreError::NotADirectory,
                ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                    StoreError::NotWritable(error)
                }
                _ => StoreError::Io { doing: MAKING, file: None, source: error },
            });
        }
        sync_parent(dir)?;
    }
    Ok(())
}

/// The directory that contains `dir`.
fn parent_of(dir: &Path) -> &Path {
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Makes the name of a directory durable. Where the directory above may not be read, this process
/// cannot have made `dir`.
fn sync_parent(dir: &Path) -> Result<(), StoreError> {
    match fs::open_root(parent_of(dir)) {
        Ok(parent) => fs::sync_dir(parent).context("sync a directory"),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
        Err(error) => Err(error).context("open the directory above"),
    }
}

/// Creates a store in an empty directory, or continues an interrupted creation. The store's file
/// gets its name last.
fn create_layout(fsync: &Fsync) -> Result<(), StoreError> {
    let root = fsync.root();
    let names = fs::names(root).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let names = names.context("read a directory")?;
    let unfinished = names.iter().any(|name| name == UNFINISHED_STORE_FILE);
    if !unfinished && names.iter().any(|name| name == SERVER_KEY_FILE) {
        return Err(StoreError::IncompleteCopy);
    }
    if !unfinished && names.iter().any(|name| name != LOST_AND_FOUND) {
        return Err(StoreError::NotAStore);
    }
    if !unfinished {
        fs::create(root, UNFINISHED_STORE_FILE).context("make a store")?;
    }
    // The process that created the file may have been killed before it synced the directory.
    fsync.dir(root)?;
    for dir in directories::first_level() {
        fs::make_dir(root, dir, fs::DIR_MODE).context("make a store")?;
    }
    create_clock(fsync)?;
    server_key::create(fsync)?;
    let text = Features::of_new_store(&random::bytes()?);
    let file = fs::open_lock(root, UNFINISHED_STORE_FILE).context("make a store")?;
    file.write_all_at(text.as_bytes(), 0).context("make a store")?;
    // An earlier attempt may have written more.
    file.set_len(text.len() as u64).context("make a store")?;
    fsync.data(&file, "sync a file")?;
    // All of the store is durable before the store's file gets its name, and that name is durable
    // before the temporary one is removed: the entries of a directory reach the disk in any order,
    // and the two halves of a rename need not reach it together.
    fsync.dir(root)?;
    fs::link(root, UNFINISHED_STORE_FILE, root, STORE_FILE).context("make a store")?;
    fsync.dir(root)?;
    fs::unlink(root, UNFINISHED_STORE_FILE).context("make a store")
}

/// Creates the file of the newest instant, of which none has been given.
fn create_clock(fsync: &Fsync) -> Result<(), StoreError> {
    let file = match fs::create(fsync.root(), CLOCK_FILE) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            fs::open_write(fsync.root(), CLOCK_FILE)
        }
        made => made,
    };
    let file = file.context("make a store")?;
    let none = ClockFile { last: 0, reserved: 0, boot: [0; 16] };
    file.write_all_at(&none.encode(), 0).context("make a store")?;
    file.set_len(ClockFile::BYTES as u64).context("make a store")?;
    fsync.data(&file, "sync a file")
}
