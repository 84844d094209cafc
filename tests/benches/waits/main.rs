//! Waits without a cause: how long each request takes, over everything that decides how bytes get
//! into a socket and out of it.
//!
//! ```text
//! cargo bench -p zput-tests --bench waits -- [--mtu N,…] [--congestion NAME,…]
//!                                            [--engines NAME,…] [--transports NAME,…] [--requests N]
//!                                            [--only ranges|library] [--zserve PATH] [--all]
//! ```
//!
//! | axis | values |
//! |---|---|
//! | MTU of loopback | 65536 and 1500, each in a network namespace of its own |
//! | congestion control of both sides | cubic, bbr |
//! | engine | splice, sendfile, mmap, copy |
//! | transport | `http`, `tls`, `plaintext`, `unix` (plaintext over a Unix socket) |
//! | `ranges` | of 1 byte to 100 MiB of a sealed blob, beginning in the middle of a page |
//! | `library` | puts and gets by the client library, which seal and open: of nothing to 40 MB |
//!
//! Requests follow one another on a warm connection; the first one on each connection is told
//! apart. On loopback nothing takes long but the bytes, so what took over [`MARK`] waited for
//! something: a timer of TCP (40 ms for an acknowledgement that is delayed, 200 ms for one that is
//! missed), or other programs of the machine. Those are rare and elsewhere each time; a wait is
//! where it was.

mod ask;
mod ground;
mod matrix;
mod options;

use std::process::{Command, ExitCode};

use self::{ground::Ground, options::Options};

type Failure = Box<dyn std::error::Error>;

/// Milliseconds over which a request is counted.
const MARK: f64 = 40.0;

/// Says to this program that its network is the one to measure.
const INSIDE: &str = "ZPUT_WAITS_INSIDE";

fn main() -> Result<ExitCode, Failure> {
    let options = Options::from_arguments()?;
    if let Ok(network) = std::env::var(INSIDE) {
        println!("\n## {network}\n");
        matrix::run(&options, &Ground::new(&options)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut ran = false;
    for mtu in &options.mtus {
        let set = format!("ip link set lo mtu {mtu} up && exec \"$0\" \"$@\"");
        let status = Command::new("unshare")
            .args(["--net", "sh", "-c", &set])
            .arg(std::env::current_exe()?)
            .args(std::env::args_os().skip(1))
            .env(INSIDE, format!("MTU {mtu}"))
            .status();
        match status {
            Ok(status) if status.success() => ran = true,
            Ok(status) => println!("MTU {mtu} not measured: {status} (a namespace takes root)"),
            Err(error) => println!("MTU {mtu} not measured: unshare(1): {error}"),
        }
    }
    Ok(if ran { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
