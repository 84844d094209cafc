//! Where a server listens.

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
};

use thiserror::Error;

/// Where to listen: `HOST:PORT` (port 0: the kernel chooses) or `unix:/path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// A TCP address; the host may be a name.
    Tcp(String),
    /// The path of a Unix domain socket.
    Unix(PathBuf),
}

/// A text that is not a [`ListenAddress`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("\"{0}\" is no address to listen on: write HOST:PORT, [IPV6]:PORT or unix:/path")]
pub struct AddressError(String);

impl FromStr for ListenAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let error = || AddressError(text.to_owned());
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() { Err(error()) } else { Ok(Self::Unix(path.into())) };
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(error)?;
        let bare_ipv6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
        if host.is_empty() || bare_ipv6 || port.parse::<u16>().is_err() {
            return Err(error());
        }
        Ok(Self::Tcp(text.to_owned()))
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

/// Where a server does listen.
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

    #[test]
    fn addresses_read_and_write_the_same() {
        for text in ["127.0.0.1:0", "[::1]:7399", "backup.example:7399", "unix:/run/zput.sock"] {
            assert_eq!(text.parse::<ListenAddress>().unwrap().to_string(), text);
        }
        assert_eq!(
            "unix:/run/z".parse::<ListenAddress>().unwrap(),
            ListenAddress::Unix("/run/z".into())
        );
    }

    #[test]
    fn what_cannot_be_listened_on_is_refused() {
        for text in ["", "7399", "host", "host:", ":7399", "host:70000", "::1:80", "unix:"] {
            assert_eq!(text.parse::<ListenAddress>(), Err(AddressError(text.into())), "{text}");
        }
    }
}
