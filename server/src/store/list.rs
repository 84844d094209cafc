//! The catalogue, page by page, read from the directories of current versions.

use std::collections::BTreeSet;

use zput_proto::{
    limits::{FRAME_MAX_BYTES, PAGE_MAX_ENTRIES},
    message::Entry,
};

use super::{
    Store,
    error::{Corruption, StoreError, WithFile as _},
    layout::{Area, ObjectName, Shard},
    object::{Object, open_file},
    shard_dirs::ShardDirs,
};

/// Bytes that an entry takes in a frame beyond its key and its header: at most two lengths of 3
/// bytes, an option, and an Info of 10 + 1 + 10 + 5 + 5 in postcard.
const ENTRY_OVERHEAD_BYTES: usize = 38;
/// Bytes that a page takes beyond its entries: the variant, a length of 3, an option and a cursor
/// of 33, and a count of 5.
const PAGE_OVERHEAD_BYTES: usize = 43;

/// A page of the catalogue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The objects on the page.
    pub entries: Vec<Entry>,
    /// The cursor after which the next page begins; `None` on the last page.
    pub next: Option<Vec<u8>>,
    /// Number of objects that belong on this page and cannot be read.
    pub unreadable: u32,
}

impl Store {
    /// A page of the current objects, in the order of the hashes of their keys. It holds at most
    /// `limit` and 1,000 entries and fits into one frame; a page may be empty without being the
    /// last. With `headers`, entries of sealed objects contain their headers. An object that cannot
    /// be read, or whose record is corrupt, is left out, counted and logged; a directory that
    /// cannot be read counts as one object.
    ///
    /// An object that existed before the first page was requested, and still exists after the last,
    /// is on exactly one page.
    ///
    /// # Errors
    /// [`StoreError::Cursor`] when `after` is not a cursor of a page; [`StoreError::Changing`] when
    /// objects of one shard were replaced at each of five looks.
    pub fn list(
        &self,
        after: Option<&[u8]>,
        limit: u32,
        headers: bool,
    ) -> Result<Page, StoreError> {
        let after = match after {
            None => None,
            Some(bytes) => Some(ObjectName(bytes.try_into().map_err(|_| StoreError::Cursor)?)),
        };
        let most = limit.clamp(1, PAGE_MAX_ENTRIES) as usize;
        let mut page =
            PageBuilder { page: Page::default(), bytes: PAGE_OVERHEAD_BYTES, examined: 0 };
        let mut last = after;
        for shard in Shard::all().skip(after.map_or(0, |name| name.shard().0.into())) {
            let names = match self.names_after(shard, last, most + 1) {
                Err(error) if error.is_unreadable_file() => {
                    let directory = shard.dir_in(Area::Objects);
                    tracing::warn!(directory, %error, "a directory cannot be read and is not listed");
                    page.page.unreadable += 1;
                    continue;
                }
                names => names?,
            };
            for name in names {
                if page.examined == most || !page.add(self.entry(name, headers)?) {
                    page.page.next = last.map(|name| name.0.to_vec());
                    return Ok(page.page);
                }
                last = Some(name);
            }
        }
        Ok(page.page)
    }

    /// The first `most` objects of a shard that come after `after`, in order.
    fn names_after(
        &self,
        shard: Shard,
        after: Option<ObjectName>,
        most: usize,
    ) -> Result<BTreeSet<ObjectName>, StoreError> {
        let dirs = ShardDirs::open(self.fsync(), shard)?;
        let mut first = BTreeSet::new();
        let is_complete = dirs.read_all_lasting(|| {
            for file_name in dirs.names(Area::Objects)? {
                let Some(name) = ObjectName::parse(&file_name?) else { continue };
                if name.shard() == shard && after.is_none_or(|after| name > after) {
                    first.insert(name);
                    if first.len() > most {
                        first.pop_last();
                    }
                }
            }
            Ok(())
        })?;
        if is_complete { Ok(first) } else { Err(StoreError::Changing) }
    }

    /// The entry of one object.
    fn entry(&self, name: ObjectName, header: bool) -> Result<Lookup, StoreError> {
        let path = name.current_path();
        let entry = || -> Result<Lookup, StoreError> {
            let Some(file) = open_file(self.root(), &path, &path)? else {
                return Ok(Lookup::Gone);
            };
            let object = Object::read(file)?;
            if ObjectName::for_key(object.key()) != name {
                return Err(Corruption::Misplaced.into());
            }
            let header = if header { object.read_header()? } else { None };
            let (key, info) = (object.key().clone(), object.info());
            Ok(Lookup::Entry(Entry { key, info, header }))
        };
        match entry().with_file(&path) {
            Err(error) if error.is_unreadable_file() => {
                tracing::warn!(file = path, %error, "an object cannot be read and is not listed");
                Ok(Lookup::Unreadable)
            }
            result => result,
        }
    }
}

/// The result of reading one object.
enum Lookup {
    Entry(Entry),
    /// The object was deleted meanwhile.
    Gone,
    /// The object exists and cannot be read, or is corrupt.
    Unreadable,
}

/// A page that is being filled.
struct PageBuilder {
    page: Page,
    bytes: usize,
    /// Entries on the page, and objects that were left out.
    examined: usize,
}

impl PageBuilder {
    /// Adds an entry, or counts an object without one. Returns `false` if the entry does not fit
    /// into the frame.
    fn add(&mut self, lookup: Lookup) -> bool {
        match lookup {
            Lookup::Entry(entry) => {
                let header = entry.header.as_ref().map_or(0, Vec::len);
                let bytes = ENTRY_OVERHEAD_BYTES + entry.key.as_bytes().len() + header;
                if self.bytes + bytes > FRAME_MAX_BYTES {
                    return false;
                }
                self.bytes += bytes;
                self.page.entries.push(entry);
            }
            Lookup::Gone => {}
            Lookup::Unreadable => self.page.unreadable += 1,
        }
        self.examined += 1;
        true
    }
}
