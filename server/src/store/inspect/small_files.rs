//! The small files: whether they can be understood.

use std::os::fd::AsFd as _;

use super::{Damage, scrub::ReadFrom};
use crate::{
    store::{
        Account, Store, directories,
        error::{Doing, StoreError},
        init, invites,
        layout::{CLIENTS, INVITES, SERVER_KEY_FILE, STORE_FILE, TEMPORARY_PREFIX},
        server_key, small_file,
    },
    sys::fs,
};

/// What the names of accounts and invites end with. Other files there are none of the store's.
const SUFFIX: &str = ".toml";

/// What is in a directory, as far as somebody counts on it, and how it is understood.
struct Kind {
    dir: &'static str,
    parse: fn(&str) -> Result<(), String>,
}

const KINDS: [Kind; 2] = [
    Kind { dir: CLIENTS, parse: |text| Account::parse(text).map(drop) },
    Kind { dir: INVITES, parse: |text| invites::parse_invite(text).map(drop) },
];

impl Store {
    /// Reads the small files that are written once and counted on from then on. Gives those that are damaged.
    pub(super) fn damaged_small_files(&self, from: ReadFrom) -> Result<Vec<Damage>, StoreError> {
        let mut damaged = Vec::new();
        let mut look = |file: String, found: Result<(), StoreError>| {
            if let Err(error) = found {
                damaged.push(Damage {
                    file,
                    key: None,
                    what: error.to_string(),
                    quarantined: None,
                });
            }
        };
        for (name, parse) in [
            (STORE_FILE, init::check_store_file as fn(&str) -> _),
            (SERVER_KEY_FILE, |text: &str| server_key::parse(text).map(drop)),
        ] {
            let missing = || StoreError::Missing(name.to_owned());
            let text = small_file::read_from(self.syncs(), self.root(), name, name, from);
            let found = text.and_then(|text| parse(&text.ok_or_else(missing)?));
            look(name.to_owned(), found);
        }
        for Kind { dir, parse } in KINDS {
            let Some(fd) = directories::open(self.syncs(), dir)? else { continue };
            for name in fs::names(&fd).reading("read a directory", dir)? {
                let name = name.reading("read a directory", dir)?;
                if name.starts_with(TEMPORARY_PREFIX) || !name.ends_with(SUFFIX) {
                    continue;
                }
                let file = format!("{dir}/{name}");
                let text = small_file::read_from(self.syncs(), fd.as_fd(), &name, &file, from);
                let found = text.and_then(|text| match text.map(|text| parse(&text)) {
                    // An invite may have been spent meanwhile.
                    None | Some(Ok(())) => Ok(()),
                    Some(Err(what)) => Err(StoreError::Account { file: file.clone(), what }),
                });
                look(file, found);
            }
        }
        Ok(damaged)
    }
}
