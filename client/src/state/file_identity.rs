//! What tells a source file from other files, and from itself after a change.

/// A regular file as it was when it was opened. A file that was changed since has another
/// modification time, as far as the file system's clock resolves it; the contents are compared too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileIdentity {
    /// Number of the device that holds the file.
    pub device: u64,
    /// Inode number on that device.
    pub inode: u64,
    /// Length in bytes.
    pub size: u64,
    /// Modification time: seconds since 1970.
    pub mtime_s: i64,
    /// Nanoseconds within that second.
    pub mtime_ns: u32,
    /// Permission bits, which are sealed with the file.
    pub mode: u32,
}
