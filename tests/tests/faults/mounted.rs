//! A [`Disk`] mounted by FUSE: what a program sees of it, system call by system call.
//!
//! Nothing is written back late: the kernel hands each write(2) on before it returns, so what the
//! disk has not synced is what a program has not synced.

use std::{
    collections::HashMap,
    ffi::OsStr,
    path::Path,
    process::Command,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem,
    FopenFlags, Generation, INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr,
    ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs,
    ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use tempfile::TempDir;

use super::disk::{Answer, BLOCK_BYTES, Disk, Node, ROOT};

/// How long the kernel may believe a name. Every change of one goes through it.
const NAMES_HOLD: Duration = Duration::from_secs(3600);
/// How long it may believe attributes: it does not count the names of a file by itself.
const ATTRIBUTES_HOLD: Duration = Duration::ZERO;
const GENERATION: Generation = Generation(0);

/// A mounted disk. It is unmounted when dropped, even with files open.
pub(crate) struct Mounted {
    disk: Arc<Mutex<Disk>>,
    dir: TempDir,
    _session: BackgroundSession,
}

impl Mounted {
    /// Mounts a disk; the error is why that is not possible.
    pub(crate) fn new(disk: Disk) -> Result<Self, String> {
        let disk = Arc::new(Mutex::new(disk));
        let dir = tempfile::tempdir().unwrap();
        let mut options = Config::default();
        options.mount_options =
            vec![MountOption::FSName("zput-tests".into()), MountOption::NoDev, MountOption::NoSuid];
        let files = Files { disk: Arc::clone(&disk), listings: Mutex::default() };
        match fuser::spawn_mount(files, dir.path(), &options) {
            Ok(session) => Ok(Self { disk, dir, _session: session }),
            Err(error) => Err(format!("no file system can be mounted by FUSE here: {error}")),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: a process that another test starts may have our descriptors until it has become
        // what it is to be.
        let _not_mounted = Command::new("umount").arg("-l").arg(self.dir.path()).status();
    }
}

/// Name, number and kind of each entry.
type Listing = Vec<(String, u64, FileType)>;

struct Files {
    disk: Arc<Mutex<Disk>>,
    /// What readers of directories go through, as it was when they began.
    listings: Mutex<HashMap<u64, Listing>>,
}

impl Files {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap()
    }

    fn entry(&self, found: impl FnOnce(&mut Disk) -> Answer<u64>, reply: ReplyEntry) {
        let mut disk = self.disk();
        let found =
            found(&mut disk).and_then(|inode| disk.node(inode).map(|node| attributes(inode, node)));
        match found {
            Ok(attributes) => {
                reply.entry_with_ttls(&NAMES_HOLD, &ATTRIBUTES_HOLD, &attributes, GENERATION);
            }
            Err(error) => reply.error(error),
        }
    }

    fn done(&self, result: Answer<()>, reply: ReplyEmpty) {
        match result {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        }
    }
}

fn attributes(inode: u64, node: &Node) -> FileAttr {
    let (kind, perm, size, nlink, modified) = match node {
        Node::File(file) => {
            (FileType::RegularFile, 0o600, file.now.len() as u64, file.names, file.modified)
        }
        Node::Directory(directory) => (FileType::Directory, directory.mode, 0, 2, 0),
    };
    let modified = UNIX_EPOCH + Duration::from_secs(modified);
    FileAttr {
        ino: INodeNo(inode),
        size,
        blocks: size.div_ceil(512),
        atime: modified,
        mtime: modified,
        ctime: modified,
        crtime: modified,
        kind,
        perm,
        nlink,
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        rdev: 0,
        blksize: BLOCK_BYTES as u32,
        flags: 0,
    }
}

fn kind(node: &Node) -> FileType {
    match node {
        Node::File(_) => FileType::RegularFile,
        Node::Directory(_) => FileType::Directory,
    }
}

/// Names that are not UTF-8 are none of a store's.
fn text(name: &OsStr) -> Answer<&str> {
    name.to_str().ok_or(Errno::EILSEQ)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl Filesystem for Files {
    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.entry(|disk| disk.lookup(parent.0, text(name)?), reply);
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        match self.disk().node(ino.0) {
            Ok(node) => reply.attr(&ATTRIBUTES_HOLD, &attributes(ino.0, node)),
            Err(error) => reply.error(error),
        }
    }

    fn setattr(
        &self,
        _req: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut disk = self.disk();
        let mut change = || {
            if let Some(size) = size {
                disk.truncate(ino.0, size)?;
            }
            if let Some(mode) = mode {
                disk.set_mode(ino.0, (mode & 0o7777) as u16)?;
            }
            match mtime {
                Some(TimeOrNow::SpecificTime(time)) => {
                    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
                    disk.set_modified(ino.0, since.as_secs())?;
                }
                Some(TimeOrNow::Now) => disk.set_modified(ino.0, now())?,
                None => {}
            }
            disk.node(ino.0).map(|node| attributes(ino.0, node))
        };
        match change() {
            Ok(attributes) => reply.attr(&ATTRIBUTES_HOLD, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn mkdir(
        &self,
        _req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let mode = (mode & !umask & 0o7777) as u16;
        self.entry(|disk| disk.make_directory(parent.0, text(name)?, mode), reply);
    }

    fn unlink(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let result = text(name).and_then(|name| self.disk().unlink(parent.0, name));
        self.done(result, reply);
    }

    fn rename(
        &self,
        _req: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let mut disk = self.disk();
        let mut rename = || {
            let (old, new) = (text(name)?, text(newname)?);
            if flags.contains(RenameFlags::RENAME_NOREPLACE)
                && disk.lookup(newparent.0, new).is_ok()
            {
                return Err(Errno::EEXIST);
            }
            if !RenameFlags::RENAME_NOREPLACE.contains(flags) {
                return Err(Errno::EINVAL);
            }
            disk.rename(parent.0, old, newparent.0, new)
        };
        let result = rename();
        self.done(result, reply);
    }

    fn link(
        &self,
        _req: &Request,
        ino: INodeNo,
        newparent: INodeNo,
        newname: &OsStr,
        reply: ReplyEntry,
    ) {
        self.entry(
            |disk| {
                disk.link(ino.0, newparent.0, text(newname)?)?;
                Ok(ino.0)
            },
            reply,
        );
    }

    fn create(
        &self,
        _req: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let mut disk = self.disk();
        let mut create = || {
            let inode = disk.make_file(parent.0, text(name)?)?;
            disk.set_modified(inode, now())?;
            disk.node(inode).map(|node| attributes(inode, node))
        };
        match create() {
            Ok(attributes) => reply.created(
                &ATTRIBUTES_HOLD,
                &attributes,
                GENERATION,
                FileHandle(0),
                FopenFlags::empty(),
            ),
            Err(error) => reply.error(error),
        }
    }

    fn open(&self, _req: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        match self.disk().open(ino.0) {
            // What is in memory stays there, as it does of a file on a disk.
            Ok(()) => reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE),
            Err(error) => reply.error(error),
        }
    }

    fn opendir(&self, _req: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let mut listings = self.listings.lock().unwrap();
        let handle = listings.keys().max().map_or(1, |last| last + 1);
        match self.disk().open(ino.0) {
            Ok(()) => {
                listings.insert(handle, Listing::new());
                reply.opened(FileHandle(handle), FopenFlags::empty());
            }
            Err(error) => reply.error(error),
        }
    }

    fn readdir(
        &self,
        _req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let mut listings = self.listings.lock().unwrap();
        let listing = listings.entry(fh.0).or_default();
        if offset == 0 {
            let disk = self.disk();
            let directory = match disk.directory(ino.0) {
                Ok(directory) => directory,
                Err(error) => return reply.error(error),
            };
            let own = [(".".to_owned(), ino.0), ("..".to_owned(), ROOT)];
            let entries = directory.now.iter().map(|(name, inode)| (name.clone(), *inode));
            let entries = own.into_iter().chain(entries);
            *listing = entries
                .filter_map(|(name, inode)| Some((name, inode, kind(disk.node(inode).ok()?))))
                .collect();
        }
        for (number, (name, inode, kind)) in (1..).zip(&*listing).skip(offset as usize) {
            if reply.add(INodeNo(*inode), number, *kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn releasedir(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.listings.lock().unwrap().remove(&fh.0);
        reply.ok();
    }

    fn read(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.disk().read(ino.0, offset, size as usize) {
            Ok(bytes) => reply.data(bytes),
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut disk = self.disk();
        match disk.write(ino.0, offset, data).and_then(|()| disk.set_modified(ino.0, now())) {
            Ok(()) => reply.written(data.len() as u32),
            Err(error) => reply.error(error),
        }
    }

    fn flush(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _lock_owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        reply.ok();
    }

    fn release(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.disk().close(ino.0);
        reply.ok();
    }

    fn fsync(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        let result = self.disk().sync_file(ino.0);
        self.done(result, reply);
    }

    fn fsyncdir(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        let result = self.disk().sync_directory(ino.0);
        self.done(result, reply);
    }

    fn statfs(&self, _req: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        let disk = self.disk();
        let used = disk.used();
        let blocks = disk.capacity.unwrap_or(used + (1 << 20));
        let free = blocks.saturating_sub(used);
        let size = BLOCK_BYTES as u32;
        reply.statfs(blocks, free, free, 1 << 20, 1 << 20, size, 255, size);
    }
}
