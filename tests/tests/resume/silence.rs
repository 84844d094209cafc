//! A line that falls silent: what either side sends is swallowed, keep-alives are answered, and
//! nobody is told of anything. So is a proxy that hangs, and so, for a while, is a NAT that has
//! forgotten a connection. The client gives the connection up after its time of silence; the server
//! still waits for it, for its idle time, when the client is back by another one.

use std::{
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use zput::{
    Error, Event, Notice, PutReceipt, Silent,
    cli::{Directories, FileSource, KeyPath, PutOptions, Resolver, Route, Session},
};
use zput_proto::{name::BlobName, session::Patience};
use zput_tests::{Fate, Pattern, Ran, Way, names, until};

use crate::setting::{FILE, PART, SEALED_PART, Setting, goes_on};

const SILENT: &str = ": the peer was idle for too long";

/// One connection was abandoned, and the first retry succeeded: no answer was `Busy`.
#[track_caller]
fn came_back_once(ran: &Ran) {
    assert_eq!(ran.stderr.matches(SILENT).count(), 1, "{}", ran.stderr);
    assert_eq!(ran.stderr.matches("retrying in").count(), 1, "{}", ran.stderr);
}

/// With the patience that commands have: 60 s, half of what the server bears.
#[test]
fn zput_and_zget_resume_after_silence_of_60_s() {
    let (ends, ..) = Setting::in_clear().ends();
    // In the third part; over TLS the handshake is a few kilobytes longer.
    let third = ends[1] + SEALED_PART / 2;
    let file_over_tls = || {
        let setting = Setting::over_tls();
        let bytes = setting.write(1);
        setting.line.plan([Fate::Swallow(Way::Up, third)]);
        let ran = setting.persistently("zput", &[FILE]).ok();
        came_back_once(&ran);
        assert!(ran.stderr.ends_with(&goes_on("zput", 2 * PART)), "{}", ran.stderr);
        setting.is_stored(&bytes, 1);
    };
    let stream_in_clear = || {
        let setting = Setting::in_clear();
        let bytes = setting.write(2);
        setting.line.plan([Fate::Swallow(Way::Up, third)]);
        let exec = ["--name", FILE, "--exec", "--", "cat", FILE];
        came_back_once(&setting.persistently("zput", &exec).ok());
        setting.is_stored(&bytes, 1);
    };
    let get = || {
        let setting = Setting::over_tls();
        let bytes = setting.write(3);
        let _stored = setting.put();
        setting.line.plan([Fate::Swallow(Way::Down, 2 * SEALED_PART + SEALED_PART / 2)]);
        let ran = setting.persistently("zget", &["-o", "got", FILE]).ok();
        came_back_once(&ran);
        assert!(setting.home.read("got") == bytes);
    };
    thread::scope(|scope| {
        scope.spawn(file_over_tls);
        scope.spawn(stream_in_clear);
        scope.spawn(get);
    });
}

/// A machine whose client bears silence for a second, and a commit that is not answered for two.
pub(crate) struct Impatient {
    pub(crate) setting: Setting,
    pub(crate) client: Session,
    /// Why it tried again, and what it said when it went on.
    said: Arc<Mutex<Vec<String>>>,
}

/// The texts of an error and of its causes.
fn with_causes(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

impl Impatient {
    pub(crate) fn of(setting: Setting) -> Self {
        let key_file = KeyPath::new(setting.home.key_file()).open().unwrap();
        let home = setting.home.path();
        let directories = Directories {
            config: home.join(".config/zput"),
            data: home.join(".local/share/zput"),
            state: home.join(".local/state/zput"),
        };
        let mut client = Session::new(key_file, &directories).unwrap();
        let mut patience = Patience::default();
        patience.silence = Duration::from_secs(1);
        patience.answer = Duration::from_secs(2);
        client.set_route(Route::new(Resolver::system(), patience));
        let said = Arc::new(Mutex::new(Vec::new()));
        let says = Arc::clone(&said);
        let listen = move |notice: &Notice<'_>| {
            if let Event::Retry { error, .. } = notice.event {
                says.lock().unwrap().push(with_causes(error));
            }
        };
        client.set_retries(5, Arc::new(listen));
        Self { setting, client, said }
    }

    /// Puts the file.
    pub(crate) fn try_put(&mut self) -> Result<PutReceipt, Error> {
        let name = BlobName::parse(FILE).unwrap();
        let source = FileSource::open(&self.setting.home.file(FILE)).unwrap();
        self.client.put(&name, source, &PutOptions::default(), &Silent)
    }

    /// The same; whatever the line does, it is stored once in the end.
    fn put(&mut self, bytes: &[u8]) {
        self.setting.home.write(FILE, bytes);
        let _stored = self.try_put().unwrap();
        let said = std::mem::take(&mut *self.said.lock().unwrap());
        // A busy machine may take its time as well; a server that is busy is none that has a dead
        // line.
        assert!(!said.is_empty() && said.iter().all(|said| said.ends_with(SILENT)), "{said:?}");
        self.is_stored(bytes);
    }

    /// As one version.
    #[track_caller]
    pub(crate) fn is_stored(&self, bytes: &[u8]) {
        self.setting.line.plan([]);
        let got = self.setting.home.run("zget", ["-o", "-", FILE]).ok();
        assert!(got.stdout == bytes);
        let listed = self.setting.home.run("zblob stat", ["--versions", FILE]).ok();
        assert_eq!(listed.text().lines().count(), 1, "{}", listed.text());
        assert_eq!(self.setting.journals(), [""; 0]);
    }

    /// The server has lost no upload: the kept file is that of a closed connection.
    pub(crate) fn forget(&mut self) {
        self.client.disconnect();
        self.setting.line.hang_up();
        let staging = self.setting.server.store().join("staging");
        until("staging is empty", || names(&staging).is_empty());
        self.setting.forget();
    }
}

/// Wherever that is: in the handshake, in front of a part, in it, between two, in the footer, and
/// before the answer to the commit has come.
#[test]
fn put_resumes_after_silence_at_any_stage() {
    let bytes = Pattern::bytes(1, PART + 1_000_000);
    let probe = Setting::in_clear();
    probe.home.write(FILE, &bytes);
    let _stored = probe.put();
    let talk = probe.line.talks().remove(0);
    let (up, down) = (talk.up.len() as u64, talk.down.len() as u64);
    // FORMAT 6: a part of 1,000,000 bytes has 62 chunks.
    let footer = up - zput_tests::Uploads::of(&talk).slices[2].length - 5;
    let second = footer - 1_001_048;
    for setting in [Setting::in_clear(), Setting::over_tls()] {
        let mut impatient = Impatient::of(setting);
        for silence in [
            Fate::Swallow(Way::Up, 60),
            Fate::Swallow(Way::Up, second - SEALED_PART / 2),
            Fate::Swallow(Way::Up, second),
            Fate::Swallow(Way::Up, footer - 9),
            Fate::Swallow(Way::Up, up - 1),
            Fate::Swallow(Way::Down, down - 1),
        ] {
            impatient.setting.line.plan([silence]);
            impatient.put(&bytes);
            impatient.forget();
        }
    }
}
