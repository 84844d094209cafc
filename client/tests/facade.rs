//! The client as an embedder uses it, over a store in the file system.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    fs::{self, Permissions},
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tempfile::TempDir;
use zput::{Client, Condition, ErrorKind, KeyFile, source};

/// A directory with a key file, its store, and a place for state.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        Client::create_store(place.at("k.zkey"), place.at("store")).unwrap();
        place
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn client(&self) -> Client {
        let builder = Client::builder().key_file(self.at("k.zkey"));
        builder.state_dir(self.at("state")).open().unwrap()
    }
}

#[test]
fn client_takes_bytes_files_and_readers() {
    let place = Place::new();
    let mut client = place.client();
    fs::write(place.at("file"), "from a file").unwrap();
    client.put("bytes", b"from memory").unwrap();
    client.put("file", place.at("file")).unwrap();
    let endless = io::repeat(7).take(20_000_000);
    let put = client.put("reader", source::reader(endless)).unwrap();
    assert_eq!(put.length, 20_000_000);
    client.put("command", source::command("echo", &["-n", "printed"]).unwrap()).unwrap();
    for (name, contents) in
        [("bytes", "from memory"), ("file", "from a file"), ("command", "printed")]
    {
        assert_eq!(client.get(name).unwrap().read_to_vec().unwrap(), contents.as_bytes());
    }
    assert_eq!(client.get("reader").unwrap().range(19_999_998..).read_to_vec().unwrap(), [7, 7]);
    let names: Vec<String> =
        client.list("").unwrap().into_iter().map(|blob| blob.name.to_string()).collect();
    assert_eq!(names, ["bytes", "command", "file", "reader"]);
    let error = client.put("missing", place.at("missing")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(!error.is_not_found(), "a file that is missing is no missing blob");
}

#[test]
fn save_to_is_atomic_and_keeps_mode_and_what_is_there() {
    let place = Place::new();
    let mut client = place.client();
    fs::write(place.at("file"), "contents").unwrap();
    fs::set_permissions(place.at("file"), Permissions::from_mode(0o600)).unwrap();
    client.put("file", place.at("file")).unwrap();
    let (out, before) = (place.at("out"), fs::metadata(place.at("file")).unwrap());
    client.get("file").unwrap().save_to(&out).unwrap();
    let after = fs::metadata(&out).unwrap();
    assert_eq!((after.mode() & 0o777, after.mtime()), (0o600, before.mtime()));
    fs::write(&out, "mine").unwrap();
    assert!(client.get("file").unwrap().save_to(&out).unwrap_err().already_exists());
    assert_eq!(fs::read(&out).unwrap(), b"mine");
    client.get("file").unwrap().replace().save_to(&out).unwrap();
    assert_eq!(fs::read(&out).unwrap(), b"contents");
    let left = fs::read_dir(place.0.path()).unwrap();
    let temporary = |name: &str| name.ends_with(".tmp");
    assert!(!left.flatten().any(|entry| temporary(entry.file_name().to_str().unwrap())));
}

#[test]
fn write_to_hands_a_writers_error_on() {
    let place = Place::new();
    let mut client = place.client();
    client.put("x", b"contents").unwrap();
    let mut bytes = Vec::new();
    let got = client.get("x").unwrap().write_to(&mut bytes).unwrap();
    assert_eq!((got.length, bytes.as_slice()), (8, &b"contents"[..]));
    let mut full = io::Cursor::new([0; 3]);
    let error = client.get("x").unwrap().write_to(&mut full).unwrap_err();
    assert_eq!(error.to_string(), "cannot write the writer");
    assert!(std::error::Error::source(&error).is_some());
}

#[test]
fn condition_that_is_not_met_is_an_error_of_its_own() {
    let place = Place::new();
    let mut client = place.client();
    let first = client.put("x", b"1").unwrap();
    let put = |client: &mut Client, condition| {
        client.put_with("x", b"2").condition(condition).send().map(|put| put.version)
    };
    assert!(put(&mut client, Condition::Absent).unwrap_err().already_exists());
    let second = put(&mut client, Condition::Version(first.version)).unwrap();
    assert_eq!(client.stat("x").unwrap().version, second);
    assert_eq!(client.get_version("x", first.version).unwrap().read_to_vec().unwrap(), b"1");
    assert_eq!(client.versions("x").unwrap().len(), 2);
    client.remove("x").unwrap();
    assert!(!client.exists("x").unwrap());
    assert!(client.get("x").unwrap_err().is_not_found());
}

#[test]
fn locked_key_file_asks_nobody_but_the_callback() {
    let place = Place::new();
    let open = zput::cli::KeyPath::new(place.at("k.zkey")).open().unwrap();
    let text = open.to_toml_locked("secret", &mut zput::cli::os_rng()).unwrap();
    fs::write(place.at("k.zkey"), text.as_bytes()).unwrap();
    assert!(Client::open(place.at("k.zkey")).unwrap_err().is_locked());
    let asked = Arc::new(AtomicUsize::new(0));
    let client = |passphrase: &'static str| {
        let asked = Arc::clone(&asked);
        let builder = Client::builder().key_file(place.at("k.zkey")).state_dir(place.at("state"));
        let builder = builder.passphrase(move |_| {
            asked.fetch_add(1, Ordering::Relaxed);
            Ok(passphrase.to_owned())
        });
        builder.open()
    };
    assert_eq!(client("wrong").unwrap_err().kind(), ErrorKind::Key);
    client("secret").unwrap().put("x", b"1").unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[test]
fn key_file_without_a_server_is_an_error() {
    let key_file = KeyFile::generate(&mut zput::cli::os_rng());
    let error = Client::builder().key(key_file).state_dir("/nowhere").open().unwrap_err();
    assert_eq!(error.to_string(), "the key file names no server");
}
