//! Bounds of an archive.

/// Most members of an archive, directories included. Each takes 48 bytes and its name while the
/// archive is indexed (up to twice that while the table grows), and 32 bytes and its name from then
/// on.
pub const MEMBERS_MAX: usize = 16 * 1024 * 1024;
/// Most bytes of all names together, so that positions fit into 32 bits.
pub const NAMES_MAX_BYTES: usize = u32::MAX as usize;
/// Bytes of the longest PAX header, or long name of GNU tar.
pub const EXTENSION_MAX_BYTES: usize = 1024 * 1024;
