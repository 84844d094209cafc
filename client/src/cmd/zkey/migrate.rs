//! What `zkey join` does about a key file whose blobs are in a store on this machine: they go along.

use std::collections::BTreeMap;

use zput_common::{
    keys::{KeyFile, Remote},
    name::BlobName,
    proto::message::Version,
};

use super::super::{At, Console, Failure, Tally};
use crate::{
    Client, ClientError, directories::Directories, migrate::Migrated, terminal::printable,
};

/// The store that a key file leaves, and what it holds.
pub(super) struct Store {
    client: Client,
    path: String,
    /// The blobs that the server has now, with the version that was current in the store.
    moved: BTreeMap<BlobName, Version>,
}

impl Store {
    /// The store that `key_file` names; `None` where it names none.
    ///
    /// # Errors
    /// When the store cannot be opened, or the key file cannot tell what is in it.
    pub(super) fn of(
        key_file: &KeyFile,
        directories: &Directories,
    ) -> Result<Option<Self>, ClientError> {
        let Some(Remote::Embedded(path)) = &key_file.remote else { return Ok(None) };
        let mut client = Client::new(key_file.clone(), directories)?;
        // Before the invite is spent: a store that cannot be listed cannot be moved either.
        let _blobs = client.list("")?;
        Ok(Some(Self { client, path: path.clone(), moved: BTreeMap::new() }))
    }

    /// Sends every blob that has changed since the last call to `server`; gives how many there were.
    ///
    /// # Errors
    /// When one of them did not get there, or is not what it claims to be.
    pub(super) fn move_to(
        &mut self,
        server: &mut Client,
        console: &Console,
    ) -> Result<usize, Failure> {
        let listing = self.client.list("")?;
        if listing.foreign > 0 {
            console.tell(&format_args!(
                "{} objects of other key files stay in {}",
                listing.foreign, self.path
            ));
        }
        let mut blobs = listing.blobs;
        blobs.retain(|blob| self.moved.get(&blob.metadata.name) != Some(&blob.version));
        let mut tally = Tally::of(blobs.len() + listing.damaged.len());
        for unlisted in listing.damaged {
            tally.note(Err(unlisted.error).at(format_args!("object {}", unlisted.key)), console);
        }
        let mut moved = 0;
        for blob in blobs {
            let name = blob.metadata.name;
            let progress = console.progress(name.as_str());
            let ended = server.migrate(&mut self.client, &name, &*progress).at(&name);
            if let Ok(Migrated::Superseded) = ended {
                console.tell(&format_args!(
                    "{}: the server has a newer one; what is in {} stays there alone",
                    printable(name.as_str()),
                    self.path
                ));
            }
            if ended.is_ok() {
                moved += 1;
                self.moved.insert(name, blob.version);
            }
            tally.note(ended.map(drop), console);
        }
        tally.end().map(|()| moved).inspect_err(|_| {
            console.tell(&format_args!(
                "the key file still names {}: the same command goes on (--force leaves the store as it is)",
                self.path
            ));
        })
    }

    /// What is said at the end.
    pub(super) fn tell_left(&self, console: &Console) {
        console.tell(&format_args!(
            "moved {} blobs; {} is as it was: remove it when you are sure that you need it no more",
            self.moved.len(),
            self.path
        ));
    }
}
