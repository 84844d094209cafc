//! The address of a server or of an embedded store.

use core::net::Ipv6Addr;
use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::{
    limits::{HOST_MAX_BYTES, REMOTE_PATH_MAX_BYTES},
    mount::{MountName, MountNameError},
};

/// The address of a server or of an embedded store: `zput://HOST:PORT` or, for one of its mounts,
/// `zput://HOST:PORT/MOUNT`; `unix:///PATH`; `file:///PATH`.
///
/// Percent-encoding is not part of this syntax: a `%` in a path is just a `%`, and one in a host is
/// refused. `Display` writes what `parse` reads. Exhaustive: a client has to reach each kind.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Remote {
    /// A server that is reached by TCP.
    Tcp {
        /// A host name, an IPv4 address, or an IPv6 address without its brackets.
        host: String,
        /// TCP port, never 0.
        port: u16,
        /// The server's mount that is meant.
        mount: MountName,
    },
    /// A server that is reached by a Unix socket at this absolute path.
    Unix(String),
    /// A store in this absolute path, served in the client's own process.
    Embedded(String),
}

/// Why a text is not a remote.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// The text begins with none of the three schemes.
    #[error("a remote begins with zput://, unix:/// or file:///")]
    Scheme,
    /// The host is missing, or has characters that no host has.
    #[error("the remote's host is not a name or an address (an IPv6 address stands in brackets)")]
    Host,
    /// The port is missing, or not 1 to 65,535.
    #[error("the remote needs a port from 1 to 65535 behind its host: zput://HOST:PORT")]
    Port,
    /// A slash follows the port, and no mount follows the slash.
    #[error("a remote has no slash at its end: zput://HOST:PORT or zput://HOST:PORT/MOUNT")]
    SlashAtEnd,
    /// The text after the port is not the name of a mount.
    #[error("the remote names no mount behind HOST:PORT/")]
    Mount(#[from] MountNameError),
    /// The path is not absolute, is too long, or has a control character.
    #[error(
        "the remote's path must be absolute, of at most {REMOTE_PATH_MAX_BYTES} bytes and without \
         control characters"
    )]
    Path,
}

impl Remote {
    /// The mount that the address names; `None` for the root mount.
    #[must_use]
    pub fn mount(&self) -> Option<&MountName> {
        match self {
            Self::Tcp { mount, .. } if !mount.is_root() => Some(mount),
            Self::Tcp { .. } | Self::Unix(_) | Self::Embedded(_) => None,
        }
    }

    /// The address of the server without a mount.
    #[must_use]
    pub fn server(&self) -> Self {
        match self {
            Self::Tcp { host, port, .. } => {
                Self::Tcp { host: host.clone(), port: *port, mount: MountName::ROOT }
            }
            Self::Unix(_) | Self::Embedded(_) => self.clone(),
        }
    }
}

impl FromStr for Remote {
    type Err = RemoteError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(address) = text.strip_prefix("zput://") {
            parse_address(address)
        } else if let Some(path) = text.strip_prefix("unix://") {
            parse_path(path).map(Self::Unix)
        } else if let Some(path) = text.strip_prefix("file://") {
            parse_path(path).map(Self::Embedded)
        } else {
            Err(RemoteError::Scheme)
        }
    }
}

fn parse_address(address: &str) -> Result<Remote, RemoteError> {
    let (address, mount) = match address.split_once('/') {
        None => (address, MountName::ROOT),
        // The root mount has one spelling only.
        Some((_, "")) => return Err(RemoteError::SlashAtEnd),
        Some((address, mount)) => (address, MountName::parse(mount)?),
    };
    let (host, port) = if let Some(bracketed) = address.strip_prefix('[') {
        let (host, behind) = bracketed.split_once(']').ok_or(RemoteError::Host)?;
        host.parse::<Ipv6Addr>().map_err(|_| RemoteError::Host)?;
        (host, behind.strip_prefix(':').ok_or(RemoteError::Port)?)
    } else {
        let (host, port) = address.split_once(':').ok_or(RemoteError::Port)?;
        if !is_host(host) || port.contains(':') {
            return Err(RemoteError::Host);
        }
        (host, port)
    };
    // `parse` alone would take "+1" and "01".
    if port.starts_with('0') || !port.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(RemoteError::Port);
    }
    let port = port.parse().map_err(|_| RemoteError::Port)?;
    Ok(Remote::Tcp { host: host.to_owned(), port, mount })
}

/// Letters, digits, dots, dashes and underscores: what host names and IPv4 addresses are made of.
fn is_host(host: &str) -> bool {
    !host.is_empty()
        && host.len() <= HOST_MAX_BYTES
        && host.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'_'))
}

fn parse_path(path: &str) -> Result<String, RemoteError> {
    let sound = path.starts_with('/')
        && path.len() <= REMOTE_PATH_MAX_BYTES
        && !path.chars().any(char::is_control);
    if sound { Ok(path.to_owned()) } else { Err(RemoteError::Path) }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port, mount } => {
                let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
                let slash = if mount.is_root() { "" } else { "/" };
                write!(f, "zput://{open}{host}{close}:{port}{slash}{mount}")
            }
            Self::Unix(path) => write!(f, "unix://{path}"),
            Self::Embedded(path) => write!(f, "file://{path}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Remotes over TCP, with a mount, on a Unix socket and embedded parse and write back.
    #[test]
    fn remote_parses_and_writes_each_form() {
        let mounted = |host: &str, port, mount| {
            let mount = MountName::parse(mount).unwrap();
            Remote::Tcp { host: host.into(), port, mount }
        };
        let tcp = |host, port| mounted(host, port, "");
        for (text, remote) in [
            ("zput://example.org:7447", tcp("example.org", 7447)),
            ("zput://10.0.0.1:1", tcp("10.0.0.1", 1)),
            ("zput://[::1]:65535", tcp("::1", 65535)),
            ("zput://my_host-2:80", tcp("my_host-2", 80)),
            ("zput://example.org:7447/images", mounted("example.org", 7447, "images")),
            ("zput://[::1]:1/a/b c%20/ü", mounted("::1", 1, "a/b c%20/ü")),
            ("unix:///run/zput.sock", Remote::Unix("/run/zput.sock".into())),
            ("file:///srv/a b%20/ü", Remote::Embedded("/srv/a b%20/ü".into())),
        ] {
            assert_eq!(text.parse(), Ok(remote.clone()), "{text}");
            assert_eq!(remote.to_string(), text);
        }
    }

    /// A remote splits into its server and the name of its mount.
    #[test]
    fn remote_splits_into_server_and_mount() {
        for (text, server, mount) in [
            ("zput://example.org:7447/a/b", "zput://example.org:7447", Some("a/b")),
            ("zput://[::1]:7447", "zput://[::1]:7447", None),
            ("unix:///run/zput.sock", "unix:///run/zput.sock", None),
            ("file:///srv", "file:///srv", None),
        ] {
            let remote: Remote = text.parse().unwrap();
            assert_eq!(remote.mount().map(MountName::as_str), mount, "{text}");
            assert_eq!(remote.server().to_string(), server);
        }
    }

    /// Parsing refuses a malformed remote with the reason: scheme, host, port, path or mount.
    #[test]
    fn remote_parse_refuses_malformed_text_with_a_reason() {
        use MountNameError::{Control, Dots, EmptyComponent, TooLong};
        use RemoteError::{Host, Mount, Path, Port, Scheme, SlashAtEnd};
        for (text, error) in [
            ("", Scheme),
            ("example.org:7447", Scheme),
            ("https://example.org:7447", Scheme),
            ("ZPUT://example.org:7447", Scheme),
            ("zput://", Port),
            ("zput://example.org", Port),
            ("zput://example.org:", Port),
            ("zput://example.org:0", Port),
            ("zput://example.org:01", Port),
            ("zput://example.org:+1", Port),
            ("zput://example.org:65536", Port),
            ("zput://[::1]", Port),
            ("zput://[::1]7447", Port),
            ("zput://:7447", Host),
            ("zput://::1:7447", Host),
            ("zput://[::1:7447", Host),
            ("zput://[example.org]:7447", Host),
            ("zput://[fe80::1%25eth0]:7447", Host),
            ("zput://a%20b:7447", Host),
            ("zput://user@example.org:7447", Host),
            ("zput://exa mple:7447", Host),
            ("zput://example.org:7447/", SlashAtEnd),
            ("zput:///mount", Port),
            ("zput://example.org/mount:7447", Port),
            ("zput://example.org:7447//", Mount(EmptyComponent)),
            ("zput://example.org:7447/mount/", Mount(EmptyComponent)),
            ("zput://example.org:7447//mount", Mount(EmptyComponent)),
            ("zput://example.org:7447/../mount", Mount(Dots)),
            ("zput://example.org:7447/a\nb", Mount(Control(10))),
            ("unix://relative", Path),
            ("unix://", Path),
            ("file://host/path", Path),
            ("file:///a\nb", Path),
            ("file:///a\0", Path),
        ] {
            assert_eq!(text.parse::<Remote>(), Err(error), "{text:?}");
        }
        let long = format!("zput://{}:1", "a".repeat(254));
        assert_eq!(long.parse::<Remote>(), Err(Host));
        let long = format!("zput://a:1/{}", "a".repeat(256));
        assert_eq!(long.parse::<Remote>(), Err(Mount(TooLong(256))));
        let long = format!("file:///{}", "a".repeat(4095));
        assert_eq!(long.parse::<Remote>(), Err(Path));
    }
}
