//! The text of a key file: TOML, read by serde, and written by hand for the sake of its comments.

use std::error::Error;
use std::fmt::{self, Display, Write};
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use rand::CryptoRng;
use serde::{Deserialize, Deserializer, de};
use zeroize::Zeroizing;
use zput_proto::limits::KEY_FILE_MAX_BYTES;

use super::causes::with_causes;
use super::{
    KeyFile, KeyFileError, LockedKeyFile, ModePolicy, Names, ParsedKeyFile, Role, Secrets,
    check_open,
};
use crate::keys::device::DeviceSeed;
use crate::keys::passphrase::{Cost, Protected, SALT_BYTES};
use crate::keys::vault::VaultSecret;

const FORMAT: i64 = 1;
const KDF: &str = "argon2id";

/// The fields of FORMAT 11. Texts are parsed later, so that no error repeats one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    #[serde(rename = "format")]
    _format: i64,
    role: Text,
    remote: Option<Text>,
    mode: Option<Text>,
    server_key: Option<Text>,
    names: Text,
    #[serde(default)]
    recipients: Vec<Text>,
    #[serde(default)]
    writers: Vec<Text>,
    device_seed: Option<Text>,
    vault_secret: Option<Text>,
    identity: Option<Text>,
    protected: Option<ProtectedFields>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProtectedFields {
    kdf: Text,
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: Text,
    sealed: Text,
}

/// The format is read first, so that the error about a newer format says so.
#[derive(Deserialize)]
struct FormatField {
    format: i64,
}

impl KeyFile {
    /// Parses a key file's text.
    ///
    /// # Errors
    /// Says what is wrong, and in which line or field.
    pub fn parse(text: &str) -> Result<ParsedKeyFile, KeyFileError> {
        parse(text)
    }

    /// The file's text, with its secrets in the clear. [`KeyFile::parse`] reads it back.
    ///
    /// # Errors
    /// When `parse` would refuse it.
    pub fn to_toml(&self) -> Result<Zeroizing<String>, KeyFileError> {
        self.check()?;
        write(self, None)
    }

    /// The file's text with its secrets under `passphrase`.
    ///
    /// # Errors
    /// When `parse` would refuse it, or the passphrase is empty.
    pub fn to_toml_locked(
        &self,
        passphrase: &str,
        rng: &mut dyn CryptoRng,
    ) -> Result<Zeroizing<String>, KeyFileError> {
        self.check()?;
        let protected = Protected::lock(passphrase, &self.secrets.to_bytes(), rng)?;
        write(self, Some(&protected))
    }
}

fn parse(text: &str) -> Result<ParsedKeyFile, KeyFileError> {
    if text.len() > KEY_FILE_MAX_BYTES {
        return Err(KeyFileError::TooLong(text.len()));
    }
    let FormatField { format } = toml::from_str(text).map_err(|error| explain(text, &error))?;
    if format != FORMAT {
        return Err(KeyFileError::Format(format));
    }
    let fields: Fields = toml::from_str(text).map_err(|error| explain(text, &error))?;

    let role = match fields.role.as_str() {
        "full" => Role::Full,
        "get" => Role::Get,
        "put" => Role::Put,
        _ => return Err(wrong("role", "it is none of full, get and put")),
    };
    let mode = match fields.mode.as_ref().map(Text::as_str) {
        None | Some("tls") => ModePolicy::Tls,
        Some("plaintext") => ModePolicy::Plaintext,
        Some(_) => return Err(wrong("mode", "it is neither tls nor plaintext")),
    };
    let names = match fields.names.as_str() {
        "sealed" => Names::Sealed,
        "clear" => Names::Clear,
        _ => return Err(wrong("names", "it is neither sealed nor clear")),
    };
    let remote = fields.remote.map(|text| text.parse("remote")).transpose()?;
    let server_key = fields.server_key.map(|text| text.parse("server_key")).transpose()?;
    let recipients =
        fields.recipients.iter().map(|t| t.parse("recipients")).collect::<Result<Vec<_>, _>>()?;
    let writers =
        fields.writers.iter().map(|t| t.parse("writers")).collect::<Result<Vec<_>, _>>()?;

    let Some(protected) = fields.protected else {
        let device_seed = fields.device_seed.ok_or(KeyFileError::Missing("device_seed"))?;
        let vault_secret = fields.vault_secret.ok_or(KeyFileError::Missing("vault_secret"))?;
        let secrets = Secrets {
            device_seed: DeviceSeed::from_bytes(*device_seed.hex("device_seed")?),
            vault_secret: VaultSecret::from_bytes(*vault_secret.hex("vault_secret")?),
            identity: fields.identity.map(|text| text.parse("identity")).transpose()?,
        };
        let file = KeyFile { role, remote, mode, server_key, names, recipients, writers, secrets };
        file.check()?;
        return Ok(ParsedKeyFile::Open(file));
    };
    if fields.device_seed.is_some() || fields.vault_secret.is_some() || fields.identity.is_some() {
        return Err(KeyFileError::TwiceProtected);
    }
    let protected = protected.parse()?;
    check_open(role, remote.as_ref(), mode, server_key.as_ref(), &recipients)?;
    Ok(ParsedKeyFile::Locked(LockedKeyFile {
        role,
        remote,
        mode,
        server_key,
        names,
        recipients,
        writers,
        protected,
    }))
}

impl ProtectedFields {
    fn parse(&self) -> Result<Protected, KeyFileError> {
        if self.kdf.as_str() != KDF {
            return Err(wrong("protected.kdf", "it is not argon2id"));
        }
        let sealed = STANDARD_NO_PAD
            .decode(self.sealed.as_str())
            .map_err(|_| wrong("protected.sealed", "it is not unpadded base64"))?;
        // The costs are checked first, so that no passphrase is asked for in vain.
        let cost = Cost { memory_kib: self.memory_kib, passes: self.passes, lanes: self.lanes };
        cost.params()?;
        Ok(Protected { cost, salt: *self.salt.hex::<SALT_BYTES>("protected.salt")?, sealed })
    }
}

/// A text that may be a secret. It is wiped on drop, and no error repeats it.
struct Text(Zeroizing<String>);

impl Text {
    fn as_str(&self) -> &str {
        &self.0
    }

    fn parse<T: FromStr<Err: Error>>(&self, field: &'static str) -> Result<T, KeyFileError> {
        self.0.parse().map_err(|error: T::Err| wrong(field, &with_causes(&error)))
    }

    fn hex<const N: usize>(&self, field: &'static str) -> Result<Zeroizing<[u8; N]>, KeyFileError> {
        let mut bytes = Zeroizing::new([0; N]);
        let lower = !self.0.bytes().any(|digit| digit.is_ascii_uppercase());
        if !lower || hex::decode_to_slice(self.as_str(), bytes.as_mut()).is_err() {
            return Err(wrong(field, &format!("it is not {} lower-case hex digits", 2 * N)));
        }
        Ok(bytes)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text in quotes")
            }

            fn visit_str<E>(self, text: &str) -> Result<Text, E> {
                Ok(Text(Zeroizing::new(text.to_owned())))
            }

            fn visit_string<E>(self, text: String) -> Result<Text, E> {
                Ok(Text(Zeroizing::new(text)))
            }
        }
        deserializer.deserialize_string(Visitor)
    }
}

fn wrong(field: &'static str, reason: &str) -> KeyFileError {
    KeyFileError::Field { field, reason: reason.to_owned() }
}

/// The parser's error as line and message. Its own `Display` would print the line, and a secret in
/// it.
fn explain(text: &str, error: &toml::de::Error) -> KeyFileError {
    let start = error.span().map_or(0, |span| span.start);
    let before = text.as_bytes().get(..start).unwrap_or_default();
    let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
    let message = error.message();
    // serde's "invalid type: integer `…`, expected …" repeats the value.
    let message = match message.rsplit_once("expected ") {
        Some((_, expected)) if message.starts_with("invalid ") => format!("expected {expected}"),
        _ => message.to_owned(),
    };
    KeyFileError::Toml { line, message }
}

/// Writes the text of `file`, with the secrets in `protected` if given, and in the clear otherwise.
fn write(file: &KeyFile, protected: Option<&Protected>) -> Result<Zeroizing<String>, KeyFileError> {
    // The whole capacity at once, since a buffer that grows would leave copies of secrets in
    // memory.
    let mut text = Zeroizing::new(String::with_capacity(KEY_FILE_MAX_BYTES));
    let written = write_open(&mut text, file).and_then(|()| match protected {
        None => write_secrets(&mut text, &file.secrets),
        Some(protected) => write_protected(&mut text, protected),
    });
    debug_assert!(written.is_ok(), "writing to a string does not fail");
    if text.len() > KEY_FILE_MAX_BYTES {
        return Err(KeyFileError::TooLong(text.len()));
    }
    Ok(text)
}

fn write_open(out: &mut String, file: &KeyFile) -> fmt::Result {
    writeln!(out, "# A zput key file: everything that this device may do with its vault.")?;
    writeln!(out, "#")?;
    out.write_str(match file.role {
        Role::Full => FULL,
        Role::Get => GET,
        Role::Put => PUT,
    })?;
    writeln!(out, "\nformat = {FORMAT}")?;
    writeln!(out, "role = \"{}\"", file.role)?;

    writeln!(
        out,
        "\n# Where the blobs are: zput://HOST:PORT or zput://HOST:PORT/MOUNT, unix:///PATH or \
         file:///PATH."
    )?;
    match &file.remote {
        Some(remote) => writeln!(out, "remote = {}", quoted(&remote.to_string()))?,
        None => writeln!(
            out,
            "# remote = (none yet: \"zblob key join\" or the first \"zput\" sets it)"
        )?,
    }
    writeln!(out, "# tls, or plaintext for connections that something else protects.")?;
    writeln!(out, "mode = \"{}\"", file.mode.as_str())?;
    if let Some(server_key) = file.server_key {
        writeln!(out, "# The only key by which the server is known. It came with the invite.")?;
        writeln!(out, "server_key = \"{server_key}\"")?;
    }

    writeln!(out, "\n# What the server sees of names: sealed (nothing) or clear (all).")?;
    writeln!(out, "# Another value gives every name another place on the server.")?;
    writeln!(out, "names = \"{}\"", file.names.as_str())?;

    writeln!(out, "\n# Who can open what this device puts: age recipients.")?;
    list(out, "recipients", &file.recipients)?;
    writeln!(out, "\n# Whose blobs are taken: writer keys. None = any member of the vault.")?;
    list(out, "writers", &file.writers)
}

fn list<T: Display>(out: &mut String, field: &str, items: &[T]) -> fmt::Result {
    if items.is_empty() {
        return writeln!(out, "{field} = []");
    }
    writeln!(out, "{field} = [")?;
    for item in items {
        writeln!(out, "  \"{item}\",")?;
    }
    writeln!(out, "]")
}

fn write_secrets(out: &mut String, secrets: &Secrets) -> fmt::Result {
    let hex = |bytes: &[u8]| Zeroizing::new(hex::encode(bytes));
    writeln!(out, "\n# From here on everything is secret.")?;
    writeln!(out, "# This device: its account on the server and its signature under blobs.")?;
    writeln!(out, "device_seed = \"{}\"", *hex(secrets.device_seed.as_bytes()))?;
    writeln!(out, "# The vault: names its blobs and vouches for them.")?;
    writeln!(out, "vault_secret = \"{}\"", *hex(secrets.vault_secret.as_bytes()))?;
    if let Some(identity) = &secrets.identity {
        writeln!(out, "# Opens blobs: an age identity.")?;
        writeln!(out, "identity = \"{}\"", *identity.to_secret_string())?;
    }
    Ok(())
}

fn write_protected(out: &mut String, protected: &Protected) -> fmt::Result {
    let Protected { cost, salt, sealed } = protected;
    writeln!(
        out,
        "\n# The secrets, under a passphrase. Nobody can open them without it: there is no"
    )?;
    writeln!(out, "# way to recover a passphrase that is forgotten.")?;
    writeln!(out, "[protected]")?;
    writeln!(out, "kdf = \"{KDF}\"")?;
    writeln!(out, "memory_kib = {}", cost.memory_kib)?;
    writeln!(out, "passes = {}", cost.passes)?;
    writeln!(out, "lanes = {}", cost.lanes)?;
    writeln!(out, "salt = \"{}\"", hex::encode(salt))?;
    writeln!(out, "sealed = \"{}\"", STANDARD_NO_PAD.encode(sealed))
}

/// A TOML basic string. A remote has no control characters, so they need no escape.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

const FULL: &str = "\
# BACK IT UP NOW, to a place that does not share this disk's fate. What was sealed for this
# vault can be opened by nothing but its identity, which stands below. If every copy of it is
# lost, so is everything in the vault: whoever runs the server cannot help, and neither can
# whoever made zput.
#
# KEEP IT SECRET. Whoever has a copy can open every blob of the vault, put blobs in its name,
# and do on the server what this device may do. \"zblob key export\" makes files that can do less.
";

const GET: &str = "\
# It opens the vault's blobs and is not for putting any. If it is lost, make another one with
# \"zblob key export\" from the vault's full key file: that is the one to back up.
#
# KEEP IT SECRET. Whoever has a copy can open every blob of the vault.
";

const PUT: &str = "\
# It puts blobs and cannot open any, not even its own. If it is lost, make another one with
# \"zblob key export\" from the vault's full key file: that is the one to BACK UP, as nothing else
# opens what is put from here.
#
# KEEP IT SECRET. Whoever has a copy can put blobs in this device's name.
";
