//! Sockets that a service manager has made and hands over (sd_listen_fds(3)).

use std::{
    env, io,
    net::TcpListener,
    os::{fd::AsFd, unix::net::UnixListener},
};

use listenfd::ListenFd;
use rustix::net::sockopt;
use thiserror::Error;

/// The variable with the sockets' names, by a colon apart.
const NAMES: &str = "LISTEN_FDNAMES";

/// A listening socket that somebody else has made.
#[derive(Debug)]
pub enum InheritedSocket {
    /// Over TCP.
    Tcp(TcpListener),
    /// Over a Unix domain socket.
    Unix(UnixListener),
}

/// The sockets that this process was started with, by what they are for.
#[derive(Debug, Default)]
pub struct Inherited {
    /// The server's own protocol.
    pub zput: Vec<InheritedSocket>,
    /// HTTP.
    pub http: Vec<InheritedSocket>,
    /// `/metrics` and `/healthz`.
    pub admin: Option<InheritedSocket>,
}

/// Why what was handed over cannot be used.
#[derive(Debug, Error)]
pub enum InheritedError {
    /// A name that says nothing here.
    #[error("a socket was handed over as \"{0}\": set FileDescriptorName= to zput, http or admin")]
    Name(String),
    /// More names than sockets, or fewer.
    #[error("{sockets} sockets were handed over with {names} names in LISTEN_FDNAMES")]
    Names {
        /// How many sockets.
        sockets: usize,
        /// How many names.
        names: usize,
    },
    /// More than one for the admin.
    #[error("more than one socket was handed over as admin: leave one")]
    Admins,
    /// It is not what it should be.
    #[error(
        "the socket number {number} that was handed over cannot be used ({source}): hand over \
         listening stream sockets (ListenStream=)"
    )]
    Socket {
        /// Which, from 1 on.
        number: usize,
        /// Why.
        source: io::Error,
    },
}

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Zput,
    Http,
    Admin,
}

impl Inherited {
    /// Takes what was handed over; nothing, if nothing was. The second time there is nothing.
    ///
    /// To be called before there are threads: it changes the environment.
    ///
    /// # Errors
    /// When a socket has an unknown name or is none to listen on.
    pub fn take() -> Result<Self, InheritedError> {
        let mut sockets = ListenFd::from_env();
        let purposes = purposes(sockets.len(), env::var(NAMES).ok().as_deref())?;
        let mut taken = Self::default();
        for (n, purpose) in purposes.into_iter().enumerate() {
            let cannot = |source| InheritedError::Socket { number: n + 1, source };
            let Some(socket) = take(&mut sockets, n).map_err(cannot)? else { continue };
            match purpose {
                Purpose::Zput => taken.zput.push(socket),
                Purpose::Http => taken.http.push(socket),
                Purpose::Admin if taken.admin.is_some() => return Err(InheritedError::Admins),
                Purpose::Admin => taken.admin = Some(socket),
            }
        }
        Ok(taken)
    }
}

fn take(sockets: &mut ListenFd, n: usize) -> io::Result<Option<InheritedSocket>> {
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

/// What each of so many sockets is for.
fn purposes(sockets: usize, names: Option<&str>) -> Result<Vec<Purpose>, InheritedError> {
    let Some(names) = names.filter(|_| sockets > 0) else {
        return Ok(vec![Purpose::Zput; sockets]);
    };
    let purposes = names.split(':').map(purpose).collect::<Result<Vec<_>, _>>()?;
    if purposes.len() != sockets {
        return Err(InheritedError::Names { sockets, names: purposes.len() });
    }
    Ok(purposes)
}

fn purpose(name: &str) -> Result<Purpose, InheritedError> {
    match name {
        "zput" | "" | "unknown" => Ok(Purpose::Zput),
        "http" => Ok(Purpose::Http),
        "admin" => Ok(Purpose::Admin),
        // systemd.socket(5), FileDescriptorName=: "defaults to the name of the socket unit".
        unit if unit.ends_with(".socket") => Ok(Purpose::Zput),
        other => Err(InheritedError::Name(other.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_sockets_are_for() {
        use Purpose::{Admin, Http, Zput};
        let named = |sockets, names| purposes(sockets, names).map_err(|e| e.to_string());
        assert_eq!(named(0, None), Ok(vec![]));
        // What another process was handed is still in the environment.
        assert_eq!(named(0, Some("a:b")), Ok(vec![]));
        assert_eq!(named(2, None), Ok(vec![Zput, Zput]));
        assert_eq!(named(4, Some("admin:http:zput:http")), Ok(vec![Admin, Http, Zput, Http]));
        assert_eq!(named(2, Some("zserve.socket:")), Ok(vec![Zput, Zput]));
        assert_eq!(
            named(1, Some("htttp")),
            Err("a socket was handed over as \"htttp\": set FileDescriptorName= to zput, http or \
                 admin"
                .to_owned())
        );
        assert_eq!(
            named(2, Some("zput")),
            Err("2 sockets were handed over with 1 names in LISTEN_FDNAMES".to_owned())
        );
    }
}
