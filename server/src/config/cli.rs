//! The command line of `zserve`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, builder::FalseyValueParser};
use zput_common::proto::message::Scopes;

use super::{
    Config, MountConfig, MountPrefix, MountSource,
    values::{duration, positive, rate, scopes},
};
use crate::{
    address::{ClientAddress, ListenAddress},
    engines::Engine,
    log::LogFormat,
    store::Share,
};

/// Stores sealed blobs and streams them back.
///
/// Each option may be a variable of the environment instead, ZSERVE_ and its name: ZSERVE_MAX_CONNECTIONS=99.
#[derive(Debug, Parser)]
#[command(name = "zserve", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do besides serving.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to serve.
    #[command(flatten)]
    pub serve: ServeArgs,
}

/// What `zserve` does besides serving.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print an invite, with which one device gets an account. The server may be running.
    Invite(InviteArgs),
    /// Hold every file of a store against its record, byte by byte, and set aside what is rotten. The server may be running.
    Scrub(ScrubArgs),
    /// Hold every name and record of a store against each other; read all of it after a sync that failed. The server may be
    /// running.
    Check(CheckArgs),
}

/// How to serve. What a flag says goes before what the file says.
#[derive(Clone, Debug, Default, Args)]
pub struct ServeArgs {
    /// The configuration file; docs/OPERATIONS.md says what may be in it.
    #[arg(long, env = "ZSERVE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Directory of a store, served at the root; made if it is absent or empty.
    #[arg(long, env = "ZSERVE_STORE", value_name = "DIR")]
    pub store: Option<PathBuf>,
    /// Where to listen: HOST:PORT (port 0: any free one) or unix:/path. May be repeated [default, with --store and without a
    /// file: 127.0.0.1:7460].
    #[arg(long, env = "ZSERVE_LISTEN", value_name = "ADDR", value_delimiter = ',')]
    pub listen: Vec<ListenAddress>,
    /// Where to answer HTTP: GET and HEAD of public mounts. May be repeated.
    #[arg(long, env = "ZSERVE_HTTP", value_name = "ADDR", value_delimiter = ',')]
    pub http: Vec<ListenAddress>,
    /// Where to answer /metrics and /healthz.
    #[arg(long, env = "ZSERVE_ADMIN", value_name = "ADDR")]
    pub admin: Option<ListenAddress>,
    /// What anybody may do with the store without a key, in clear: some of put,get,list,delete.
    #[arg(long, env = "ZSERVE_PLAINTEXT", value_name = "SCOPES", value_parser = scopes, requires = "store")]
    pub plaintext: Option<Scopes>,
    /// Carry the store's unsealed objects on plaintext connections.
    #[arg(long, env = "ZSERVE_ALLOW_UNSEALED", requires = "store", value_parser = FalseyValueParser::new())]
    pub allow_unsealed: bool,
    /// Most connections at once; further ones are told to try again [default: 1024].
    #[arg(long, env = "ZSERVE_MAX_CONNECTIONS", value_name = "N", value_parser = positive)]
    pub max_connections: Option<usize>,
    /// Seconds without a byte after which a connection is closed [default: 120].
    #[arg(long, env = "ZSERVE_IDLE", value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    pub idle: Option<u32>,
    /// Threads that own connections [default: one for each core].
    #[arg(long, env = "ZSERVE_WORKERS", value_name = "N", value_parser = positive)]
    pub workers: Option<usize>,
    /// Most threads that wait for the disk [default: two for each core, at least 32].
    #[arg(long, env = "ZSERVE_POOL_THREADS", value_name = "N", value_parser = positive)]
    pub pool_threads: Option<usize>,
    /// What moves payload [default: splice].
    #[arg(long, env = "ZSERVE_ENGINE", value_name = "ENGINE", value_enum)]
    pub engine: Option<Engine>,
    /// Congestion control of TCP connections [default: the system's; cubic on loopback].
    #[arg(long, env = "ZSERVE_CONGESTION", value_name = "NAME")]
    pub congestion: Option<String>,
    /// Seconds that requests under way may take to end when the server is stopped [default: 30].
    #[arg(long, env = "ZSERVE_DRAIN", value_name = "SECONDS")]
    pub drain: Option<u32>,
    /// Whom to become when started as root.
    #[arg(long, env = "ZSERVE_USER", value_name = "NAME")]
    pub user: Option<String>,
    /// Keep access to all files that the user may access, and all system calls.
    #[arg(long, env = "ZSERVE_NO_SANDBOX", value_parser = FalseyValueParser::new())]
    pub no_sandbox: bool,
    /// Make no store where there is none: a disk may not be mounted.
    #[arg(long, env = "ZSERVE_NO_CREATE", value_parser = FalseyValueParser::new())]
    pub no_create: bool,
    /// How a line of the log looks [default: text].
    #[arg(long, env = "ZSERVE_LOG_FORMAT", value_name = "FORMAT", value_enum)]
    pub log_format: Option<LogFormat>,
    /// What is logged, as in RUST_LOG [default: info].
    #[arg(long, env = "ZSERVE_LOG", value_name = "FILTER")]
    pub log: Option<String>,
}

/// What an invite is to hold.
#[derive(Debug, Args)]
pub struct InviteArgs {
    /// Directory of the store.
    #[arg(long, env = "ZSERVE_STORE", value_name = "DIR")]
    pub store: PathBuf,
    /// Where clients find the server: HOST:PORT, or unix:/path.
    #[arg(long, env = "ZSERVE_ADDRESS", value_name = "ADDRESS")]
    pub address: ClientAddress,
    /// Which of the server's mounts the invite leads to, by its prefix [default: the one at the root]. What the device may do
    /// holds for all of them.
    #[arg(long, env = "ZSERVE_MOUNT", value_name = "PREFIX", value_parser = MountPrefix::parse, default_value = "", hide_default_value = true)]
    pub mount: MountPrefix,
    /// What the device may do: some of put,get,list,delete.
    #[arg(long, env = "ZSERVE_SCOPES", value_name = "SCOPES", value_parser = scopes, default_value = "put,get,list,delete")]
    pub scopes: Scopes,
    /// How long the invite can be redeemed, for example 30m or 7d.
    #[arg(long, env = "ZSERVE_EXPIRES", value_name = "TIME", value_parser = duration, default_value = "24h")]
    pub expires: Duration,
    /// Write the invite into this file, which only you can read and which must not be there yet, and print nothing.
    #[arg(short, long, env = "ZSERVE_OUTPUT", value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Print what the invite is as JSON, and the invite in it.
    #[arg(long, env = "ZSERVE_JSON", value_parser = FalseyValueParser::new())]
    pub json: bool,
}

/// How to scrub.
#[derive(Debug, Args)]
pub struct ScrubArgs {
    /// Directory of the store.
    #[arg(long, env = "ZSERVE_STORE", value_name = "DIR")]
    pub store: PathBuf,
    /// How much of the store to look at, beginning where the last run ended: 1/30 for all of it in 30 runs [default: up to
    /// the end of the store].
    #[arg(long, env = "ZSERVE_SHARE", value_name = "1/N")]
    pub share: Option<Share>,
    /// Most bytes to read in a second, for example 100MiB [default: as many as there are].
    #[arg(long, env = "ZSERVE_RATE", value_name = "SIZE", value_parser = rate)]
    pub rate: Option<u64>,
    /// Read from the disk what is in memory, too. It takes hot objects out of memory.
    #[arg(long, env = "ZSERVE_FROM_DISK", value_parser = FalseyValueParser::new())]
    pub from_disk: bool,
    /// Say what was found as JSON, one object for each line.
    #[arg(long, env = "ZSERVE_JSON", value_parser = FalseyValueParser::new())]
    pub json: bool,
}

/// How to check.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Directory of the store.
    #[arg(long, env = "ZSERVE_STORE", value_name = "DIR")]
    pub store: PathBuf,
    /// If a sync of the store has failed: read all of it from the disk, set aside what is rotten, and let it take writes again
    /// if nothing was wrong.
    #[arg(long, env = "ZSERVE_CLEAR_SUSPECT", value_parser = FalseyValueParser::new())]
    pub clear_suspect: bool,
    /// Say what was found as JSON, one object for each line.
    #[arg(long, env = "ZSERVE_JSON", value_parser = FalseyValueParser::new())]
    pub json: bool,
}

impl ServeArgs {
    /// Puts what the flags say in place of what is in `config`.
    pub(super) fn override_in(&self, config: &mut Config) {
        if let Some(store) = &self.store {
            // It takes the place of the file's mount at the root; the others stay.
            config.mounts.retain(|mount| mount.prefix != MountPrefix::default());
            config.mounts.push(MountConfig {
                prefix: MountPrefix::default(),
                source: MountSource::Store(store.clone()),
                public: false,
                plaintext: self.plaintext.unwrap_or(Scopes::NONE),
                unsealed: self.allow_unsealed,
            });
        }
        if !self.listen.is_empty() {
            config.listen.clone_from(&self.listen);
        }
        if !self.http.is_empty() {
            config.http.clone_from(&self.http);
        }
        fn set<T: Clone>(value: &mut T, flag: &Option<T>) {
            if let Some(flag) = flag {
                value.clone_from(flag);
            }
        }
        let seconds = |n: u32| Duration::from_secs(n.into());
        let limits = &mut config.limits;
        set(&mut limits.connections, &self.max_connections);
        set(&mut limits.idle, &self.idle.map(seconds));
        set(&mut limits.pool_threads, &self.pool_threads);
        set(&mut limits.drain, &self.drain.map(seconds));
        set(&mut config.workers, &self.workers);
        set(&mut config.engine, &self.engine);
        set(&mut config.log_format, &self.log_format);
        config.admin = self.admin.clone().or(config.admin.take());
        config.user = self.user.clone().or(config.user.take());
        config.congestion = self.congestion.clone().or(config.congestion.take());
        config.log = self.log.clone().or(config.log.take());
        config.sandbox &= !self.no_sandbox;
        config.create &= !self.no_create;
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, error::ErrorKind};

    use super::*;

    fn parse(line: &str) -> Result<Cli, ErrorKind> {
        Cli::try_parse_from(line.split(' ')).map_err(|e| e.kind())
    }

    /// Beyond the calendar nobody can say when it ends.
    #[test]
    fn an_invite_ends_within_a_hundred_years() {
        let given = |expires: &str| {
            let line =
                ["zserve", "invite", "--store", "s", "--address", "h:1", "--expires", expires];
            Cli::try_parse_from(line).is_ok()
        };
        assert!(given("24h") && given("99y"));
        for expires in ["101y", "9000y", "500000000000y", "0x", ""] {
            assert!(!given(expires), "{expires}");
        }
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    /// docs/OPERATIONS.md, "The file".
    #[test]
    fn every_option_has_a_variable_of_the_environment() {
        fn look(command: &clap::Command, seen: &mut usize) {
            for argument in command.get_arguments() {
                let Some(long) = argument.get_long() else { panic!("{argument:?}") };
                if !["help", "version"].contains(&long) {
                    let expected = format!("ZSERVE_{}", long.replace('-', "_").to_uppercase());
                    assert_eq!(argument.get_env(), Some(expected.as_ref()), "--{long}");
                    *seen += 1;
                }
            }
            command.get_subcommands().for_each(|command| look(command, seen));
        }
        let mut seen = 0;
        look(&Cli::command(), &mut seen);
        assert_eq!(seen, 34);
    }

    #[test]
    fn flags_are_read() {
        let line = "zserve --store /s --listen 127.0.0.1:0 --listen unix:/x --plaintext get,list";
        let serve = parse(line).unwrap().serve;
        assert_eq!(serve.listen.len(), 2);
        assert_eq!(serve.plaintext, Some(Scopes::GET.and(Scopes::LIST)));
        for (line, kind) in [
            ("zserve --store /s --plaintext read", ErrorKind::ValueValidation),
            ("zserve --store /s --listen nowhere", ErrorKind::ValueValidation),
            ("zserve --store /s --idle 0", ErrorKind::ValueValidation),
            // There is no saying of which mount.
            ("zserve --config c --plaintext get", ErrorKind::MissingRequiredArgument),
            ("zserve --config c --allow-unsealed", ErrorKind::MissingRequiredArgument),
        ] {
            assert_eq!(parse(line).unwrap_err(), kind, "{line}");
        }
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
