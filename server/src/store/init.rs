//! Making a store, and recognising one.

use std::{
    fs::DirBuilder,
    io::ErrorKind,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::{DirBuilderExt, FileExt},
    },
    path::Path,
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use zput_common::keys::server::ServerKeySeed;

use super::{
    FORMAT,
    clock::Clock,
    error::{Doing, StoreError},
    layout::{CLIENTS, INVITES, LOCKS, QUARANTINE, STAGING, STORE_FILE, Shard, Shelf},
    server_key, small_file,
    sync::Syncs,
};
use crate::sys::fs::{self, EntryKind};

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
        _ => StoreError::Io { doing: "open the store's directory", source: error },
    })?;
    fs::check_writable(&root).map_err(StoreError::NotWritable)?;
    let syncs = Syncs::new(Arc::new(root), clock);
    let root = syncs.root();
    {
        // Held while it is looked at or made.
        let alone = fs::open_dir(root, ".").doing("open the store's directory")?;
        fs::lock(&alone).doing("lock the store's directory")?;
        match small_file::read(root, STORE_FILE)? {
            Some(text) => check_store_file(&text)?,
            None => missing(&syncs)?,
        }
    }
    check_layout(root)?;
    let server_key = server_key::read(root)?;
    Ok((Arc::new(syncs), server_key))
}

/// Makes the directory and those above it, as far as they are missing, each one's name durable.
fn make_durable_dir(path: &Path) -> Result<(), StoreError> {
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    let mut missing: Vec<&Path> = path.ancestors().take_while(|dir| !dir.exists()).collect();
    while let Some(dir) = missing.pop() {
        // The last ancestor of a relative path is "".
        if dir.as_os_str().is_empty() {
            continue;
        }
        match builder.create(dir) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(match error.kind() {
                    ErrorKind::NotADirectory => StoreError::NotADirectory,
                    ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                        StoreError::NotWritable(error)
                    }
                    _ => StoreError::Io { doing: "make the store's directory", source: error },
                });
            }
            _ => {}
        }
        sync_parent(dir)?;
    }
    Ok(())
}

/// Makes the name of a directory durable. Where the one above may not be read, somebody else has made it.
fn sync_parent(dir: &Path) -> Result<(), StoreError> {
    let parent = match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    match fs::open_root(parent) {
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
    if !unfinished && names.iter().any(|name| name != LOST_AND_FOUND) {
        return Err(StoreError::Foreign);
    }
    if !unfinished {
        fs::create(root, UNFINISHED).doing("make a store")?;
    }
    // Whoever made it may not have come to this.
    syncs.dir(root)?;
    for dir in [STAGING, QUARANTINE, LOCKS, CLIENTS, INVITES] {
        fs::make_dir(root, dir).doing("make a store")?;
    }
    let locks = fs::open_dir(root, LOCKS).doing("make a store")?;
    for shard in Shard::all() {
        match fs::create(&locks, &shard.to_string()) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            result => drop(result.doing("make a store")?),
        }
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

/// Every directory is there and is one. (A missing `objects/ab` would look like objects that nobody put.)
pub(super) fn check_layout(root: BorrowedFd<'_>) -> Result<(), StoreError> {
    for dir in [STAGING, QUARANTINE, CLIENTS, INVITES] {
        check_kind(root, dir, EntryKind::Directory, dir)?;
    }
    check_shards(root, LOCKS, EntryKind::File)?;
    for shelf in Shelf::ALL {
        check_shards(root, shelf.name(), EntryKind::Directory)?;
    }
    Ok(())
}

fn check_shards(root: BorrowedFd<'_>, dir: &str, wanted: EntryKind) -> Result<(), StoreError> {
    check_kind(root, dir, EntryKind::Directory, dir)?;
    let fd = fs::open_dir(root, dir).doing("open a directory")?;
    for shard in Shard::all() {
        check_kind(fd.as_fd(), &shard.to_string(), wanted, &format!("{dir}/{shard}"))?;
    }
    Ok(())
}

fn check_kind(
    dir: BorrowedFd<'_>,
    name: &str,
    wanted: EntryKind,
    path: &str,
) -> Result<(), StoreError> {
    match fs::identity_at(dir, name) {
        Ok(identity) if identity.kind == wanted => Ok(()),
        Ok(_) => Err(StoreError::Missing(path.to_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(StoreError::Missing(path.to_owned()))
        }
        Err(error) => Err(error).doing("look at a directory"),
    }
}
