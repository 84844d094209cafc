//! The configuration file: its TOML tables, and the [`Config`] that they make.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;
use zput_proto::message::Scopes;

use super::{
    Config, ConfigError, DEFAULT_REVALIDATE_AFTER, Limits, MOUNTS_MAX, MountConfig, MountPrefix,
    MountSource,
    values::{Address, Addresses, Count, EngineName, ScopeList, Seconds, Size, Time},
};
use crate::zserve::log::LogFormat;

/// Reads `text`, which `path` holds. Relative paths in it are taken from the directory of `path`.
///
/// # Errors
/// When it says what cannot be: in which line, of which key, and what to write instead.
pub fn parse(path: &Path, text: &str) -> Result<Config, ConfigError> {
    let source = SourceFile { path, text };
    let mut file: File = toml::from_str(text).map_err(|e| source.syntax(e))?;
    let mounts = source.mounts(std::mem::take(&mut file.mount))?;
    let defaults = Config::default();
    Ok(Config {
        file: Some(path.to_owned()),
        listen: file.listen.0,
        http: file.http.0,
        admin: file.admin.map(|Address(address)| address),
        user: file.user,
        sandbox: file.sandbox.unwrap_or(defaults.sandbox),
        create: file.create.unwrap_or(defaults.create),
        engine: file.engine.map_or(defaults.engine, |EngineName(engine)| engine),
        congestion: file.congestion,
        workers: file.workers.map_or(defaults.workers, |Count(n)| n),
        log: file.log,
        log_format: file.log_format.unwrap_or_default(),
        limits: file.limits.into_limits(),
        mounts,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    listen: Addresses,
    #[serde(default)]
    http: Addresses,
    admin: Option<Address>,
    user: Option<String>,
    sandbox: Option<bool>,
    create: Option<bool>,
    engine: Option<EngineName>,
    congestion: Option<String>,
    workers: Option<Count>,
    log: Option<String>,
    log_format: Option<LogFormat>,
    #[serde(default)]
    limits: LimitsTable,
    #[serde(default)]
    mount: Vec<Spanned<MountTable>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsTable {
    max_connections: Option<Count>,
    max_connections_per_client: Option<usize>,
    idle_timeout: Option<Seconds>,
    min_rate: Option<Size>,
    http_header_timeout: Option<Seconds>,
    max_open_files: Option<Count>,
    open_file_cache: Option<usize>,
    upload_expiry: Option<Time>,
    upload_memory: Option<Size>,
    pool_threads: Option<Count>,
    shutdown_timeout: Option<Time>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MountTable {
    #[serde(default)]
    prefix: MountPrefix,
    store: Option<PathBuf>,
    dir: Option<PathBuf>,
    tar: Option<PathBuf>,
    strip_prefix: Option<String>,
    #[serde(default)]
    public: bool,
    anonymous: Option<ScopeList>,
    allow_unsealed: Option<bool>,
    revalidate_after: Option<Time>,
}

impl LimitsTable {
    /// 0 stands for no limit where there may be none.
    fn into_limits(self) -> Limits {
        let defaults = Limits::default();
        let memory = |Size(bytes)| usize::try_from(bytes).unwrap_or(usize::MAX);
        let max_open_files = self.max_open_files.map_or(defaults.max_open_files, |Count(n)| n);
        Limits {
            max_connections: self.max_connections.map_or(defaults.max_connections, |Count(n)| n),
            max_connections_per_client: self.max_connections_per_client,
            idle_timeout: self.idle_timeout.map_or(defaults.idle_timeout, |Seconds(time)| time),
            min_rate: self.min_rate.map_or(defaults.min_rate, |Size(bytes)| bytes),
            http_header_timeout: self
                .http_header_timeout
                .map_or(defaults.http_header_timeout, |Seconds(time)| time),
            max_open_files,
            open_file_cache: self
                .open_file_cache
                .unwrap_or(defaults.open_file_cache.min(max_open_files)),
            upload_expiry: self.upload_expiry.map_or(defaults.upload_expiry, |Time(time)| time),
            upload_memory: self.upload_memory.map_or(defaults.upload_memory, memory),
            pool_threads: self.pool_threads.map_or(defaults.pool_threads, |Count(n)| n),
            shutdown_timeout: self
                .shutdown_timeout
                .map_or(defaults.shutdown_timeout, |Time(time)| time),
        }
    }
}

/// The file, for errors and relative paths.
struct SourceFile<'a> {
    path: &'a Path,
    text: &'a str,
}

impl SourceFile<'_> {
    fn mounts(&self, tables: Vec<Spanned<MountTable>>) -> Result<Vec<MountConfig>, ConfigError> {
        let mut mounts: Vec<MountConfig> = Vec::with_capacity(tables.len());
        for table in tables {
            let at = table.span().start;
            let table = table.into_inner();
            let prefix = table.prefix.clone();
            let mount = self.mount(table).map_err(|m| self.error(at, in_mount(&prefix, &m)))?;
            if mounts.iter().any(|other| other.prefix == mount.prefix) {
                let twice = "it is there already: give each mount a prefix of its own";
                return Err(self.error(at, in_mount(&prefix, twice)));
            }
            if mounts.len() == MOUNTS_MAX {
                return Err(self.error(at, format!("there are more than {MOUNTS_MAX} mounts")));
            }
            mounts.push(mount);
        }
        Ok(mounts)
    }

    fn mount(&self, table: MountTable) -> Result<MountConfig, String> {
        let asked = table.anonymous.map_or(Scopes::NONE, |ScopeList(scopes)| scopes);
        let reading = Scopes::GET.and(Scopes::LIST);
        let source = match (table.store, table.dir, table.tar) {
            (Some(store), None, None) => MountSource::Store(self.path(store)),
            (None, Some(dir), None) => MountSource::Dir {
                path: self.path(dir),
                revalidate_after: table
                    .revalidate_after
                    .as_ref()
                    .map_or(DEFAULT_REVALIDATE_AFTER, |t| t.0),
            },
            (None, None, Some(tar)) => {
                MountSource::Tar { path: self.path(tar), strip_prefix: table.strip_prefix.clone() }
            }
            _ => return Err("give exactly one of store, dir and tar".to_owned()),
        };
        if table.revalidate_after.is_some() && !matches!(source, MountSource::Dir { .. }) {
            return Err("revalidate_after is for a dir: leave it out".to_owned());
        }
        if table.strip_prefix.is_some() && !matches!(source, MountSource::Tar { .. }) {
            return Err("strip_prefix is for a tar: leave it out".to_owned());
        }
        let is_store = matches!(source, MountSource::Store(_));
        if !is_store && !reading.allows(asked) {
            return Err(format!(
                "anonymous = \"{asked}\", but a dir or a tar is only read: write get, list or both"
            ));
        }
        Ok(MountConfig {
            prefix: table.prefix,
            source,
            public: table.public,
            anonymous: if table.public { asked.and(reading) } else { asked },
            allow_unsealed: table.allow_unsealed.unwrap_or(!is_store),
        })
    }

    /// A path of the file, from where the file is.
    fn path(&self, path: PathBuf) -> PathBuf {
        self.path.parent().map_or(path.clone(), |directory| directory.join(path))
    }

    /// What TOML or serde says, in one line and with the key's name.
    fn syntax(&self, mut error: toml::de::Error) -> ConfigError {
        let at = error.span().map_or(0, |span| span.start);
        // Without the text it prints no picture of the line, but the key.
        error.set_input(None);
        self.error(at, error.to_string().trim_end().replace('\n', " "))
    }

    fn error(&self, at: usize, message: String) -> ConfigError {
        let before = self.text.as_bytes().get(..at).unwrap_or_default();
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        ConfigError::Line { path: self.path.to_owned(), line, message }
    }
}

fn in_mount(prefix: &MountPrefix, message: &str) -> String {
    format!("mount \"{prefix}\": {message}")
}
