//! The command line of `zserve`.

use std::{path::PathBuf, sync::LazyLock, time::Duration};

use clap::{Args, Parser, Subcommand, builder::FalseyValueParser};
use clap_complete::Shell;
use zput_proto::{envelope, hello, message::Scopes};

use super::{
    Config, MountConfig, MountPrefix, MountSource,
    values::{duration, positive, rate, scopes},
};
use crate::{
    runtime::address::{ClientAddress, ListenAddress},
    store::Fraction,
    transfer::engines::Engine,
    zserve::log::LogFormat,
};

/// What `--version` prints behind the name: the version, and the numbers that two machines have to
/// share.
static LONG_VERSION: LazyLock<String> = LazyLock::new(|| {
    let (format, protocol) = (envelope::VERSION, hello::VERSION);
    format!("{}\nblob format {format}, protocol {protocol}", env!("CARGO_PKG_VERSION"))
});

/// Stores sealed blobs and streams them back.
///
/// Each option can also be given as a variable of the environment, ZSERVE_ and the option's name:
/// ZSERVE_MAX_CONNECTIONS=99. The command line takes precedence over the environment, and the
/// environment over the configuration file.
#[derive(Debug, Parser)]
#[command(
    name = "zserve",
    version,
    long_version = LONG_VERSION.as_str(),
    args_conflicts_with_subcommands = true
)]
pub struct Cli {
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to serve.
    #[command(flatten)]
    pub serve: ServeArgs,
}

/// What `zserve` does instead of serving.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print an invite, by which one device gets an account. The server may be running.
    Invite(InviteArgs),
    /// Compare every file of a store with its record, byte by byte, and quarantine damaged files.
    /// The server may be running.
    Scrub(ScrubArgs),
    /// Compare the names and records of a store with each other; after a failed sync, read the
    /// whole store. The server may be running.
    Check(CheckArgs),
    /// Print a script that completes zserve in a shell.
    Completions(CompletionsArgs),
    /// Write the manual pages of zserve into a directory.
    Man(ManArgs),
}

/// How to serve. An option takes precedence over the configuration file.
#[derive(Clone, Debug, Default, Args)]
pub struct ServeArgs {
    /// Configuration file; docs/OPERATIONS.md describes its keys.
    #[arg(long, env = "ZSERVE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Directory of a store, served at the root; a store is created if it is missing or empty.
    #[arg(long, env = "ZSERVE_STORE", value_name = "DIR")]
    pub store: Option<PathBuf>,
    /// Address to listen on: HOST:PORT (port 0: any free port) or unix:/path; may be repeated
    /// [default, with --store and without a configuration file: 127.0.0.1:7460].
    #[arg(long, env = "ZSERVE_LISTEN", value_name = "ADDR", value_delimiter = ',')]
    pub listen: Vec<ListenAddress>,
    /// Address for HTTP, GET and HEAD of public mounts; may be repeated.
    #[arg(long, env = "ZSERVE_HTTP", value_name = "ADDR", value_delimiter = ',')]
    pub http: Vec<ListenAddress>,
    /// Address for /metrics and /healthz.
    #[arg(long, env = "ZSERVE_ADMIN", value_name = "ADDR")]
    pub admin: Option<ListenAddress>,
    /// Scopes of clients without a key, on plaintext connections: some of put,get,list,delete.
    #[arg(long, env = "ZSERVE_ANONYMOUS", value_name = "SCOPES", value_parser = scopes, requires = "store")]
    pub anonymous: Option<Scopes>,
    /// Store and send unsealed objects on plaintext connections.
    #[arg(long, env = "ZSERVE_ALLOW_UNSEALED", requires = "store", value_parser = FalseyValueParser::new())]
    pub allow_unsealed: bool,
    /// Maximum connections; further clients get the error Busy [default: 1024].
    #[arg(long, env = "ZSERVE_MAX_CONNECTIONS", value_name = "N", value_parser = positive)]
    pub max_connections: Option<usize>,
    /// Seconds without a byte after which a connection is closed [default: 120].
    #[arg(long, env = "ZSERVE_IDLE_TIMEOUT", value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    pub idle_timeout: Option<u32>,
    /// Worker threads, which own the connections [default: one for each core].
    #[arg(long, env = "ZSERVE_WORKERS", value_name = "N", value_parser = positive)]
    pub workers: Option<usize>,
    /// Maximum threads of the pool load and of the pool write [default: two for each core, at least
    /// 32].
    #[arg(long, env = "ZSERVE_POOL_THREADS", value_name = "N", value_parser = positive)]
    pub pool_threads: Option<usize>,
    /// Engine that sends payload [default: splice].
    #[arg(long, env = "ZSERVE_ENGINE", value_name = "ENGINE", value_enum)]
    pub engine: Option<Engine>,
    /// Congestion control of TCP connections [default: the system's; cubic on loopback].
    #[arg(long, env = "ZSERVE_CONGESTION", value_name = "NAME")]
    pub congestion: Option<String>,
    /// Seconds that requests in progress get to end when the server is stopped [default: 30].
    #[arg(long, env = "ZSERVE_SHUTDOWN_TIMEOUT", value_name = "SECONDS")]
    pub shutdown_timeout: Option<u32>,
    /// User to change to when started as root.
    #[arg(long, env = "ZSERVE_USER", value_name = "NAME")]
    pub user: Option<String>,
    /// Do not restrict the process to its files and system calls (Landlock, seccomp).
    #[arg(long, env = "ZSERVE_NO_SANDBOX", value_parser = FalseyValueParser::new())]
    pub no_sandbox: bool,
    /// Do not create a missing store, but fail: its disk may not be mounted.
    #[arg(long, env = "ZSERVE_NO_CREATE", value_parser = FalseyValueParser::new())]
    pub no_create: bool,
    /// Format of the log [default: text].
    #[arg(long, env = "ZSERVE_LOG_FORMAT", value_name = "FORMAT", value_enum)]
    pub log_format: Option<LogFormat>,
    /// Filter of the log, in the syntax of RUST_LOG [default: info].
    #[arg(long, env = "ZSERVE_LOG", value_name = "FILTER")]
    pub log: Option<String>,
}

/// Contents of an invite.
#[derive(Debug, Args)]
pub struct InviteArgs {
    /// Directory of the store.
    #[arg(long, env = "ZSERVE_STORE", value_name = "DIR")]
    pub store: PathBuf,
    /// Address of the server for its clients: HOST:PORT, or unix:/path.
    #[arg(long, env = "ZSERVE_ADDRESS", value_name = "ADDRESS")]
    pub address: ClientAddress,
    /// Prefix of the mount that the invite leads to [default: the mount at the root]. The scopes
    /// hold for all mounts.
    #[arg(long, env = "ZSERVE_MOUNT", value_name = "PREFIX", value_parser = MountPrefix::parse, default_value = "", hide_default_value = true)]
    pub mount: MountPrefix,
    /// Scopes of the device: some of put,get,list,delete.
    #[arg(long, env = "ZSERVE_SCOPES", value_name = "SCOPES", value_parser = scopes, default_value = "put,get,list,delete")]
    pub scopes: Scopes,
    /// Time for which the invite can be redeemed, for example 30m or 7d.
    #[arg(long, env = "ZSERVE_EXPIRES", value_name = "TIME", value_parser = duration, default_value = "24h")]
    pub expires: Duration,
    /// New file for the invite, readable by its owner only; stdout then stays empty.
    #[arg(short, long, env = "ZSERVE_OUTPUT", value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Print a line of JSON with the invite and its contents.
    #[arg(long, env = "ZSERVE_JSON", value_parser = FalseyValueParser::new())]
    pub json: bool,
}

/// How to scrub.
#[derive(Debug, Args)]
pub struct ScrubArgs {
    /// Directory of the store.
    #[arg(long, env = "ZSERVE_STORE", value_name = "DIR")]
    pub store: PathBuf,
    /// Fraction of the store to read, from where the last run ended: with 1/30, 30 runs read all
    /// of it [default: the rest of the store].
    #[arg(long, env = "ZSERVE_FRACTION", value_name = "1/N")]
    pub fraction: Option<Fraction>,
    /// Maximum bytes to read per second, for example 100MiB [default: no limit].
    #[arg(long, env = "ZSERVE_RATE", value_name = "SIZE", value_parser = rate)]
    pub rate: Option<u64>,
    /// Read objects from the disk even if they are in the page cache; this evicts hot objects from
    /// it.
    #[arg(long, env = "ZSERVE_FROM_DISK", value_parser = FalseyValueParser::new())]
    pub from_disk: bool,
    /// Print the findings as JSON, one object for each line.
    #[arg(long, env = "ZSERVE_JSON", value_parser = FalseyValueParser::new())]
    pub json: bool,
}

/// How to check.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Directory of the store.
    #[arg(long, env = "ZSERVE_STORE", value_name = "DIR")]
    pub store: PathBuf,
    /// After a failed sync: read the whole store from the disk, quarantine damaged files, and allow
    /// writes again if nothing is damaged.
    #[arg(long, env = "ZSERVE_CLEAR_SUSPECT", value_parser = FalseyValueParser::new())]
    pub clear_suspect: bool,
    /// Print the findings as JSON, one object for each line.
    #[arg(long, env = "ZSERVE_JSON", value_parser = FalseyValueParser::new())]
    pub json: bool,
}

/// Which completion script.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// Shell that reads the script.
    #[arg(value_enum, value_name = "SHELL")]
    pub shell: Shell,
}

/// Where manual pages go.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Directory for the pages; it is created if it is missing.
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
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
                anonymous: self.anonymous.unwrap_or(Scopes::NONE),
                allow_unsealed: self.allow_unsealed,
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
        set(&mut limits.max_connections, &self.max_connections);
        set(&mut limits.idle_timeout, &self.idle_timeout.map(seconds));
        set(&mut limits.pool_threads, &self.pool_threads);
        set(&mut limits.shutdown_timeout, &self.shutdown_timeout.map(seconds));
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

    /// A later expiry may lie beyond the year 9999, which no RFC 3339 text can express.
    #[test]
    fn invite_expiry_over_100_years_is_rejected() {
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

    /// The definition of zserve's command line passes clap's own assertions.
    #[test]
    fn zserve_command_line_passes_clap_debug_assert() {
        Cli::command().debug_assert();
    }

    /// docs/OPERATIONS.md, "Install and start".
    #[test]
    fn zserve_options_each_have_environment_variable() {
        fn look(command: &clap::Command, seen: &mut usize) {
            for argument in command.get_arguments() {
                let Some(long) = argument.get_long() else {
                    assert!(argument.is_positional(), "{argument:?}");
                    continue;
                };
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

    /// The command line parses addresses and scopes, and rejects wrong values and combinations.
    #[test]
    fn zserve_flags_parse_or_are_rejected_by_kind() {
        let line = "zserve --store /s --listen 127.0.0.1:0 --listen unix:/x --anonymous get,list";
        let serve = parse(line).unwrap().serve;
        assert_eq!(serve.listen.len(), 2);
        assert_eq!(serve.anonymous, Some(Scopes::GET.and(Scopes::LIST)));
        for (line, kind) in [
            ("zserve --store /s --anonymous read", ErrorKind::ValueValidation),
            ("zserve --store /s --listen nowhere", ErrorKind::ValueValidation),
            ("zserve --store /s --idle-timeout 0", ErrorKind::ValueValidation),
            // There is no saying of which mount.
            ("zserve --config c --anonymous get", ErrorKind::MissingRequiredArgument),
            ("zserve --config c --allow-unsealed", ErrorKind::MissingRequiredArgument),
        ] {
            assert_eq!(parse(line).unwrap_err(), kind, "{line}");
        }
    }

    /// An invite has all scopes and expires in 24 hours by default; its address is required.
    #[test]
    fn invite_defaults_to_all_scopes_and_24_hours() {
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
