//! What is where in an archive: a sorted table of 32 bytes a member and one string of all their names.

use std::io;

use zput_common::limits::OBJECT_KEY_MAX_BYTES;

use super::{
    MEMBERS_MAX, NAMES_MAX_BYTES, ReadError,
    flaw::{ArchiveError, ArchiveFlaw},
    reader::{Member, MemberKind, Reader, Source},
};
use crate::mounts::{Unavailable, found::Modified, path::MemberPath};

/// The files of an archive, by their paths.
#[derive(Debug, Default)]
pub struct Index {
    /// All names, in order, without anything between them.
    names: String,
    places: Vec<Place>,
    unavailable: Vec<(Box<str>, Unavailable)>,
    left_out: LeftOut,
}

/// Where a file is.
#[derive(Clone, Copy, Debug)]
struct Place {
    offset: u64,
    length: u64,
    modified_seconds: i64,
    modified_nanoseconds: u32,
    /// Where its name ends in the names; it begins where the one before ends.
    name_end: u32,
}

/// A file of an archive: a stretch of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Where it begins, in bytes.
    pub offset: u64,
    /// Bytes. It ends within the archive.
    pub length: u64,
    /// When it was last modified, as the archive says.
    pub modified: Modified,
}

/// How many members of an archive are not served. Directories are no loss and are not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Names that are not UTF-8.
    pub not_utf8: usize,
    /// Names of more than 1,024 bytes.
    pub too_long: usize,
    /// Names without the prefix that all were to have.
    pub outside_prefix: usize,
    /// Symbolic links, devices, pipes, and types that nobody knows.
    pub special: usize,
    /// Hard links to what the archive does not have in front of them, or to something that is no file.
    pub loose_links: usize,
    /// Sparse members and those that begin in another volume.
    pub unavailable: usize,
}

impl Index {
    /// Indexes an archive that is in memory; see [`super::TarMount`].
    ///
    /// # Errors
    /// Says why the archive is refused.
    pub fn of_bytes(archive: &[u8], strip_prefix: Option<&str>) -> Result<Self, ReadError> {
        Self::read(&archive, strip_prefix)
    }

    /// Indexes an archive. `strip_prefix` is a clean path.
    pub(super) fn read(
        source: &impl Source,
        strip_prefix: Option<&str>,
    ) -> Result<Self, ReadError> {
        Self::read_within(source, strip_prefix, MEMBERS_MAX, NAMES_MAX_BYTES)
    }

    /// As [`Index::read`]. Names of 4 GiB and more have no room, whatever `most_name_bytes` says.
    pub(super) fn read_within(
        source: &impl Source,
        strip_prefix: Option<&str>,
        most_members: usize,
        most_name_bytes: usize,
    ) -> Result<Self, ReadError> {
        let prefix = strip_prefix.map_or_else(String::new, |prefix| format!("{prefix}/"));
        let longest = prefix.len() + OBJECT_KEY_MAX_BYTES;
        let mut gathered =
            Gathered { longest, most_members, most_name_bytes, ..Gathered::default() };
        let mut reader = Reader::new(source);
        while let Some(member) = reader.next()? {
            gathered.add(member)?;
        }
        gathered.resolve_links();
        Ok(gathered.into_index(&prefix))
    }

    /// Finds a file.
    ///
    /// # Errors
    /// [`Unavailable`] when the archive has it, but not in one piece.
    pub fn find(&self, path: &str) -> Result<Option<Stretch>, Unavailable> {
        if let Ok(index) = self.unavailable.binary_search_by(|(name, _)| (**name).cmp(path)) {
            return Err(self.unavailable[index].1);
        }
        let index = self.first_not_before(path.as_bytes());
        Ok((self.name(index) == Some(path)).then(|| self.places[index].stretch()))
    }

    /// Its files in the order of the bytes of their paths, from behind the place `after` on.
    pub fn files_after(&self, after: &[u8]) -> impl Iterator<Item = (&str, Stretch)> {
        let first = self.first_not_before(after);
        let first = first + usize::from(self.name(first).is_some_and(|n| n.as_bytes() == after));
        (first..self.places.len())
            .filter_map(|index| Some((self.name(index)?, self.places[index].stretch())))
    }

    /// How many files it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// What is not in it.
    #[must_use]
    pub fn left_out(&self) -> LeftOut {
        self.left_out
    }

    /// The members that are known and not served, by name.
    #[must_use]
    pub fn unavailable(&self) -> &[(Box<str>, Unavailable)] {
        &self.unavailable
    }

    /// Memory that it takes, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let unavailable = self.unavailable.iter();
        self.names.capacity()
            + self.places.capacity() * size_of::<Place>()
            + unavailable.map(|u| u.0.len() + size_of_val(u)).sum::<usize>()
    }

    fn first_not_before(&self, path: &[u8]) -> usize {
        let (mut low, mut high) = (0, self.places.len());
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
        let end = self.places.get(index)?.name_end as usize;
        let begin = match index.checked_sub(1) {
            Some(before) => self.places.get(before)?.name_end as usize,
            None => 0,
        };
        self.names.get(begin..end)
    }

    fn push(&mut self, name: &str, stretch: Stretch) {
        self.names.push_str(name);
        self.places.push(Place {
            offset: stretch.offset,
            length: stretch.length,
            modified_seconds: stretch.modified.seconds,
            modified_nanoseconds: stretch.modified.nanoseconds,
            // No more than what was gathered, of which each place fits.
            name_end: u32::try_from(self.names.len()).unwrap_or(u32::MAX),
        });
    }
}

impl Place {
    fn stretch(&self) -> Stretch {
        let (seconds, nanoseconds) = (self.modified_seconds, self.modified_nanoseconds);
        let modified = Modified { seconds, nanoseconds };
        Stretch { offset: self.offset, length: self.length, modified }
    }
}

/// All members in the order of the archive, whatever they are: one that comes later under the same name
/// takes the place of an earlier one, as it would on a disk.
#[derive(Default)]
struct Gathered {
    members: Vec<Seen>,
    names: String,
    links: Vec<Link>,
    /// Bytes of the longest name that is kept.
    longest: usize,
    most_members: usize,
    most_name_bytes: usize,
    left_out: LeftOut,
}

struct Seen {
    name_begin: u32,
    name_length: u16,
    what: What,
    modified: Modified,
}

#[derive(Clone, Copy)]
enum What {
    File {
        offset: u64,
        length: u64,
    },
    Unavailable(Unavailable),
    /// A link to what is not there, or is no file.
    LooseLink,
    Special,
    Directory,
}

/// The member of this number is another name for what is called so.
struct Link {
    member: u32,
    target_begin: u32,
    target_length: u16,
}

impl Gathered {
    fn add(&mut self, member: Member) -> Result<(), ReadError> {
        let Member { header, path, kind, modified } = member;
        let refused = |flaw| ReadError::Archive(ArchiveError { offset: header, flaw });
        if self.members.len() >= self.most_members {
            return Err(refused(ArchiveFlaw::TooManyMembers));
        }
        let served = matches!(kind, MemberKind::File { .. } | MemberKind::HardLink(_));
        let name_length = match u16::try_from(path.len()) {
            Ok(length) if path.len() <= self.longest => length,
            _ => {
                self.left_out.too_long += usize::from(served);
                return Ok(());
            }
        };
        let Ok(name) = str::from_utf8(&path) else {
            self.left_out.not_utf8 += usize::from(served);
            return Ok(());
        };
        let name_begin = match u32::try_from(self.names.len()) {
            Ok(begin) if self.names.len() + name.len() <= self.most_name_bytes => begin,
            _ => return Err(refused(ArchiveFlaw::TooManyNames)),
        };
        self.names.push_str(name);
        let what = match kind {
            MemberKind::File { offset, length } => What::File { offset, length },
            MemberKind::Unavailable(why) => What::Unavailable(why),
            MemberKind::Special => What::Special,
            MemberKind::Directory => What::Directory,
            MemberKind::HardLink(target) => {
                self.add_link(&target).map_err(refused)?;
                What::LooseLink
            }
        };
        self.members.push(Seen { name_begin, name_length, what, modified });
        Ok(())
    }

    /// Notes that the next member is another name for `target`. What no member that is kept can be called is none's: the link is
    /// a loose one. A target that is kept counts as a name.
    fn add_link(&mut self, target: &[u8]) -> Result<(), ArchiveFlaw> {
        let Ok(target) = str::from_utf8(target) else { return Ok(()) };
        let Some(target_length) =
            u16::try_from(target.len()).ok().filter(|_| target.len() <= self.longest)
        else {
            return Ok(());
        };
        let target_begin = match u32::try_from(self.names.len()) {
            Ok(begin) if self.names.len() + target.len() <= self.most_name_bytes => begin,
            _ => return Err(ArchiveFlaw::TooManyNames),
        };
        // The members have room in 24 bits.
        if let Ok(member) = u32::try_from(self.members.len()) {
            self.names.push_str(target);
            self.links.push(Link { member, target_begin, target_length });
        }
        Ok(())
    }

    fn name(&self, member: usize) -> &str {
        let Seen { name_begin, name_length, .. } = self.members[member];
        &self.names[name_begin as usize..][..usize::from(name_length)]
    }

    /// The members by name, and by place in the archive where they have the same.
    fn by_name(&self) -> Vec<u32> {
        let mut order: Vec<u32> = (0_u32..).take(self.members.len()).collect();
        order.sort_unstable_by(|a, b| {
            (self.name(*a as usize), *a).cmp(&(self.name(*b as usize), *b))
        });
        order
    }

    /// A hard link is another name for the last member of its target's name in front of it; that may be a link in
    /// turn, which by then leads to its own.
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
                let Seen { what, modified, .. } = self.members[found];
                let link = &mut self.members[member as usize];
                link.what = match what {
                    What::File { .. } | What::Unavailable(_) => what,
                    What::LooseLink | What::Special | What::Directory => What::LooseLink,
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
            let Seen { what, modified, .. } = self.members[*member as usize];
            if matches!(what, What::Directory) {
                continue;
            }
            let Some(path) = name.strip_prefix(prefix).filter(|path| !path.is_empty()) else {
                self.left_out.outside_prefix += 1;
                continue;
            };
            if MemberPath::parse(path).is_err() {
                self.left_out.too_long += 1;
                continue;
            }
            match what {
                What::File { offset, length } => {
                    index.push(path, Stretch { offset, length, modified });
                }
                What::Unavailable(why) => index.unavailable.push((path.into(), why)),
                What::LooseLink => self.left_out.loose_links += 1,
                What::Special => self.left_out.special += 1,
                What::Directory => {}
            }
        }
        index.names.shrink_to_fit();
        index.places.shrink_to_fit();
        index.unavailable.shrink_to_fit();
        self.left_out.unavailable = index.unavailable.len();
        index.left_out = self.left_out;
        index
    }
}

impl Source for &[u8] {
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
