//! The line of a kit: where the vault is. It is no secret.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;
use zput_proto::keys::{Remote, RemoteError, ServerPublicKey};
use zput_proto::long_bech32::{self, Bech32Error};
use zput_proto::vault::VaultId;

/// What recovery needs beside the words. `Display` writes what `parse` reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KitLine {
    /// The index of the root that the words are, at most 15.
    pub root: u8,
    /// The vault's id (FORMAT 10, `V`).
    pub vault: VaultId,
    /// The key that the server must prove to hold. A key of zeros, which no server has, is written
    /// like none.
    pub server_key: Option<ServerPublicKey>,
    /// The address of the server or the store, if the key file had one.
    pub remote: Option<Remote>,
}

/// Why a text is not the line of a kit.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KitLineError {
    /// The text is damaged.
    #[error("not the line of a recovery kit")]
    Text(#[from] Bech32Error),
    /// The line ends before the server's key does.
    #[error("the line of the recovery kit is too short")]
    Truncated,
    /// The line was written by a program of another format.
    #[error("the recovery kit is of format {0}, this program knows format {FORMAT}")]
    Format(u8),
    /// No vault has so many roots.
    #[error("the recovery kit names root {0}, and the last that a vault can have is {ROOT_MAX}")]
    Root(u8),
    /// The address is not text.
    #[error("the address in the recovery kit is not UTF-8")]
    RemoteNotText,
    /// The address is not one.
    #[error("the address in the recovery kit")]
    Remote(#[from] RemoteError),
}

const PREFIX: &str = "zputkit";
const FORMAT: u8 = 2;
/// FORMAT 13: "root_count: 1 to 16".
const ROOT_MAX: u8 = 15;
const NO_SERVER_KEY: [u8; 32] = [0; 32];

impl FromStr for KitLine {
    type Err = KitLineError;

    /// FORMAT 16: `version[1] || root[1] || vault[32] || server_key[32] || remote`.
    fn from_str(text: &str) -> Result<Self, KitLineError> {
        let data = long_bech32::decode(PREFIX, text)?;
        let ([version, root], data) = data.split_first_chunk().ok_or(KitLineError::Truncated)?;
        if *version != FORMAT {
            return Err(KitLineError::Format(*version));
        }
        if *root > ROOT_MAX {
            return Err(KitLineError::Root(*root));
        }
        let (vault, data) = data.split_first_chunk().ok_or(KitLineError::Truncated)?;
        let (server_key, remote) = data.split_first_chunk().ok_or(KitLineError::Truncated)?;
        let remote = std::str::from_utf8(remote).map_err(|_| KitLineError::RemoteNotText)?;
        Ok(Self {
            root: *root,
            vault: VaultId::from_bytes(*vault),
            server_key: (*server_key != NO_SERVER_KEY)
                .then(|| ServerPublicKey::from_bytes(*server_key)),
            remote: if remote.is_empty() { None } else { Some(remote.parse()?) },
        })
    }
}

impl fmt::Display for KitLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let server_key = self.server_key.as_ref().map_or(&NO_SERVER_KEY, |key| key.as_bytes());
        let remote = self.remote.as_ref().map_or_else(String::new, Remote::to_string);
        let data = [&[FORMAT, self.root][..], self.vault.as_bytes(), server_key, remote.as_bytes()]
            .concat();
        f.write_str(&long_bech32::encode(PREFIX, &data))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::GoldenFile;

    /// A line with a server and its key, one with a store, and one with neither, read and written.
    #[test]
    fn kit_line_is_that_of_golden_file() {
        let golden = GoldenFile::kit();
        let vault = VaultId::from_bytes(golden.array("vault"));
        let server_key = Some(ServerPublicKey::from_bytes(golden.array("server_key")));
        for (name, root, server_key, remote) in [
            ("line_server.text", 0, server_key, Some("zput://vault.example.org:7447/home")),
            ("line_store.text", 0, None, Some("file:///srv/Grüße")),
            ("line_root_15_alone.text", 15, None, None),
        ] {
            let remote = remote.map(|remote| remote.parse().unwrap());
            let line = KitLine { root, vault, server_key, remote };
            assert_eq!(golden.text(name).parse(), Ok(line.clone()), "{name}");
            assert_eq!(line.to_string(), golden.text(name));
        }
    }

    /// A line that breaks one rule of FORMAT 16 is refused for that rule.
    #[test]
    fn kit_line_refuses_what_breaks_a_rule() {
        let golden = GoldenFile::kit();
        let good = golden.text("line_store.text");
        for (text, error) in [
            (golden.text("refused_version_3.text"), KitLineError::Format(3)),
            (golden.text("refused_root_16.text"), KitLineError::Root(16)),
            (golden.text("refused_65_bytes.text"), KitLineError::Truncated),
            (golden.text("refused_remote.text"), KitLineError::Remote(RemoteError::Scheme)),
            (golden.text("refused_not_utf8.text"), KitLineError::RemoteNotText),
            (golden.text("refused_prefix.text"), Bech32Error::Prefix("zputkit").into()),
            (&good.to_uppercase(), Bech32Error::NotCanonical.into()),
            (&good.replacen("qgqpr", "qgqrp", 1), Bech32Error::Checksum.into()),
            (&good[..good.len() - 1], Bech32Error::Checksum.into()),
            (&format!("{good}\n"), Bech32Error::NotBech32.into()),
            ("", Bech32Error::NotBech32.into()),
        ] {
            assert_eq!(text.parse::<KitLine>(), Err(error), "{text}");
        }
        // Less than each field that has a length.
        for length in [0, 1, 2, 33, 34] {
            let short = long_bech32::encode("zputkit", &[2, 0].repeat(33)[..length]);
            assert_eq!(short.parse::<KitLine>(), Err(KitLineError::Truncated), "{length}");
        }
    }
}
