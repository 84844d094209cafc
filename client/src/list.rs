//! A listing: every page, every header opened.
//!
//! A header is authentic by the file key, which whoever knows a recipient could have made. What binds
//! a name to its key is the vault's name key: an entry whose name does not lead to its own key is none.

use std::collections::BTreeSet;

use zput_common::{
    aead::Engine,
    age::Identity,
    blob::{header::Header, layout::Layout, metadata::Metadata, open::OpenError},
    chunked::plain_len,
    keys::Role,
    limits::PAGE_MAX_ENTRIES,
    name::ObjectKey,
    proto::message::{Entry, Info, Kind, Request, Response, Version},
};

use crate::{client::Client, error::ClientError};

/// A blob, as a listing knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// What the server knows it by.
    pub key: ObjectKey,
    /// What it is, by its author's word; its name leads to its key.
    pub metadata: Metadata,
    /// Its current version: when the server committed it, in ns since 1970.
    pub version: Version,
    /// The blob's generation.
    pub generation: u64,
    /// Bytes of plaintext, as they follow from the lengths that the server says.
    pub length: u64,
    /// Bytes of the stored object.
    pub stored: u64,
}

/// An object that is not listed, and why.
#[derive(Debug)]
pub struct Unlisted {
    /// The object.
    pub key: ObjectKey,
    /// Why not.
    pub error: ClientError,
}

/// Everything on a server, as far as a key file can tell.
#[derive(Debug, Default)]
pub struct Listing {
    /// The vault's blobs, by name.
    pub blobs: Vec<Listed>,
    /// How many objects are sealed to others.
    pub foreign: usize,
    /// How many objects are not sealed at all.
    pub unsealed: usize,
    /// Objects that claim to be the vault's and are not what they claim.
    pub damaged: Vec<Unlisted>,
    /// How many objects are there and could not be read by the server.
    pub unreadable: u64,
}

/// A page of a listing, as the server gave it.
struct Page {
    entries: Vec<Entry>,
    next: Option<Vec<u8>>,
    unreadable: u32,
}

impl Client {
    /// Lists the blobs whose names begin with `prefix`.
    ///
    /// # Errors
    /// When the key file cannot open headers, or the server refuses.
    pub fn list(&mut self, prefix: &str) -> Result<Listing, ClientError> {
        let Some(identity) = self.key_file().identity().cloned() else {
            return Err(ClientError::CannotOpen(Role::Put));
        };
        let identities = [identity];
        let mut listing = Listing::default();
        let mut seen = BTreeSet::new();
        let mut after = None;
        let mut pages = Pages::default();
        loop {
            let Page { entries, next, unreadable } = self.page(after.clone())?;
            listing.unreadable = listing.unreadable.saturating_add(u64::from(unreadable));
            let known = seen.len();
            for entry in entries {
                // A page may overlap the one before when objects come and go.
                if seen.insert(entry.key.clone()) {
                    pages.keep(entry.key.as_bytes().len())?;
                    let (blobs, damaged) = (listing.blobs.len(), listing.damaged.len());
                    self.sort_in(entry, &identities, prefix, &mut listing);
                    let blob = listing.blobs.get(blobs);
                    pages.keep(blob.map_or(0, |blob| blob.metadata.name.as_str().len()))?;
                    let damaged = listing.damaged.get(damaged);
                    pages.keep(damaged.map_or(0, |_| size_of::<Unlisted>()))?;
                }
            }
            match next {
                // PROTOCOL 6: "`next` is greater than `after`"
                Some(_) if next <= after => return Err(self.leads_back()),
                Some(_) => pages.turn(seen.len() - known)?,
                None => break,
            }
            after = next;
        }
        listing.blobs.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        Ok(listing)
    }

    fn page(&mut self, after: Option<Vec<u8>>) -> Result<Page, ClientError> {
        let request = Request::List { after, limit: PAGE_MAX_ENTRIES, headers: true };
        match self.ask_again(None, &request)? {
            Response::Page { entries, next, unreadable } => Ok(Page { entries, next, unreadable }),
            _ => Err(self.connection()?.unexpected("not a page").into()),
        }
    }

    pub(crate) fn leads_back(&mut self) -> ClientError {
        match self.connection() {
            Ok(connection) => connection.unexpected("a page that leads back").into(),
            Err(error) => error,
        }
    }

    fn sort_in(&self, entry: Entry, identities: &[Identity], prefix: &str, listing: &mut Listing) {
        if entry.info.kind == Kind::Plain {
            listing.unsealed += 1;
            return;
        }
        match self.read_entry(&entry, identities) {
            Ok(listed) if listed.metadata.name.as_str().starts_with(prefix) => {
                listing.blobs.push(listed);
            }
            Ok(_) => {}
            Err(ClientError::Open(OpenError::NoIdentityMatches)) => listing.foreign += 1,
            Err(error) => listing.damaged.push(Unlisted { key: entry.key, error }),
        }
    }

    fn read_entry(&self, entry: &Entry, identities: &[Identity]) -> Result<Listed, ClientError> {
        let Some(header) = &entry.header else {
            return Err(ClientError::Envelope("its header is missing"));
        };
        let header = Header::parse(header)?;
        let generation = header.generation();
        let length = plain_length(&header, &entry.info)
            .ok_or(ClientError::Envelope("the lengths do not add up"))?;
        let authentic = header.unwrap_file_key(identities)?.authenticate(Engine::default())?;
        let metadata = authentic.metadata().clone();
        let _named = self.named(authentic, &entry.key)?;
        let (version, stored) = (entry.info.version, entry.info.length);
        let key = entry.key.clone();
        Ok(Listed { key, metadata, version, generation, length, stored })
    }

    /// Names of the vault, as far as one short page tells; none where they cannot be listed. They are
    /// asked for once, and not tried again.
    pub(crate) fn known_names(&mut self) -> Option<&[String]> {
        if self.guesses().is_none() {
            let names = self.first_names();
            self.set_guesses(names.unwrap_or_default());
        }
        self.guesses()
    }

    fn first_names(&mut self) -> Option<Vec<String>> {
        let identities = [self.key_file().identity()?.clone()];
        let request = Request::List { after: None, limit: GUESSED_MAX, headers: true };
        let Response::Page { entries, .. } = self.connection().ok()?.ask(&request).ok()? else {
            return None;
        };
        let read = |entry| self.read_entry(entry, &identities).ok();
        let listed = entries.iter().filter(|entry| entry.info.kind != Kind::Plain).filter_map(read);
        Some(listed.map(|listed| listed.metadata.name.as_str().to_owned()).collect())
    }
}

/// Most objects that are looked at for a name that may have been meant: each header costs a third of a
/// millisecond to open.
const GUESSED_MAX: u32 = 128;
/// Most objects, or versions, of one listing: what is kept of each must fit into memory.
pub(crate) const LISTED_MAX: usize = 1 << 22;
/// Most bytes of keys, names and reports of damage that are kept of all of them, 1 GiB: 256 for each of so many objects. Keys
/// and names can be several times as long, and a server or a member that makes many of them so long wants the memory.
const LISTED_MAX_BYTES: usize = 256 * LISTED_MAX;
/// Most pages in a row with nothing that was not listed before. An honest server leaves a page empty when
/// each of a thousand things it has looked at is no object: damaged, or an empty directory of a tree. As many
/// of these as of objects.
const IDLE_PAGES_MAX: usize = 1 << 12;

/// How far a listing has come.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    listed: usize,
    /// Bytes that are kept of them.
    bytes: usize,
    idle: usize,
}

impl Pages {
    /// Counts the bytes that are kept of one more thing.
    fn keep(&mut self, bytes: usize) -> Result<(), ClientError> {
        self.bytes += bytes;
        if self.bytes > LISTED_MAX_BYTES { Err(ClientError::TooMuchToList) } else { Ok(()) }
    }

    /// Counts a page with so many things that were not listed before, and is not the last.
    pub(crate) fn turn(&mut self, news: usize) -> Result<(), ClientError> {
        self.listed += news;
        self.idle = if news == 0 { self.idle + 1 } else { 0 };
        if self.listed > LISTED_MAX || self.idle >= IDLE_PAGES_MAX {
            return Err(ClientError::TooMuchToList);
        }
        Ok(())
    }
}

/// The length of the plaintext of an object of these lengths (FORMAT 6, read backwards).
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

    #[test]
    fn a_listing_that_leads_nowhere_ends() {
        let mut pages = Pages::default();
        for _ in 0..4_095 {
            pages.turn(0).unwrap();
        }
        pages.turn(1).unwrap();
        for _ in 0..4_095 {
            pages.turn(0).unwrap();
        }
        assert!(matches!(pages.turn(0), Err(ClientError::TooMuchToList)));
    }

    #[test]
    fn a_listing_has_a_size() {
        let mut pages = Pages::default();
        pages.turn(4_194_304).unwrap();
        let error = pages.turn(1).unwrap_err();
        assert_eq!(
            error.to_string(),
            "more than 4194304 objects, or too little in too many pages: nothing is listed"
        );
        assert_eq!(error.exit_code() as u8, 1);
    }

    /// Keys of 1,024 bytes: a million of them are a gigabyte.
    #[test]
    fn a_listing_has_a_size_in_bytes() {
        let mut pages = Pages::default();
        for _ in 0..1_048_576 {
            pages.keep(1_024).unwrap();
        }
        assert!(matches!(pages.keep(1), Err(ClientError::TooMuchToList)));
    }
}
