use std::{fs, path::Path, thread, time::Duration};

use zput_proto::message::Scopes;

use super::*;
use crate::{runtime::address::ListenAddress, transfer::engines::Engine, zserve::log::LogFormat};

const FULL: &str = r#"
listen = ["0.0.0.0:7399", "unix:/run/zput/zput.sock"]
http = ["[::1]:8080"]
admin = "127.0.0.1:9399"
user = "zput"
sandbox = false
create = false
engine = "splice"
congestion = "bbr"
workers = 3
log = "info,zput_server=debug"
log_format = "json"

[limits]
max_connections = 5000
max_connections_per_client = 64
idle_timeout = "90s"
min_rate = "2KiB"
http_header_timeout = "5s"
max_open_files = 300
open_file_cache = 200
upload_expiry = "36h"
upload_memory = "64MiB"
pool_threads = 16
shutdown_timeout = "1500ms"

[[mount]]
store = "blobs"
anonymous = "put,get"
allow_unsealed = true

[[mount]]
prefix = "images/base"
dir = "/srv/images"
public = true
revalidate_after = "250ms"

[[mount]]
prefix = "images"
tar = "/srv/images.tar"
strip_prefix = "export/"
anonymous = "list"
allow_unsealed = false
"#;

fn prefix(text: &str) -> MountPrefix {
    MountPrefix::parse(text).unwrap()
}

fn read_file(text: &str) -> Config {
    parse(Path::new("/etc/zput/zserve.toml"), text).unwrap()
}

fn refused(text: &str) -> String {
    parse(Path::new("z.toml"), text).unwrap_err().to_string()
}

/// Every key of the configuration file sets its field of Config.
#[test]
fn config_file_sets_every_key() {
    let expected = Config {
        file: Some("/etc/zput/zserve.toml".into()),
        listen: vec![
            ListenAddress::Tcp("0.0.0.0:7399".into()),
            ListenAddress::Unix("/run/zput/zput.sock".into()),
        ],
        http: vec![ListenAddress::Tcp("[::1]:8080".into())],
        admin: Some(ListenAddress::Tcp("127.0.0.1:9399".into())),
        user: Some("zput".into()),
        sandbox: false,
        create: false,
        engine: Engine::Splice,
        congestion: Some("bbr".into()),
        workers: 3,
        log: Some("info,zput_server=debug".into()),
        log_format: LogFormat::Json,
        limits: Limits {
            max_connections: 5000,
            max_connections_per_client: Some(64),
            idle_timeout: Duration::from_secs(90),
            min_rate: 2048,
            http_header_timeout: Duration::from_secs(5),
            max_open_files: 300,
            open_file_cache: 200,
            upload_expiry: Duration::from_secs(129_600),
            upload_memory: 67_108_864,
            pool_threads: 16,
            shutdown_timeout: Duration::from_millis(1500),
        },
        mounts: vec![
            MountConfig {
                prefix: prefix(""),
                source: MountSource::Store("/etc/zput/blobs".into()),
                public: false,
                anonymous: Scopes::PUT.and(Scopes::GET),
                allow_unsealed: true,
            },
            MountConfig {
                prefix: prefix("images/base"),
                source: MountSource::Dir {
                    path: "/srv/images".into(),
                    revalidate_after: Duration::from_millis(250),
                },
                public: true,
                anonymous: Scopes::GET.and(Scopes::LIST),
                allow_unsealed: true,
            },
            MountConfig {
                prefix: prefix("images"),
                source: MountSource::Tar {
                    path: "/srv/images.tar".into(),
                    strip_prefix: Some("export/".into()),
                },
                public: false,
                anonymous: Scopes::LIST,
                allow_unsealed: false,
            },
        ],
    };
    assert_eq!(read_file(FULL), expected);
}

/// Keys that the configuration file leaves out have their documented defaults.
#[test]
fn config_missing_keys_have_defaults() {
    let config = read_file("[[mount]]\nstore = \"s\"\n[[mount]]\nprefix = \"d\"\ndir = \"d\"");
    let cores = thread::available_parallelism().unwrap().get();
    assert_eq!(config.workers, cores);
    assert!(config.sandbox && config.create && config.listen.is_empty() && config.admin.is_none());
    let limits = config.limits;
    assert_eq!((limits.max_connections, limits.max_connections_per_client), (1024, None));
    assert_eq!((limits.idle_timeout, limits.min_rate), (Duration::from_secs(120), 1024));
    assert_eq!((limits.max_open_files, limits.open_file_cache), (1024, 512));
    assert_eq!(limits.upload_expiry, Duration::from_secs(259_200));
    assert_eq!(limits.upload_memory, 33_554_432);
    assert_eq!(limits.pool_threads, (2 * cores).clamp(32, 64));
    assert_eq!(limits.http_header_timeout, Duration::from_secs(10));
    assert_eq!(limits.shutdown_timeout, Duration::from_secs(30));
    let [store, dir] = &config.mounts[..] else { panic!("{:?}", config.mounts) };
    assert_eq!((store.public, store.anonymous, store.allow_unsealed), (false, Scopes::NONE, false));
    assert!(dir.allow_unsealed && dir.anonymous == Scopes::NONE);
    let MountSource::Dir { revalidate_after, .. } = dir.source else { panic!("{dir:?}") };
    assert_eq!(revalidate_after, Duration::from_secs(2));
    // Few open files bring down how many are kept.
    assert_eq!(read_file("[limits]\nmax_open_files = 4").limits.open_file_cache, 4);
}

/// Zero for max_connections_per_client, min_rate and open_file_cache is read as off.
#[test]
fn config_limit_zero_disables_limit() {
    let zeros = "[limits]\nmax_connections_per_client = 0\nmin_rate = 0\nopen_file_cache = 0";
    let limits = read_file(zeros).limits;
    assert_eq!((limits.min_rate, limits.open_file_cache), (0, 0));
    assert_eq!(limits.max_connections_per_client, Some(0));
}

/// File, line, key, and what to do.
#[test]
fn config_error_names_line_key_and_fix() {
    for (text, expected) in [
        ("listen = [\n", "z.toml:1: unclosed array, expected `]`"),
        (
            "\nlissten = []",
            "z.toml:2: unknown field `lissten`, expected one of `listen`, `http`, `admin`, `user`, \
             `sandbox`, `create`, `engine`, `congestion`, `workers`, `log`, `log_format`, `limits`, \
             `mount`",
        ),
        (
            "listen = [\n  \"h:1\",\n  \"nowhere\",\n]",
            "z.toml:1: \"nowhere\" is no address to listen on: write HOST:PORT, [IPV6]:PORT or \
             unix:/path in `listen`",
        ),
        (
            "listen = 7460",
            "z.toml:1: invalid type: integer `7460`, expected an address, such as \
             \"127.0.0.1:7460\", or a list of addresses in `listen`",
        ),
        (
            "workers = 0",
            "z.toml:1: invalid value: integer `0`, expected a whole number of at least 1 in \
             `workers`",
        ),
        (
            "engine = \"fast\"",
            "z.toml:1: \"fast\" is no engine: choose sendfile, splice, mmap or copy in `engine`",
        ),
        (
            "sandbox = \"yes\"",
            "z.toml:1: invalid type: string \"yes\", expected a boolean in `sandbox`",
        ),
        (
            "log_format = \"xml\"",
            "z.toml:1: unknown variant `xml`, expected `text` or `json` in `log_format`",
        ),
        (
            "[limits]\nidle_timeout = 90",
            "z.toml:2: invalid type: integer `90`, expected a time with its unit, such as \"90s\" \
             or \"2m\" in `limits.idle_timeout`",
        ),
        (
            "[limits]\nidle_timeout = \"1500ms\"",
            "z.toml:2: write a time of whole seconds, at least \"1s\" in `limits.idle_timeout`",
        ),
        (
            "[limits]\nidle_timeout = \"0s\"",
            "z.toml:2: write a time of whole seconds, at least \"1s\" in `limits.idle_timeout`",
        ),
        (
            "[limits]\nshutdown_timeout = \"soon\"",
            "z.toml:2: invalid value: string \"soon\", expected a time with its unit, such as \
             \"90s\" or \"2m\" in `limits.shutdown_timeout`",
        ),
        (
            "[limits]\nupload_memory = \"much\"",
            "z.toml:2: invalid value: string \"much\", expected a number of bytes, or a size with \
             its unit, such as \"32MiB\" in `limits.upload_memory`",
        ),
        (
            "[limits]\nmin_rate = \"17179869184GiB\"",
            "z.toml:2: invalid value: string \"17179869184GiB\", expected a number of bytes, or a \
             size with its unit, such as \"32MiB\" in `limits.min_rate`",
        ),
        (
            "[limits]\nmin_rate = -1",
            "z.toml:2: invalid value: integer `-1`, expected a number of bytes, or a size with its \
             unit, such as \"32MiB\" in `limits.min_rate`",
        ),
        (
            "[limits]\nconections = 1",
            "z.toml:2: unknown field `conections`, expected one of `max_connections`, \
             `max_connections_per_client`, `idle_timeout`, `min_rate`, `http_header_timeout`, \
             `max_open_files`, `open_file_cache`, `upload_expiry`, `upload_memory`, \
             `pool_threads`, `shutdown_timeout` in `limits`",
        ),
        (
            "\n[[mount]]\nprefix = \"a\"",
            "z.toml:2: mount \"a\": give exactly one of store, dir and tar",
        ),
        (
            "[[mount]]\nstore = \"s\"\ndir = \"d\"",
            "z.toml:1: mount \"\": give exactly one of store, dir and tar",
        ),
        (
            "[[mount]]\nstore = \"s\"\n[[mount]]\ndir = \"d\"",
            "z.toml:3: mount \"\": it is there already: give each mount a prefix of its own",
        ),
        (
            "[[mount]]\ndir = \"d\"\nanonymous = \"get,put\"",
            "z.toml:1: mount \"\": anonymous = \"put,get\", but a dir or a tar is only read: write \
             get, list or both",
        ),
        (
            "[[mount]]\ntar = \"t\"\nanonymous = \"delete\"",
            "z.toml:1: mount \"\": anonymous = \"delete\", but a dir or a tar is only read: write \
             get, list or both",
        ),
        (
            "[[mount]]\nstore = \"s\"\nanonymous = \"read\"",
            "z.toml:3: \"read\" is no scope: write some of put,get,list,delete in \
             `mount.anonymous`",
        ),
        (
            "[[mount]]\nstore = \"s\"\nrevalidate_after = \"1s\"",
            "z.toml:1: mount \"\": revalidate_after is for a dir: leave it out",
        ),
        (
            "[[mount]]\ndir = \"d\"\nstrip_prefix = \"x\"",
            "z.toml:1: mount \"\": strip_prefix is for a tar: leave it out",
        ),
        (
            "[[mount]]\nprefix = \"/a\"\ndir = \"d\"",
            "z.toml:2: \"/a\" is no prefix: it begins or ends with a slash: leave that out, or \
             write \"\" for the root in `mount.prefix`",
        ),
        (
            "[[mount]]\nprefix = \"a/../b\"\ndir = \"d\"",
            "z.toml:2: \"a/../b\" is no prefix: a component is \".\" or \"..\": write the prefix \
             without in `mount.prefix`",
        ),
        (
            "[[mount]]\nprefix = \"a//b\"\ndir = \"d\"",
            "z.toml:2: \"a//b\" is no prefix: a component is empty: write one slash between two \
             components in `mount.prefix`",
        ),
        (
            "[[mount]]\nprefix = \"a\\u0000\"\ndir = \"d\"",
            "z.toml:2: \"a\\0\" is no prefix: it has a control character in `mount.prefix`",
        ),
    ] {
        assert_eq!(refused(text), expected);
    }
    let long = format!("[[mount]]\ndir = \"d\"\nprefix = \"{}\"", "a".repeat(256));
    assert!(refused(&long).ends_with("is no prefix: it has more than 255 bytes in `mount.prefix`"));
    let many: String = (0..257).map(|n| format!("[[mount]]\nprefix='{n}'\ndir='d'\n")).collect();
    assert_eq!(refused(&many), "z.toml:769: there are more than 256 mounts");
}

/// The example contrib/zserve.toml parses as it is, and with every commented key enabled.
#[test]
fn config_example_parses_with_every_comment_enabled() {
    let text = include_str!("../../../../contrib/zserve.toml");
    let path = Path::new("/etc/zput/zserve.toml");
    let example = parse(path, text).unwrap();
    assert_eq!(example.mounts.len(), 1);
    // And so it is with all that is commented out: such lines begin with a key or a bracket.
    let is_value = |line: &str| line.starts_with("[[") || line.split(' ').nth(1) == Some("=");
    let uncommented: String = text
        .lines()
        .map(|line| line.strip_prefix("# ").filter(|rest| is_value(rest)).unwrap_or(line))
        .flat_map(|line| [line, "\n"])
        .collect();
    let all = parse(path, &uncommented).unwrap();
    assert_eq!((all.mounts.len(), all.user.as_deref(), all.http.len()), (3, Some("zput"), 1));
}

/// What contrib/ starts is what the program takes.
#[test]
fn contrib_units_and_image_use_valid_command_lines() {
    use clap::Parser as _;
    let lines = [
        include_str!("../../../../contrib/zserve.service"),
        include_str!("../../../../contrib/zserve-scrub.service"),
    ];
    let mut commands: Vec<Vec<String>> = lines
        .iter()
        .flat_map(|unit| unit.lines().filter_map(|line| line.strip_prefix("ExecStart=")))
        .map(|line| line.split(' ').map(str::to_owned).collect())
        .collect();
    let image = include_str!("../../../../contrib/Dockerfile");
    let words = |key: &str| -> Vec<String> {
        // The server's image is the last stage of the file.
        let line = image.lines().rev().find_map(|line| line.strip_prefix(key)).unwrap();
        serde_json::from_str(line).unwrap()
    };
    commands.push([words("ENTRYPOINT "), words("CMD ")].concat());
    assert_eq!(commands.len(), 3);
    for command in commands {
        assert_eq!(command[0], "/usr/local/bin/zserve");
        let parsed = Cli::try_parse_from(&command);
        assert!(parsed.is_ok(), "{command:?}: {}", parsed.unwrap_err());
    }
}

/// docs/OPERATIONS.md, "Configuration file".
#[test]
fn operations_page_lists_every_config_key() {
    let page = include_str!("../../../../docs/OPERATIONS.md");
    let mut table = "";
    for line in FULL.lines() {
        if line.starts_with('[') {
            table = if line == "[limits]" { "limits." } else { "" };
        } else if let Some((key, _)) = line.split_once(" = ") {
            assert!(page.contains(&format!("\n| `{table}{key}` |")), "{table}{key}");
        }
    }
}

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
