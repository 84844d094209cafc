//! `zkey export`: a key file for another device.

use std::path::{Path, PathBuf};

use clap::Args;
use zput_common::keys::{Remote, Role};

use super::{
    super::{Failure, KeyArguments, directories, usage},
    existing,
};
use crate::{
    keystore::KeyPath,
    sink::{Output, Sink},
};

#[derive(Args, Debug)]
pub(super) struct Export {
    #[command(flatten)]
    role: RoleArguments,
    /// Where to; `-` is stdout
    #[arg(short, long, value_name = "PATH")]
    output: PathBuf,
    /// Replace the output file if it is there
    #[arg(short, long)]
    force: bool,
    #[command(flatten)]
    key: KeyArguments,
}

#[derive(Args, Clone, Copy, Debug)]
#[group(required = true, multiple = false)]
struct RoleArguments {
    /// It stores, and cannot open even what it stored itself
    #[arg(long)]
    put_only: bool,
    /// It opens what this device puts
    #[arg(long)]
    get_only: bool,
    /// It does all that this one does
    #[arg(long)]
    full: bool,
}

impl RoleArguments {
    const fn role(self) -> Role {
        match (self.put_only, self.get_only) {
            (true, _) => Role::Put,
            (_, true) => Role::Get,
            _ => Role::Full,
        }
    }
}

impl Export {
    pub(super) fn run(self) -> Result<(), Failure> {
        let path = self.key.path(&directories()?);
        let key_file = path.open()?;
        let mut exported = key_file
            .export(self.role.role(), &mut rand::rng())
            .map_err(|error| path.malformed(error))?;
        // A store in this machine's file system is on no other.
        if matches!(exported.remote, Some(Remote::Embedded(_))) {
            exported.remote = None;
        }
        if self.output == Path::new("-") {
            let text = exported.to_toml().map_err(|error| path.malformed(error))?;
            let mut stdout = Output::stdout()?;
            if stdout.is_terminal() {
                return Err(usage("a key file is secret and nothing for a terminal: -o PATH"));
            }
            stdout.write(text.as_bytes())?;
            return Ok(());
        }
        let target = KeyPath { path: self.output, is_named: true };
        target.save(&exported, existing(self.force))?;
        Ok(())
    }
}
