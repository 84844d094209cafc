//! What a blob promises, tried on whole blobs with small parts.

mod damage;
mod golden;

mod pipes;
mod resealed;
mod resumed;
mod round_trip;
mod trust;

use std::convert::Infallible;

use rand::{TryCryptoRng, TryRng};
use zput_proto::digest::Digest;
use zput_proto::envelope::PartSize;
use zput_proto::name::{BlobName, ObjectKey};

use super::derive::DerivedKeys;
use super::footer::{self, Provenance};
use super::header::Header;
use super::metadata::Metadata;
use super::open::{Asked, BarePolicy, Named, OpenError, Seen, Trusted, Vouching};
use super::seal::{SealOptions, SealedFooter, Sealer};
use super::transcript::Transcript;
use crate::aead::{Engine, Suite};
use crate::age::{self, Identity};
use crate::keys::{DeviceSeed, VaultMacKey, VaultSecret, WriterKey};

/// Plaintext of a full part in these tests.
const PART: usize = 65_536;

/// The extended output of BLAKE3 on a seed, so that the same bytes can be drawn again.
struct SeededRng(blake3::OutputReader);

impl SeededRng {
    fn new(seed: &str) -> Self {
        Self(blake3::Hasher::new().update(seed.as_bytes()).finalize_xof())
    }
}

impl TryRng for SeededRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(bytes);
        Ok(())
    }
}

impl TryCryptoRng for SeededRng {}

/// A vault, one of its devices, and an identity.
struct World {
    identity: Identity,
    vault: VaultSecret,
    mac_key: VaultMacKey,
    writer: WriterKey,
    rng: SeededRng,
    /// What readers ask for.
    asked: ObjectKey,
}

impl World {
    fn new(seed: &str) -> Self {
        let mut rng = SeededRng::new(seed);
        let identity = Identity::generate_x25519(&mut rng);
        let vault = VaultSecret::generate(&mut rng);
        let writer = DeviceSeed::generate(&mut rng).writer_key();
        Self { identity, mac_key: vault.mac_key(), vault, writer, rng, asked: key() }
    }

    fn sealer(&mut self, options: SealOptions) -> Sealer {
        Sealer::new(options, &[self.identity.to_recipient()], &mut self.rng).unwrap()
    }

    fn seal(&mut self, options: SealOptions, plaintext: &[u8]) -> Blob {
        let sealer = self.sealer(options);
        let provenance = Provenance::Vault { mac_key: &self.mac_key, writer: &self.writer };
        seal_with(sealer, plaintext, provenance, &mut self.rng)
    }

    fn seal_bare(&mut self, options: SealOptions, plaintext: &[u8]) -> Blob {
        let sealer = self.sealer(options);
        seal_with(sealer, plaintext, Provenance::Bare, &mut self.rng)
    }

    /// A footer of the given fields, vouched for by file key, vault and writer.
    fn forge_footer(&self, header: &[u8], total_length: &[u8; 8], digests: &[Digest]) -> Vec<u8> {
        let header = Header::parse(header).unwrap();
        let identities = std::slice::from_ref(&self.identity);
        let file_key = age::unwrap_file_key(header.stanzas(), identities).unwrap().unwrap();
        let keys = DerivedKeys::new(header.suite(), &header.salt(), &file_key);
        let mut footer = total_length.to_vec();
        digests.iter().for_each(|digest| footer.extend_from_slice(digest.as_bytes()));
        footer.extend_from_slice(&[0, 0, 1]);
        let transcript = Transcript::of(header.vouched(), &footer);
        let file_mac = keys.footer_mac.mac(&[b"zput/v1/file-mac", transcript.as_bytes()]);
        footer.extend_from_slice(&file_mac);
        let provenance = Provenance::Vault { mac_key: &self.mac_key, writer: &self.writer };
        provenance.seal(&transcript, &mut footer);
        footer::append_tail(&mut footer);
        footer
    }

    /// What a member of the vault demands.
    fn vouching(&self) -> Vouching<'_> {
        Vouching { vault: Some(&self.mac_key), writers: &[], bare: BarePolicy::Refuse }
    }

    fn named(&self, header: &[u8]) -> Result<Named, OpenError> {
        Header::parse(header)?
            .unwrap_file_key(std::slice::from_ref(&self.identity))?
            .authenticate(Engine::default())?
            .for_key(Asked::Key(&self.asked))
    }

    fn trusted(&self, header: &[u8], footer: &[u8]) -> Result<Trusted, OpenError> {
        self.named(header)?.vouched_by(footer, &self.vouching())?.not_older_than(None)
    }

    /// Opens an object as a reader does that can seek: header and footer first.
    fn open(&self, object: &[u8]) -> Result<Vec<u8>, OpenError> {
        self.open_with(object, &self.vouching(), None)
    }

    fn open_with(
        &self,
        object: &[u8],
        vouching: &Vouching<'_>,
        seen: Option<&Seen>,
    ) -> Result<Vec<u8>, OpenError> {
        let [header, payload, footer] = split(object)?;
        let trusted = self.named(header)?.vouched_by(footer, vouching)?.not_older_than(seen)?;
        let mut plaintext = Vec::new();
        let mut buffer = Vec::new();
        let layout = trusted.layout();
        for part in 0..layout.parts() {
            let start =
                (layout.part_offset(part).unwrap() as usize - header.len()).min(payload.len());
            let rest = &payload[start..];
            // Bytes after the last part belong to no part. A reader that fetches them pushes them.
            let length = if part + 1 == layout.parts() {
                rest.len()
            } else {
                rest.len().min(layout.sealed_part_len(part).unwrap() as usize)
            };
            let mut opening = trusted.open_part(part, buffer)?;
            opening.push(&rest[..length])?;
            let opened = opening.finish()?;
            plaintext.extend_from_slice(&opened);
            buffer = opened.into_buffer();
        }
        Ok(plaintext)
    }
}

/// Header, payload and footer of an object, as far as it has them.
fn split(object: &[u8]) -> Result<[&[u8]; 3], OpenError> {
    use super::footer::FooterError;
    use super::header::HeaderError;
    use zput_proto::envelope::{EnvelopeError, footer_length, header_length};
    let length = header_length(object).map_err(HeaderError::Envelope)? as usize;
    let truncated = HeaderError::Envelope(EnvelopeError::Truncated);
    let (header, rest) = object.split_at_checked(length).ok_or(truncated)?;
    let length = footer_length(rest).map_err(FooterError::Envelope)? as usize;
    let truncated = FooterError::Envelope(EnvelopeError::Truncated);
    let (payload, footer) =
        rest.split_at_checked(rest.len().wrapping_sub(length)).ok_or(truncated)?;
    Ok([header, payload, footer])
}

/// A sealed blob in its pieces.
#[derive(Clone)]
struct Blob {
    header: Vec<u8>,
    parts: Vec<Vec<u8>>,
    footer: SealedFooter,
}

impl Blob {
    fn bytes(&self) -> Vec<u8> {
        [&self.header[..], &self.parts.concat(), &self.footer.bytes].concat()
    }
}

fn seal_with(
    mut sealer: Sealer,
    plaintext: &[u8],
    provenance: Provenance<'_>,
    rng: &mut SeededRng,
) -> Blob {
    let header = sealer.header().to_vec();
    let mut parts = Vec::new();
    let mut rest = plaintext;
    loop {
        let length = rest.len().min(sealer.part_size().bytes() as usize);
        let (part, behind) = rest.split_at(length);
        let mut sealed = Vec::new();
        sealer.seal_part(part, rng, &mut sealed).unwrap();
        parts.push(sealed);
        rest = behind;
        if (length as u64) < sealer.part_size().bytes() {
            break;
        }
    }
    Blob { header, parts, footer: sealer.finish(provenance, rng).unwrap() }
}

fn key() -> ObjectKey {
    ObjectKey::new("images/app.img").unwrap()
}

fn metadata() -> Metadata {
    let name = BlobName::parse("images/app.img").unwrap();
    Metadata { name, mtime_s: 1_700_000_000, mtime_ns: 123_456_789, mode: 0o640 }
}

fn options() -> SealOptions {
    SealOptions {
        suite: Suite::Aes256Gcm,
        engine: Engine::default(),
        part_size: PartSize::MIN,
        object_key: Some(key()),
        generation: 1_700_000_000_000_000_000,
        metadata: metadata(),
        sha256: false,
    }
}

/// Bytes in which no two chunks are alike.
fn plaintext(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    SeededRng::new("plaintext").0.fill(&mut bytes);
    bytes
}
