//! A client: everything that can be done with the capability of one key file.

#[cfg(feature = "embedded")]
use std::path::PathBuf;

use zput_proto::{
    keys::{Invite, Remote},
    message::{Scopes, Version, VersionInfo},
    name::BlobName,
};
use zput_seal::keys::KeyFile;

use super::{get::Get, list::Listing, put::Put};
use crate::{
    error::Error, files::directories::Directories, get::GetOptions, io::progress::Silent,
    objects::stat::Stat, put::PutReceipt, session::Session, source::PutSource,
    state::partial::PartialDownloads,
};

/// Puts, gets, lists and removes blobs with the capability of one key file. The connection is made
/// when it is needed, and again after a failure.
#[derive(Debug)]
pub struct Client {
    session: Session,
    partial_downloads: PartialDownloads,
}

impl Client {
    pub(super) fn new(session: Session, directories: &Directories) -> Self {
        Self { session, partial_downloads: PartialDownloads::of(directories) }
    }

    /// Moves the current version of `name` to the server's trash; returns that version.
    ///
    /// # Errors
    /// When there is no such blob, or the server refuses.
    pub fn remove(&mut self, name: &str) -> Result<Version, Error> {
        self.session.remove(&BlobName::parse(name)?)
    }

    /// Puts `source` under `name`. [`put_with`](Self::put_with) takes options.
    ///
    /// # Errors
    /// As of [`Put::send`].
    pub fn put(&mut self, name: &str, source: impl Into<PutSource>) -> Result<PutReceipt, Error> {
        self.put_with(name, source).send()
    }

    /// A put with options; [`Put::send`] does it.
    pub fn put_with(&mut self, name: &str, source: impl Into<PutSource>) -> Put<'_> {
        Put::new(&mut self.session, name, source.into())
    }

    /// Finds the current version of `name` and verifies it up to its parts.
    ///
    /// # Errors
    /// When there is [no such blob](Error::is_not_found), it cannot be opened or authenticated, or
    /// the server serves an older one than this machine has seen.
    pub fn get(&mut self, name: &str) -> Result<Get<'_>, Error> {
        self.get_by(name, &GetOptions::default())
    }

    /// Finds an old version of `name`.
    ///
    /// # Errors
    /// As of [`get`](Self::get), except that the version may be older than one seen before.
    pub fn get_version(&mut self, name: &str, version: Version) -> Result<Get<'_>, Error> {
        self.get_by(name, &GetOptions { version: Some(version), ..GetOptions::default() })
    }

    fn get_by(&mut self, name: &str, options: &GetOptions) -> Result<Get<'_>, Error> {
        let name = BlobName::parse(name)?;
        let key = self.session.key_file().object_key(&name);
        let head = self.session.fetch_head_with_retries(&name, &key, options)?;
        Ok(Get::new(&mut self.session, &self.partial_downloads, name, key, head))
    }

    /// Facts about the current version of `name`, verified like a get.
    ///
    /// # Errors
    /// As of [`get`](Self::get).
    pub fn stat(&mut self, name: &str) -> Result<Stat, Error> {
        self.session.stat(&BlobName::parse(name)?, &GetOptions::default())
    }

    /// The blobs whose names begin with `prefix`; all if it is empty.
    ///
    /// # Errors
    /// When the key file cannot open headers, the server refuses, or the listing exceeds its
    /// bounds.
    pub fn list(&mut self, prefix: &str) -> Result<Listing, Error> {
        self.session.list(prefix).map(Listing::from)
    }

    /// Whether `name` has a current version.
    ///
    /// # Errors
    /// When the server refuses to say.
    pub fn exists(&mut self, name: &str) -> Result<bool, Error> {
        self.session.exists(&BlobName::parse(name)?)
    }

    /// All versions of `name`, newest first, as the server states them.
    ///
    /// # Errors
    /// When there is none, or the server refuses.
    pub fn versions(&mut self, name: &str) -> Result<Vec<VersionInfo>, Error> {
        self.session.versions(&BlobName::parse(name)?)
    }

    /// Makes an earlier or removed version of `name` the current one; returns its new version.
    ///
    /// # Errors
    /// When there is no such version, the server refuses, or the version is not the vault's.
    pub fn restore(&mut self, name: &str, version: Version) -> Result<Version, Error> {
        self.session.restore(&BlobName::parse(name)?, version, &Silent)
    }

    /// Redeems an invite, which gives this device an account on the server. The key file has to
    /// [accept](KeyFile::accept) the invite before.
    ///
    /// # Errors
    /// When the invite is unknown, used or expired.
    pub fn join(&mut self, invite: &Invite, label: &str) -> Result<Scopes, Error> {
        self.session.join(invite, label)
    }

    /// The key file.
    #[must_use]
    pub fn key_file(&self) -> &KeyFile {
        self.session.key_file()
    }

    /// The server's address.
    #[must_use]
    pub fn remote(&self) -> &Remote {
        self.session.remote()
    }

    /// Makes a key file of a new vault, and a store in the file system that it names. Neither may
    /// exist. Back the key file up: what is sealed to a key that is lost stays sealed.
    ///
    /// # Errors
    /// When one of them exists or cannot be made.
    #[cfg(feature = "embedded")]
    pub fn create_store(
        key_file: impl Into<PathBuf>,
        store: impl Into<PathBuf>,
    ) -> Result<(), Error> {
        let path = crate::key::path::KeyPath::new(key_file);
        crate::embedded::create_at(&path, &store.into())?;
        Ok(())
    }
}
