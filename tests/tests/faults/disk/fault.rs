//! What a disk is told to do wrong.

use fuser::Errno;

/// How far a disk does what it says. All but the first are broken on purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Honesty {
    /// A sync that succeeds has made durable what it is for.
    #[default]
    Honest,
    /// The sync of a file does nothing.
    NoFileSync,
    /// The sync of a directory does nothing.
    NoDirectorySync,
    /// The sync of a file makes its last write durable and not the ones before it: the record
    /// before the data.
    LastWriteOnly,
}

/// What an operation does: faults are aimed at one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// Making a file or a directory.
    Make,
    /// Linking, renaming, removing.
    Name,
    /// Opening a file or a directory that is there.
    Open,
    /// Reading a file.
    Read,
    /// Writing or truncating a file.
    Write,
    /// Syncing a file.
    SyncFile,
    /// Syncing a directory.
    SyncDirectory,
}

/// The `nth` deed of a kind, counted from 1 and from when this is set, fails and changes nothing.
/// Of reads and writes those behind it fail too, until the disk is healed: of a write(2) that comes
/// here in pieces the kernel reports what went well, and a program tries the rest again; a page
/// that was to be read ahead is read again by the kernel itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) deed: Deed,
    pub(crate) nth: u64,
    pub(crate) errno: Errno,
}
