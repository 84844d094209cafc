//! The members of an archive, one after another.
//!
//! An archive is a sequence of headers and data without a table: where the next header begins
//! follows from the size of the current member alone. Two readers that disagree about one size see
//! different members from there on, so an archive about which the usual readers disagree is
//! refused, whatever it was meant to contain.

use std::io;

use super::{
    bounds::EXTENSION_MAX_BYTES,
    error::{ArchiveError, ArchiveErrorKind, Compression, ReadError},
    header::{BLOCK_BYTES, Block, Header, OCTAL_SIZE_MAX},
    pax::Pax,
};
use crate::{
    mounts::{Unavailable, file::FileTime},
    sys::tree::Time,
};

/// The source of an archive's bytes.
pub(super) trait ReadAt {
    /// Total number of bytes.
    fn length(&self) -> u64;
    /// Fills `buffer` with the bytes from `offset` on.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

/// A member of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// Where its first header begins, extensions included.
    pub(super) header: u64,
    /// Its name: relative, without empty components, `.` and `..`; empty for the top directory.
    pub(super) path: Vec<u8>,
    /// What the member is.
    pub(super) kind: MemberKind,
    /// When it was modified.
    pub(super) modified: FileTime,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum MemberKind {
    /// A file: these bytes of the archive. It ends within the archive.
    File { offset: u64, length: u64 },
    /// A file that is not one range of the archive.
    Unavailable(Unavailable),
    /// Another name for the member with this name.
    HardLink(Vec<u8>),
    /// A symbolic link, a device, a pipe, or an unknown type.
    Special,
    /// A directory, or the directory list of an incremental dump. It is not served.
    Directory,
}

/// Reads an archive from its beginning to its end.
pub(super) struct Reader<'a, S> {
    source: &'a S,
    at: u64,
    modified: Option<Time>,
}

/// The extension headers before a member.
#[derive(Default)]
struct Extensions {
    pax: Option<Pax>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

impl<'a, S: ReadAt> Reader<'a, S> {
    pub(super) fn new(source: &'a S) -> Self {
        Self { source, at: 0, modified: None }
    }

    /// The next member; `None` after the last. Must not be called again after an error.
    pub(super) fn next(&mut self) -> Result<Option<Member>, ReadError> {
        let first = self.at;
        let mut extensions = Extensions::default();
        loop {
            let at = self.at;
            let at_header = |kind| ReadError::Archive(ArchiveError { offset: at, kind });
            let Some(header) = self.header()? else {
                return match extensions.is_empty() {
                    true => Ok(None),
                    false => Err(at_header(ArchiveErrorKind::ExtensionAlone)),
                };
            };
            let kind = header.kind;
            match kind {
                b'x' | b'g' | b'L' | b'K' => {
                    let body = self.extension(&header)?;
                    self.apply_extension(&mut extensions, kind, body).map_err(at_header)?;
                }
                // A volume label names no file; its "name" is free text.
                b'V' => {
                    if !extensions.is_empty() {
                        return Err(at_header(ArchiveErrorKind::ExtensionAlone));
                    }
                    self.skip(header.size)?;
                }
                _ => return self.member(first, header, extensions).map(Some),
            }
        }
    }

    /// The header at the current position; `None` for the end mark.
    ///
    /// POSIX: "At the end of the archive … two 512-octet logical records filled with binary zeros".
    /// A single one that is the archive's last block is accepted as well: no member can be hidden
    /// behind it.
    fn header(&mut self) -> Result<Option<Header>, ReadError> {
        let at = self.at;
        let block = self.block()?;
        if block != [0; BLOCK_BYTES] {
            let header = Header::parse(&block).map_err(|kind| match (at, kind) {
                (0, ArchiveErrorKind::Checksum) => match Compression::detect(&block) {
                    Some(compression) => ReadError::Compressed(compression),
                    None => error(at, ArchiveErrorKind::NotAnArchive),
                },
                (_, kind) => error(at, kind),
            })?;
            return Ok(Some(header));
        }
        if self.source.length() - self.at >= BLOCK_BYTES as u64 && self.block()? != [0; BLOCK_BYTES]
        {
            return Err(error(at, ArchiveErrorKind::LoneZeroBlock));
        }
        Ok(None)
    }

    /// The block at the current position, which is in the archive, or up to a block's padding
    /// beyond its end.
    fn block(&mut self) -> Result<Block, ReadError> {
        let end = self.at.checked_add(BLOCK_BYTES as u64);
        let Some(end) = end.filter(|end| *end <= self.source.length()) else {
            let mut start = [0; 8];
            let compression = (self.at == 0 && self.source.length() >= 8)
                .then(|| {
                    self.source.read_exact_at(&mut start, 0).map(|()| Compression::detect(&start))
                })
                .transpose()?
                .flatten();
            return Err(match compression {
                Some(compression) => ReadError::Compressed(compression),
                None => error(self.at, ArchiveErrorKind::Truncated),
            });
        };
        let mut block = [0; BLOCK_BYTES];
        self.source.read_exact_at(&mut block, self.at)?;
        self.at = end;
        Ok(block)
    }

    /// Moves behind data of `size` bytes and its padding, and returns where the data begins.
    fn skip(&mut self, size: u64) -> Result<u64, ReadError> {
        let begin = self.at;
        match begin.checked_add(size) {
            Some(end) if end <= self.source.length() => {
                // Below 2^63 + 512: a file's length is below 2^63.
                self.at = end.next_multiple_of(BLOCK_BYTES as u64);
                Ok(begin)
            }
            _ => Err(error(
                begin.saturating_sub(BLOCK_BYTES as u64),
                ArchiveErrorKind::BeyondEnd(size),
            )),
        }
    }

    /// The data of an extension header. POSIX: the size of such a header is its own, whatever
    /// another extension says about the member.
    fn extension(&mut self, header: &Header) -> Result<Vec<u8>, ReadError> {
        let at = self.at - BLOCK_BYTES as u64;
        let length = match usize::try_from(header.size) {
            Ok(length) if length <= EXTENSION_MAX_BYTES => length,
            _ => return Err(error(at, ArchiveErrorKind::ExtensionTooLong(header.size))),
        };
        let begin = self.skip(header.size)?;
        let mut body = vec![0; length];
        self.source.read_exact_at(&mut body, begin)?;
        Ok(body)
    }

    fn apply_extension(
        &mut self,
        extensions: &mut Extensions,
        kind: u8,
        body: Vec<u8>,
    ) -> Result<(), ArchiveErrorKind> {
        match kind {
            b'g' => {
                // A header for all members is not allowed between a member and its extensions.
                if !extensions.is_empty() {
                    return Err(ArchiveErrorKind::ExtensionTwice);
                }
                let global = Pax::parse(&body)?;
                global.check_global()?;
                self.modified = global.modified.or(self.modified);
                Ok(())
            }
            b'x' => extensions.set_pax(Pax::parse(&body)?),
            b'L' => extensions.set_long(long_name(body)?, |all| &mut all.long_name),
            _ => extensions.set_long(long_name(body)?, |all| &mut all.long_link),
        }
    }

    /// The member that this header and its extensions describe. `first` is the offset of the first
    /// of these headers.
    fn member(
        &mut self,
        first: u64,
        header: Header,
        extensions: Extensions,
    ) -> Result<Member, ReadError> {
        let at = self.at - BLOCK_BYTES as u64;
        let at_header = |kind| error(at, kind);
        let Extensions { pax, long_name, long_link } = extensions;
        let Pax { path, link_path, size: pax_size, modified, sparse, sparse_name } =
            pax.unwrap_or_default();
        let size = effective_size(pax_size, &header).map_err(at_header)?;
        let is_gnu = header.is_gnu();
        let name = sparse_name.or(path).or(long_name).unwrap_or(header.name);
        let link_name = link_path.or(long_link).unwrap_or(header.link_name);
        let path = normalize(&name).map_err(at_header)?;
        // Old tars marked directories by the trailing slash alone, and GNU tar still looks at it.
        let is_file = matches!(header.kind, 0 | b'0' | b'7') && !name.ends_with(b"/");
        let require_no_data = || match size {
            0 => Ok(()),
            size => Err(at_header(ArchiveErrorKind::DataOfNoFile(size))),
        };
        let kind = match header.kind {
            _ if is_file && sparse => {
                self.skip(size)?;
                MemberKind::Unavailable(Unavailable::Sparse)
            }
            _ if is_file => {
                let offset = self.skip(size)?;
                MemberKind::File { offset, length: size }
            }
            0 | b'0' | b'7' | b'5' => {
                require_no_data()?;
                MemberKind::Directory
            }
            b'1' => {
                require_no_data()?;
                MemberKind::HardLink(normalize(&link_name).map_err(at_header)?)
            }
            b'2' | b'3' | b'4' | b'6' => {
                require_no_data()?;
                MemberKind::Special
            }
            b'S' if !is_gnu || pax_size.is_some() => {
                return Err(at_header(ArchiveErrorKind::ForeignSparse));
            }
            b'S' => {
                self.skip_sparse_map(header.sparse_map_continues)?;
                self.skip(size)?;
                MemberKind::Unavailable(Unavailable::Sparse)
            }
            b'M' => {
                self.skip(size)?;
                MemberKind::Unavailable(Unavailable::Continuation)
            }
            // GNU's incremental dumps: the data of a directory is the list of its names.
            b'D' => {
                self.skip(size)?;
                MemberKind::Directory
            }
            // Solaris' PAX headers, and the long names of a GNU tar of 1990.
            b'X' | b'N' => return Err(at_header(ArchiveErrorKind::Type(header.kind.into()))),
            _ => {
                self.skip(size)?;
                MemberKind::Special
            }
        };
        if path.is_empty() && kind != MemberKind::Directory {
            return Err(at_header(ArchiveErrorKind::NoName));
        }
        let modified = modified.or(self.modified).unwrap_or((header.modified, 0)).into();
        Ok(Member { header: first, path, kind, modified })
    }

    /// GNU's old sparse format: blocks of 21 entries, whose byte 504 says whether another block
    /// follows.
    fn skip_sparse_map(&mut self, mut continues: bool) -> Result<(), ReadError> {
        while continues {
            continues = self.block()?[504] != 0;
        }
        Ok(())
    }
}

impl Extensions {
    fn is_empty(&self) -> bool {
        self.pax.is_none() && self.long_name.is_none() && self.long_link.is_none()
    }

    /// Readers differ in whether the PAX header or the long name counts; no program writes both.
    fn set_pax(&mut self, pax: Pax) -> Result<(), ArchiveErrorKind> {
        if !self.is_empty() {
            return Err(ArchiveErrorKind::ExtensionTwice);
        }
        self.pax = Some(pax);
        Ok(())
    }

    fn set_long(
        &mut self,
        name: Vec<u8>,
        which: impl FnOnce(&mut Self) -> &mut Option<Vec<u8>>,
    ) -> Result<(), ArchiveErrorKind> {
        if self.pax.is_some() || which(self).replace(name).is_some() {
            return Err(ArchiveErrorKind::ExtensionTwice);
        }
        Ok(())
    }
}

/// A long name ends with a NUL, and only NULs come after it.
fn long_name(mut body: Vec<u8>) -> Result<Vec<u8>, ArchiveErrorKind> {
    let length = body.iter().position(|byte| *byte == 0).unwrap_or(body.len());
    if body[length..].iter().any(|byte| *byte != 0) {
        return Err(ArchiveErrorKind::NulInName);
    }
    body.truncate(length);
    if body.is_empty() {
        return Err(ArchiveErrorKind::NoName);
    }
    Ok(body)
}

/// The size in a PAX header counts (POSIX: it "shall override" the header's) if it equals the
/// header's or does not fit into eleven octal digits. In every other case a reader that does not
/// know PAX headers would see other members in the same bytes.
fn effective_size(pax: Option<u64>, header: &Header) -> Result<u64, ArchiveErrorKind> {
    match pax {
        Some(pax) if pax != header.size && pax <= OCTAL_SIZE_MAX => {
            Err(ArchiveErrorKind::SizesDisagree { pax, ustar: header.size })
        }
        Some(pax) => Ok(pax),
        None => Ok(header.size),
    }
}

/// A name as a path inside the archive: `./a//b/` is `a/b`.
fn normalize(name: &[u8]) -> Result<Vec<u8>, ArchiveErrorKind> {
    if name.starts_with(b"/") {
        return Err(ArchiveErrorKind::AbsoluteName);
    }
    let mut path = Vec::with_capacity(name.len());
    for component in name.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => return Err(ArchiveErrorKind::DotDot),
            _ => {
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(component);
            }
        }
    }
    Ok(path)
}

fn error(offset: u64, kind: ArchiveErrorKind) -> ReadError {
    ReadError::Archive(ArchiveError { offset, kind })
}
