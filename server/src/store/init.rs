//! Making a store, and recognising one.

use std::{
    ffi::OsStr,
    io::ErrorKind,
    os::{fd::AsFd, unix::fs::FileExt},
    path::{Component, Path},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use zput_common::keys::server::ServerKeySeed;

use super::{
    FORMAT,
    clock::Clock,
    directories,
    error::{Doing, StoreError},
    layout::{LOCKS, SERVER_KEY_FILE, STORE_FILE, Shard, Shelf},
    root::Root,
    server_key, small_file,
    sync::Syncs,
};
use crate::sys::fs;

/// The store's file while the rest is still being made: a directory that has it is a store that nobody finished.
const UNFINISHED: &str = ".tmp-zput-store.toml";
/// What a fresh ext4 has in its root.
const LOST_AND_FOUND: &str = "lost+found";

const STORE_FILE_TEXT: &str = "\
# This directory is a zput store. docs/STORE.md says what is in it.
format = 1
";

#[derive(Serialize, Deserialize)]
struct StoreFile {
    // A newer format may have more fields.
    format: u64,
}

/// Opens the store in `path`, or makes one where nothing is yet. Two processes that do it at once make one store.
pub(super) fn open_or_make(
    path: &Path,
    clock: Clock,
) -> Result<(Arc<Syncs>, ServerKeySeed), StoreError> {
    make_durable_dir(path)?;
    open(path, clock, |syncs| {
        if let Some(error) = syncs.why_read_only() {
            return Err(StoreError::NotWritable(error));
        }
        // An attempt that ended early may have made the directory and not have come to this.
        sync_parent(path)?;
        make(syncs)
    })
}

/// Opens the store in `path`, which must be there.
pub(super) fn open_existing(
    path: &Path,
    clock: Clock,
) -> Result<(Arc<Syncs>, ServerKeySeed), StoreError> {
    open(path, clock, |_| Err(StoreError::NoStore))
}

/// Opens the store in `path`; `missing` is what to do in a directory that is none.
fn open(
    path: &Path,
    clock: Clock,
    missing: impl FnOnce(&Syncs) -> Result<(), StoreError>,
) -> Result<(Arc<Syncs>, ServerKeySeed), StoreError> {
    let root = fs::open_root(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => StoreError::NoStore,
        ErrorKind::NotADirectory => StoreError::NotADirectory,
        ErrorKind::PermissionDenied => StoreError::NotWritable(error),
        _ => StoreError::Io { doing: "open the store's directory", file: None, source: error },
    })?;
    let read_only = match fs::check_writable(&root) {
        Ok(()) => None,
        // A snapshot, a disk that was mounted to be read, or files of somebody else: what can be read is served.
        Err(error) if fs::may_not_write(&error) && fs::check_readable(&root).is_ok() => Some(error),
        Err(error) => return Err(StoreError::NotWritable(error)),
    };
    let syncs = Syncs::new(Root::new(Arc::new(root), path)?, clock, read_only.as_ref());
    let root = syncs.root();
    {
        // Held while it is looked at or made.
        let alone = fs::open_dir(root, ".").doing("open the store's directory")?;
        if !syncs.is_read_only() {
            fs::lock(&alone).doing("lock the store's directory")?;
        }
        match small_file::read(root, STORE_FILE, STORE_FILE)? {
            Some(text) => check_store_file(&text)?,
            None => missing(&syncs)?,
        }
        directories::mend(&syncs)?;
    }
    let server_key = server_key::read(root)?;
    if let Some(why) = read_only {
        tracing::warn!(%why, "the store is read-only: gets and lists go on, puts are refused");
    }
    Ok((Arc::new(syncs), server_key))
}

/// Makes the directory and those above it, as far as they are missing, each one's name durable. What root makes belongs to
/// the owner of the directory above.
fn make_durable_dir(path: &Path) -> Result<(), StoreError> {
    const MAKING: &str = "make the store's directory";
    let mut missing: Vec<&Path> = path.ancestors().take_while(|dir| !dir.exists()).collect();
    while let Some(dir) = missing.pop() {
        // The last ancestor of a relative path is "".
        let Some(Component::Normal(name)) = dir.components().next_back() else { continue };
        let Some(name) = OsStr::to_str(name) else {
            return Err(std::io::Error::from(ErrorKind::InvalidFilename)).doing(MAKING);
        };
        let made = fs::open_root(above(dir)).and_then(|parent| fs::make_dir(parent, name));
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

/// The directory that `dir` is in.
fn above(dir: &Path) -> &Path {
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Makes the name of a directory durable. Where the one above may not be read, somebody else has made it.
fn sync_parent(dir: &Path) -> Result<(), StoreError> {
    match fs::open_root(above(dir)) {
        Ok(parent) => fs::sync_dir(parent).doing("sync a directory"),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
        Err(error) => Err(error).doing("open the directory above"),
    }
}

/// Whether this is the text of a store's file, of a format that is known.
pub(super) fn check_store_file(text: &str) -> Result<(), StoreError> {
    let file: StoreFile = toml::from_str(text).map_err(|_| StoreError::Damaged(STORE_FILE))?;
    match file.format {
        FORMAT => Ok(()),
        found if found > FORMAT => Err(StoreError::NewerFormat { found }),
        _ => Err(StoreError::Damaged(STORE_FILE)),
    }
}

/// Makes a store in an empty directory, or goes on where somebody stopped. The store's file gets its name last.
fn make(syncs: &Syncs) -> Result<(), StoreError> {
    let root = syncs.root();
    let names = fs::names(root).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let names = names.doing("read a directory")?;
    let unfinished = names.iter().any(|name| name == UNFINISHED);
    if !unfinished && names.iter().any(|name| name == SERVER_KEY_FILE) {
        return Err(StoreError::Unmarked);
    }
    if !unfinished && names.iter().any(|name| name != LOST_AND_FOUND) {
        return Err(StoreError::Foreign);
    }
    if !unfinished {
        fs::create(root, UNFINISHED).doing("make a store")?;
    }
    // Whoever made it may not have come to this.
    syncs.dir(root)?;
    for dir in directories::SMALL {
        fs::make_dir(root, dir).doing("make a store")?;
    }
    let locks = fs::open_dir(root, LOCKS).doing("make a store")?;
    for shard in Shard::all() {
        directories::make_lock(locks.as_fd(), &shard.to_string(), &shard.lock_file())?;
    }
    syncs.dir(&locks)?;
    for shelf in Shelf::ALL {
        fs::make_dir(root, shelf.name()).doing("make a store")?;
        let shelf = fs::open_dir(root, shelf.name()).doing("make a store")?;
        for shard in Shard::all() {
            fs::make_dir(&shelf, &shard.to_string()).doing("make a store")?;
        }
        syncs.dir(&shelf)?;
    }
    server_key::make(syncs)?;
    let file = fs::open_lock(root, UNFINISHED).doing("make a store")?;
    file.write_all_at(STORE_FILE_TEXT.as_bytes(), 0).doing("make a store")?;
    syncs.data(&file, "sync a file")?;
    // All of the store has a durable name before it is called one, and that is durable before the other one goes: a
    // directory's entries reach the disk in any order, and those of a rename need not do it together.
    syncs.dir(root)?;
    fs::link(root, UNFINISHED, root, STORE_FILE).doing("make a store")?;
    syncs.dir(root)?;
    fs::unlink(root, UNFINISHED).doing("make a store")
}
