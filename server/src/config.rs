//! What `zserve` is told on its command line.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};
use zput_common::{limits::IDLE_SECONDS, proto::message::Scopes};

use crate::{
    address::ListenAddress,
    log::LogFormat,
    server::{DEFAULT_MAX_CONNECTIONS, ServerOptions},
    store::Store,
};

/// Stores sealed blobs and streams them back.
#[derive(Debug, Parser)]
#[command(name = "zserve", version, args_conflicts_with_subcommands = true)]
#[command(subcommand_negates_reqs = true)]
pub struct Cli {
    /// What to do besides serving.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to serve.
    #[command(flatten)]
    pub serve: Option<ServeArgs>,
}

/// What `zserve` does besides serving.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print an invite, with which one device gets an account. The server may be running.
    Invite(InviteArgs),
}

/// How to serve.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Directory of the store; made if it is absent or empty.
    #[arg(long, value_name = "DIR")]
    pub store: PathBuf,
    /// Where to listen: HOST:PORT (port 0: any free one) or unix:/path. May be repeated.
    #[arg(long, value_name = "ADDR", required = true)]
    pub listen: Vec<ListenAddress>,
    /// What anybody may do without a key, in clear: some of put,get,list,delete.
    #[arg(long, value_name = "SCOPES", value_parser = scopes)]
    pub plaintext: Option<Scopes>,
    /// Carry unsealed objects on plaintext connections.
    #[arg(long)]
    pub allow_unsealed: bool,
    /// Most connections at once; further ones are told to try again.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_MAX_CONNECTIONS, value_parser = positive)]
    pub max_connections: usize,
    /// Seconds without a byte after which a connection is closed.
    #[arg(long, value_name = "SECONDS", default_value_t = IDLE_SECONDS)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub idle: u32,
    /// Threads that own connections [default: one for each core].
    #[arg(long, value_name = "N", value_parser = positive)]
    pub workers: Option<usize>,
    /// Threads that wait for the disk [default: two for each core, at least 8].
    #[arg(long, value_name = "N", value_parser = positive)]
    pub pool_threads: Option<usize>,
    /// Congestion control of TCP connections [default: the system's; cubic on loopback].
    #[arg(long, value_name = "NAME")]
    pub congestion: Option<String>,
    /// Seconds that requests under way may take to end when the server is stopped.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub drain: u32,
    /// How a line of the log looks.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub log_format: LogFormat,
    /// What is logged, as in RUST_LOG [default: info].
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,
}

/// What an invite is to hold.
#[derive(Debug, Args)]
pub struct InviteArgs {
    /// Directory of the store.
    #[arg(long, value_name = "DIR")]
    pub store: PathBuf,
    /// Where clients find the server: HOST:PORT, or unix:/path.
    #[arg(long, value_name = "ADDRESS")]
    pub address: ListenAddress,
    /// What the device may do: some of put,get,list,delete.
    #[arg(long, value_name = "SCOPES", value_parser = scopes, default_value = "put,get,list,delete")]
    pub scopes: Scopes,
    /// How long the invite can be redeemed, for example 30m or 7d.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "24h")]
    pub expires: Duration,
}

impl ServeArgs {
    /// The options that these arguments stand for.
    #[must_use]
    pub fn into_options(self, store: Store) -> ServerOptions {
        let defaults = ServerOptions::new(store, self.listen);
        ServerOptions {
            plaintext: self.plaintext.unwrap_or(Scopes::NONE),
            allow_unsealed: self.allow_unsealed,
            max_connections: self.max_connections,
            idle_seconds: self.idle,
            workers: self.workers.unwrap_or(defaults.workers),
            pool_threads: self.pool_threads.unwrap_or(defaults.pool_threads),
            congestion: self.congestion,
            drain: Duration::from_secs(self.drain.into()),
            ..defaults
        }
    }
}

fn scopes(text: &str) -> Result<Scopes, String> {
    text.split(',').try_fold(Scopes::NONE, |all, name| {
        let unknown = || format!("\"{name}\" is no scope: write some of put,get,list,delete");
        Ok(all.and(Scopes::named(name.trim()).ok_or_else(unknown)?))
    })
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if n > 0 => Ok(n),
        _ => Err("write a whole number of at least 1".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, error::ErrorKind};

    use super::*;

    fn parse(line: &str) -> Result<Cli, ErrorKind> {
        Cli::try_parse_from(line.split(' ')).map_err(|e| e.kind())
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn serving_needs_a_store_and_an_address() {
        let line = "zserve --store /s --listen 127.0.0.1:0 --listen unix:/x --plaintext get,list";
        let serve = parse(line).unwrap().serve.unwrap();
        assert_eq!(serve.listen.len(), 2);
        assert_eq!(serve.plaintext, Some(Scopes::GET.and(Scopes::LIST)));
        for line in ["zserve --store /s", "zserve --listen 127.0.0.1:0"] {
            assert_eq!(parse(line).unwrap_err(), ErrorKind::MissingRequiredArgument, "{line}");
        }
        let line = "zserve --store /s --listen 127.0.0.1:0 --plaintext read";
        assert_eq!(parse(line).unwrap_err(), ErrorKind::ValueValidation);
    }

    #[test]
    fn an_invite_has_everything_but_an_address_by_default() {
        let cli = parse("zserve invite --store /s --address h:1").unwrap();
        let Some(Command::Invite(invite)) = cli.command else { panic!("{cli:?}") };
        assert_eq!(invite.scopes, Scopes::ALL);
        assert_eq!(invite.expires, Duration::from_secs(86_400));
        assert_eq!(
            parse("zserve invite --store /s").unwrap_err(),
            ErrorKind::MissingRequiredArgument
        );
    }
}
