//! Whether the small files of a store can be parsed.

use std::{io::ErrorKind, os::fd::AsFd as _};

use super::Damage;
use crate::{
    store::{
        Account, Store,
        clock_file::ClockFile,
        directories,
        error::{Context, StoreError},
        features::Features,
        fsync::ReadFrom,
        instants, invites,
        layout::{CLIENTS, CLOCK_FILE, INVITES, SERVER_KEY_FILE, STORE_FILE, TEMPORARY_PREFIX},
        server_key,
        shard_dirs::LOOKS,
        small_file,
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
            (STORE_FILE, (|text: &str| Features::read(text).map(drop)) as fn(&str) -> _),
            (SERVER_KEY_FILE, |text: &str| server_key::parse(text).map(drop)),
        ] {
            let missing = || StoreError::Missing(name.to_owned());
            let text = small_file::read_from(self.fsync(), self.root(), name, name, from);
            let found = text.and_then(|text| parse(&text.ok_or_else(missing)?));
            record_damage(name.to_owned(), found);
        }
        let clock = self.read_clock(from).and_then(|found| match found {
            // Without it the next upload makes another one.
            None | Some(Some(_)) => Ok(()),
            Some(None) => {
                let what = "remove it, and the next put makes it anew".to_owned();
                Err(StoreError::Account { file: CLOCK_FILE.to_owned(), what })
            }
        });
        record_damage(CLOCK_FILE.to_owned(), clock);
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

    /// What the file of instants says: `None` where there is none, `Some(None)` where it is
    /// damaged. This takes no lock, so it looks again at what a writer may have been writing.
    pub(super) fn read_clock(
        &self,
        from: ReadFrom,
    ) -> Result<Option<Option<ClockFile>>, StoreError> {
        let file = match fs::open_read(self.root(), CLOCK_FILE) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            file => file.context_read("open a file", CLOCK_FILE)?,
        };
        if from == ReadFrom::Disk {
            self.fsync().evict(&file)?;
        }
        for _ in LOOKS {
            if let Some(found) = instants::read(&file)? {
                return Ok(Some(Some(found)));
            }
        }
        Ok(Some(None))
    }
}
