use std::{path::Path, thread, time::Duration};

use zput_proto::message::Scopes;

use super::*;
use crate::{runtime::address::ListenAddress, transfer::engines::Engine, zserve::log::LogFormat};

mod loading;

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
    let text = include_str!("../../../../../contrib/zserve.toml");
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
        include_str!("../../../../../contrib/zserve.service"),
        include_str!("../../../../../contrib/zserve-scrub.service"),
    ];
    let mut commands: Vec<Vec<String>> = lines
        .iter()
        .flat_map(|unit| unit.lines().filter_map(|line| line.strip_prefix("ExecStart=")))
        .map(|line| line.split(' ').map(str::to_owned).collect())
        .collect();
    let image = include_str!("../../../../../contrib/Dockerfile");
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
    let page = include_str!("../../../../../docs/OPERATIONS.md");
    let mut table = "";
    for line in FULL.lines() {
        if line.starts_with('[') {
            table = if line == "[limits]" { "limits." } else { "" };
        } else if let Some((key, _)) = line.split_once(" = ") {
            assert!(page.contains(&format!("\n| `{table}{key}` |")), "{table}{key}");
        }
    }
}
