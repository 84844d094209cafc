//! `zblob key export`: a key file for another device.

use std::path::{Path, PathBuf};

use clap::Args;
use zput::cli::{KeyPath, Output, Sink, os_rng};
use zput_proto::keys::Remote;
use zput_seal::keys::Role;

use super::{
    super::{Console, Failure, KeyArguments, directories, if_exists, usage, warn_if_exposed},
    created::CreatedLine,
};

#[derive(Args, Debug)]
pub(super) struct Export {
    #[command(flatten)]
    role: RoleArguments,
    /// Output file; `-` is stdout. A symbolic link is followed; pipes, devices and descriptors are
    /// written to
    #[arg(short, long, value_name = "PATH")]
    output: PathBuf,
    /// Replace an existing output file
    #[arg(short, long)]
    force: bool,
    /// Print a line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    key: KeyArguments,
}

#[derive(Args, Clone, Copy, Debug)]
#[group(required = true, multiple = false)]
struct RoleArguments {
    /// The other device stores, and cannot open even what it stored itself
    #[arg(long)]
    put_only: bool,
    /// The other device opens what this device puts
    #[arg(long)]
    get_only: bool,
    /// The other device does all that this one does
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
    pub(super) fn run(self, console: &Console) -> Result<(), Failure> {
        let path = self.key.path(&directories()?);
        let key_file = path.open()?;
        let mut exported = key_file
            .export(self.role.role(), &mut os_rng())
            .map_err(|error| path.file.malformed(error))?;
        // A store in this machine's file system does not exist on another device.
        if matches!(exported.remote, Some(Remote::Embedded(_))) {
            (exported.remote, exported.server_key) = (None, None);
        }
        let stream = match self.output == Path::new("-") {
            true => Some(Output::stdout()?),
            false => Output::stream_at(&self.output, if_exists(self.force))?,
        };
        if let Some(mut stream) = stream {
            if self.json {
                return Err(usage("--json prints on stdout, and -o leads to a stream: -o PATH"));
            }
            if stream.is_terminal() {
                return Err(usage(
                    "a key file is secret and is not written to a terminal: -o PATH",
                ));
            }
            let text = exported.to_toml().map_err(|error| path.file.malformed(error))?;
            stream.write(text.as_bytes())?;
            stream.commit(None)?;
            return Ok(());
        }
        let target = KeyPath::new(self.output);
        target.save(&exported, if_exists(self.force))?;
        warn_if_exposed(&target, console);
        if self.json {
            let file = target.as_path().display().to_string();
            console.print_json(&CreatedLine { file, role: exported.role().to_string() })?;
        }
        Ok(())
    }
}
