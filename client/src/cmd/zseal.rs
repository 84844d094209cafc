//! `zseal`: seals a file without a server.

use std::path::{Path, PathBuf};

use clap::Parser;
use zput_common::{age::Recipient, keys::Role, name::BlobName};

use super::{
    At, Console, Failure, KeyArguments, directories, open_key_file, usage, zput::SuiteName,
};
use crate::{
    ClientError,
    offline::{self, Voucher},
    sink::Output,
    source::{FileSource, Source},
};

/// What a sealed file's name ends in.
pub(crate) const SUFFIX: &str = ".zput";

const EXAMPLES: &str = "\
Examples:
  zseal secret.bin                         seal to your key file's recipients, into secret.bin.zput
  tar c home | zseal - > home.tar.zput     seal a pipe
  zseal -r age1... secret.bin              seal to somebody else; nobody vouches for the blob

Exit codes: 0 ok, 1 other, 2 usage, 7 key missing or wrong, 9 disk full, 10 the output exists.";

/// Seals a file without a server
#[derive(Parser, Debug)]
#[command(name = "zseal", version, after_long_help = EXAMPLES)]
pub struct Arguments {
    /// File to seal; `-` is stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Seal to this age recipient instead of the key file's; may be given several times
    #[arg(short, long = "recipient", value_name = "RECIPIENT", conflicts_with = "key")]
    recipients: Vec<String>,

    /// Where to; `-` is stdout [default: FILE.zput, or stdout for stdin]
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,

    /// Replace the output file if it is there
    #[arg(long)]
    force: bool,

    /// Name inside of the blob [default: the file's last path component, or `stdin`]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// Cipher to seal with
    #[arg(long, value_enum, default_value_t = SuiteName::Aes)]
    suite: SuiteName,

    #[command(flatten)]
    key: KeyArguments,
}

/// Runs the command.
///
/// # Errors
/// When nothing was sealed.
pub fn run(arguments: Arguments, console: &Console) -> Result<(), Failure> {
    let is_stdin = arguments.file == Path::new("-");
    let name = name(&arguments, is_stdin)?;
    let (recipients, voucher) = recipients(&arguments, console)?;
    if is_stdin {
        seal(FileSource::stdin()?, &name, &recipients, voucher, &arguments, is_stdin, console)
    } else {
        let source = FileSource::open(&arguments.file)?;
        seal(source, &name, &recipients, voucher, &arguments, is_stdin, console)
    }
}

fn seal(
    source: impl Source + 'static,
    name: &BlobName,
    recipients: &[Recipient],
    voucher: Option<Voucher>,
    arguments: &Arguments,
    is_stdin: bool,
    console: &Console,
) -> Result<(), Failure> {
    let is_bare = voucher.is_none();
    let mut output = output(arguments, is_stdin)?;
    let progress = console.progress(name.as_str());
    offline::seal(
        name,
        source,
        recipients,
        arguments.suite.into(),
        voucher,
        &mut output,
        &*progress,
    )?;
    output.commit(None)?;
    if is_bare {
        console.tell(&"sealed outside any vault: nobody vouches for who made this blob");
    }
    Ok(())
}

/// To whom, and who vouches for it: with recipients on the command line, nobody.
fn recipients(
    arguments: &Arguments,
    console: &Console,
) -> Result<(Vec<Recipient>, Option<Voucher>), Failure> {
    if !arguments.recipients.is_empty() {
        let recipients = arguments
            .recipients
            .iter()
            .map(|text| text.parse::<Recipient>().at(text))
            .collect::<Result<_, _>>()?;
        return Ok((recipients, None));
    }
    let key_file = open_key_file(&arguments.key.path(&directories()?), console)?;
    if key_file.role() == Role::Get {
        return Err(ClientError::CannotPut(Role::Get).into());
    }
    let voucher = Voucher {
        mac_key: key_file.vault_secret().mac_key(),
        writer: key_file.device_seed().writer_key(),
    };
    Ok((key_file.recipients, Some(voucher)))
}

fn name(arguments: &Arguments, is_stdin: bool) -> Result<BlobName, Failure> {
    let name = match &arguments.name {
        Some(name) => Some(name.as_str()),
        None if is_stdin => Some("stdin"),
        None => arguments.file.file_name().and_then(|name| name.to_str()),
    };
    let Some(name) = name else {
        let file = arguments.file.display();
        return Err(usage(format!("{file} has no name in UTF-8: give one by --name")));
    };
    BlobName::parse(name).at(name)
}

fn output(arguments: &Arguments, is_stdin: bool) -> Result<Output, Failure> {
    let output = match &arguments.output {
        Some(path) if path == Path::new("-") => return Ok(Output::stdout()?),
        Some(path) => Output::at(path, arguments.force)?,
        None if is_stdin => Output::stdout()?,
        None => {
            let mut path = arguments.file.clone().into_os_string();
            path.push(SUFFIX);
            Output::at(Path::new(&path), arguments.force)?
        }
    };
    if output.is_terminal() {
        return Err(usage(
            "a sealed blob is nothing for a terminal (-o PATH, or -o - if you insist)",
        ));
    }
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_is_sound() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }
}
