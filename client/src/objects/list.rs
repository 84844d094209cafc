//! A listing: all pages of the server's list, with every header opened.
//!
//! A header is authenticated only by the file key, and anyone who knows a recipient can make one.
//! The vault's name key binds a name to its object key, so an entry whose name maps to another key
//! is not listed.

use std::collections::BTreeSet;

use zput_proto::{
    envelope::Layout,
    limits::PAGE_MAX_ENTRIES,
    message::{Entry, Info, Kind, Request, Response, Version},
    name::ObjectKey,
};
use zput_seal::{
    aead::Engine,
    age::Identity,
    blob::{header::Header, metadata::Metadata, open::OpenError},
    chunked::plain_len,
    keys::Role,
};

use crate::{error::Error, limits::LISTED_MAX, session::Session};

/// A blob of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listed {
    /// The object key.
    pub key: ObjectKey,
    /// Name, time and mode as the writer stated them; the name maps to `key`.
    pub metadata: Metadata,
    /// The current version: its commit time in ns since 1970.
    pub version: Version,
    /// The blob's generation.
    pub generation: u64,
    /// Length of the plaintext in bytes, computed from the lengths that the server states.
    pub length: u64,
    /// Length of the stored object in bytes.
    pub stored: u64,
}

/// An object that is not listed.
#[derive(Debug)]
pub struct Unlisted {
    /// The object key.
    pub key: ObjectKey,
    /// Why it is not listed.
    pub error: Error,
}

/// The objects of a server, as far as a key file can open them.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Listing {
    /// The vault's blobs, sorted by name.
    pub blobs: Vec<Listed>,
    /// Number of objects that are sealed to other recipients.
    pub foreign: usize,
    /// Number of unsealed objects.
    pub unsealed: usize,
    /// Objects that are sealed to this vault and fail verification.
    pub damaged: Vec<Unlisted>,
    /// Number of objects that the server could not read.
    pub unreadable: u64,
}

/// A page of the server's list.
struct Page {
    entries: Vec<Entry>,
    next: Option<Vec<u8>>,
    unreadable: u32,
}

impl Session {
    /// Lists the blobs whose names begin with `prefix`; all if it is empty.
    ///
    /// # Errors
    /// When the key file cannot open headers, the server refuses, or the listing exceeds its
    /// bounds.
    pub fn list(&mut self, prefix: &str) -> Result<Listing, Error> {
        let Some(identity) = self.key_file().identity().cloned() else {
            return Err(Error::CannotOpen(Role::Put));
        };
        let identities = [identity];
        let mut listing = Listing::default();
        let mut seen = BTreeSet::new();
        let mut after = None;
        let mut limits = ListingLimits::default();
        loop {
            let Page { entries, next, unreadable } = self.page(after.clone())?;
            listing.unreadable = listing.unreadable.saturating_add(u64::from(unreadable));
            let known = seen.len();
            for entry in entries {
                // Pages may overlap when objects are added or removed meanwhile.
                if seen.insert(entry.key.clone()) {
                    limits.count_bytes(entry.key.as_bytes().len())?;
                    let (blobs, damaged) = (listing.blobs.len(), listing.damaged.len());
                    self.classify(entry, &identities, prefix, &mut listing);
                    let blob = listing.blobs.get(blobs);
                    limits.count_bytes(blob.map_or(0, |blob| blob.metadata.name.as_str().len()))?;
                    let damaged = listing.damaged.get(damaged);
                    limits.count_bytes(damaged.map_or(0, |_| size_of::<Unlisted>()))?;
                }
            }
            match next {
                // PROTOCOL 6: "`next` is greater than `after`"
                Some(_) if next <= after => return Err(self.not_advancing()),
                Some(_) => limits.count_page(seen.len() - known)?,
                None => break,
            }
            after = next;
        }
        listing.blobs.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        Ok(listing)
    }

    fn page(&mut self, after: Option<Vec<u8>>) -> Result<Page, Error> {
        let request = Request::List { after, limit: PAGE_MAX_ENTRIES, headers: true };
        match self.call_with_retries(None, &request)? {
            Response::Page { entries, next, unreadable } => Ok(Page { entries, next, unreadable }),
            _ => Err(self.connection()?.unexpected("not a page").into()),
        }
    }

    pub(crate) fn not_advancing(&mut self) -> Error {
        match self.connection() {
            Ok(connection) => connection.unexpected("a page that leads back").into(),
            Err(error) => error,
        }
    }

    fn classify(&self, entry: Entry, identities: &[Identity], prefix: &str, listing: &mut Listing) {
        if entry.info.kind == Kind::Plain {
            listing.unsealed += 1;
            return;
        }
        match self.read_entry(&entry, identities) {
            Ok(listed) if listed.metadata.name.as_str().starts_with(prefix) => {
                listing.blobs.push(listed);
            }
            Ok(_) => {}
            Err(Error::Open(OpenError::NoIdentityMatches)) => listing.foreign += 1,
            Err(error) => listing.damaged.push(Unlisted { key: entry.key, error }),
        }
    }

    fn read_entry(&self, entry: &Entry, identities: &[Identity]) -> Result<Listed, Error> {
        let Some(header) = &entry.header else {
            return Err(Error::Envelope("its header is missing"));
        };
        let header = Header::parse(header)?;
        let generation = header.generation();
        let length = plain_length(&header, &entry.info)
            .ok_or(Error::Envelope("the lengths do not add up"))?;
        let authentic = header.unwrap_file_key(identities)?.authenticate(Engine::default())?;
        let metadata = authentic.metadata().clone();
        let _named = self.check_name(authentic, &entry.key)?;
        let (version, stored) = (entry.info.version, entry.info.length);
        let key = entry.key.clone();
        Ok(Listed { key, metadata, version, generation, length, stored })
    }

    /// Names of the vault from one short page, cached; `None` or empty if they cannot be listed.
    /// The request is sent once and not retried.
    pub(crate) fn known_names(&mut self) -> Option<&[String]> {
        if self.suggestions().is_none() {
            let names = self.first_names();
            self.set_suggestions(names.unwrap_or_default());
        }
        self.suggestions()
    }

    fn first_names(&mut self) -> Option<Vec<String>> {
        let identities = [self.key_file().identity()?.clone()];
        let request = Request::List { after: None, limit: SUGGESTIONS_MAX, headers: true };
        let Response::Page { entries, .. } = self.connection().ok()?.call(&request).ok()? else {
            return None;
        };
        let read = |entry| self.read_entry(entry, &identities).ok();
        let listed = entries.iter().filter(|entry| entry.info.kind != Kind::Plain).filter_map(read);
        Some(listed.map(|listed| listed.metadata.name.as_str().to_owned()).collect())
    }
}

/// Most headers that are opened to find a similar name; each takes a third of a millisecond.
const SUGGESTIONS_MAX: u32 = 128;
/// Most bytes of keys, names and error reports in a listing: 1 GiB, which is 256 for each of
/// [`LISTED_MAX`] objects. Keys and names can be longer, so a hostile server or member could
/// otherwise exhaust the memory.
const LISTED_MAX_BYTES: usize = 256 * LISTED_MAX;
/// Most pages in a row without a new entry. An honest server sends an empty page when each of a
/// thousand files that it looked at is damaged or an empty directory of a tree. There may be as
/// many such files as objects.
const EMPTY_PAGES_MAX: usize = 1 << 12;

/// Counts how much a listing has collected.
#[derive(Debug, Default)]
pub(crate) struct ListingLimits {
    listed: usize,
    /// Bytes of keys, names and reports.
    bytes: usize,
    empty_pages: usize,
}

impl ListingLimits {
    /// Counts the bytes that are kept of another entry.
    ///
    /// # Errors
    /// [`Error::TooMuchToList`] beyond [`LISTED_MAX_BYTES`].
    fn count_bytes(&mut self, bytes: usize) -> Result<(), Error> {
        self.bytes += bytes;
        if self.bytes > LISTED_MAX_BYTES { Err(Error::TooMuchToList) } else { Ok(()) }
    }

    /// Counts a page that is not the last and brought `new` entries that were not listed before.
    ///
    /// # Errors
    /// [`Error::TooMuchToList`] beyond [`LISTED_MAX`] entries or [`EMPTY_PAGES_MAX`] empty
    /// pages in a row.
    pub(crate) fn count_page(&mut self, new: usize) -> Result<(), Error> {
        self.listed += new;
        self.empty_pages = if new == 0 { self.empty_pages + 1 } else { 0 };
        if self.listed > LISTED_MAX || self.empty_pages >= EMPTY_PAGES_MAX {
            return Err(Error::TooMuchToList);
        }
        Ok(())
    }
}

/// The plaintext length of an object with these lengths (FORMAT 6, inverted); `None` if no blob has
/// them.
fn plain_length(header: &Header, info: &Info) -> Option<u64> {
    let around = u64::from(header.length()) + u64::from(info.footer_length);
    let payload = info.length.checked_sub(around)?;
    let part_size = header.part_size();
    let full = payload / part_size.sealed_bytes();
    let last = plain_len(payload % part_size.sealed_bytes())?;
    let total = full.checked_mul(part_size.bytes())?.checked_add(last)?;
    let layout = Layout::new(header.length(), part_size, total).ok()?;
    (layout.object_length(info.footer_length) == info.length).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A listing ends with an error after 4,096 empty pages in a row.
    #[test]
    fn listing_limits_stop_a_run_of_empty_pages() {
        let mut limits = ListingLimits::default();
        for _ in 0..4_095 {
            limits.count_page(0).unwrap();
        }
        limits.count_page(1).unwrap();
        for _ in 0..4_095 {
            limits.count_page(0).unwrap();
        }
        assert!(matches!(limits.count_page(0), Err(Error::TooMuchToList)));
    }

    /// A listing of more than 4,194,304 objects ends with an error.
    #[test]
    fn listing_limits_bound_the_number_of_objects() {
        let mut limits = ListingLimits::default();
        limits.count_page(4_194_304).unwrap();
        let error = limits.count_page(1).unwrap_err();
        assert_eq!(
            error.to_string(),
            "more than 4194304 objects, or too many empty pages: nothing is listed"
        );
        assert_eq!(error.kind(), crate::error::ErrorKind::Other);
    }

    /// A million keys of 1,024 bytes are a gibibyte.
    #[test]
    fn listing_limits_bound_the_bytes_of_keys() {
        let mut limits = ListingLimits::default();
        for _ in 0..1_048_576 {
            limits.count_bytes(1_024).unwrap();
        }
        assert!(matches!(limits.count_bytes(1), Err(Error::TooMuchToList)));
    }
}
