//! What a server prints when clients can connect: addresses, protocols, and what to do next.

use std::{
    io::{self, Write as _},
    net::SocketAddr,
};

use tracing::{info, warn};

use crate::{
    runtime::{address::BoundAddress, listener::Listener, options::ServerOptions},
    sys::threads,
    zserve::config::{Config, MountSource},
};

/// The port in a hint, for a server that has no TCP listener.
const ANY_HOST: &str = "SERVER";

/// The lines that are printed when the server is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// The addresses for clients, then those for HTTP, then the admin address.
    line: String,
    /// The command that lets the first client in.
    next: Option<String>,
    /// Whether there is an HTTP listener but no public mount.
    http_without_public_mount: bool,
}

impl Readiness {
    /// For a server with these listeners.
    #[must_use]
    pub fn of(
        config: &Config,
        options: &ServerOptions,
        zput: &[Listener],
        http: &[Listener],
        admin: Option<&Listener>,
    ) -> Self {
        let addresses = |listeners: &[Listener]| -> Vec<BoundAddress> {
            listeners.iter().map(Listener::address).collect()
        };
        let store = config.mounts.iter().find_map(|mount| match &mount.source {
            MountSource::Store(path) => Some(path.display().to_string()),
            MountSource::Dir { .. } | MountSource::Tar { .. } => None,
        });
        let is_public = options.mounts.iter().any(|mount| mount.policy().public);
        let (zput, http) = (addresses(zput), addresses(http));
        let admin = admin.map(Listener::address);
        Self {
            next: store.and_then(|store| next(&store, &zput)),
            http_without_public_mount: !http.is_empty() && !is_public,
            line: line(&zput, &http, admin.as_ref()),
        }
    }

    /// Prints one line to standard output and the rest to the log. A thread of its own writes the
    /// line, because a reader that takes nothing, or is gone, must not keep the server from
    /// serving.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn announce(self) -> io::Result<()> {
        let Self { line, next, http_without_public_mount } = self;
        if http_without_public_mount {
            warn!("no mount is public, so HTTP serves nothing: set public = true in one");
        }
        if let Some(next) = next {
            info!("next: {next}");
        }
        let say = move || {
            let mut stdout = io::stdout().lock();
            let said = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
            if let Err(failure) = said {
                warn!(error = %failure, line, "cannot write the ready line to standard output");
            }
        };
        threads::spawn("ready", say).map(drop)
    }
}

fn line(zput: &[BoundAddress], http: &[BoundAddress], admin: Option<&BoundAddress>) -> String {
    let zput = zput.iter().map(ToString::to_string);
    let http = http.iter().map(|address| format!("http {address}"));
    let admin = admin.map(|address| format!("admin {address}"));
    let all: Vec<_> = zput.chain(http).chain(admin).collect();
    format!("zserve: ready on {}", all.join(", "))
}

/// The command that makes an invite. For a server that listens on every address it has a
/// placeholder, because clients know the server by another name.
fn next(store: &str, zput: &[BoundAddress]) -> Option<String> {
    let address = match zput.first()? {
        BoundAddress::Tcp(address) if address.ip().to_canonical().is_unspecified() => {
            format!("{ANY_HOST}:{}", SocketAddr::port(address))
        }
        other => other.to_string(),
    };
    let plain = |c: char| c.is_alphanumeric() || "/._-+@:".contains(c);
    let quoted = |text: &str| {
        if text.chars().all(plain) {
            text.to_owned()
        } else {
            format!("'{}'", text.replace('\'', "'\\''"))
        }
    };
    Some(format!("zserve invite --store {} --address {}", quoted(store), quoted(&address)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(text: &str) -> BoundAddress {
        BoundAddress::Tcp(text.parse().unwrap())
    }

    /// The ready line lists each address with its protocol.
    #[test]
    fn ready_line_lists_addresses_and_protocols() {
        let (zput, http) = ([tcp("127.0.0.1:7460")], [tcp("[::1]:8080")]);
        let admin = BoundAddress::Unix("/run/admin".into());
        assert_eq!(
            line(&zput, &http, Some(&admin)),
            "zserve: ready on 127.0.0.1:7460, http [::1]:8080, admin unix:/run/admin"
        );
        assert_eq!(line(&zput, &[], None), "zserve: ready on 127.0.0.1:7460");
    }

    /// The invite command that zserve proposes can be pasted into a shell.
    #[test]
    fn ready_next_command_is_quoted_for_shell() {
        let next = |store, address| next(store, &[tcp(address)]).unwrap();
        assert_eq!(
            next("/srv/zput", "10.0.0.1:7460"),
            "zserve invite --store /srv/zput --address 10.0.0.1:7460"
        );
        assert_eq!(
            next("my store's", "[::]:7460"),
            r"zserve invite --store 'my store'\''s' --address SERVER:7460"
        );
        assert_eq!(super::next("s", &[]), None, "it listens for HTTP alone");
    }
}
