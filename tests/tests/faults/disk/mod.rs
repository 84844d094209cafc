//! A disk in memory that remembers what was synced, and on a power cut (`cut`) loses any of the
//! rest.
//!
//! | call | makes durable |
//! |---|---|
//! | fsync, fdatasync of a file | the changes of its bytes and of its length so far |
//! | fsync of a directory | the entries made, replaced and removed in it so far, and its mode |
//!
//! Nothing else is promised: not that a file's sync brings its name along, not that what happened
//! first survives first, not that the two halves of a rename (an entry made here, one removed
//! there) share a fate. One entry is one thing, though: it stands for the old file or for the new
//! one.

mod cut;
mod fault;

use std::collections::{BTreeMap, VecDeque};

use fuser::Errno;

pub(crate) use self::{
    cut::Loss,
    fault::{Deed, Fault, Honesty},
};

/// The root's number (fuse.h, `FUSE_ROOT_ID`).
pub(crate) const ROOT: u64 = 1;

/// What space is counted in.
pub(crate) const BLOCK_BYTES: u64 = 4096;

/// How many operations are remembered for whoever looks into a failure.
const REMEMBERED: usize = 80;

/// What a call may come to.
pub(crate) type Answer<T> = Result<T, Errno>;

/// A change of a file's bytes.
#[derive(Clone, Debug)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Truncate { length: usize },
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes } => write(content, *offset, bytes),
            Self::Truncate { length } => content.resize(*length, 0),
        }
    }

    /// How long a file of `before` bytes is behind it.
    fn length_behind(&self, before: usize) -> usize {
        match self {
            Self::Write { offset, bytes } => before.max(offset + bytes.len()),
            Self::Truncate { length } => *length,
        }
    }
}

fn write(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[offset..end].copy_from_slice(bytes);
}

#[derive(Clone, Debug, Default)]
pub(crate) struct File {
    /// What a reader sees.
    pub(crate) now: Vec<u8>,
    /// What is on the platter.
    synced: Vec<u8>,
    /// How one becomes the other.
    unsynced: Vec<Change>,
    pub(crate) names: u32,
    pub(crate) opened: u32,
    /// Seconds since 1970.
    pub(crate) modified: u64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Directory {
    pub(crate) now: BTreeMap<String, u64>,
    synced: BTreeMap<String, u64>,
    /// A name, and what it stands for from then on.
    unsynced: Vec<(String, Option<u64>)>,
    /// Permission bits.
    pub(crate) mode: u16,
    /// Those on the platter.
    synced_mode: u16,
}

impl Directory {
    /// An empty one, whose inode is on the platter as soon as its name is.
    fn of_mode(mode: u16) -> Self {
        Self { mode, synced_mode: mode, ..Self::default() }
    }

    fn set(&mut self, name: &str, to: Option<u64>) {
        match to {
            Some(inode) => self.now.insert(name.to_owned(), inode),
            None => self.now.remove(name),
        };
        self.unsynced.push((name.to_owned(), to));
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Node {
    File(File),
    Directory(Directory),
}

/// The disk. Its calls are those of a file system; numbers of inodes are never given twice.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    nodes: BTreeMap<u64, Node>,
    next: u64,
    pub(crate) honesty: Honesty,
    /// Blocks of files; `None`: as many as anybody wants.
    pub(crate) capacity: Option<u64>,
    fault: Option<Fault>,
    /// Whether a fault has struck.
    pub(crate) struck: bool,
    /// Changes and syncs so far.
    done: u64,
    /// The power goes with this one.
    cut_at: Option<u64>,
    dead: bool,
    said: VecDeque<String>,
}

impl Default for Disk {
    fn default() -> Self {
        Self {
            nodes: BTreeMap::from([(ROOT, Node::Directory(Directory::of_mode(0o700)))]),
            next: ROOT + 1,
            honesty: Honesty::Honest,
            capacity: None,
            fault: None,
            struck: false,
            done: 0,
            cut_at: None,
            dead: false,
            said: VecDeque::new(),
        }
    }
}

impl Disk {
    /// The power goes with the `nth` change or sync from now, counted from 1: a change may survive,
    /// a sync has no effect.
    pub(crate) fn cut_after(&mut self, nth: u64) {
        self.cut_at = Some(self.done + nth);
    }

    /// Cuts the power now, if it is not gone yet.
    pub(crate) fn kill(&mut self) {
        self.dead = true;
    }

    /// Whether the power is gone: every call fails with `EIO`.
    pub(crate) fn is_dead(&self) -> bool {
        self.dead
    }

    /// Changes and syncs so far.
    pub(crate) fn done(&self) -> u64 {
        self.done
    }

    pub(crate) fn fail(&mut self, fault: Fault) {
        (self.fault, self.struck) = (Some(fault), false);
    }

    pub(crate) fn heal(&mut self) {
        self.fault = None;
    }

    /// The last operations, the newest last.
    pub(crate) fn story(&self) -> String {
        self.said.iter().fold(String::new(), |all, line| all + "\n    " + line)
    }

    /// Blocks that files take: those with a name, and those that are open.
    pub(crate) fn used(&self) -> u64 {
        self.nodes.values().map(blocks).sum()
    }

    /// The byte at `at` of a file is another one from now on, and nobody is told.
    pub(crate) fn rot(&mut self, path: &str, at: usize) {
        let inode = path.split('/').try_fold(ROOT, |parent, name| self.lookup(parent, name));
        let file = inode.and_then(|inode| self.file_mut(inode));
        file.unwrap_or_else(|error| panic!("{path}: {error:?}")).now[at] ^= 0x80;
    }

    // Looking.

    pub(crate) fn node(&self, inode: u64) -> Answer<&Node> {
        if self.dead {
            return Err(Errno::EIO);
        }
        self.nodes.get(&inode).ok_or(Errno::ENOENT)
    }

    pub(crate) fn lookup(&self, parent: u64, name: &str) -> Answer<u64> {
        self.directory(parent)?.now.get(name).copied().ok_or(Errno::ENOENT)
    }

    pub(crate) fn directory(&self, inode: u64) -> Answer<&Directory> {
        match self.node(inode)? {
            Node::Directory(directory) => Ok(directory),
            Node::File(_) => Err(Errno::ENOTDIR),
        }
    }

    pub(crate) fn open(&mut self, inode: u64) -> Answer<()> {
        self.node(inode)?;
        self.fault(Deed::Open)?;
        if let Node::File(file) = self.node_mut(inode)? {
            file.opened += 1;
        }
        Ok(())
    }

    pub(crate) fn close(&mut self, inode: u64) {
        // Also when the power is gone: the descriptor is the kernel's.
        if let Some(Node::File(file)) = self.nodes.get_mut(&inode) {
            file.opened = file.opened.saturating_sub(1);
        }
    }

    pub(crate) fn read(&mut self, inode: u64, offset: u64, length: usize) -> Answer<&[u8]> {
        self.fault(Deed::Read)?;
        match self.node(inode)? {
            Node::File(file) => {
                let begin = file.now.len().min(offset as usize);
                let end = file.now.len().min(begin + length);
                Ok(&file.now[begin..end])
            }
            Node::Directory(_) => Err(Errno::EISDIR),
        }
    }

    // Changing.

    /// Makes a file that is open.
    pub(crate) fn make_file(&mut self, parent: u64, name: &str) -> Answer<u64> {
        self.make(parent, name, Node::File(File { names: 1, opened: 1, ..File::default() }))
    }

    pub(crate) fn make_directory(&mut self, parent: u64, name: &str, mode: u16) -> Answer<u64> {
        self.make(parent, name, Node::Directory(Directory::of_mode(mode)))
    }

    fn make(&mut self, parent: u64, name: &str, node: Node) -> Answer<u64> {
        if self.directory(parent)?.now.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        self.begin(Deed::Make, || format!("make {name}"))?;
        let inode = self.next;
        self.next += 1;
        self.nodes.insert(inode, node);
        self.directory_mut(parent)?.set(name, Some(inode));
        self.end()?;
        Ok(inode)
    }

    pub(crate) fn write(&mut self, inode: u64, offset: u64, bytes: &[u8]) -> Answer<()> {
        self.begin(Deed::Write, || format!("write {inode}: {} at {offset}", bytes.len()))?;
        let free = self.capacity.map(|capacity| capacity.saturating_sub(self.used()));
        let file = self.file_mut(inode)?;
        let grown = (offset + bytes.len() as u64).max(file.now.len() as u64);
        let wanted = grown.div_ceil(BLOCK_BYTES) - (file.now.len() as u64).div_ceil(BLOCK_BYTES);
        if free.is_some_and(|free| wanted > free) {
            return Err(Errno::ENOSPC);
        }
        let change = Change::Write { offset: offset as usize, bytes: bytes.to_vec() };
        change.apply(&mut file.now);
        file.unsynced.push(change);
        self.end()
    }

    pub(crate) fn truncate(&mut self, inode: u64, length: u64) -> Answer<()> {
        self.begin(Deed::Write, || format!("truncate {inode} to {length}"))?;
        let file = self.file_mut(inode)?;
        let change = Change::Truncate { length: length as usize };
        change.apply(&mut file.now);
        file.unsynced.push(change);
        self.end()
    }

    /// Of a directory; files have always the same.
    pub(crate) fn set_mode(&mut self, inode: u64, mode: u16) -> Answer<()> {
        if let Node::Directory(directory) = self.node_mut(inode)? {
            directory.mode = mode;
        }
        Ok(())
    }

    pub(crate) fn set_modified(&mut self, inode: u64, seconds: u64) -> Answer<()> {
        if let Node::File(file) = self.node_mut(inode)? {
            file.modified = seconds;
        }
        Ok(())
    }

    pub(crate) fn link(&mut self, inode: u64, parent: u64, name: &str) -> Answer<()> {
        if self.directory(parent)?.now.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        self.begin(Deed::Name, || format!("link {inode} as {name}"))?;
        self.file_mut(inode)?.names += 1;
        self.directory_mut(parent)?.set(name, Some(inode));
        self.end()
    }

    pub(crate) fn unlink(&mut self, parent: u64, name: &str) -> Answer<()> {
        let inode = self.lookup(parent, name)?;
        self.begin(Deed::Name, || format!("unlink {name} ({inode})"))?;
        self.unname(inode)?;
        self.directory_mut(parent)?.set(name, None);
        self.end()
    }

    /// Of a file, in place of what has the new name, if anything has.
    pub(crate) fn rename(&mut self, from: u64, old: &str, to: u64, new: &str) -> Answer<()> {
        let inode = self.lookup(from, old)?;
        let replaced = self.directory(to)?.now.get(new).copied();
        self.begin(Deed::Name, || format!("rename {old} ({inode}) to {new}"))?;
        // rename(2): two names of one file stay as they are.
        if replaced != Some(inode) {
            if let Some(replaced) = replaced {
                self.unname(replaced)?;
            }
            self.directory_mut(to)?.set(new, Some(inode));
            self.directory_mut(from)?.set(old, None);
        }
        self.end()
    }

    fn unname(&mut self, inode: u64) -> Answer<()> {
        self.file_mut(inode)?.names -= 1;
        Ok(())
    }

    // Syncing.

    pub(crate) fn sync_file(&mut self, inode: u64) -> Answer<()> {
        let result = self.begin(Deed::SyncFile, || format!("sync {inode}"));
        let honesty = self.honesty;
        if self.dead {
            return Err(Errno::EIO);
        }
        let file = self.file_mut(inode)?;
        if let Err(error) = result {
            if error == Errno::EIO {
                // What Linux does: the pages are clean from now on, and no later sync tells of them
                // again.
                file.unsynced.clear();
            }
            return Err(error);
        }
        let durable = match honesty {
            Honesty::NoFileSync => Vec::new(),
            Honesty::LastWriteOnly => file.unsynced.pop().into_iter().collect(),
            Honesty::Honest | Honesty::NoDirectorySync => std::mem::take(&mut file.unsynced),
        };
        for change in durable {
            change.apply(&mut file.synced);
        }
        Ok(())
    }

    pub(crate) fn sync_directory(&mut self, inode: u64) -> Answer<()> {
        let result = self.begin(Deed::SyncDirectory, || format!("sync directory {inode}"));
        let honesty = self.honesty;
        if self.dead {
            return Err(Errno::EIO);
        }
        let directory = self.directory_mut(inode)?;
        if let Err(error) = result {
            if error == Errno::EIO {
                directory.unsynced.clear();
            }
            return Err(error);
        }
        if honesty != Honesty::NoDirectorySync {
            for (name, to) in std::mem::take(&mut directory.unsynced) {
                set(&mut directory.synced, name, to);
            }
            directory.synced_mode = directory.mode;
        }
        Ok(())
    }

    // What all of them do.

    /// Takes note of a deed, and fails it where that is due.
    fn begin(&mut self, deed: Deed, what: impl FnOnce() -> String) -> Answer<()> {
        if self.dead {
            return Err(Errno::EIO);
        }
        self.done += 1;
        if self.said.len() == REMEMBERED {
            self.said.pop_front();
        }
        self.said.push_back(format!("{}: {}", self.done, what()));
        let is_sync = matches!(deed, Deed::SyncFile | Deed::SyncDirectory);
        if is_sync && self.cut_at == Some(self.done) {
            self.dead = true;
            return Err(Errno::EIO);
        }
        self.fault(deed)
    }

    /// After a change: the power may be gone.
    fn end(&mut self) -> Answer<()> {
        self.dead |= self.cut_at == Some(self.done);
        if self.dead { Err(Errno::EIO) } else { Ok(()) }
    }

    fn fault(&mut self, deed: Deed) -> Answer<()> {
        let Some(fault) = self.fault.as_mut().filter(|fault| fault.deed == deed) else {
            return Ok(());
        };
        fault.nth = fault.nth.saturating_sub(1);
        if fault.nth > 0 {
            return Ok(());
        }
        let errno = fault.errno;
        self.struck = true;
        if !matches!(deed, Deed::Read | Deed::Write) {
            self.fault = None;
        }
        Err(errno)
    }

    fn node_mut(&mut self, inode: u64) -> Answer<&mut Node> {
        if self.dead {
            return Err(Errno::EIO);
        }
        self.nodes.get_mut(&inode).ok_or(Errno::ENOENT)
    }

    fn file_mut(&mut self, inode: u64) -> Answer<&mut File> {
        match self.node_mut(inode)? {
            Node::File(file) => Ok(file),
            Node::Directory(_) => Err(Errno::EISDIR),
        }
    }

    fn directory_mut(&mut self, inode: u64) -> Answer<&mut Directory> {
        match self.node_mut(inode)? {
            Node::Directory(directory) => Ok(directory),
            Node::File(_) => Err(Errno::ENOTDIR),
        }
    }
}

fn blocks(node: &Node) -> u64 {
    let Node::File(file) = node else { return 0 };
    let is_kept = file.names > 0 || file.opened > 0;
    if is_kept { (file.now.len() as u64).div_ceil(BLOCK_BYTES) } else { 0 }
}

fn set(entries: &mut BTreeMap<String, u64>, name: String, to: Option<u64>) {
    entries.remove(&name);
    entries.extend(to.map(|inode| (name, inode)));
}

#[cfg(test)]
mod tests;
