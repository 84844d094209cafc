//! Invites, by which a new device gets an account on a server (PROTOCOL, "Invites").

use std::str::FromStr;

use thiserror::Error;
use zeroize::Zeroizing;

use super::public::ServerPublicKey;
use super::remote::{Remote, RemoteError};
use crate::long_bech32::{self, Bech32Error};
use crate::secret::Secret;

/// Human-readable prefix of an invite's text, before Bech32's `1`.
const PREFIX: &str = "zputinvite";
/// The only version of the encoded bytes.
const VERSION: u8 = 1;

/// An invite: the server's address, its key, and the secret that the server accepts once.
/// Exhaustive: the fields of version 1 of its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invite {
    /// The server's address, never that of an embedded store.
    pub address: Remote,
    /// The key that the server must prove to hold.
    pub server_key: ServerPublicKey,
    /// The secret that a `Join` presents.
    pub secret: InviteSecret,
}

/// The 32 random bytes of an invite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InviteSecret(Secret<32>);

impl InviteSecret {
    /// Takes over a secret that was received in a `Join`.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Secret::from_bytes(bytes))
    }

    /// The 32 secret bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }
}

/// Why a text is not an invite. It never repeats the text.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InviteError {
    /// The text is damaged, or no invite.
    #[error("not an invite")]
    Text(#[from] Bech32Error),
    /// The invite was made by a newer version.
    #[error("the invite is of version {0}, this program knows version {VERSION}")]
    Version(u8),
    /// The text encodes fewer bytes than a key and a secret have.
    #[error("not an invite: it is too short")]
    TooShort,
    /// The address is not a remote.
    #[error("the invite's address is not valid")]
    Address(#[from] RemoteError),
    /// The address is not UTF-8, not a server's, or not in its canonical form.
    #[error("the invite's address is not that of a server")]
    NotAServer,
}

impl Invite {
    /// The invite's text, which holds the secret.
    ///
    /// The text parses again when `address` is that of a server, as [`Remote`] parses it.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let address = self.address.to_string();
        let mut bytes = Zeroizing::new(Vec::with_capacity(1 + 32 + 32 + address.len()));
        bytes.push(VERSION);
        bytes.extend_from_slice(self.server_key.as_bytes());
        bytes.extend_from_slice(self.secret.as_bytes());
        bytes.extend_from_slice(address.as_bytes());
        long_bech32::encode(PREFIX, &bytes)
    }
}

impl FromStr for Invite {
    type Err = InviteError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = long_bech32::decode(PREFIX, text)?;
        let (&version, bytes) = bytes.split_first().ok_or(InviteError::TooShort)?;
        if version != VERSION {
            return Err(InviteError::Version(version));
        }
        let (server_key, bytes) = bytes.split_first_chunk().ok_or(InviteError::TooShort)?;
        let (secret, address) = bytes.split_first_chunk().ok_or(InviteError::TooShort)?;
        let address: Remote =
            std::str::from_utf8(address).map_err(|_| InviteError::NotAServer)?.parse()?;
        if matches!(address, Remote::Embedded(_)) {
            return Err(InviteError::NotAServer);
        }
        Ok(Self {
            address,
            server_key: ServerPublicKey::from_bytes(*server_key),
            secret: InviteSecret::from_bytes(*secret),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invite(address: &str) -> Invite {
        Invite {
            address: address.parse().unwrap(),
            server_key: ServerPublicKey::from_bytes([0x11; 32]),
            secret: InviteSecret::from_bytes([0x22; 32]),
        }
    }

    /// The text was computed by another implementation of Bech32 (BIP 173's Python).
    const TEXT: &str = "zputinvite1qyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3z0fc82ap69uhk27rpd4cxcefwdaexww3hxs6rw05kxuz";

    /// An invite is written as the Bech32 text that Python computed and parses back.
    #[test]
    fn invite_has_the_text_of_the_protocol() {
        let invite = invite("zput://example.org:7447");
        assert_eq!(invite.to_text().as_str(), TEXT);
        assert_eq!(TEXT.parse(), Ok(invite));
    }

    /// An invite with an address of the longest Unix path or an IPv6 address parses back.
    #[test]
    fn invite_holds_the_longest_address() {
        let long = invite(&format!("unix:///{}", "a".repeat(4094)));
        assert_eq!(long.to_text().parse(), Ok(long));
        let ipv6 = invite("zput://[2001:db8::1]:7447");
        assert_eq!(ipv6.to_text().parse(), Ok(ipv6));
    }

    /// Parsing refuses invites that are short, of another version, prefix or address.
    #[test]
    fn invite_parse_refuses_malformed_text() {
        let encode = |bytes: &[u8]| long_bech32::encode(PREFIX, bytes);
        let parse = |bytes: &[u8]| encode(bytes).parse::<Invite>().unwrap_err();
        assert_eq!(parse(&[]), InviteError::TooShort);
        assert_eq!(parse(&[1; 64]), InviteError::TooShort);
        assert_eq!(parse(&[2; 80]), InviteError::Version(2));
        assert_eq!(parse(&[1; 65]), InviteError::Address(RemoteError::Scheme));
        assert_eq!(parse(&[&[1; 65][..], b"file:///a"].concat()), InviteError::NotAServer);
        assert_eq!(parse(&[&[1; 65][..], b"\xff"].concat()), InviteError::NotAServer);
        let other = long_bech32::encode("age", &[1; 80]);
        let wrong = InviteError::Text(Bech32Error::Prefix("zputinvite"));
        assert_eq!(other.parse::<Invite>(), Err(wrong));
    }

    /// The Debug text of an invite shows the server's key and hides the secret.
    #[test]
    fn invite_debug_hides_the_secret() {
        let shown = format!("{:?}", invite("zput://example.org:7447"));
        assert!(shown.contains("[secret]") && shown.contains("1111"));
        assert!(!shown.contains("2222") && !shown.contains("34, 34"));
    }
}
