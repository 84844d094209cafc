//! `zblob key join` for a key file with an embedded store: moves the blobs to the server.

use std::collections::BTreeMap;

use zput::cli::{Directories, Migrated, Session, printable};
use zput_proto::{keys::Remote, message::Version, name::BlobName};
use zput_seal::keys::KeyFile;

use super::super::{Console, Context, Failure, Summary};

/// The store that a key file leaves, and the blobs in it.
pub(super) struct LocalStore {
    client: Session,
    path: String,
    /// Blobs that the server has now, with their current version in the store.
    moved: BTreeMap<BlobName, Version>,
}

impl LocalStore {
    /// The store that `key_file` names; `None` if it names none.
    ///
    /// # Errors
    /// When the store cannot be opened or listed.
    pub(super) fn of(
        key_file: &KeyFile,
        directories: &Directories,
    ) -> Result<Option<Self>, zput::Error> {
        let Some(Remote::Embedded(path)) = &key_file.remote else { return Ok(None) };
        let mut client = Session::new(key_file.clone(), directories)?;
        // Checked before the invite is used: a store that cannot be listed cannot be moved.
        let _blobs = client.list("")?;
        Ok(Some(Self { client, path: path.clone(), moved: BTreeMap::new() }))
    }

    /// Sends every blob that has changed since the last call to `server`; returns how many were
    /// sent.
    ///
    /// # Errors
    /// When a blob was not sent, or fails verification.
    pub(super) fn move_to(
        &mut self,
        server: &mut Session,
        console: &Console,
    ) -> Result<usize, Failure> {
        let listing = self.client.list("")?;
        if listing.foreign > 0 {
            console.note(&format_args!(
                "{} objects of other key files stay in {}",
                listing.foreign, self.path
            ));
        }
        let mut blobs = listing.blobs;
        blobs.retain(|blob| self.moved.get(&blob.metadata.name) != Some(&blob.version));
        let mut summary = Summary::new(blobs.len() + listing.damaged.len());
        for unlisted in listing.damaged {
            summary.record(
                Err(unlisted.error).context(format_args!("object {}", unlisted.key)),
                console,
            );
        }
        let mut moved = 0;
        for blob in blobs {
            let name = blob.metadata.name;
            let progress = console.progress(name.as_str());
            let result = server.migrate(&mut self.client, &name, &*progress).context(&name);
            if let Ok(Migrated::Superseded) = result {
                console.note(&format_args!(
                    "{}: the server has a newer one; what is in {} stays there alone",
                    printable(name.as_str()),
                    self.path
                ));
            }
            if result.is_ok() {
                moved += 1;
                self.moved.insert(name, blob.version);
            }
            summary.record(result.map(drop), console);
        }
        summary.finish().map(|()| moved).inspect_err(|_| {
            console.note(&format_args!(
                "the key file still names {}: run the same command to continue (--force leaves the \
                 store as it is)",
                self.path
            ));
        })
    }

    /// Reports how many blobs were moved, and that the store was left unchanged.
    pub(super) fn note_moved(&self, console: &Console) {
        console.note(&format_args!(
            "moved {} blobs; {} is as it was: remove it when you are sure that you need it no more",
            self.moved.len(),
            self.path
        ));
    }
}
