//! The members of an archive, one after another.
//!
//! An archive is a stretch of headers and data without a table: where the next header begins follows from
//! the size of this member alone. Two readers that disagree about one size see different members from there on, so
//! an archive about which the usual readers disagree is refused, whatever it was meant to say.

use std::io;

use super::{
    EXTENSION_MAX_BYTES, ReadError,
    flaw::{ArchiveError, ArchiveFlaw, Compression},
    header::{BLOCK_BYTES, Block, Header, OCTAL_SIZE_MAX},
    pax::Pax,
};
use crate::{
    mounts::{Unavailable, found::Modified},
    sys::tree::Time,
};

/// Where an archive's bytes come from.
pub(super) trait Source {
    /// Bytes in all.
    fn length(&self) -> u64;
    /// Fills `buffer` with the bytes from `offset` on.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

/// A member of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// Where its first header begins, extensions included.
    pub(super) header: u64,
    /// Its name: relative, without empty components, `.` and `..`; empty for the directory that all others are in.
    pub(super) path: Vec<u8>,
    /// What it is.
    pub(super) kind: MemberKind,
    /// When it was modified.
    pub(super) modified: Modified,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum MemberKind {
    /// A file: these bytes of the archive. It ends within the archive.
    File { offset: u64, length: u64 },
    /// A file that is not a stretch of the archive.
    Unavailable(Unavailable),
    /// Another name for the member that this names.
    HardLink(Vec<u8>),
    /// A symbolic link, a device, a pipe, or something unknown.
    Special,
    /// A directory.
    Directory,
}

/// Reads an archive from its beginning to its end.
pub(super) struct Reader<'a, S> {
    source: &'a S,
    at: u64,
    modified: Option<Time>,
}

/// What the headers in front of a member say about it.
#[derive(Default)]
struct Extensions {
    pax: Option<Pax>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

impl<'a, S: Source> Reader<'a, S> {
    pub(super) fn new(source: &'a S) -> Self {
        Self { source, at: 0, modified: None }
    }

    /// The next member; `None` after the last. Nothing sensible comes after an error.
    pub(super) fn next(&mut self) -> Result<Option<Member>, ReadError> {
        let first = self.at;
        let mut extensions = Extensions::default();
        loop {
            let at = self.at;
            let flawed = |flaw| ReadError::Archive(ArchiveError { offset: at, flaw });
            let Some(header) = self.header()? else {
                return match extensions.any() {
                    true => Err(flawed(ArchiveFlaw::ExtensionAlone)),
                    false => Ok(None),
                };
            };
            let kind = header.kind;
            match kind {
                b'x' | b'g' | b'L' | b'K' => {
                    let body = self.extension(&header)?;
                    self.extend(&mut extensions, kind, body).map_err(flawed)?;
                }
                // A label names no file. Its "name" is free text.
                b'V' => {
                    if extensions.any() {
                        return Err(flawed(ArchiveFlaw::ExtensionAlone));
                    }
                    self.skip(header.size)?;
                }
                _ => return self.member(first, header, extensions).map(Some),
            }
        }
    }

    /// The header at this place; `None` for the end mark.
    ///
    /// POSIX: "At the end of the archive … two 512-octet logical records filled with binary zeros". One that is the
    /// archive's last block is taken as well: no member can be lost behind it.
    fn header(&mut self) -> Result<Option<Header>, ReadError> {
        let at = self.at;
        let block = self.block()?;
        if block != [0; BLOCK_BYTES] {
            let header = Header::parse(&block).map_err(|flaw| match (at, flaw) {
                (0, ArchiveFlaw::Checksum) => match Compression::of(&block) {
                    Some(compression) => ReadError::Compressed(compression),
                    None => error(at, ArchiveFlaw::NotAnArchive),
                },
                (_, flaw) => error(at, flaw),
            })?;
            return Ok(Some(header));
        }
        if self.source.length() - self.at >= BLOCK_BYTES as u64 && self.block()? != [0; BLOCK_BYTES]
        {
            return Err(error(at, ArchiveFlaw::LoneZeroBlock));
        }
        Ok(None)
    }

    /// The block at this place. The place is within the archive, or a block's padding beyond its end.
    fn block(&mut self) -> Result<Block, ReadError> {
        let end = self.at.checked_add(BLOCK_BYTES as u64);
        let Some(end) = end.filter(|end| *end <= self.source.length()) else {
            let mut start = [0; 8];
            let compression = (self.at == 0 && self.source.length() >= 8)
                .then(|| self.source.read_exact_at(&mut start, 0).map(|()| Compression::of(&start)))
                .transpose()?
                .flatten();
            return Err(match compression {
                Some(compression) => ReadError::Compressed(compression),
                None => error(self.at, ArchiveFlaw::Truncated),
            });
        };
        let mut block = [0; BLOCK_BYTES];
        self.source.read_exact_at(&mut block, self.at)?;
        self.at = end;
        Ok(block)
    }

    /// Moves behind data of `size` bytes and its padding, and says where the data is.
    fn skip(&mut self, size: u64) -> Result<u64, ReadError> {
        let begin = self.at;
        match begin.checked_add(size) {
            Some(end) if end <= self.source.length() => {
                // Below 2^63 + 512: a file's length is below 2^63.
                self.at = end.next_multiple_of(BLOCK_BYTES as u64);
                Ok(begin)
            }
            _ => Err(error(begin.saturating_sub(BLOCK_BYTES as u64), ArchiveFlaw::BeyondEnd(size))),
        }
    }

    /// What an extension header has to say. POSIX: the size of such a header is its own, whatever another
    /// extension says about the member.
    fn extension(&mut self, header: &Header) -> Result<Vec<u8>, ReadError> {
        let at = self.at - BLOCK_BYTES as u64;
        let length = match usize::try_from(header.size) {
            Ok(length) if length <= EXTENSION_MAX_BYTES => length,
            _ => return Err(error(at, ArchiveFlaw::ExtensionTooLong(header.size))),
        };
        let begin = self.skip(header.size)?;
        let mut body = vec![0; length];
        self.source.read_exact_at(&mut body, begin)?;
        Ok(body)
    }

    fn extend(
        &mut self,
        extensions: &mut Extensions,
        kind: u8,
        body: Vec<u8>,
    ) -> Result<(), ArchiveFlaw> {
        match kind {
            b'g' => {
                // Between a member and what is said about it, a header about all others has no place.
                if extensions.any() {
                    return Err(ArchiveFlaw::ExtensionTwice);
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

    /// The member that this header and its extensions tell of.
    fn member(
        &mut self,
        first: u64,
        header: Header,
        extensions: Extensions,
    ) -> Result<Member, ReadError> {
        let at = self.at - BLOCK_BYTES as u64;
        let flawed = |flaw| error(at, flaw);
        let Extensions { pax, long_name, long_link } = extensions;
        let Pax { path, link_path, size: pax_size, modified, sparse, sparse_name } =
            pax.unwrap_or_default();
        let size = one_size(pax_size, &header).map_err(flawed)?;
        let is_gnu = header.is_gnu();
        let name = sparse_name.or(path).or(long_name).unwrap_or(header.name);
        let link_name = link_path.or(long_link).unwrap_or(header.link_name);
        let path = clean(&name).map_err(flawed)?;
        // Old tars told directories by the slash alone, and GNU tar still looks at it.
        let is_file = matches!(header.kind, 0 | b'0' | b'7') && !name.ends_with(b"/");
        let bodiless = || match size {
            0 => Ok(()),
            size => Err(flawed(ArchiveFlaw::DataOfNoFile(size))),
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
                bodiless()?;
                MemberKind::Directory
            }
            b'1' => {
                bodiless()?;
                MemberKind::HardLink(clean(&link_name).map_err(flawed)?)
            }
            b'2' | b'3' | b'4' | b'6' => {
                bodiless()?;
                MemberKind::Special
            }
            b'S' if !is_gnu || pax_size.is_some() => {
                return Err(flawed(ArchiveFlaw::ForeignSparse));
            }
            b'S' => {
                self.skip_sparse_map(header.map_goes_on)?;
                self.skip(size)?;
                MemberKind::Unavailable(Unavailable::Sparse)
            }
            b'M' => {
                self.skip(size)?;
                MemberKind::Unavailable(Unavailable::Continuation)
            }
            // GNU's incremental dumps: the names in a directory are its data.
            b'D' => {
                self.skip(size)?;
                MemberKind::Directory
            }
            // Solaris' PAX headers, and the long names of a GNU tar of 1990.
            b'X' | b'N' => return Err(flawed(ArchiveFlaw::Type(header.kind.into()))),
            _ => {
                self.skip(size)?;
                MemberKind::Special
            }
        };
        if path.is_empty() && kind != MemberKind::Directory {
            return Err(flawed(ArchiveFlaw::NoName));
        }
        let modified = modified.or(self.modified).unwrap_or((header.modified, 0)).into();
        Ok(Member { header: first, path, kind, modified })
    }

    /// GNU's old sparse format: blocks of 21 entries, of which byte 504 says whether another one follows.
    fn skip_sparse_map(&mut self, mut goes_on: bool) -> Result<(), ReadError> {
        while goes_on {
            goes_on = self.block()?[504] != 0;
        }
        Ok(())
    }
}

impl Extensions {
    fn any(&self) -> bool {
        self.pax.is_some() || self.long_name.is_some() || self.long_link.is_some()
    }

    /// Readers differ in whether it is the PAX header or the long name that counts; nobody writes both.
    fn set_pax(&mut self, pax: Pax) -> Result<(), ArchiveFlaw> {
        if self.any() {
            return Err(ArchiveFlaw::ExtensionTwice);
        }
        self.pax = Some(pax);
        Ok(())
    }

    fn set_long(
        &mut self,
        name: Vec<u8>,
        which: impl FnOnce(&mut Self) -> &mut Option<Vec<u8>>,
    ) -> Result<(), ArchiveFlaw> {
        if self.pax.is_some() || which(self).replace(name).is_some() {
            return Err(ArchiveFlaw::ExtensionTwice);
        }
        Ok(())
    }
}

/// A long name ends with a NUL, and nothing comes after it.
fn long_name(mut body: Vec<u8>) -> Result<Vec<u8>, ArchiveFlaw> {
    let length = body.iter().position(|byte| *byte == 0).unwrap_or(body.len());
    if body[length..].iter().any(|byte| *byte != 0) {
        return Err(ArchiveFlaw::NulInName);
    }
    body.truncate(length);
    if body.is_empty() {
        return Err(ArchiveFlaw::NoName);
    }
    Ok(body)
}

/// A PAX header's size counts (POSIX: it "shall override" the header's), where it says the same as the header
/// or what eleven octal digits cannot say. In every other case a reader that does not know PAX headers
/// sees other members in the same bytes.
fn one_size(pax: Option<u64>, header: &Header) -> Result<u64, ArchiveFlaw> {
    match pax {
        Some(pax) if pax != header.size && pax <= OCTAL_SIZE_MAX => {
            Err(ArchiveFlaw::SizesDisagree { pax, ustar: header.size })
        }
        Some(pax) => Ok(pax),
        None => Ok(header.size),
    }
}

/// A name as a path inside the archive: `./a//b/` is `a/b`.
fn clean(name: &[u8]) -> Result<Vec<u8>, ArchiveFlaw> {
    if name.starts_with(b"/") {
        return Err(ArchiveFlaw::AbsoluteName);
    }
    let mut path = Vec::with_capacity(name.len());
    for component in name.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => return Err(ArchiveFlaw::DotDot),
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

fn error(offset: u64, flaw: ArchiveFlaw) -> ReadError {
    ReadError::Archive(ArchiveError { offset, flaw })
}
