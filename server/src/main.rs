//! `zserve`: the zput server.
//!
//! Exit codes: 0 stopped as asked, 1 failed, 2 wrong usage or configuration, 8 a scrub or a check found damage, or a check a store
//! that is suspect, 130 or 143 when a signal ended one of these, or a second one the server at once.

use std::{
    io::{self, Write as _},
    path::Path,
    process::{self, ExitCode},
    slice, thread,
    time::SystemTime,
};

use anyhow::{Context as _, Result};
use clap::Parser as _;
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};
use tracing::{error, info, warn};
use zput_server::{
    BoundAddress, Listener, Remounter, Server, ServerError, Stopper,
    admin::{Admin, Condition},
    config::{CheckArgs, Cli, Command, Config, ConfigError, InviteArgs, ScrubArgs, ServeArgs},
    inherited::{Inherited, InheritedSocket},
    inspection, invite,
    log::{self, Filtering, LogFormat},
    privileges,
    sandbox::{Enforced, Reach},
    server, service, setup,
    store::{Clock, Store, StoreError},
};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.command {
        Some(Command::Invite(args)) => print_invite(args).map(|()| ExitCode::SUCCESS),
        Some(Command::Scrub(args)) => scrub(args),
        Some(Command::Check(args)) => check(args),
        None => serve(&cli.serve).map(|()| ExitCode::SUCCESS),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("zserve: {}", with_causes(&error));
            let usage = error.is::<ConfigError>() || is_no_address(&error);
            if usage { ExitCode::from(EXIT_USAGE) } else { ExitCode::FAILURE }
        }
    }
}

/// An error and its causes, but for those that it has told already.
fn with_causes(error: &anyhow::Error) -> String {
    error.chain().skip(1).fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        if text.contains(&cause) { text } else { format!("{text}: {cause}") }
    })
}

/// What clap ends with, too.
const EXIT_USAGE: u8 = 2;

fn is_no_address(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(ServerError::NoAddress))
}

/// In this order: what root alone may do, what the user may do, and threads when nothing is left to
/// give up.
fn serve(args: &ServeArgs) -> Result<()> {
    let config = Config::load(args)?;
    let inherited = Inherited::take()?;
    let addressed = !config.listen.is_empty() || !config.http.is_empty();
    if !addressed && inherited.zput.is_empty() && inherited.http.is_empty() {
        // Before anything is made on the disk.
        return Err(ServerError::NoAddress.into());
    }
    let filtering = log::start(config.log_format, config.log.as_deref())?;
    let congestion = config.congestion.as_deref();
    let mut zput = server::listen(&config.listen, congestion)?;
    zput.extend(adopt(inherited.zput, congestion)?);
    let mut http = server::listen(&config.http, congestion)?;
    http.extend(adopt(inherited.http, congestion)?);
    let admin = match (inherited.admin, &config.admin) {
        (Some(socket), _) => adopt([socket], None)?.pop(),
        (None, Some(address)) => server::listen(slice::from_ref(address), None)?.pop(),
        (None, None) => None,
    };
    drop_privileges(&config)?;
    let options = setup::options(&config)?;
    enter_sandbox(&config)?;
    // From here on signals wait until somebody looks at them.
    let signals = Signals::new([SIGHUP, SIGINT, SIGTERM]).context("cannot take signals")?;

    let server = Server::on(options, zput, http)?.spawn()?;
    let condition = Condition::new(server.metrics(), server.pulse());
    let admin = match admin {
        Some(listener) => {
            info!(address = %listener.address(), "answering /metrics and /healthz");
            Some(Admin::start(listener, condition.clone()).context("cannot start a thread")?)
        }
        None => None,
    };
    service::keep_watchdog(condition.clone()).context("cannot start a thread")?;
    if let (Some(stopper), Some(remounter)) = (server.stopper(), server.remounter()) {
        let reload = Reload { args: args.clone(), running: config, filtering, remounter };
        let obey = move || obey_signals(signals, reload, &condition, &stopper);
        thread::Builder::new().name("signals".to_owned()).spawn(obey).context("cannot start")?;
    }
    announce(server.addresses()).context("cannot say that the server is ready")?;
    service::ready();
    let result = server.wait();
    drop(admin);
    Ok(result?)
}

fn adopt(
    sockets: impl IntoIterator<Item = InheritedSocket>,
    congestion: Option<&str>,
) -> Result<Vec<Listener>> {
    let adopt = |socket| {
        Listener::adopt(socket, congestion).context("cannot use a socket that was handed over")
    };
    sockets.into_iter().map(adopt).collect()
}

fn drop_privileges(config: &Config) -> Result<()> {
    if let Some(user) = &config.user {
        privileges::become_user(user)?;
        info!(user, "running as this user alone");
    } else if privileges::is_root() {
        warn!("running as root: name a user who may do less (--user NAME)");
    }
    privileges::renounce().context("cannot give up new privileges")
}

fn enter_sandbox(config: &Config) -> Result<()> {
    if !config.sandbox {
        info!("no sandbox: as was asked for");
        return Ok(());
    }
    match Reach::of(config).enforce()? {
        Enforced::Fully => info!("sandbox: fully enforced"),
        Enforced::Partially => info!("sandbox: partially enforced, by an older kernel"),
        Enforced::NotAvailable => warn!("sandbox: not available: the kernel has no Landlock"),
    }
    Ok(())
}

/// The configuration in force, and how to read it again.
struct Reload {
    args: ServeArgs,
    running: Config,
    filtering: Filtering,
    remounter: Remounter,
}

impl Reload {
    /// Reads the configuration again and takes what can change while serving. If anything is wrong
    /// with it, nothing changes.
    fn run(&mut self) {
        match self.changed() {
            Ok(Some(config)) => {
                let differing = config.differences(&self.running);
                let taken = |key: &&str| ["log", "mount"].contains(key);
                let waiting: Vec<_> = differing.into_iter().filter(|key| !taken(key)).collect();
                if !waiting.is_empty() {
                    warn!(keys = waiting.join(", "), "these take effect with the next start");
                }
                self.running.log = config.log;
                self.running.mounts = config.mounts;
                info!("the configuration was read again");
            }
            Ok(None) => info!("there is no configuration file to read again"),
            Err(failure) => {
                error!("the configuration stays as it was: {}", with_causes(&failure));
            }
        }
    }

    fn changed(&mut self) -> Result<Option<Config>> {
        if self.args.config.is_none() {
            return Ok(None);
        }
        let config = Config::load(&self.args)?;
        let served = self.remounter.mounts();
        let mounts = setup::mounts_again(&config, &self.running, served)?;
        self.filtering.change(config.log.as_deref())?;
        if let Err(failure) = self.remounter.serve(mounts) {
            self.filtering.change(self.running.log.as_deref())?;
            return Err(failure.into());
        }
        Ok(Some(config))
    }
}

/// SIGHUP reads the configuration again. The first signal to stop stops the server, the second one
/// ends it.
fn obey_signals(
    mut signals: Signals,
    mut reload: Reload,
    condition: &Condition,
    stopper: &Stopper,
) {
    let mut stopping = false;
    for signal in &mut signals {
        match signal {
            SIGHUP if stopping => {}
            SIGHUP => {
                service::reloading();
                reload.run();
                service::ready();
            }
            _ if stopping => {
                warn!("a second signal: ending at once");
                process::exit(128 + signal);
            }
            _ => {
                stopping = true;
                condition.drain();
                service::stopping();
                stopper.stop();
            }
        }
    }
}

/// The one line on stdout: whoever started the server may now connect.
fn announce(addresses: &[BoundAddress]) -> io::Result<()> {
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "zserve: ready on {}", addresses.join(", "))?;
    stdout.flush()
}

fn print_invite(args: &InviteArgs) -> Result<()> {
    // A mistyped directory must not become a server of its own.
    let store = open_store(&args.store, Store::open_existing)?;
    let invite = invite::make(&store, &args.address, args.mount.name(), args.scopes, args.expires)?;
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{}", invite.to_text().as_str()).context("cannot print the invite")?;
    stdout.flush().context("cannot print the invite")?;
    let expires = SystemTime::now() + args.expires;
    eprintln!(
        "zserve: an invite for one device to {}, which may {}; it can be redeemed once, until {}",
        invite.address,
        args.scopes,
        humantime::format_rfc3339_seconds(expires),
    );
    Ok(())
}

fn scrub(args: &ScrubArgs) -> Result<ExitCode> {
    let _filtering = log::start(LogFormat::default(), None)?;
    let store = open_store(&args.store, Store::open_existing)?;
    let stop = inspection::stop_signals().context("cannot take signals")?;
    let outcome = inspection::scrub(&store, args, &stop).context("cannot scrub the store")?;
    Ok(ExitCode::from(outcome.exit_code()))
}

fn check(args: &CheckArgs) -> Result<ExitCode> {
    let _filtering = log::start(LogFormat::default(), None)?;
    let store = open_store(&args.store, Store::open_existing)?;
    let stop = inspection::stop_signals().context("cannot take signals")?;
    let outcome = inspection::check(&store, args, &stop).context("cannot check the store")?;
    Ok(ExitCode::from(outcome.exit_code()))
}

fn open_store(dir: &Path, open: fn(&Path, Clock) -> Result<Store, StoreError>) -> Result<Store> {
    open(dir, Clock::system()).with_context(|| format!("cannot open the store {}", dir.display()))
}
