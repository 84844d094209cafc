//! Sealing and opening without a server: from files and pipes to files and pipes.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use zput_common::{
    aead::{Engine, Suite},
    age::{Identity, Recipient},
    blob::{
        envelope::{self, Envelope},
        footer::Provenance,
        header::Header,
        layout::PartSize,
        metadata::Metadata,
        open::{Asked, Named, Trusted, Vouching},
        seal::{SealOptions, Sealer},
    },
    keys::{VaultMacKey, WriterKey},
    name::{BlobName, ObjectKey},
};

use crate::{
    error::ClientError,
    memory::reserve,
    progress::Progress,
    put::now_ns,
    random,
    seal::{self, Sealed, Sealing},
    sink::{Attributes, Sink},
    source::Source,
};

/// Bytes of ciphertext that are read at once.
const READ_BYTES: usize = 1024 * 1024;

/// Who vouches for a blob that is sealed here: a vault, by one of its writers.
#[derive(Debug)]
pub struct Voucher {
    /// The object key that it is sealed for: a reader that asks a server for another one refuses it.
    pub object_key: Option<ObjectKey>,
    /// The vault's MAC key.
    pub mac_key: VaultMacKey,
    /// Who signs.
    pub writer: WriterKey,
}

/// What an opened blob says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Bytes of plaintext.
    pub length: u64,
    /// What the file was, by its author's word.
    pub metadata: Metadata,
}

impl Opened {
    fn of(trusted: &Trusted) -> Self {
        Self { length: trusted.layout().total_length(), metadata: trusted.metadata().clone() }
    }

    /// What a file output takes from it.
    #[must_use]
    pub fn attributes(&self) -> Attributes {
        attributes(&self.metadata)
    }
}

/// What a file output takes from a blob's metadata.
#[must_use]
pub fn attributes(metadata: &Metadata) -> Attributes {
    Attributes { mode: metadata.mode, mtime_s: metadata.mtime_s, mtime_ns: metadata.mtime_ns }
}

/// Seals `source` to `recipients`; gives the bytes of plaintext. Without a voucher the blob is bare, and for no key.
///
/// # Errors
/// When the source does not stand by what was read, or the sink does not take it.
pub fn seal(
    name: &BlobName,
    source: impl Source + 'static,
    recipients: &[Recipient],
    suite: Suite,
    voucher: Option<Voucher>,
    sink: &mut dyn Sink,
    progress: &dyn Progress,
) -> Result<u64, ClientError> {
    let attributes = source.attributes();
    let options = SealOptions {
        suite,
        engine: Engine::default(),
        part_size: PartSize::MAX,
        object_key: voucher.as_ref().and_then(|voucher| voucher.object_key.clone()),
        generation: now_ns(),
        metadata: Metadata {
            name: name.clone(),
            mtime_s: attributes.mtime_s,
            mtime_ns: attributes.mtime_ns,
            mode: attributes.mode & 0o777,
        },
        sha256: false,
    };
    let sealer = Sealer::new(options, recipients, &mut random::system())?;
    progress.begin(source.length());
    let read = seal::read(source, seal::PART_BYTES).map_err(ClientError::Thread)?;
    let stage = seal::seal(Sealing::new(sealer), read, move |sealer| {
        let provenance = match &voucher {
            Some(Voucher { mac_key, writer, .. }) => Provenance::Vault { mac_key, writer },
            None => Provenance::Bare,
        };
        Ok(sealer.finish(provenance, &mut random::system())?)
    })
    .map_err(ClientError::Thread)?;
    for piece in &stage.pieces {
        match piece? {
            Sealed::Header(header) => sink.write(&header)?,
            Sealed::Part { ciphertext, plaintext_bytes, .. } => {
                sink.write(&ciphertext)?;
                progress.advance(plaintext_bytes);
                // The sealer may have had its last buffer.
                let _kept = stage.emptied.send(ciphertext);
            }
            Sealed::Footer(footer) => {
                sink.write(&footer.bytes)?;
                progress.end();
                return Ok(footer.total_length);
            }
        }
    }
    Err(ClientError::Incomplete)
}

/// Opens the sealed file at `path`: its footer first, so that nothing is written that nobody vouches for.
///
/// # Errors
/// When it is no sealed blob, cannot be opened, or anything about it is not as it was sealed.
pub fn open_file(
    file: &File,
    path: &Path,
    identities: &[Identity],
    vouching: &Vouching<'_>,
    sink: &mut dyn Sink,
    progress: &dyn Progress,
) -> Result<Opened, ClientError> {
    let read = |offset, length| read_at(file, path, offset, length);
    let length = file.metadata().map_err(|error| read_error(path, error))?.len();
    let prefix = read(0, length.min(envelope::PREFIX_BYTES as u64))?;
    let tail_length = length.min(envelope::TAIL_BYTES as u64);
    let tail = read(length - tail_length, tail_length)?;
    let Envelope { header_length, footer_length } = Envelope::new(&prefix, &tail, length)?;
    let (header_length, footer_length) = (u64::from(header_length), u64::from(footer_length));
    let header = read(0, header_length)?;
    let footer = read(length - footer_length, footer_length)?;
    let trusted =
        named(&header, identities)?.vouched_by(&footer, vouching)?.not_older_than(None)?;
    let layout = trusted.layout();
    if layout.footer_offset() + footer_length != length {
        return Err(ClientError::File("the lengths do not add up"));
    }
    progress.begin(Some(layout.total_length()));
    let mut block = vec![0; READ_BYTES];
    let mut offset = header_length;
    let mut buffer = Vec::new();
    for index in 0..layout.parts() {
        let mut left = layout.sealed_part_len(index).unwrap_or(0);
        reserve(&mut buffer, left)?;
        let mut part = trusted.open_part(index, buffer)?;
        while left > 0 {
            let now = usize::try_from(left).map_or(READ_BYTES, |left| left.min(READ_BYTES));
            let piece = block.get_mut(..now).unwrap_or_default();
            file.read_exact_at(piece, offset).map_err(|error| read_error(path, error))?;
            part.push(piece)?;
            offset += now as u64;
            left -= now as u64;
        }
        let opened = part.finish()?;
        sink.write(&opened)?;
        progress.advance(opened.len() as u64);
        buffer = opened.into_buffer();
    }
    progress.end();
    Ok(Opened::of(&trusted))
}

/// Opens a blob from a pipe: plaintext flows as it authenticates, and the footer comes last.
///
/// # Errors
/// As of [`open_file`]; what the sink got until then is to be thrown away.
pub fn open_pipe(
    mut pipe: impl Read,
    path: &Path,
    identities: &[Identity],
    vouching: &Vouching<'_>,
    sink: &mut dyn Sink,
    progress: &dyn Progress,
) -> Result<Opened, ClientError> {
    let failed = |error| read_error(path, error);
    let mut header = Vec::new();
    let prefix = envelope::PREFIX_BYTES as u64;
    pipe.by_ref().take(prefix).read_to_end(&mut header).map_err(failed)?;
    // At most 64 KiB: `header_length` says no otherwise.
    let rest = u64::from(envelope::header_length(&header)?).saturating_sub(prefix);
    pipe.by_ref().take(rest).read_to_end(&mut header).map_err(failed)?;
    // The opener has two buffers of this size, and cannot say that there is no room for them.
    reserve(&mut Vec::new(), 2 * Header::parse(&header)?.part_size().sealed_bytes())?;
    let mut opener = named(&header, identities)?.from_pipe();

    progress.begin(None);
    let mut block = vec![0; READ_BYTES];
    loop {
        let read = match pipe.read(&mut block) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(error)),
        };
        let mut bytes = block.get(..read).unwrap_or_default();
        while let Some(plaintext) = opener.push(&mut bytes)? {
            sink.write(plaintext)?;
            progress.advance(plaintext.len() as u64);
        }
    }
    let end = opener.finish(vouching, None)?;
    sink.write(&end.rest)?;
    progress.end();
    Ok(Opened::of(&end.trusted))
}

/// The first steps of the order of trust. What is opened offline came by a path or a pipe, so it may be
/// any object.
fn named(header: &[u8], identities: &[Identity]) -> Result<Named, ClientError> {
    let unwrapped = Header::parse(header)?.unwrap_file_key(identities)?;
    Ok(unwrapped.authenticate(Engine::default())?.for_key(Asked::Any)?)
}

fn read_at(file: &File, path: &Path, offset: u64, length: u64) -> Result<Vec<u8>, ClientError> {
    // Bounded by the file's own length, and for header and footer by the format.
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
    file.read_exact_at(&mut bytes, offset).map_err(|error| read_error(path, error))?;
    Ok(bytes)
}

fn read_error(path: &Path, error: io::Error) -> ClientError {
    let path = PathBuf::from(path);
    crate::source::SourceError::Read { path, error }.into()
}
