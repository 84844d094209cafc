//! What is to be measured, and how often.

use std::{path::PathBuf, time::Duration};

use zput_server::Engine;

use crate::{Failure, cold, ground::Ground, hostile, idle, large, sizes, small};

/// A part of the benchmark.
pub(crate) struct Part {
    /// What it is chosen by.
    pub(crate) name: &'static str,
    /// Measures and prints.
    pub(crate) run: fn(&Options, &Ground) -> Result<(), Failure>,
}

const PARTS: [Part; 6] = [
    Part { name: "large", run: large::run },
    Part { name: "small", run: small::run },
    Part { name: "sizes", run: sizes::run },
    Part { name: "idle", run: idle::run },
    Part { name: "cold", run: cold::run },
    Part { name: "hostile", run: hostile::run },
];

pub(crate) struct Options {
    /// In the order of the list above.
    pub(crate) parts: Vec<&'static Part>,
    /// Rounds that count.
    pub(crate) runs: usize,
    /// Which engines, where they are compared: the default one first, unless told otherwise.
    pub(crate) engines: Vec<Engine>,
    /// Connections that are idle; slow readers.
    pub(crate) connections: usize,
    /// How long one measurement takes where that is to be chosen.
    pub(crate) time: Duration,
    /// Where files are made; the build's directory without one.
    pub(crate) directory: Option<PathBuf>,
}

impl Options {
    pub(crate) fn from_arguments() -> Result<Self, Failure> {
        let mut options = Self {
            parts: PARTS.iter().collect(),
            runs: 5,
            engines: all_engines(),
            connections: 10_000,
            time: Duration::from_secs(3),
            directory: None,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} wants a value"));
            match argument.as_str() {
                "--only" => options.parts = parts(&value()?)?,
                "--runs" => options.runs = value()?.parse::<usize>()?.max(1),
                "--engines" => {
                    let names = value()?;
                    options.engines = names.split(',').map(str::parse).collect::<Result<_, _>>()?;
                }
                "--connections" => options.connections = value()?.parse()?,
                "--seconds" => options.time = Duration::from_secs_f64(value()?.parse()?),
                "--dir" => options.directory = Some(value()?.into()),
                // cargo bench passes this to every target.
                "--bench" => {}
                other => {
                    let known = "--only, --runs, --engines, --seconds, --connections, --dir";
                    return Err(format!("{other}? it takes {known}").into());
                }
            }
        }
        Ok(options)
    }

    /// The engine, where they are not compared.
    pub(crate) fn engine(&self) -> Engine {
        self.engines.first().copied().unwrap_or_default()
    }
}

fn all_engines() -> Vec<Engine> {
    let mut engines = Engine::ALL.to_vec();
    engines.sort_by_key(|engine| *engine != Engine::default());
    engines
}

fn parts(names: &str) -> Result<Vec<&'static Part>, Failure> {
    for name in names.split(',') {
        if !PARTS.iter().any(|part| part.name == name) {
            let known: Vec<&str> = PARTS.iter().map(|part| part.name).collect();
            return Err(format!("{name} is no part: there are {}", known.join(", ")).into());
        }
    }
    Ok(PARTS.iter().filter(|part| names.split(',').any(|name| name == part.name)).collect())
}
