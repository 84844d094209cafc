//! What is to be measured.

use std::path::PathBuf;

use zput_server::Engine;

use crate::{Failure, ask::Transport};

pub(crate) struct Options {
    /// Of loopback.
    pub(crate) mtus: Vec<u32>,
    /// Names of congestion controls.
    pub(crate) congestions: Vec<String>,
    pub(crate) engines: Vec<Engine>,
    pub(crate) transports: Vec<Transport>,
    /// Of each kind; of large ones fewer.
    pub(crate) requests: usize,
    /// Whether ranges are asked for, without the client library.
    pub(crate) ranges: bool,
    /// Whether the client library puts and gets.
    pub(crate) library: bool,
    /// Another build of the server.
    pub(crate) zserve: Option<PathBuf>,
    /// Whether each kind of request has a line of its own.
    pub(crate) all: bool,
}

impl Options {
    pub(crate) fn from_arguments() -> Result<Self, Failure> {
        let mut options = Self {
            mtus: vec![65_536, 1_500],
            congestions: vec!["cubic".to_owned(), "bbr".to_owned()],
            engines: Engine::ALL.to_vec(),
            transports: Transport::ALL.to_vec(),
            requests: 20,
            ranges: true,
            library: true,
            zserve: None,
            all: false,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} wants a value"));
            match argument.as_str() {
                "--mtu" => options.mtus = list(&value()?)?,
                "--congestion" => options.congestions = list(&value()?)?,
                "--engines" => options.engines = list(&value()?)?,
                "--transports" => options.transports = list(&value()?)?,
                "--requests" => options.requests = value()?.parse::<usize>()?.max(2),
                "--only" => match value()?.as_str() {
                    "ranges" => options.library = false,
                    "library" => options.ranges = false,
                    other => return Err(format!("{other}? there are ranges and library").into()),
                },
                "--zserve" => options.zserve = Some(value()?.into()),
                "--all" => options.all = true,
                // cargo bench passes this to every target.
                "--bench" => {}
                other => {
                    let known = "--mtu, --congestion, --engines, --transports, --requests, --only, \
                                 --zserve, --all";
                    return Err(format!("{other}? it takes {known}").into());
                }
            }
        }
        Ok(options)
    }
}

fn list<T: std::str::FromStr<Err: Into<Failure>>>(words: &str) -> Result<Vec<T>, Failure> {
    words.split(',').map(|word| word.parse().map_err(Into::into)).collect()
}
