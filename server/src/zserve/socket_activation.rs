//! Sockets that a service manager has opened and passes to the server (sd_listen_fds(3)).

use std::{env, io, os::fd::AsFd};

use listenfd::ListenFd;
use rustix::net::sockopt;
use thiserror::Error;

use crate::runtime::listener::InheritedSocket;

/// The variable with the sockets' names, separated by colons.
const NAMES: &str = "LISTEN_FDNAMES";

/// The sockets that were passed to this process, by purpose.
#[derive(Debug, Default)]
pub struct ActivatedSockets {
    /// Sockets for zput's protocol.
    pub zput: Vec<InheritedSocket>,
    /// Sockets for HTTP.
    pub http: Vec<InheritedSocket>,
    /// The socket for `/metrics` and `/healthz`.
    pub admin: Option<InheritedSocket>,
}

/// Why a passed socket cannot be used.
#[derive(Debug, Error)]
pub enum ActivationError {
    /// The socket's name does not say what it is for.
    #[error("an inherited socket is named \"{0}\": set FileDescriptorName= to zput, http or admin")]
    Name(String),
    /// The numbers of sockets and of names differ.
    #[error("there are {sockets} inherited sockets and {names} names in LISTEN_FDNAMES")]
    Names {
        /// Number of inherited sockets.
        sockets: usize,
        /// Number of names in `LISTEN_FDNAMES`.
        names: usize,
    },
    /// More than one socket is named `admin`.
    #[error("more than one inherited socket is named admin: leave one")]
    Admins,
    /// The socket does not listen, or is of another type.
    #[error(
        "inherited socket {number} cannot be used ({source}): pass listening stream sockets \
         (ListenStream=)"
    )]
    Socket {
        /// The socket's number, from 1.
        number: usize,
        /// The error of the system call.
        source: io::Error,
    },
}

/// The purpose of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Zput,
    Http,
    Admin,
}

impl ActivatedSockets {
    /// Takes the sockets that were passed to this process, if any. A second call returns none.
    ///
    /// Must be called before there are other threads, because it changes the environment.
    ///
    /// # Errors
    /// When a socket has an unknown name or cannot be listened on.
    pub fn take() -> Result<Self, ActivationError> {
        let mut sockets = ListenFd::from_env();
        let purposes = parse_purposes(sockets.len(), env::var(NAMES).ok().as_deref())?;
        let mut taken = Self::default();
        for (n, purpose) in purposes.into_iter().enumerate() {
            let cannot = |source| ActivationError::Socket { number: n + 1, source };
            let Some(socket) = take_socket(&mut sockets, n).map_err(cannot)? else { continue };
            match purpose {
                Purpose::Zput => taken.zput.push(socket),
                Purpose::Http => taken.http.push(socket),
                Purpose::Admin if taken.admin.is_some() => return Err(ActivationError::Admins),
                Purpose::Admin => taken.admin = Some(socket),
            }
        }
        Ok(taken)
    }
}

fn take_socket(sockets: &mut ListenFd, n: usize) -> io::Result<Option<InheritedSocket>> {
    let taken = match sockets.take_tcp_listener(n) {
        Ok(socket) => socket.map(InheritedSocket::Tcp),
        Err(_) => sockets.take_unix_listener(n)?.map(InheritedSocket::Unix),
    };
    let listens = match &taken {
        None => true,
        Some(InheritedSocket::Tcp(socket)) => {
            socket.set_nonblocking(true)?;
            sockopt::socket_acceptconn(socket.as_fd())?
        }
        Some(InheritedSocket::Unix(socket)) => {
            socket.set_nonblocking(true)?;
            sockopt::socket_acceptconn(socket.as_fd())?
        }
    };
    if listens { Ok(taken) } else { Err(io::Error::other("it does not listen")) }
}

/// The purpose of each of `sockets` sockets.
fn parse_purposes(sockets: usize, names: Option<&str>) -> Result<Vec<Purpose>, ActivationError> {
    let Some(names) = names.filter(|_| sockets > 0) else {
        return Ok(vec![Purpose::Zput; sockets]);
    };
    let purposes = names.split(':').map(parse_purpose).collect::<Result<Vec<_>, _>>()?;
    if purposes.len() != sockets {
        return Err(ActivationError::Names { sockets, names: purposes.len() });
    }
    Ok(purposes)
}

fn parse_purpose(name: &str) -> Result<Purpose, ActivationError> {
    match name {
        "zput" | "" | "unknown" => Ok(Purpose::Zput),
        "http" => Ok(Purpose::Http),
        "admin" => Ok(Purpose::Admin),
        // systemd.socket(5), FileDescriptorName=: "defaults to the name of the socket unit".
        unit if unit.ends_with(".socket") => Ok(Purpose::Zput),
        other => Err(ActivationError::Name(other.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names in LISTEN_FDNAMES select zput, http or admin, and other names are refused.
    #[test]
    fn activated_socket_names_select_protocol() {
        use Purpose::{Admin, Http, Zput};
        let named = |sockets, names| parse_purposes(sockets, names).map_err(|e| e.to_string());
        assert_eq!(named(0, None), Ok(vec![]));
        // What another process was handed is still in the environment.
        assert_eq!(named(0, Some("a:b")), Ok(vec![]));
        assert_eq!(named(2, None), Ok(vec![Zput, Zput]));
        assert_eq!(named(4, Some("admin:http:zput:http")), Ok(vec![Admin, Http, Zput, Http]));
        assert_eq!(named(2, Some("zserve.socket:")), Ok(vec![Zput, Zput]));
        assert_eq!(
            named(1, Some("htttp")),
            Err(
                "an inherited socket is named \"htttp\": set FileDescriptorName= to zput, http or \
                 admin"
                    .to_owned()
            )
        );
        assert_eq!(
            named(2, Some("zput")),
            Err("there are 2 inherited sockets and 1 names in LISTEN_FDNAMES".to_owned())
        );
    }
}
