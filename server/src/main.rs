//! `zserve`: the zput server.
//!
//! Exit codes: 0 stopped as asked, 1 failed, 2 wrong usage or configuration, 8 a scrub or a check
//! found damage, or a check a store that is suspect, 130 or 143 when a signal ended one of these,
//! or a second one the server at once, 141 when the reader of a scrub's or a check's output is
//! gone.

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
    process::{self, ExitCode},
    slice,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, Result};
use clap::{CommandFactory as _, Parser as _};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};
use tracing::{error, info, warn};
use zeroize::Zeroizing;
use zput_server::{
    InheritedSocket, Listener, ReloadHandle, Server, ServerError, ShutdownHandle,
    admin::{Admin, Health},
    config::{
        CheckArgs, Cli, Command, CompletionsArgs, Config, ConfigError, DEFAULT_LISTEN, InviteArgs,
        ManArgs, ScrubArgs, ServeArgs,
    },
    invite,
    log::{self, Filtering, LogFormat, ProgramKind},
    memory::{self, Allocator},
    open_mounts::{self, OpenStores},
    privileges,
    ready::Readiness,
    sandbox::{self, Allowlist, Enforced},
    scrub, server,
    socket_activation::ActivatedSockets,
    stdio,
    store::{Clock, Store, StoreError},
    systemd, threads,
};

#[global_allocator]
static ALLOCATOR: Allocator = Allocator("zserve");

fn main() -> ExitCode {
    memory::init();
    let cli = Cli::parse();
    // The process holds the server's key, which must not end up in a core dump.
    privileges::disable_core_dumps();
    let result = match &cli.command {
        Some(Command::Invite(args)) => print_invite(args).map(|()| ExitCode::SUCCESS),
        Some(Command::Scrub(args)) => scrub(args),
        Some(Command::Check(args)) => check(args),
        Some(Command::Completions(args)) => print_completions(args).map(|()| ExitCode::SUCCESS),
        Some(Command::Man(args)) => write_manual(args).map(|()| ExitCode::SUCCESS),
        None => serve(&cli.serve).map(|()| ExitCode::SUCCESS),
    };
    let code = result.unwrap_or_else(|error| {
        if cli.command.is_some() && is_broken_pipe(&error) {
            // As in "zserve check | head -1": other commands end silently then, too.
            return ExitCode::from(EXIT_BROKEN_PIPE);
        }
        log::print_line(&format!("zserve: {}", with_causes(&error)));
        let usage = error.is::<ConfigError>() || is_no_address(&error);
        if usage { ExitCode::from(EXIT_USAGE) } else { ExitCode::FAILURE }
    });
    log::finish(LOG_FLUSH_TIMEOUT);
    code
}

/// How long the process waits at its end for the log to be written: a pipe may have no reader.
const LOG_FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// An error and its causes, without those that its text contains already.
fn with_causes(error: &anyhow::Error) -> String {
    error.chain().skip(1).fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        if text.contains(&cause) { text } else { format!("{text}: {cause}") }
    })
}

/// The exit code of clap for wrong usage.
const EXIT_USAGE: u8 = 2;

/// 128 and the number of SIGPIPE.
const EXIT_BROKEN_PIPE: u8 = 141;

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let of_pipe = |failure: &io::Error| failure.kind() == io::ErrorKind::BrokenPipe;
    error.chain().any(|cause| cause.downcast_ref().is_some_and(of_pipe))
}

fn is_no_address(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(ServerError::NoAddress))
}

/// Serves. First come the steps that need root, then those of the user, then those within the
/// sandbox; threads are started once all rights are given up.
fn serve(args: &ServeArgs) -> Result<()> {
    let mut config = Config::load(args)?;
    let activated = ActivatedSockets::take()?;
    let addressed = !config.listen.is_empty() || !config.http.is_empty();
    if !addressed && activated.zput.is_empty() && activated.http.is_empty() {
        if config.file.is_some() {
            // Before anything is created on the disk.
            return Err(ServerError::NoAddress.into());
        }
        config.listen.push(DEFAULT_LISTEN.parse()?);
    }
    let filtering = log::start(ProgramKind::Server, config.log_format, config.log.as_deref())?;
    systemd::connect();
    let congestion = config.congestion.as_deref();
    let mut zput = server::listen(&config.listen, congestion)?;
    zput.extend(adopt_sockets(activated.zput, congestion)?);
    let mut http = server::listen(&config.http, congestion)?;
    http.extend(adopt_sockets(activated.http, congestion)?);
    let admin = match (activated.admin, &config.admin) {
        (Some(socket), _) => adopt_sockets([socket], None)?.pop(),
        (None, Some(address)) => server::listen(slice::from_ref(address), None)?.pop(),
        (None, None) => None,
    };
    drop_privileges(&config)?;
    let mut stores = OpenStores::open(&config)?;
    enter_sandbox(&config)?;
    // Archives are parsed from here on, and their authors are not trusted.
    let options = open_mounts::server_options(&config, &mut stores)?;
    log::start_writing().context("cannot start a thread")?;
    // From here on signals are queued until the thread for signals takes them.
    let signals = Signals::new([SIGHUP, SIGINT, SIGTERM]).context("cannot take signals")?;

    let readiness = Readiness::of(&config, &options, &zput, &http, admin.as_ref());
    let server = Server::on(options, zput, http)?.spawn()?;
    let health = Health::new(server.metrics(), server.liveness());
    let admin = admin
        .map(|listener| Admin::start(listener, health.clone()))
        .transpose()
        .context("cannot start a thread")?;
    systemd::start_watchdog(health.clone()).context("cannot start a thread")?;
    if let (Some(shutdown_handle), Some(reload_handle)) =
        (server.shutdown_handle(), server.reload_handle())
    {
        let reload =
            Reload { args: args.clone(), running: config, filtering, reload_handle, stores };
        let handle = move || handle_signals(signals, reload, &shutdown_handle);
        let _thread = threads::spawn("signals", handle).context("cannot start a thread")?;
    }
    readiness.announce().context("cannot start a thread")?;
    systemd::ready();
    // Whatever ends it: requests under way may end, and load balancers must send no new ones.
    let result = server.wait_then(|| {
        health.drain();
        systemd::stopping();
    });
    drop(admin);
    Ok(result?)
}

fn adopt_sockets(
    sockets: impl IntoIterator<Item = InheritedSocket>,
    congestion: Option<&str>,
) -> Result<Vec<Listener>> {
    let adopt =
        |socket| Listener::adopt(socket, congestion).context("cannot use an inherited socket");
    sockets.into_iter().map(adopt).collect()
}

fn drop_privileges(config: &Config) -> Result<()> {
    if let Some(user) = &config.user {
        privileges::become_user(user)?;
        info!(user, "changed to this user");
    } else if privileges::is_root() {
        warn!("running as root: name a user with fewer rights (--user NAME)");
    }
    privileges::forbid_new_privileges().context("cannot give up new privileges")
}

fn enter_sandbox(config: &Config) -> Result<()> {
    if !config.sandbox {
        info!("sandbox: disabled by the configuration");
        return Ok(());
    }
    match Allowlist::for_config(config).enforce()? {
        Enforced::Fully => info!("sandbox: fully enforced"),
        Enforced::Partially => info!("sandbox: partially enforced, by an older kernel"),
        Enforced::NotAvailable => {
            warn!(
                "sandbox: not available: the kernel is older than Linux 5.19, or has no Landlock"
            );
        }
    }
    if sandbox::deny_syscalls()? {
        info!("sandbox: seccomp filter installed");
    } else {
        warn!("sandbox: no system calls are denied: seccomp is not available");
    }
    Ok(())
}

/// The running configuration, and what a reload needs.
struct Reload {
    args: ServeArgs,
    running: Config,
    filtering: Filtering,
    reload_handle: ReloadHandle,
    stores: OpenStores,
}

impl Reload {
    /// Reads the configuration again and applies what can change while serving. If it is invalid,
    /// nothing changes.
    fn run(&mut self) {
        match self.changed() {
            Ok(Some(config)) => {
                let differing = config.differences(&self.running);
                let taken = |key: &&str| ["log", "mount"].contains(key);
                let waiting: Vec<_> = differing.into_iter().filter(|key| !taken(key)).collect();
                if !waiting.is_empty() {
                    warn!(keys = waiting.join(", "), "these keys take effect at the next start");
                }
                self.running.log = config.log;
                self.running.mounts = config.mounts;
                info!("configuration reloaded");
            }
            Ok(None) => info!("no configuration file to reload"),
            Err(failure) => {
                error!("reload failed, the configuration is unchanged: {}", with_causes(&failure));
            }
        }
    }

    fn changed(&mut self) -> Result<Option<Config>> {
        if self.running.file.is_none() {
            return Ok(None);
        }
        let config = Config::load(&self.args)?;
        let served = self.reload_handle.mounts();
        let mut stores = self.stores.clone();
        let mounts = open_mounts::reload_mounts(&config, &self.running, served, &mut stores)?;
        self.filtering.change(config.log.as_deref())?;
        if let Err(failure) = self.reload_handle.serve(mounts) {
            self.filtering.change(self.running.log.as_deref())?;
            return Err(failure.into());
        }
        self.stores = stores;
        Ok(Some(config))
    }
}

/// A second signal to stop within this time counts as the first: timeout(1) and shells send it to
/// the process and to its group.
const SAME_SIGNAL: Duration = Duration::from_secs(1);

/// SIGHUP reads the configuration again. The first signal to stop drains the server, a later one
/// ends the process.
fn handle_signals(mut signals: Signals, mut reload: Reload, shutdown_handle: &ShutdownHandle) {
    let mut stopping: Option<Instant> = None;
    for signal in &mut signals {
        match (signal, stopping) {
            (SIGHUP, Some(_)) => {}
            (SIGHUP, None) => {
                systemd::reloading();
                reload.run();
                systemd::ready();
            }
            (_, None) => {
                stopping = Some(Instant::now());
                shutdown_handle.stop();
            }
            (_, Some(since)) if since.elapsed() < SAME_SIGNAL => {}
            (_, Some(_)) => {
                warn!("second signal: exiting immediately");
                log::finish(LOG_FLUSH_TIMEOUT);
                process::exit(128 + signal);
            }
        }
    }
}

fn print_invite(args: &InviteArgs) -> Result<()> {
    // A mistyped directory must not become a new store.
    let store = open_store(&args.store, Store::open_existing)?;
    // Before an invite exists that could not be printed.
    if args.json || args.output.is_none() {
        drop(stdio::stdout().context("cannot print the invite")?);
    }
    let address = &args.address.0;
    let create = || invite::create(&store, address, args.mount.name(), args.scopes, args.expires);
    let invite = match &args.output {
        Some(path) => invite::write(path, create)?,
        None => create()?,
    };
    let until = humantime::format_rfc3339_seconds(SystemTime::now() + args.expires).to_string();
    let text = invite.to_text();
    let text = args.output.is_none().then_some(text.as_str());
    let line = if args.json {
        Some(invite::json(&invite, text, args.output.as_deref(), args.scopes, &until))
    } else {
        text.map(str::to_owned)
    };
    if let Some(line) = line.map(Zeroizing::new) {
        let mut stdout = stdio::stdout().context("cannot print the invite")?;
        writeln!(stdout, "{}", line.as_str()).context("cannot print the invite")?;
        stdout.flush().context("cannot print the invite")?;
    }
    let file = args.output.as_ref().map(|path| format!(" ({})", path.display()));
    log::print_line(&format!(
        "zserve: invite{} for one device to {} with scopes {}; valid once, until {until}",
        file.unwrap_or_default(),
        invite.address,
        args.scopes,
    ));
    Ok(())
}

fn scrub(args: &ScrubArgs) -> Result<ExitCode> {
    let _filtering = log::start(ProgramKind::Command, LogFormat::default(), None)?;
    log::start_writing().context("cannot start a thread")?;
    let store = open_store(&args.store, Store::open_existing)?;
    let stop = scrub::stop_signals().context("cannot take signals")?;
    let outcome = scrub::scrub(&store, args, &stop).context("cannot scrub the store")?;
    Ok(ExitCode::from(outcome.exit_code()))
}

fn check(args: &CheckArgs) -> Result<ExitCode> {
    let _filtering = log::start(ProgramKind::Command, LogFormat::default(), None)?;
    log::start_writing().context("cannot start a thread")?;
    let store = open_store(&args.store, Store::open_existing)?;
    let stop = scrub::stop_signals().context("cannot take signals")?;
    let outcome = scrub::check(&store, args, &stop).context("cannot check the store")?;
    Ok(ExitCode::from(outcome.exit_code()))
}

fn print_completions(args: &CompletionsArgs) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "zserve", &mut script);
    let mut stdout = stdio::stdout().context("cannot print the script")?;
    stdout.write_all(&script).and_then(|()| stdout.flush()).context("cannot print the script")
}

fn write_manual(args: &ManArgs) -> Result<()> {
    let directory = args.directory.as_path();
    fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), directory))
        .with_context(|| format!("cannot write into {}", directory.display()))
}

fn open_store(dir: &Path, open: fn(&Path, Clock) -> Result<Store, StoreError>) -> Result<Store> {
    open(dir, Clock::system()).with_context(|| format!("cannot open the store {}", dir.display()))
}
