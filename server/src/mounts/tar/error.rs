//! Errors of an archive.

use std::io;

use thiserror::Error;

use super::bounds::{EXTENSION_MAX_BYTES, MEMBERS_MAX, NAMES_MAX_BYTES};

/// Why an archive is refused, and at which header.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("at byte {offset}: {kind}")]
pub struct ArchiveError {
    /// Where the header begins that is at fault, in bytes from the beginning of the archive.
    pub offset: u64,
    /// What is wrong with it.
    pub kind: ArchiveErrorKind,
}

/// What is wrong with an archive.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ArchiveErrorKind {
    // The archive.
    /// The first block is not a header.
    #[error("this is no tar archive")]
    NotAnArchive,
    /// The archive ends where a header, or its end mark, should be.
    #[error("the archive ends without its end mark: it is cut off, or still being written")]
    Truncated,
    /// One block of zeros is followed by something else.
    #[error("a single block of zeros inside the archive: readers differ in what comes after it")]
    LoneZeroBlock,
    /// It has more than [`MEMBERS_MAX`] members.
    #[error("it has more than {MEMBERS_MAX} members")]
    TooManyMembers,
    /// Its names have more than [`NAMES_MAX_BYTES`] bytes.
    #[error("the names of its members have more than {NAMES_MAX_BYTES} bytes")]
    TooManyNames,

    // A header.
    /// The checksum field is not the sum of the header's bytes.
    #[error("the checksum of a header is wrong")]
    Checksum,
    /// A field is neither octal nor in base 256, or is too great.
    #[error("the field {0} of a header is no number, or too great a one")]
    Number(&'static str),
    /// The data would end beyond the archive's last byte.
    #[error("a member of {0} bytes goes beyond the end of the archive")]
    BeyondEnd(u64),
    /// Data where some readers expect none.
    #[error(
        "a link, a directory or a device with {0} bytes of data: readers differ in whether they \
         skip them"
    )]
    DataOfNoFile(u64),
    /// A type that renames other members, and that only some readers know.
    #[error("a header of the type {0:?}, which only some readers know")]
    Type(char),
    /// A dialect whose names only some readers find.
    #[error("a header with a prefix and the magic of no known dialect")]
    Dialect,
    /// An old sparse member outside of GNU's format.
    #[error("a sparse member in a dialect that has none")]
    ForeignSparse,

    // Names.
    /// The name begins with `/`.
    #[error("a name is absolute (made with -P?)")]
    AbsoluteName,
    /// The name has a component `..`.
    #[error("a name has a component ..")]
    DotDot,
    /// The name continues after a NUL.
    #[error("a name has a NUL")]
    NulInName,
    /// A file without a name.
    #[error("a member has no name")]
    NoName,

    // Extensions.
    /// A PAX header or long name over [`EXTENSION_MAX_BYTES`].
    #[error("a PAX header or long name of {0} bytes: at most {EXTENSION_MAX_BYTES} are read")]
    ExtensionTooLong(u64),
    /// A record of a PAX header cannot be parsed.
    #[error("a PAX header has a malformed record")]
    PaxRecord,
    /// A value in a PAX header is not one that its keyword can have.
    #[error("a PAX header has an impossible {0}")]
    PaxValue(&'static str),
    /// A global PAX header with a keyword that makes sense for one member only.
    #[error("a global PAX header sets {0} for all members")]
    PaxGlobal(&'static str),
    /// Two sizes: readers would find the next header in different places.
    #[error(
        "the PAX header says {pax} bytes and the member's own header {ustar}: readers would find \
         different members"
    )]
    SizesDisagree {
        /// The size in the PAX header, in bytes.
        pax: u64,
        /// The size in the member's header, which could hold the other one.
        ustar: u64,
    },
    /// Two extension headers that say the same about one member.
    #[error("two extension headers of a member contradict each other")]
    ExtensionTwice,
    /// An extension header without a member after it.
    #[error("an extension header without a member")]
    ExtensionAlone,
}

/// The compression of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Compression {
    /// gzip (RFC 1952).
    #[error("gzip")]
    Gzip,
    /// bzip2: a file that begins with `BZh`.
    #[error("bzip2")]
    Bzip2,
    /// The .xz file format.
    #[error("xz")]
    Xz,
    /// Zstandard (RFC 8878).
    #[error("zstd")]
    Zstd,
    /// The LZ4 frame format.
    #[error("lz4")]
    Lz4,
    /// compress(1): LZW, `.Z`.
    #[error("compress")]
    Compress,
    /// lzip: LZMA, `.lz`.
    #[error("lzip")]
    Lzip,
}

/// Why an archive has no index.
#[derive(Debug, Error)]
pub enum ReadError {
    /// It violates the format, or could be read in two ways.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// It is compressed, so its members are not plain bytes of the file.
    #[error("it is compressed with {0}")]
    Compressed(Compression),
    /// It cannot be read, or became shorter.
    #[error("cannot read it: {0}")]
    Io(#[from] io::Error),
}

impl Compression {
    /// The compression of a file that begins with these bytes.
    pub(super) fn detect(bytes: &[u8]) -> Option<Self> {
        const MAGICS: [(&[u8], Compression); 7] = [
            (b"\x1f\x8b", Compression::Gzip),
            (b"BZh", Compression::Bzip2),
            (b"\xfd7zXZ\0", Compression::Xz),
            (b"\x28\xb5\x2f\xfd", Compression::Zstd),
            (b"\x04\x22\x4d\x18", Compression::Lz4),
            (b"\x1f\x9d", Compression::Compress),
            (b"LZIP", Compression::Lzip),
        ];
        MAGICS.iter().find(|(magic, _)| bytes.starts_with(magic)).map(|(_, kind)| *kind)
    }
}
