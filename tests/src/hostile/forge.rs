//! Blobs that keep to the format as far as an attack wants, and no further.
//!
//! This is a second writer of FORMAT.md: it shares the AEAD, the stanzas and the key types with the
//! library and nothing else, so it can author what the library refuses to.

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest as _, Sha256, Sha512};
use zput_proto::{digest::Digest, keys::WriterPublicKey, name::ObjectKey};
use zput_seal::{
    aead::{Engine, Suite},
    age::{FileKey, Recipient},
    chunked::{self, InputKey},
    keys::{KeyFile, VaultMacKey, WriterKey},
};

/// Bytes of the smallest part.
pub const SMALL_PART_BYTES: usize = 1 << SMALL_PART_LOG2;
const SMALL_PART_LOG2: u8 = 16;

/// A blob to be made. Every field may be what no honest writer would put there.
#[derive(Clone, Debug)]
pub struct Forgery {
    /// From which everything is derived.
    pub file_key: [u8; 16],
    /// The salt in the header, from which its keys are derived.
    pub salt: [u8; 32],
    /// The suite's number; parts and metadata are sealed with this one, or with suite 1 if there is
    /// none of this number.
    pub suite: u8,
    /// Binary logarithm of the plaintext bytes of a part.
    pub part_size_log2: u8,
    /// The generation in the header: nanoseconds since 1970, by the writer's clock.
    pub generation: u64,
    /// What it is stored under; empty for none.
    pub object_key: Vec<u8>,
    /// The recipients to which the file key is wrapped.
    pub recipients: Vec<Recipient>,
    /// These stanzas, instead of ones for the recipients.
    pub stanzas: Option<Vec<u8>>,
    /// The plaintext of the metadata; [`metadata`] makes it.
    pub metadata: Vec<u8>,
    /// The plaintext of the blob, all parts together.
    pub plaintext: Vec<u8>,
    /// The plaintext of the facts, if any.
    pub facts: Option<Vec<u8>>,
    /// The vault and the writer that vouch; `None` for a bare blob.
    pub voucher: Option<Voucher>,
}

/// The keys that vouch for a blob.
#[derive(Clone, Debug)]
pub struct Voucher {
    /// The key of the vault MAC.
    pub vault: VaultMacKey,
    /// The key that signs.
    pub writer: WriterKey,
    /// The public key that the blob names as the writer's.
    pub claimed: WriterPublicKey,
}

impl Voucher {
    /// What a member of the vault vouches with.
    #[must_use]
    pub fn of(key_file: &KeyFile) -> Self {
        let writer = key_file.device_seed().writer_key();
        let claimed = writer.public_key();
        Self { vault: key_file.vault_secret().mac_key(), writer, claimed }
    }
}

/// A blob in its pieces, to be put together in whatever way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pieces {
    /// From magic to MAC.
    pub header: Vec<u8>,
    /// Each with its salt.
    pub parts: Vec<Vec<u8>>,
    /// From the length to the magic.
    pub footer: Vec<u8>,
}

impl Pieces {
    /// The bytes of the whole blob.
    #[must_use]
    pub fn join(&self) -> Vec<u8> {
        let mut blob = self.header.clone();
        blob.extend(self.parts.iter().flatten());
        blob.extend_from_slice(&self.footer);
        blob
    }
}

/// The plaintext of the metadata (FORMAT 5).
#[must_use]
pub fn metadata(name: &[u8], mtime_s: i64, mtime_ns: u32, mode: u32) -> Vec<u8> {
    let mut bytes = length(name.len()).to_vec();
    bytes.extend_from_slice(name);
    bytes.extend_from_slice(&mtime_s.to_be_bytes());
    bytes.extend_from_slice(&mtime_ns.to_be_bytes());
    bytes.extend_from_slice(&mode.to_be_bytes());
    bytes
}

impl Forgery {
    /// What an honest member of the vault of `key_file` would make of `plaintext`.
    #[must_use]
    pub fn honest(key_file: &KeyFile, key: &ObjectKey, name: &str, plaintext: &[u8]) -> Self {
        Self {
            file_key: rand::random(),
            salt: rand::random(),
            suite: 1,
            part_size_log2: SMALL_PART_LOG2,
            generation: 1_700_000_000_000_000_000,
            object_key: key.as_bytes().to_vec(),
            recipients: key_file.recipients.clone(),
            stanzas: None,
            metadata: metadata(name.as_bytes(), 1_600_000_000, 0, 0o640),
            plaintext: plaintext.to_vec(),
            facts: None,
            voucher: Some(Voucher::of(key_file)),
        }
    }

    /// The bytes of the whole blob.
    ///
    /// # Panics
    /// When a field does not fit its length, which even a forger has to write.
    #[must_use]
    pub fn seal(&self) -> Vec<u8> {
        self.pieces().join()
    }

    /// The blob in its pieces.
    ///
    /// # Panics
    /// As [`Forgery::seal`].
    #[must_use]
    pub fn pieces(&self) -> Pieces {
        self.pieces_with(self.parts())
    }

    /// The blob in its pieces, with these parts and a footer that vouches for them.
    ///
    /// # Panics
    /// As [`Forgery::seal`].
    #[must_use]
    pub fn pieces_with(&self, parts: Vec<Vec<u8>>) -> Pieces {
        let sealed = self.message("metadata", b"metadata", &self.metadata);
        let header = self.header(&sealed);
        let footer = self.footer(&sealed, &parts);
        Pieces { header, parts, footer }
    }

    /// The same blob for these recipients: nothing that is vouched for changes.
    ///
    /// # Panics
    /// As [`Forgery::seal`].
    #[must_use]
    pub fn for_others(&self, pieces: &Pieces) -> Pieces {
        let header = self.header(self.sealed_metadata(&pieces.header));
        Pieces { header, ..pieces.clone() }
    }

    /// A footer that vouches for these parts behind this header.
    ///
    /// # Panics
    /// As [`Forgery::seal`].
    #[must_use]
    pub fn footer_of(&self, header: &[u8], parts: &[Vec<u8>]) -> Vec<u8> {
        self.footer(self.sealed_metadata(header), parts)
    }

    /// The last field but the MAC of a header of this name.
    fn sealed_metadata<'a>(&self, header: &'a [u8]) -> &'a [u8] {
        let sealed = chunked::sealed_len(self.metadata.len() as u64) as usize;
        let end = header.len() - 32;
        &header[end - sealed..end]
    }

    /// The sealed parts, with fresh salts.
    ///
    /// # Panics
    /// As [`Forgery::seal`].
    #[must_use]
    pub fn parts(&self) -> Vec<Vec<u8>> {
        let part_size = 1_usize << self.part_size_log2;
        let count = self.plaintext.len() / part_size + 1;
        let part = |index: usize| {
            let from = index * part_size;
            let plaintext = &self.plaintext[from..self.plaintext.len().min(from + part_size)];
            self.part(index as u64, plaintext)
        };
        (0..count).map(part).collect()
    }

    /// One sealed part, with a fresh salt.
    ///
    /// # Panics
    /// As [`Forgery::seal`].
    #[must_use]
    pub fn part(&self, index: u64, plaintext: &[u8]) -> Vec<u8> {
        self.message("payload", &[&b"part"[..], &index.to_be_bytes()].concat(), plaintext)
    }

    /// FORMAT 7, for these parts of a blob with this sealed metadata.
    fn footer(&self, sealed_metadata: &[u8], parts: &[Vec<u8>]) -> Vec<u8> {
        let mut footer = (self.plaintext.len() as u64).to_be_bytes().to_vec();
        for part in parts {
            footer.extend_from_slice(Digest::of(part).as_bytes());
        }
        let facts = self.facts.as_ref().map(|plain| self.message("footer", b"facts", plain));
        let facts = facts.unwrap_or_default();
        footer.extend_from_slice(&length(facts.len()));
        footer.extend_from_slice(&facts);
        footer.push(if self.voucher.is_some() { 1 } else { 2 });
        let transcript: [u8; 64] = Sha512::new_with_prefix("zput/v1/transcript")
            .chain_update(self.framing())
            .chain_update(length(sealed_metadata.len()))
            .chain_update(sealed_metadata)
            .chain_update(&footer)
            .finalize()
            .into();
        let mac_key = self.key("footer-mac");
        footer.extend_from_slice(&mac(&mac_key, &[b"zput/v1/file-mac", &transcript]));
        if let Some(Voucher { vault, writer, claimed }) = &self.voucher {
            footer.extend_from_slice(&vault.mac(&[b"zput/v1/vault-mac", &transcript]));
            footer.extend_from_slice(claimed.as_bytes());
            let signed = [&b"zput/v1/writer"[..], &transcript].concat();
            footer.extend_from_slice(&writer.sign(&signed));
        }
        let whole = u32::try_from(footer.len() + 12).unwrap_or_else(|e| panic!("a footer: {e}"));
        footer.extend_from_slice(&whole.to_be_bytes());
        footer.extend_from_slice(b"\x8Azputend");
        footer
    }

    /// The header (FORMAT 3).
    fn header(&self, sealed_metadata: &[u8]) -> Vec<u8> {
        let stanzas = self.stanzas.clone().unwrap_or_else(|| self.stanzas());
        let mut rest = length(stanzas.len()).to_vec();
        rest.extend_from_slice(&stanzas);
        rest.extend_from_slice(&length(sealed_metadata.len()));
        rest.extend_from_slice(sealed_metadata);
        let framing = self.framing();
        let whole = u32::try_from(framing.len() + 4 + rest.len() + 32)
            .unwrap_or_else(|e| panic!("a header: {e}"));
        let mut header = framing[..10].to_vec();
        header.extend_from_slice(&whole.to_be_bytes());
        header.extend_from_slice(&framing[10..]);
        header.extend_from_slice(&rest);
        let mac = mac(&self.key("header-mac"), &[&header]);
        header.extend_from_slice(&mac);
        header
    }

    /// A stanza for each recipient, with fresh shares.
    ///
    /// # Panics
    /// When a recipient's key is none.
    #[must_use]
    pub fn stanzas(&self) -> Vec<u8> {
        let file_key = FileKey::from_bytes(self.file_key);
        let mut stanzas = Vec::new();
        for recipient in &self.recipients {
            let stanza = recipient.wrap(&file_key, &mut rand::rng());
            stanza.unwrap_or_else(|e| panic!("a recipient: {e}")).encode(&mut stanzas);
        }
        stanzas
    }

    /// The header's fields up to the key, but for its length: what the transcript begins with.
    fn framing(&self) -> Vec<u8> {
        let mut framing = b"\x8Azput\r\n\x1A\x00\x01".to_vec();
        framing.extend_from_slice(&[self.suite, self.part_size_log2]);
        framing.extend_from_slice(&self.salt);
        framing.extend_from_slice(&self.generation.to_be_bytes());
        framing.extend_from_slice(&length(self.object_key.len()));
        framing.extend_from_slice(&self.object_key);
        framing
    }

    fn message(&self, purpose: &str, context: &[u8], plaintext: &[u8]) -> Vec<u8> {
        let mut message = Vec::new();
        let key = InputKey::from_bytes(self.key(purpose));
        let rng = &mut rand::rng();
        chunked::seal(
            self.cipher(),
            Engine::RustCrypto,
            &key,
            context,
            plaintext,
            rng,
            &mut message,
        )
        .unwrap_or_else(|e| panic!("sealing: {e}"));
        message
    }

    fn cipher(&self) -> Suite {
        if self.suite == 2 { Suite::ChaCha20Poly1305 } else { Suite::Aes256Gcm }
    }

    /// The key for a purpose, derived from the file key (FORMAT 2).
    fn key(&self, purpose: &str) -> [u8; 32] {
        let name = match self.cipher() {
            Suite::Aes256Gcm => "AEAD_AES_256_GCM",
            Suite::ChaCha20Poly1305 => "AEAD_CHACHA20_POLY1305",
        };
        let mut key = [0; 32];
        let info = format!("zput/v1/{name}/{purpose}");
        Hkdf::<Sha512>::new(Some(&self.salt), &self.file_key)
            .expand(info.as_bytes(), &mut key)
            .unwrap_or_else(|e| panic!("32 bytes of HKDF: {e}"));
        key
    }
}

fn mac(key: &[u8; 32], pieces: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap_or_else(|e| panic!("HMAC: {e}"));
    for piece in pieces {
        mac.update(piece);
    }
    mac.finalize().into_bytes().into()
}

fn length(bytes: usize) -> [u8; 2] {
    u16::try_from(bytes).unwrap_or_else(|e| panic!("a length: {e}")).to_be_bytes()
}
