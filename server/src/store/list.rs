//! The catalogue, page by page: a directory listing is all there is to it.

use std::collections::BTreeSet;

use zput_common::{
    limits::{FRAME_MAX_BYTES, PAGE_MAX_ENTRIES},
    proto::message::Entry,
};

use super::{
    Store,
    error::{OfFile as _, Rot, StoreError},
    layout::{ObjectName, Shard, Shelf},
    object::Object,
    shard::{LockedShard, open_file},
};

/// What an entry takes beyond its key and its header: at most two lengths of 3 bytes, an option, and an Info of
/// 10 + 1 + 10 + 5 + 5 in postcard.
const ENTRY_OVERHEAD_BYTES: usize = 38;
/// What a page takes beyond its entries: the variant, a length of 3, an option and a cursor of 33, and a count of 5.
const PAGE_OVERHEAD_BYTES: usize = 43;

/// A page of the catalogue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Its objects.
    pub entries: Vec<Entry>,
    /// The cursor that the next page begins after; absent on the last page.
    pub next: Option<Vec<u8>>,
    /// How many objects that belong on it are there and cannot be read.
    pub unreadable: u32,
}

impl Store {
    /// A page of the current objects in the order of the hashes of their keys, and the cursor that the next page begins
    /// after (absent on the last). It holds at most `limit` and 1,000 entries and fits into one frame; it may be empty and
    /// not be the last. With `headers`, sealed objects come with theirs. An object that cannot be read, or whose record has
    /// rotted, is left out, counted and logged; a directory of them that cannot be read counts as one.
    ///
    /// Whatever was there before the first page was asked for and still is after the last one is on exactly one of them.
    ///
    /// # Errors
    /// [`StoreError::Cursor`] when `after` is none of a page's cursors.
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
        let mut page = Filling { page: Page::default(), bytes: PAGE_OVERHEAD_BYTES, looked_at: 0 };
        let mut last = after;
        for shard in Shard::all().skip(after.map_or(0, |name| name.shard().0.into())) {
            let names = match self.names_after(shard, last, most + 1) {
                Err(error) if error.is_of_one_file() => {
                    tracing::warn!(directory = shard.on(Shelf::Objects), %error, "cannot be listed");
                    page.page.unreadable += 1;
                    continue;
                }
                names => names?,
            };
            for name in names {
                if page.looked_at == most || !page.offer(self.entry(name, headers)?) {
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
        // Under the lock: some file systems move an entry when it is replaced, and a reader of the directory
        // can then miss it.
        let locked = LockedShard::shared(self.syncs(), shard)?;
        let mut first = BTreeSet::new();
        for file_name in locked.names(Shelf::Objects)? {
            let Some(name) = ObjectName::parse(&file_name?) else { continue };
            if name.shard() == shard && after.is_none_or(|after| name > after) {
                first.insert(name);
                if first.len() > most {
                    first.pop_last();
                }
            }
        }
        Ok(first)
    }

    /// What is to be listed of an object.
    fn entry(&self, name: ObjectName, header: bool) -> Result<Looked, StoreError> {
        let path = name.current_path();
        let entry = || -> Result<Looked, StoreError> {
            let Some(file) = open_file(self.root(), &path, &path)? else {
                return Ok(Looked::Gone);
            };
            let object = Object::read(file)?;
            if ObjectName::of(object.key()) != name {
                return Err(Rot::Misplaced.into());
            }
            let header = if header { object.read_header()? } else { None };
            let (key, info) = (object.key().clone(), object.info());
            Ok(Looked::Entry(Entry { key, info, header }))
        };
        match entry().of_file(&path) {
            Err(error) if error.is_of_one_file() => {
                tracing::warn!(file = path, %error, "an object cannot be read and is not listed");
                Ok(Looked::Unreadable)
            }
            result => result,
        }
    }
}

/// What came of looking at an object.
enum Looked {
    Entry(Entry),
    /// It is gone by now.
    Gone,
    /// It is there, and cannot be read or is rotten.
    Unreadable,
}

/// A page that is being filled.
struct Filling {
    page: Page,
    bytes: usize,
    /// Entries, and what was left out.
    looked_at: usize,
}

impl Filling {
    /// Takes an entry, unless it would not fit into the frame any more.
    fn offer(&mut self, looked: Looked) -> bool {
        match looked {
            Looked::Entry(entry) => {
                let header = entry.header.as_ref().map_or(0, Vec::len);
                let bytes = ENTRY_OVERHEAD_BYTES + entry.key.as_bytes().len() + header;
                if self.bytes + bytes > FRAME_MAX_BYTES {
                    return false;
                }
                self.bytes += bytes;
                self.page.entries.push(entry);
            }
            Looked::Gone => {}
            Looked::Unreadable => self.page.unreadable += 1,
        }
        self.looked_at += 1;
        true
    }
}
