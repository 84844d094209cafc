//! Sealing and opening without a server: from files and pipes to files and pipes.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use zput_os::Clock;
use zput_proto::{
    envelope::{self, Envelope},
    name::{BlobName, ObjectKey},
};
use zput_seal::{
    aead::{Engine, Suite},
    age::{Identity, Recipient},
    blob::{
        footer::Provenance,
        header::Header,
        metadata::Metadata,
        open::{Asked, Named, Trusted, Vouching},
        seal::{SealOptions, Sealer},
    },
    keys::{VaultMacKey, WriterKey},
};

use crate::{
    error::Error,
    io::{
        attributes::Attributes,
        progress::Progress,
        sink::Sink,
        source::{Source, SourceError},
    },
    limits::PART_BYTES,
    memory::reserve,
    put::pipeline::{self, SealJob, SealedPiece},
    random,
};

/// Bytes of ciphertext that are read at once.
const READ_BYTES: usize = 1024 * 1024;

/// Authenticates a blob that is sealed offline: a vault and one of its writers.
#[derive(Debug)]
pub struct Voucher {
    /// The object key that the blob is sealed for; a reader that asks a server for another key
    /// rejects it. `None` for a blob that has no place on a server.
    pub object_key: Option<ObjectKey>,
    /// The vault's MAC key.
    pub mac_key: VaultMacKey,
    /// The key that signs the blob.
    pub writer: WriterKey,
}

/// Facts about an opened blob.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Opened {
    /// Length of the plaintext in bytes.
    pub length: u64,
    /// Name, time and mode as the writer stated them.
    pub metadata: Metadata,
}

impl Opened {
    fn from_trusted(trusted: &Trusted) -> Self {
        Self { length: trusted.layout().total_length(), metadata: trusted.metadata().clone() }
    }

    /// The attributes that an output file takes from the blob.
    #[must_use]
    pub fn attributes(&self) -> Attributes {
        Attributes::from(&self.metadata)
    }
}

/// Seals `source` to `recipients`; returns the length of the plaintext in bytes. Without a voucher
/// the blob is bare and bound to no object key.
///
/// # Errors
/// When the source changed while it was read, or the sink cannot be written.
pub fn seal(
    name: &BlobName,
    source: impl Source + 'static,
    recipients: &[Recipient],
    suite: Suite,
    voucher: Option<Voucher>,
    sink: &mut dyn Sink,
    progress: &dyn Progress,
) -> Result<u64, Error> {
    let metadata = source.attributes().to_metadata(name.clone());
    let mut options = SealOptions::new(Clock::system().now_ns(), metadata);
    options.suite = suite;
    options.object_key = voucher.as_ref().and_then(|voucher| voucher.object_key.clone());
    let sealer = Sealer::new(options, recipients, &mut random::os_rng())?;
    progress.begin(source.length());
    let read = pipeline::spawn_reader(source, PART_BYTES).map_err(Error::Thread)?;
    let stage = pipeline::spawn_sealer(SealJob::new(sealer), read, move |sealer| {
        let provenance = match &voucher {
            Some(Voucher { mac_key, writer, .. }) => Provenance::Vault { mac_key, writer },
            None => Provenance::Bare,
        };
        Ok(sealer.finish(provenance, &mut random::os_rng())?)
    })
    .map_err(Error::Thread)?;
    for piece in &stage.pieces {
        match piece? {
            SealedPiece::Header(header) => sink.write(&header)?,
            SealedPiece::Part { ciphertext, plaintext_bytes, .. } => {
                sink.write(&ciphertext)?;
                progress.advance(plaintext_bytes);
                // The send fails once the sealer has taken its last buffer.
                let _disconnected = stage.recycled.send(ciphertext);
            }
            SealedPiece::Footer(footer) => {
                sink.write(&footer.bytes)?;
                progress.end();
                return Ok(footer.total_length);
            }
        }
    }
    Err(Error::Incomplete)
}

/// Opens the sealed file at `path`. The footer is verified first, so that no plaintext is written
/// before the blob is authenticated.
///
/// # Errors
/// When the file is not a sealed blob, cannot be opened, or is not as it was sealed.
pub fn open_file(
    file: &File,
    path: &Path,
    identities: &[Identity],
    vouching: &Vouching<'_>,
    sink: &mut dyn Sink,
    progress: &dyn Progress,
) -> Result<Opened, Error> {
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
        authenticate(&header, identities)?.vouched_by(&footer, vouching)?.not_older_than(None)?;
    let layout = trusted.layout();
    if layout.footer_offset() + footer_length != length {
        return Err(Error::File("the lengths do not add up"));
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
            let count = usize::try_from(left).map_or(READ_BYTES, |left| left.min(READ_BYTES));
            let piece = block.get_mut(..count).unwrap_or_default();
            file.read_exact_at(piece, offset).map_err(|error| read_error(path, error))?;
            part.push(piece)?;
            offset += count as u64;
            left -= count as u64;
        }
        let opened = part.finish()?;
        sink.write(&opened)?;
        progress.advance(opened.len() as u64);
        buffer = opened.into_buffer();
    }
    progress.end();
    Ok(Opened::from_trusted(&trusted))
}

/// Opens a blob from a pipe. Each part is authenticated before it is written; the footer, which
/// authenticates the blob as a whole, comes last.
///
/// # Errors
/// As of [`open_file`]. What the sink received before an error has to be discarded.
pub fn open_pipe(
    mut pipe: impl Read,
    path: &Path,
    identities: &[Identity],
    vouching: &Vouching<'_>,
    sink: &mut dyn Sink,
    progress: &dyn Progress,
) -> Result<Opened, Error> {
    let failed = |error| read_error(path, error);
    let mut header = Vec::new();
    let prefix = envelope::PREFIX_BYTES as u64;
    pipe.by_ref().take(prefix).read_to_end(&mut header).map_err(failed)?;
    // At most 64 KiB: `header_length` rejects more.
    let rest = u64::from(envelope::header_length(&header)?).saturating_sub(prefix);
    pipe.by_ref().take(rest).read_to_end(&mut header).map_err(failed)?;
    // The opener allocates two buffers of this size and cannot report that there is no memory for
    // them.
    reserve(&mut Vec::new(), 2 * Header::parse(&header)?.part_size().sealed_bytes())?;
    let mut opener = authenticate(&header, identities)?.from_pipe();

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
    Ok(Opened::from_trusted(&end.trusted))
}

/// The first steps of the order of trust. A blob that is opened offline was chosen by path or pipe,
/// so any object key is accepted.
fn authenticate(header: &[u8], identities: &[Identity]) -> Result<Named, Error> {
    let unwrapped = Header::parse(header)?.unwrap_file_key(identities)?;
    Ok(unwrapped.authenticate(Engine::default())?.for_key(Asked::Any)?)
}

fn read_at(file: &File, path: &Path, offset: u64, length: u64) -> Result<Vec<u8>, Error> {
    // Bounded by the file's length, and for header and footer by the format.
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
    file.read_exact_at(&mut bytes, offset).map_err(|error| read_error(path, error))?;
    Ok(bytes)
}

fn read_error(path: &Path, source: io::Error) -> Error {
    SourceError::Read { path: PathBuf::from(path), source }.into()
}
