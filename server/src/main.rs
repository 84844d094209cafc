//! `zserve`: the zput server.
//!
//! Exit codes: 0 stopped as asked, 1 failed, 2 wrong usage, 130 or 143 when a second signal ended
//! it at once.

use std::{
    io::{self, Write as _},
    path::Path,
    process::{self, ExitCode},
    thread,
    time::SystemTime,
};

use anyhow::{Context as _, Result};
use clap::Parser as _;
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};
use tracing::warn;
use zput_server::{
    BoundAddress, Server, Stopper,
    config::{Cli, Command, InviteArgs, ServeArgs},
    invite, log,
    store::{Clock, Store, StoreError},
};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match (cli.command, cli.serve) {
        (Some(Command::Invite(args)), _) => print_invite(&args),
        (None, Some(args)) => serve(args),
        // Clap asks for --store and --listen before it comes to this.
        (None, None) => Err(anyhow::anyhow!("nothing to do: see zserve --help")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("zserve: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(args: ServeArgs) -> Result<()> {
    log::start(args.log_format, args.log.as_deref())?;
    let store = open_store(&args.store, Store::open)?;
    // From here on signals wait until somebody looks at them.
    let signals = Signals::new([SIGINT, SIGTERM]).context("cannot take signals")?;
    let server = Server::bind(args.into_options(store))?.spawn()?;
    if let Some(stopper) = server.stopper() {
        let obey = move || obey_signals(signals, &stopper);
        thread::Builder::new().name("signals".to_owned()).spawn(obey).context("cannot start")?;
    }
    announce(server.addresses()).context("cannot say that the server is ready")?;
    Ok(server.wait()?)
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
