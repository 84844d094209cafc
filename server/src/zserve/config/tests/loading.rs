//! What is made of a file, flags and directories together.

use std::{fs, path::Path, time::Duration};

use zput_proto::message::Scopes;

use super::*;
use crate::{runtime::address::ListenAddress, transfer::engines::Engine, zserve::log::LogFormat};

use super::{FULL, prefix, read_file, refused};

fn load(file: Option<&str>, flags: &str) -> Result<Config, ConfigError> {
    load_beside(file, flags, &Directories::default())
}

fn load_beside(file: Option<&str>, flags: &str, own: &Directories) -> Result<Config, ConfigError> {
    use clap::Parser as _;
    let mut line: Vec<String> = flags.split_whitespace().map(str::to_owned).collect();
    line.insert(0, "zserve".into());
    let dir = tempfile::tempdir().unwrap();
    if let Some(text) = file {
        let path = dir.path().join("z.toml");
        fs::write(&path, text).unwrap();
        line.extend(["--config".into(), path.to_str().unwrap().to_owned()]);
    }
    Config::load_beside(&Cli::try_parse_from(line).unwrap().serve, own)
}

/// The server takes its configuration and its store from the directories that systemd sets.
#[test]
fn config_uses_systemd_configuration_and_state_directories() {
    let dir = tempfile::tempdir().unwrap();
    let own = Directories {
        configuration: Some(dir.path().to_owned()),
        state: Some("/var/lib/private/zput".into()),
    };
    let path = |config: &Config| config.mounts[0].source.path().to_owned();
    // No file is there yet.
    let config = load_beside(None, "--listen h:1", &own).unwrap();
    assert_eq!(path(&config), Path::new("/var/lib/private/zput/blobs"));
    let config = load_beside(None, "--listen h:1 --store s", &own).unwrap();
    assert_eq!(path(&config), Path::new("s"));
    fs::write(dir.path().join("zserve.toml"), "listen = \"h:2\"\n[[mount]]\nstore = \"/s\"")
        .unwrap();
    let config = load_beside(None, "", &own).unwrap();
    assert_eq!((path(&config).as_path(), config.listen.len()), (Path::new("/s"), 1));
    let config = load_beside(Some("[[mount]]\nstore = \"/t\""), "", &own).unwrap();
    assert_eq!(path(&config), Path::new("/t"));
}

/// The listen and http keys take one address or a list of addresses.
#[test]
fn config_address_key_takes_string_or_list() {
    let config = read_file("listen = \"127.0.0.1:1\"\nhttp = [\"127.0.0.1:2\"]");
    assert_eq!(config.listen, ["127.0.0.1:1".parse().unwrap()]);
    assert_eq!(config.http, ["127.0.0.1:2".parse().unwrap()]);
    let said = refused("listen = 7460");
    assert!(said.contains("an address, such as") && said.contains("`listen`"), "{said}");
    let said = refused("listen = \"127.0.0.1:80800\"");
    assert!(said.contains("up to 65535"), "{said}");
}

/// The --store flag without a file makes one mount of that store at the root.
#[test]
fn store_flag_alone_makes_root_mount() {
    let config = load(None, "--store blobs --listen h:1 --anonymous get --allow-unsealed").unwrap();
    assert_eq!(config.listen, [ListenAddress::Tcp("h:1".into())]);
    assert_eq!(
        config.mounts,
        [MountConfig {
            prefix: prefix(""),
            source: MountSource::Store("blobs".into()),
            public: false,
            anonymous: Scopes::GET,
            allow_unsealed: true,
        }]
    );
}

/// Flags override the configuration file, and all other keys keep the file's values.
#[test]
fn config_flags_override_file() {
    let flags = "--listen h:1 --http h:2 --admin h:3 --user root --no-sandbox --engine mmap --congestion reno \
                 --workers 9 --log warn --log-format text --max-connections 7 --idle-timeout 8 \
                 --pool-threads 6 --shutdown-timeout 5 --store blobs";
    let file = FULL.replace("sandbox = false", "sandbox = true");
    let config = load(Some(&file), flags).unwrap();
    assert_eq!(config.listen, [ListenAddress::Tcp("h:1".into())]);
    assert_eq!(config.http, [ListenAddress::Tcp("h:2".into())]);
    assert_eq!(config.admin, Some(ListenAddress::Tcp("h:3".into())));
    assert_eq!(config.user.as_deref(), Some("root"));
    assert!(!config.sandbox);
    assert_eq!(config.engine, Engine::Mmap);
    assert_eq!(config.congestion.as_deref(), Some("reno"));
    assert_eq!((config.workers, config.log_format), (9, LogFormat::Text));
    assert_eq!(config.log.as_deref(), Some("warn"));
    assert_eq!((config.limits.max_connections, config.limits.pool_threads), (7, 6));
    let (idle, shutdown) = (Duration::from_secs(8), Duration::from_secs(5));
    assert_eq!((config.limits.idle_timeout, config.limits.shutdown_timeout), (idle, shutdown));
    // What no flag speaks of is the file's.
    assert_eq!(config.limits.max_open_files, 300);
    let prefixes: Vec<&str> = config.mounts.iter().map(|mount| mount.prefix.as_str()).collect();
    assert_eq!(prefixes, ["images/base", "images", ""]);
    assert_eq!(config.mounts[2].source, MountSource::Store("blobs".into()));
    assert_eq!(config.mounts[2].anonymous, Scopes::NONE, "the file's went with its mount");
}

/// Without flags the mounts and addresses of the configuration file are used.
#[test]
fn config_without_flags_keeps_file_values() {
    let Config { file, ref mounts, ref listen, .. } = load(Some(FULL), "").unwrap();
    assert_eq!((mounts.len(), listen.len()), (3, 2));
    assert!(file.is_some());
}

/// Config rejects a setup with nothing to serve, conflicting limits, and unreadable files.
#[test]
fn config_load_rejects_nothing_to_serve_and_bad_file() {
    let load = |file, flags| load_beside(file, flags, &Directories::default());
    let nothing = load(None, "--listen h:1").unwrap_err();
    assert!(matches!(nothing, ConfigError::NothingToServe), "{nothing}");
    let nothing = load(Some("listen = []"), "").unwrap_err();
    assert!(matches!(nothing, ConfigError::NothingToServe), "{nothing}");
    let file = "[limits]\nmax_open_files = 3\nopen_file_cache = 4\n[[mount]]\nstore = \"s\"";
    assert_eq!(
        load(Some(file), "").unwrap_err().to_string(),
        "limits.open_file_cache (4) is more than limits.max_open_files (3): lower the first or \
         raise the second"
    );
    let absent = ServeArgs { config: Some("/no/such.toml".into()), ..ServeArgs::default() };
    assert_eq!(
        Config::load(&absent).unwrap_err().to_string(),
        "cannot read the configuration /no/such.toml: No such file or directory (os error 2)"
    );
    let endless = ServeArgs { config: Some("/dev/zero".into()), ..ServeArgs::default() };
    assert!(matches!(Config::load(&endless), Err(ConfigError::TooLong { .. })));
}

/// Config::differences names the changed keys as the file spells them.
#[test]
fn config_differences_name_changed_keys() {
    let old = read_file(FULL);
    assert!(old.differences(&old).is_empty());
    let text =
        FULL.replace("64MiB", "65MiB").replace("\"bbr\"", "\"reno\"").replace("public = true", "");
    assert_eq!(read_file(&text).differences(&old), ["congestion", "limits.upload_memory", "mount"]);
}
