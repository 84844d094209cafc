//! What `--json` prints, against docs/JSON.md and its schemas.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};
use zput_proto::message::Scopes;
use zput_testkit::{Machine, Ran, StoreServer};

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

fn schema(name: &str) -> Value {
    let path = docs().join("json").join(format!("{name}.schema.json"));
    serde_json::from_slice(&fs::read(&path).unwrap()).unwrap()
}

/// Checks `value` against the part of JSON Schema (draft 2020-12) that the schemas use. An unknown
/// keyword fails, and so does a field that is not in the schema.
#[track_caller]
fn check(schema: &Map<String, Value>, value: &Value, at: &str) {
    for (keyword, rule) in schema {
        match keyword.as_str() {
            "$schema" | "title" | "description" => {}
            "type" => {
                let kinds = rule.as_array().cloned().unwrap_or_else(|| vec![rule.clone()]);
                assert!(kinds.iter().any(|kind| is_of(value, kind)), "{at}: {value} is no {rule}");
            }
            "enum" => assert!(rule.as_array().unwrap().contains(value), "{at}: {value}"),
            "pattern" => {
                let Some(text) = value.as_str() else { continue };
                assert!(fits(rule.as_str().unwrap(), text), "{at}: {text} does not fit {rule}");
            }
            "minimum" => assert!(value.as_u64() >= rule.as_u64(), "{at}: {value} < {rule}"),
            "maximum" => assert!(value.as_u64() <= rule.as_u64(), "{at}: {value} > {rule}"),
            "required" => {
                for field in rule.as_array().unwrap() {
                    let field = field.as_str().unwrap();
                    assert!(value.get(field).is_some(), "{at}: {field} is missing in {value}");
                }
            }
            "items" => {
                for item in value.as_array().into_iter().flatten() {
                    check(rule.as_object().unwrap(), item, at);
                }
            }
            "properties" => {
                for (field, value) in value.as_object().unwrap() {
                    let rule = rule.get(field).unwrap_or_else(|| panic!("{at}: {field} is new"));
                    check(rule.as_object().unwrap(), value, &format!("{at}.{field}"));
                }
            }
            // Readers have to ignore unknown fields; this check does not.
            "additionalProperties" => assert_eq!(*rule, Value::Bool(true)),
            other => panic!("{other} is not known here"),
        }
    }
}

fn is_of(value: &Value, kind: &Value) -> bool {
    match kind.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("{other} is not known here"),
    }
}

/// The patterns that the schemas use, each as a function, because there is no regex engine here.
fn fits(pattern: &str, text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match pattern {
        "^[0-9]{1,20}$" => digits(text) && text.len() <= 20,
        "^0[0-7]{3}$" => {
            text.len() == 4
                && text.starts_with('0')
                && text.bytes().all(|b| matches!(b, b'0'..=b'7'))
        }
        "^[0-9a-f]{64}$" => {
            text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        }
        "^([0-9]{4}|[+-][0-9]{6,})-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]+)?Z$" => {
            // Years of four digits are all that these tests make.
            let shape = |c: char| if c.is_ascii_digit() { 'd' } else { c };
            let text: String = text.chars().map(shape).collect();
            let fraction =
                text.strip_prefix("dddd-dd-ddTdd:dd:dd").and_then(|t| t.strip_suffix('Z'));
            fraction.is_some_and(|f| {
                f.is_empty()
                    || f.starts_with('.') && f.len() > 1 && f[1..].bytes().all(|b| b == b'd')
            })
        }
        other => panic!("{other} is not known here"),
    }
}

/// Checks that `count` lines were printed and that each fits the schema.
#[track_caller]
fn lines(ran: &Ran, name: &str, count: usize) {
    let schema = schema(name);
    let text = ran.text();
    assert_eq!(text.lines().count(), count, "{text}");
    for line in text.lines() {
        check(schema.as_object().unwrap(), &serde_json::from_str(line).unwrap(), name);
    }
}

/// The JSON lines of put, get, list, stat, remove and restore fit their schemas.
#[test]
fn json_output_of_store_commands_fits_the_schemas() {
    let machine = Machine::new();
    machine.write("a", "abc");
    machine.write("b", "");
    lines(&machine.run_line("zput --json --sha256 a").ok(), "put", 1);
    lines(&machine.run_line("zput --json a b").ok(), "put", 2);
    lines(&machine.run_line("zput --json --plaintext --name plain a").ok(), "put", 1);
    lines(&machine.run_line("zget --json -o c a").ok(), "get", 1);
    lines(&machine.run_line("zget --json --verify-only a b").ok(), "get", 2);
    lines(&machine.run_line("zget --json --plaintext plain").ok(), "get", 1);
    lines(&machine.run_line("zblob ls --json").ok(), "ls", 2);
    lines(&machine.run_line("zblob stat --json a b").ok(), "stat", 2);
    lines(&machine.run_line("zblob stat --json --verify a").ok(), "stat", 1);
    machine.run_line("zput --sha256 a").ok();
    lines(&machine.run_line("zblob stat --json a").ok(), "stat", 1);
    lines(&machine.run_line("zblob stat --json --versions a").ok(), "stat-versions", 3);
    lines(&machine.run_line("zblob rm --json -n a").ok(), "rm", 1);
    lines(&machine.run_line("zblob rm --json a").ok(), "rm", 1);
    lines(&machine.run_line("zblob restore --json a").ok(), "restore", 1);
}

/// The JSON lines of zblob key, zblob seal and zblob open fit their schemas.
#[test]
fn json_output_of_key_and_offline_commands_fits_the_schemas() {
    let machine = Machine::new();
    machine.write("a", "abc");
    lines(&machine.run_line("zblob key new --json").ok(), "key-made", 1);
    lines(&machine.run_line("zblob key show --json").ok(), "key-show", 1);
    lines(&machine.run_line("zblob key public --json").ok(), "key-public", 1);
    lines(&machine.run_line("zblob key export --json --get-only -o g.zkey").ok(), "key-made", 1);
    lines(&machine.run_line("zblob seal --json a").ok(), "seal", 1);
    lines(&machine.run_line("zblob seal --json -o - a").ended(2), "error", 1);
    lines(&machine.run_line("zblob open --json -o b a.zput").ok(), "open", 1);
    lines(&machine.run_line("zblob open --json -o - a.zput").ended(2), "error", 1);
    machine.write("word", "hunter2");
    let set = ["passphrase", "set", "--json", "--passphrase-command", "cat word"];
    lines(&machine.run("zblob key", set).ok(), "key-passphrase", 1);
    lines(&machine.run_line("zblob key show --json").ok(), "key-show", 1);
    let served = StoreServer::private();
    let invite = served.invite_text(Scopes::ALL);
    let joined =
        machine.run_line_on(invite.as_bytes(), "zblob key join --json --key other.zkey").ok();
    lines(&joined, "key-join", 1);
}

/// The JSON of failures fits the error schema and states the exit code.
#[test]
fn json_errors_fit_the_schema_and_the_exit_code() {
    let machine = Machine::new();
    machine.write("a", "abc");
    lines(&machine.run_line("zblob ls --json").ended(7), "error", 1);
    machine.run_line("zput a").ok();
    machine.run_line("zput --name gone a").ok();
    machine.run_line("zblob rm gone").ok();
    for (line, code) in [
        ("zput --json --if-absent a", 10),
        ("zput --json nothing", 4),
        ("zput --json --name .. a", 2),
        ("zput --json", 2),
        ("zget --json gone", 4),
        ("zget --json --at 5 -o x a", 4),
        ("zget --json --at 1999-01-01 -o x a", 4),
        ("zget --json -o - a", 2),
        ("zget --json a", 10),
        ("zblob ls --json nothing*", 4),
        ("zblob ls --json --colour", 2),
        ("zblob stat --json none", 4),
        ("zblob rm --json none", 4),
        ("zblob restore --json a", 4),
        ("zblob key public --json --key none", 7),
    ] {
        let ran = machine.run_line(line).ended(code);
        lines(&ran, "error", 1);
        assert_eq!(ran.json("error")["exit"], code, "{line}");
    }
    let served = StoreServer::private();
    let host = served.member();
    host.run_line("zblob key export --put-only -o put.zkey").ok();
    host.run_line_on(served.invite_text(Scopes::PUT).as_bytes(), "zblob key join --key put.zkey")
        .ok();
    lines(&host.run_line("zblob rm --json --key put.zkey x").ended(6), "error", 1);
}

/// The page JSON lists every error code and every field of the schemas.
#[test]
fn json_page_lists_every_code_and_field() {
    let page = fs::read_to_string(docs().join("JSON.md")).unwrap();
    let error = schema("error");
    let codes: Vec<&str> = error["properties"]["error"]["properties"]["code"]["enum"]
        .as_array()
        .unwrap()
        .iter()
        .map(|code| code.as_str().unwrap())
        .collect();
    assert_eq!(codes, zput_cli::CODES);
    for code in codes {
        assert!(page.contains(&format!("\n| `{code}` | ")), "{code}");
    }
    let mut schemas = BTreeSet::new();
    for entry in fs::read_dir(docs().join("json")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let name = name.strip_suffix(".schema.json").unwrap().to_owned();
        let begins =
            page.find(&format!("`{name}.schema.json`")).unwrap_or_else(|| panic!("{name}"));
        let section = page[begins..].split("\n## ").next().unwrap();
        let schema = schema(&name);
        let fields = match name.as_str() {
            "error" => &schema["properties"]["error"]["properties"],
            _ => &schema["properties"],
        };
        for field in fields.as_object().unwrap().keys() {
            assert!(section.contains(&format!("\n| `{field}` | ")), "{name}: {field}");
        }
        schemas.insert(name);
    }
    assert!(schemas.len() == 15, "{schemas:?}");
}
