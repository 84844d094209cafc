//! Whether the small files of a store can be parsed.

use std::os::fd::AsFd as _;

use super::Damage;
use crate::{
    store::{
        Account, Store, directories,
        error::{Context, StoreError},
        fsync::ReadFrom,
        init, invites,
        layout::{CLIENTS, INVITES, SERVER_KEY_FILE, STORE_FILE, TEMPORARY_PREFIX},
        server_key, small_file,
    },
    sys::fs,
};

/// The suffix of account and invite files. Other files in their directories are not the store's.
const SUFFIX: &str = ".toml";

/// A directory of small files that requests depend on, and the parser of those files.
struct SmallFileKind {
    dir: &'static str,
    parse: fn(&str) -> Result<(), String>,
}

const SMALL_FILES: [SmallFileKind; 2] = [
    SmallFileKind { dir: CLIENTS, parse: |text| Account::parse(text).map(drop) },
    SmallFileKind { dir: INVITES, parse: |text| invites::parse_invite(text).map(drop) },
];

impl Store {
    /// Reads the small files that are written once and relied on from then on, and returns the
    /// damaged ones.
    pub(super) fn corrupt_small_files(&self, from: ReadFrom) -> Result<Vec<Damage>, StoreError> {
        let mut damaged = Vec::new();
        let mut record_damage = |file: String, found: Result<(), StoreError>| {
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
            let text = small_file::read_from(self.fsync(), self.root(), name, name, from);
            let found = text.and_then(|text| parse(&text.ok_or_else(missing)?));
            record_damage(name.to_owned(), found);
        }
        for SmallFileKind { dir, parse } in SMALL_FILES {
            let Some(fd) = directories::open(self.fsync(), dir)? else { continue };
            for name in fs::names(&fd).context_read("read a directory", dir)? {
                let name = name.context_read("read a directory", dir)?;
                if name.starts_with(TEMPORARY_PREFIX) || !name.ends_with(SUFFIX) {
                    continue;
                }
                let file = format!("{dir}/{name}");
                let text = small_file::read_from(self.fsync(), fd.as_fd(), &name, &file, from);
                let found = text.and_then(|text| match text.map(|text| parse(&text)) {
                    // An invite may have been redeemed, and its file removed, meanwhile.
                    None | Some(Ok(())) => Ok(()),
                    Some(Err(what)) => Err(StoreError::Account { file: file.clone(), what }),
                });
                record_damage(file, found);
            }
        }
        Ok(damaged)
    }
}
