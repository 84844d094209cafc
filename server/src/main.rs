//! `zserve`: the zput server.
//!
//! Exit codes: 0 stopped as asked, 1 failed, 2 wrong usage or configuration, 130 or 143 when a
//! second signal ended it at once.

use std::{
    io::{self, Write as _},
    path::Path,
    process::{self, ExitCode},
    thread,
    time::SystemTime,
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser as _;
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};
use tracing::warn;
use zput_server::{
    BoundAddress, Server, ServerError, ServerOptions, Stopper,
    config::{Cli, Command, Config, ConfigError, InviteArgs, MountConfig, MountSource, ServeArgs},
    invite, log,
    store::{Clock, Store, StoreError},
};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.command {
        Some(Command::Invite(args)) => print_invite(args),
        None => serve(&cli.serve),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("zserve: {error:#}");
            let usage = error.is::<ConfigError>() || is_no_address(&error);
            if usage { ExitCode::from(EXIT_USAGE) } else { ExitCode::FAILURE }
        }
    }
}

/// What clap ends with, too.
const EXIT_USAGE: u8 = 2;

fn is_no_address(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(ServerError::NoAddress))
}

fn serve(args: &ServeArgs) -> Result<()> {
    let config = Config::load(args)?;
    if config.listen.is_empty() {
        // Before anything is made on the disk.
        return Err(ServerError::NoAddress.into());
    }
    log::start(config.log_format, config.log.as_deref())?;
    // From here on signals wait until somebody looks at them.
    let signals = Signals::new([SIGINT, SIGTERM]).context("cannot take signals")?;
    let server = Server::bind(options(&config)?)?.spawn()?;
    if let Some(stopper) = server.stopper() {
        let obey = move || obey_signals(signals, &stopper);
        thread::Builder::new().name("signals".to_owned()).spawn(obey).context("cannot start")?;
    }
    announce(server.addresses()).context("cannot say that the server is ready")?;
    Ok(server.wait()?)
}

fn options(config: &Config) -> Result<ServerOptions> {
    let [MountConfig { prefix, source: MountSource::Store(path), plaintext, unsealed, .. }] =
        &config.mounts[..]
    else {
        bail!("this version serves one store, at the root: leave the other mounts out");
    };
    ensure!(
        prefix.as_str().is_empty(),
        "this version serves a store at the root: leave prefix out"
    );
    ensure!(config.http.is_empty(), "this version has no HTTP: leave http out");
    let limits = &config.limits;
    let store = open_store(path, Store::open)?;
    Ok(ServerOptions {
        plaintext: *plaintext,
        allow_unsealed: *unsealed,
        max_connections: limits.connections,
        idle_seconds: u32::try_from(limits.idle.as_secs())?,
        workers: config.workers,
        pool_threads: limits.pool_threads,
        upload_memory_bytes: limits.upload_memory,
        congestion: config.congestion.clone(),
        drain: limits.drain,
        ..ServerOptions::new(store, config.listen.clone())
    })
}

/// The first signal stops the server, the second one ends it.
fn obey_signals(mut signals: Signals, stopper: &Stopper) {
    let mut received = signals.forever();
    if received.next().is_some() {
        stopper.stop();
    }
    if let Some(signal) = received.next() {
        warn!("a second signal: ending at once");
        process::exit(128 + signal);
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
    let invite = invite::make(&store, &args.address, args.scopes, args.expires)?;
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

fn open_store(dir: &Path, open: fn(&Path, Clock) -> Result<Store, StoreError>) -> Result<Store> {
    open(dir, Clock::system()).with_context(|| format!("cannot open the store {}", dir.display()))
}
