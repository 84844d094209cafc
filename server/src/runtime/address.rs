//! Addresses to listen on, bound addresses, and addresses for clients.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    str::FromStr,
};

use thiserror::Error;

/// An address to listen on: `HOST:PORT` (port 0: the kernel chooses) or `unix:/path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// A TCP address; the host may be a name.
    Tcp(String),
    /// The path of a Unix domain socket.
    Unix(PathBuf),
}

/// Maximum bytes of the path of a Unix domain socket (unix(7): 108 with the NUL at its end).
pub const SOCKET_PATH_MAX_BYTES: usize = 107;

/// A text that is not a [`ListenAddress`] or a [`ClientAddress`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AddressError {
    /// It is neither `HOST:PORT` nor `unix:/path`.
    #[error("\"{0}\" is no address to listen on: write HOST:PORT, [IPV6]:PORT or unix:/path")]
    Form(String),
    /// As [`Self::Form`], for an address that clients connect to.
    #[error(
        "\"{0}\" is no address that a client can connect to: write HOST:PORT, [IPV6]:PORT or \
         unix:/path"
    )]
    ClientForm(String),
    /// The port is not a number up to 65535; 0 is no port for clients.
    #[error("\"{0}\" has no port behind its colon: ports are whole numbers up to 65535")]
    Port(String),
    /// The unspecified address: a server can listen on it, a client cannot connect to it.
    #[error(
        "\"{0}\" is every address of a machine, and none that a client can connect to: write the \
         name or the address by which clients reach the server"
    )]
    Unspecified(String),
    /// An IPv6 zone, which has a meaning on one machine only.
    #[error(
        "\"{0}\" has a zone, and zones are not taken: write an address that is not link-local, or \
         a name"
    )]
    Zone(String),
    /// The path of the socket is too long.
    #[error("the socket's path \"{0}\" has more than 107 bytes: choose a shorter one")]
    LongPath(String),
}

impl FromStr for ListenAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let owned = || text.to_owned();
        let error = || AddressError::Form(owned());
        if let Some(path) = text.strip_prefix("unix:") {
            let path = PathBuf::from(path);
            return match path.as_os_str().as_bytes().len() {
                0 => Err(error()),
                1..=SOCKET_PATH_MAX_BYTES => Ok(Self::Unix(path)),
                _ => Err(AddressError::LongPath(owned())),
            };
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(error)?;
        let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        if host.is_empty() || (host.contains(':') && bracketed.is_none()) {
            return Err(error());
        }
        if bracketed.is_some_and(|inside| inside.contains('%')) {
            return Err(AddressError::Zone(owned()));
        }
        if port.parse::<u16>().is_err() {
            let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
            return Err(if digits { AddressError::Port(owned()) } else { error() });
        }
        Ok(Self::Tcp(text.to_owned()))
    }
}

impl ListenAddress {
    /// Whether it is the unspecified address, which stands for every address of the machine.
    #[must_use]
    pub fn is_unspecified(&self) -> bool {
        let Self::Tcp(text) = self else { return false };
        let host = text.rsplit_once(':').map_or("", |(host, _)| host);
        let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_unspecified())
    }
}

/// An address that clients connect to: a [`ListenAddress`] that is not the unspecified address and
/// has a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAddress(pub ListenAddress);

impl FromStr for ClientAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let address: ListenAddress = text.parse().map_err(|error| match error {
            AddressError::Form(text) => AddressError::ClientForm(text),
            other => other,
        })?;
        let port = text.rsplit_once(':').map_or("", |(_, port)| port);
        match &address {
            _ if address.is_unspecified() => Err(AddressError::Unspecified(text.to_owned())),
            ListenAddress::Tcp(_) if port.parse() == Ok(0_u16) => {
                Err(AddressError::Port(text.to_owned()))
            }
            _ => Ok(Self(address)),
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The address that a listener is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BoundAddress {
    /// On this TCP address.
    Tcp(SocketAddr),
    /// On the Unix domain socket at this path.
    Unix(PathBuf),
}

impl BoundAddress {
    /// The TCP address, if it is one.
    #[must_use]
    pub const fn tcp(&self) -> Option<SocketAddr> {
        if let Self::Tcp(address) = self { Some(*address) } else { None }
    }

    /// The socket's path, if it is a Unix one.
    #[must_use]
    pub fn unix(&self) -> Option<&Path> {
        if let Self::Unix(path) = self { Some(path) } else { None }
    }
}

impl fmt::Display for BoundAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ListenAddress prints the text that it was parsed from, TCP or Unix.
    #[test]
    fn listen_address_parses_and_prints_same_text() {
        for text in ["127.0.0.1:0", "[::1]:7399", "backup.example:7399", "unix:/run/zput.sock"] {
            assert_eq!(text.parse::<ListenAddress>().unwrap().to_string(), text);
        }
        assert_eq!(
            "unix:/run/z".parse::<ListenAddress>().unwrap(),
            ListenAddress::Unix("/run/z".into())
        );
    }

    /// ListenAddress rejects a bad form, port or zone, and a Unix path over 107 bytes.
    #[test]
    fn listen_address_rejects_missing_port_zone_and_long_path() {
        let refused = |text: &str| text.parse::<ListenAddress>().unwrap_err();
        for text in ["", "7399", "host", "host:", ":7399", "host:http", "::1:80", "unix:"] {
            assert_eq!(refused(text), AddressError::Form(text.into()), "{text}");
        }
        assert_eq!(
            refused("127.0.0.1:80800").to_string(),
            "\"127.0.0.1:80800\" has no port behind its colon: ports are whole numbers up to 65535"
        );
        assert_eq!(
            refused("[fe80::1%eth0]:7460"),
            AddressError::Zone("[fe80::1%eth0]:7460".into())
        );
        let path = |length: usize| format!("unix:/{}", "x".repeat(length - 1));
        assert!(path(107).parse::<ListenAddress>().is_ok());
        assert_eq!(refused(&path(108)), AddressError::LongPath(path(108)));
    }

    /// ClientAddress rejects the unspecified address and port 0.
    #[test]
    fn client_address_rejects_unspecified_host_and_port_zero() {
        let parse = |text: &str| text.parse::<ClientAddress>();
        for text in ["backup.example:7460", "10.0.0.1:7460", "[::1]:7460", "unix:/run/z"] {
            assert!(parse(text).is_ok(), "{text}");
        }
        for text in ["0.0.0.0:7460", "[::]:7460", "[::ffff:0.0.0.0]:7460"] {
            assert_eq!(parse(text), Err(AddressError::Unspecified(text.into())), "{text}");
        }
        assert_eq!(parse("h:0"), Err(AddressError::Port("h:0".into())));
        assert_eq!(
            parse("10.0.0.1").unwrap_err().to_string(),
            "\"10.0.0.1\" is no address that a client can connect to: write HOST:PORT, [IPV6]:PORT \
             or unix:/path"
        );
    }
}
