//! `zblob key new` and `zblob key import`: key files of a new vault.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use zput::cli::{KeyFileLock, os_rng};
use zput_seal::keys::{KeyFile, Names};

use super::{
    super::{
        Console, Failure, KeyArguments, directories, if_exists, open::read_identities, usage,
        warn_if_exposed,
    },
    created::CreatedLine,
};

#[derive(Args, Debug)]
pub(super) struct New {
    #[command(flatten)]
    create: CreateArguments,
}

#[derive(Args, Debug)]
pub(super) struct Import {
    /// File of age-keygen with one identity
    #[arg(long, value_name = "PATH")]
    identity: PathBuf,
    #[command(flatten)]
    create: CreateArguments,
}

/// What is said of every key file that is made.
#[derive(Args, Debug)]
struct CreateArguments {
    /// What the server sees of the names
    #[arg(long, value_enum, default_value_t = NamesArgument::Sealed)]
    names: NamesArgument,
    /// Replace the existing key file; blobs that only it opens are lost
    #[arg(short, long)]
    force: bool,
    /// Print a line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    key: KeyArguments,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum NamesArgument {
    /// A keyed hash
    Sealed,
    /// The names themselves
    Clear,
}

impl From<NamesArgument> for Names {
    fn from(names: NamesArgument) -> Self {
        match names {
            NamesArgument::Sealed => Self::Sealed,
            NamesArgument::Clear => Self::Clear,
        }
    }
}

impl New {
    pub(super) fn run(self, console: &Console) -> Result<(), Failure> {
        self.create.save(KeyFile::generate(&mut os_rng()), console)
    }
}

impl Import {
    pub(super) fn run(self, console: &Console) -> Result<(), Failure> {
        let mut identities = read_identities(&self.identity)?;
        let (Some(only), true) = (identities.pop(), identities.is_empty()) else {
            let path = self.identity.display();
            return Err(usage(format!("{path} must hold one identity, and not more")));
        };
        self.create.save(KeyFile::from_identity(only, &mut os_rng()), console)
    }
}

impl CreateArguments {
    fn save(self, mut key_file: KeyFile, console: &Console) -> Result<(), Failure> {
        let path = self.key.path(&directories()?).file;
        key_file.names = self.names.into();
        let _lock = KeyFileLock::acquire(path.as_path()).map_err(|error| path.file_error(error))?;
        path.save(&key_file, if_exists(self.force))?;
        console.note_created_key_file(&path);
        warn_if_exposed(&path, console);
        if self.json {
            let file = path.as_path().display().to_string();
            console.print_json(&CreatedLine { file, role: key_file.role().to_string() })?;
        }
        Ok(())
    }
}
