//! The catalogue, page by page: a directory listing is all there is to it.

use std::collections::BTreeSet;

use zput_common::{
    limits::{FRAME_MAX_BYTES, PAGE_MAX_ENTRIES},
    proto::message::Entry,
};

use super::{
    Store,
    error::{Doing, Rot, StoreError},
    layout::{ObjectName, Shard, Shelf},
    object::Object,
    shard::{LockedShard, open_file},
};
use crate::sys::fs;

/// What an entry takes beyond its key and its header: at most two lengths of 3 bytes, an option, and an Info of
/// 10 + 1 + 10 + 5 + 5 in postcard.
const ENTRY_OVERHEAD_BYTES: usize = 38;
/// What a page takes beyond its entries: the variant, a length of 3, an option and a cursor of 33.
const PAGE_OVERHEAD_BYTES: usize = 38;

impl Store {
    /// A page of the current objects in the order of the hashes of their keys, and the cursor that the next page begins
    /// after (absent on the last). It holds at most `limit` and 1,000 entries and fits into one frame; it may be empty and
    /// not be the last. With `headers`, sealed objects come with theirs. An object whose record has rotted is left out and logged.
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
    ) -> Result<(Vec<Entry>, Option<Vec<u8>>), StoreError> {
        let after = match after {
            None => None,
            Some(bytes) => Some(ObjectName(bytes.try_into().map_err(|_| StoreError::Cursor)?)),
        };
        let most = limit.clamp(1, PAGE_MAX_ENTRIES) as usize;
        let mut page = Page { entries: Vec::new(), bytes: PAGE_OVERHEAD_BYTES, looked_at: 0 };
        let mut last = after;
        for shard in Shard::all().skip(after.map_or(0, |name| name.shard().0.into())) {
            for name in self.names_after(shard, last, most + 1)? {
                if page.looked_at == most || !page.offer(self.entry(name, headers)?) {
                    return Ok((page.entries, last.map(|name| name.0.to_vec())));
                }
                last = Some(name);
            }
        }
        Ok((page.entries, None))
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
        for file_name in fs::names(locked.dir(Shelf::Objects)).doing("read a directory")? {
            let Some(name) = ObjectName::parse(&file_name.doing("read a directory")?) else {
                continue;
            };
            if name.shard() == shard && after.is_none_or(|after| name > after) {
                first.insert(name);
                if first.len() > most {
                    first.pop_last();
                }
            }
        }
        Ok(first)
    }

    /// An object's entry; `None` when it is gone by now, or rotten.
    fn entry(&self, name: ObjectName, header: bool) -> Result<Option<Entry>, StoreError> {
        let entry = || -> Result<Option<Entry>, StoreError> {
            let Some(file) = open_file(self.root(), &name.current_path())? else {
                return Ok(None);
            };
            let object = Object::read(file)?;
            if ObjectName::of(object.key()) != name {
                return Err(Rot::Misplaced.into());
            }
            let header = if header { object.read_header()? } else { None };
            Ok(Some(Entry { key: object.key().clone(), info: object.info(), header }))
        };
        match entry() {
            Err(StoreError::Corrupt(rot)) => {
                tracing::warn!(object = %name, %rot, "an object is damaged and not listed");
                Ok(None)
            }
            result => result,
        }
    }
}

struct Page {
    entries: Vec<Entry>,
    bytes: usize,
    /// Entries, and what was left out.
    looked_at: usize,
}

impl Page {
    /// Takes an entry, unless it would not fit into the frame any more.
    fn offer(&mut self, entry: Option<Entry>) -> bool {
        if let Some(entry) = entry {
            let header = entry.header.as_ref().map_or(0, Vec::len);
            let bytes = ENTRY_OVERHEAD_BYTES + entry.key.as_bytes().len() + header;
            if self.bytes + bytes > FRAME_MAX_BYTES {
                return false;
            }
            self.bytes += bytes;
            self.entries.push(entry);
        }
        self.looked_at += 1;
        true
    }
}
