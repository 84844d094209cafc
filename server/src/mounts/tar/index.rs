//! The index of an archive: a sorted table of 32 bytes a member, and one string of all names.

use std::io;

use zput_proto::limits::OBJECT_KEY_MAX_BYTES;

use super::{
    bounds::{MEMBERS_MAX, NAMES_MAX_BYTES},
    error::{ArchiveError, ArchiveErrorKind, ReadError},
    reader::{Member, MemberKind, ReadAt, Reader},
};
use crate::mounts::{Unavailable, file::FileTime, path::RelativePath};

/// The files of an archive, by their paths.
#[derive(Debug, Default)]
pub struct Index {
    /// All names, sorted, without separators.
    names: String,
    entries: Vec<IndexEntry>,
    unavailable: Vec<(Box<str>, Unavailable)>,
    skipped: SkippedMembers,
}

/// The position of a file.
#[derive(Clone, Copy, Debug)]
struct IndexEntry {
    offset: u64,
    length: u64,
    modified_seconds: i64,
    modified_nanoseconds: u32,
    /// Where the file's name ends in `names`. It begins where the previous one ends.
    name_end: u32,
}

/// A file of an archive: a range of its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Where it begins, in bytes.
    pub offset: u64,
    /// Its length in bytes. It ends within the archive.
    pub length: u64,
    /// When it was last modified, as the archive says.
    pub modified: FileTime,
}

/// Numbers of members that are skipped: they are not served. Directories are no loss and are not
/// counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SkippedMembers {
    /// Members whose names are not UTF-8.
    pub name_not_utf8: usize,
    /// Members whose names, without the prefix to strip, have more than 1,024 bytes.
    pub name_too_long: usize,
    /// Members whose names do not begin with the prefix to strip.
    pub outside_prefix: usize,
    /// Symbolic links, devices, pipes, and unknown types.
    pub special: usize,
    /// Hard links to a name that the archive does not have before them, or whose member is not a
    /// file.
    pub dangling_links: usize,
    /// Sparse members, and members that begin in another volume.
    pub unavailable: usize,
}

impl Index {
    /// Indexes an archive in memory; see [`super::TarMount`].
    ///
    /// # Errors
    /// Why the archive is refused.
    pub fn of_bytes(archive: &[u8], strip_prefix: Option<&str>) -> Result<Self, ReadError> {
        Self::read(&archive, strip_prefix)
    }

    /// Indexes an archive. `strip_prefix` must be a valid path.
    pub(super) fn read(
        source: &impl ReadAt,
        strip_prefix: Option<&str>,
    ) -> Result<Self, ReadError> {
        Self::read_within(source, strip_prefix, MEMBERS_MAX, NAMES_MAX_BYTES)
    }

    /// As [`Index::read`], with other bounds. Names of 4 GiB and more do not fit, whatever
    /// `most_name_bytes` says.
    pub(super) fn read_within(
        source: &impl ReadAt,
        strip_prefix: Option<&str>,
        most_members: usize,
        most_name_bytes: usize,
    ) -> Result<Self, ReadError> {
        let prefix = strip_prefix.map_or_else(String::new, |prefix| format!("{prefix}/"));
        let longest = prefix.len() + OBJECT_KEY_MAX_BYTES;
        let mut builder =
            IndexBuilder { longest, most_members, most_name_bytes, ..IndexBuilder::default() };
        let mut reader = Reader::new(source);
        while let Some(member) = reader.next()? {
            builder.add(member)?;
        }
        builder.resolve_links();
        Ok(builder.into_index(&prefix))
    }

    /// Finds a file.
    ///
    /// # Errors
    /// [`Unavailable`] when the archive has the file, but not as one range.
    pub fn find(&self, path: &str) -> Result<Option<Extent>, Unavailable> {
        if let Ok(index) = self.unavailable.binary_search_by(|(name, _)| (**name).cmp(path)) {
            return Err(self.unavailable[index].1);
        }
        let index = self.first_not_before(path.as_bytes());
        Ok((self.name(index) == Some(path)).then(|| self.entries[index].extent()))
    }

    /// The files in the order of the bytes of their paths, from behind the position `after` on.
    pub fn files_after(&self, after: &[u8]) -> impl Iterator<Item = (&str, Extent)> {
        let first = self.first_not_before(after);
        let first = first + usize::from(self.name(first).is_some_and(|n| n.as_bytes() == after));
        (first..self.entries.len())
            .filter_map(|index| Some((self.name(index)?, self.entries[index].extent())))
    }

    /// Number of files that are served.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no files.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Numbers of members that are not in the index.
    #[must_use]
    pub fn skipped(&self) -> SkippedMembers {
        self.skipped
    }

    /// The members that are known and not served, by name.
    #[must_use]
    pub fn unavailable(&self) -> &[(Box<str>, Unavailable)] {
        &self.unavailable
    }

    /// Memory that the index takes, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let unavailable = self.unavailable.iter();
        self.names.capacity()
            + self.entries.capacity() * size_of::<IndexEntry>()
            + unavailable.map(|u| u.0.len() + size_of_val(u)).sum::<usize>()
    }

    fn first_not_before(&self, path: &[u8]) -> usize {
        let (mut low, mut high) = (0, self.entries.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.name(middle) {
                Some(name) if name.as_bytes() < path => low = middle + 1,
                _ => high = middle,
            }
        }
        low
    }

    fn name(&self, index: usize) -> Option<&str> {
        let end = self.entries.get(index)?.name_end as usize;
        let begin = match index.checked_sub(1) {
            Some(before) => self.entries.get(before)?.name_end as usize,
            None => 0,
        };
        self.names.get(begin..end)
    }

    fn push(&mut self, name: &str, extent: Extent) {
        self.names.push_str(name);
        self.entries.push(IndexEntry {
            offset: extent.offset,
            length: extent.length,
            modified_seconds: extent.modified.seconds,
            modified_nanoseconds: extent.modified.nanoseconds,
            // Not longer than the gathered names, whose positions fit into 32 bits.
            name_end: u32::try_from(self.names.len()).unwrap_or(u32::MAX),
        });
    }
}

impl IndexEntry {
    fn extent(&self) -> Extent {
        let (seconds, nanoseconds) = (self.modified_seconds, self.modified_nanoseconds);
        let modified = FileTime { seconds, nanoseconds };
        Extent { offset: self.offset, length: self.length, modified }
    }
}

/// All members in the order of the archive, of any type: a later member replaces an earlier one of
/// the same name, as it would on a disk.
#[derive(Default)]
struct IndexBuilder {
    members: Vec<GatheredMember>,
    names: String,
    links: Vec<Link>,
    /// Bytes of the longest name that is kept.
    longest: usize,
    most_members: usize,
    most_name_bytes: usize,
    skipped: SkippedMembers,
}

struct GatheredMember {
    name_begin: u32,
    name_length: u16,
    what: GatheredKind,
    modified: FileTime,
}

#[derive(Clone, Copy)]
enum GatheredKind {
    File {
        offset: u64,
        length: u64,
    },
    Unavailable(Unavailable),
    /// A hard link whose target was not found (yet), or is not a file.
    DanglingLink,
    Special,
    Directory,
}

/// The member with this number is another name for the target.
struct Link {
    member: u32,
    target_begin: u32,
    target_length: u16,
}

impl IndexBuilder {
    fn add(&mut self, member: Member) -> Result<(), ReadError> {
        let Member { header, path, kind, modified } = member;
        let refused = |kind| ReadError::Archive(ArchiveError { offset: header, kind });
        if self.members.len() >= self.most_members {
            return Err(refused(ArchiveErrorKind::TooManyMembers));
        }
        let served = matches!(kind, MemberKind::File { .. } | MemberKind::HardLink(_));
        let name_length = match u16::try_from(path.len()) {
            Ok(length) if path.len() <= self.longest => length,
            _ => {
                self.skipped.name_too_long += usize::from(served);
                return Ok(());
            }
        };
        let Ok(name) = str::from_utf8(&path) else {
            self.skipped.name_not_utf8 += usize::from(served);
            return Ok(());
        };
        let name_begin = match u32::try_from(self.names.len()) {
            Ok(begin) if self.names.len() + name.len() <= self.most_name_bytes => begin,
            _ => return Err(refused(ArchiveErrorKind::TooManyNames)),
        };
        self.names.push_str(name);
        let what = match kind {
            MemberKind::File { offset, length } => GatheredKind::File { offset, length },
            MemberKind::Unavailable(why) => GatheredKind::Unavailable(why),
            MemberKind::Special => GatheredKind::Special,
            MemberKind::Directory => GatheredKind::Directory,
            MemberKind::HardLink(target) => {
                self.add_link(&target).map_err(refused)?;
                GatheredKind::DanglingLink
            }
        };
        self.members.push(GatheredMember { name_begin, name_length, what, modified });
        Ok(())
    }

    /// Notes that the next member is another name for `target`. A target that no member can have as
    /// its name leaves the link dangling. A target that is kept counts towards the bytes of names.
    fn add_link(&mut self, target: &[u8]) -> Result<(), ArchiveErrorKind> {
        let Ok(target) = str::from_utf8(target) else { return Ok(()) };
        let Some(target_length) =
            u16::try_from(target.len()).ok().filter(|_| target.len() <= self.longest)
        else {
            return Ok(());
        };
        let target_begin = match u32::try_from(self.names.len()) {
            Ok(begin) if self.names.len() + target.len() <= self.most_name_bytes => begin,
            _ => return Err(ArchiveErrorKind::TooManyNames),
        };
        // The number of members fits into 24 bits.
        if let Ok(member) = u32::try_from(self.members.len()) {
            self.names.push_str(target);
            self.links.push(Link { member, target_begin, target_length });
        }
        Ok(())
    }

    fn name(&self, member: usize) -> &str {
        let GatheredMember { name_begin, name_length, .. } = self.members[member];
        &self.names[name_begin as usize..][..usize::from(name_length)]
    }

    /// The members' numbers, sorted by name, and by position in the archive where names are equal.
    fn by_name(&self) -> Vec<u32> {
        let mut order: Vec<u32> = (0_u32..).take(self.members.len()).collect();
        order.sort_unstable_by(|a, b| {
            (self.name(*a as usize), *a).cmp(&(self.name(*b as usize), *b))
        });
        order
    }

    /// Resolves hard links. A hard link is another name for the last member of its target's name
    /// before it; that may be a link in turn, which is resolved by then.
    fn resolve_links(&mut self) {
        if self.links.is_empty() {
            return;
        }
        let order = self.by_name();
        for Link { member, target_begin, target_length } in std::mem::take(&mut self.links) {
            let target = &self.names[target_begin as usize..][..usize::from(target_length)];
            let behind = order
                .partition_point(|other| (self.name(*other as usize), *other) < (target, member));
            let Some(found) = behind.checked_sub(1).map(|index| order[index] as usize) else {
                continue;
            };
            if self.name(found) == target {
                let GatheredMember { what, modified, .. } = self.members[found];
                let link = &mut self.members[member as usize];
                link.what = match what {
                    GatheredKind::File { .. } | GatheredKind::Unavailable(_) => what,
                    GatheredKind::DanglingLink
                    | GatheredKind::Special
                    | GatheredKind::Directory => GatheredKind::DanglingLink,
                };
                link.modified = modified;
            }
        }
    }

    fn into_index(mut self, prefix: &str) -> Index {
        let order = self.by_name();
        let mut index = Index::default();
        for (place, member) in order.iter().enumerate() {
            let name = self.name(*member as usize);
            let next = order.get(place + 1).map(|next| self.name(*next as usize));
            if next == Some(name) {
                continue;
            }
            let GatheredMember { what, modified, .. } = self.members[*member as usize];
            if matches!(what, GatheredKind::Directory) {
                continue;
            }
            let Some(path) = name.strip_prefix(prefix).filter(|path| !path.is_empty()) else {
                self.skipped.outside_prefix += 1;
                continue;
            };
            if RelativePath::parse(path).is_err() {
                self.skipped.name_too_long += 1;
                continue;
            }
            match what {
                GatheredKind::File { offset, length } => {
                    index.push(path, Extent { offset, length, modified });
                }
                GatheredKind::Unavailable(why) => index.unavailable.push((path.into(), why)),
                GatheredKind::DanglingLink => self.skipped.dangling_links += 1,
                GatheredKind::Special => self.skipped.special += 1,
                GatheredKind::Directory => {}
            }
        }
        index.names.shrink_to_fit();
        index.entries.shrink_to_fit();
        index.unavailable.shrink_to_fit();
        self.skipped.unavailable = index.unavailable.len();
        index.skipped = self.skipped;
        index
    }
}

impl ReadAt for &[u8] {
    fn length(&self) -> u64 {
        self.len() as u64
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let bytes = usize::try_from(offset).ok().and_then(|begin| self.get(begin..));
        match bytes.and_then(|bytes| bytes.get(..buffer.len())) {
            Some(bytes) => buffer.copy_from_slice(bytes),
            None => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
        Ok(())
    }
}
