//! Literal bytes in, literal bytes out.

mod conditions;
mod heads;
mod objects;
mod splits;
mod time;

use std::{
    cell::Cell,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use super::{Answer, Date, EntityTag, Facts, Method, Now, Session, Timeouts, Transmit};

/// What the objects at `digits` and `empty` hold.
const DIGITS: &[u8] = b"0123456789";

/// An object that is announced but not copied around.
const HUGE_BYTES: u64 = 1 << 40;

/// Sun, 06 Nov 1994 08:49:37 GMT.
const NOW_SECONDS: u64 = 784_111_777;

/// Sun, 06 Nov 1994 07:49:37 GMT, and a little.
fn modified() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis((NOW_SECONDS - 3600) * 1000 + 250)
}

fn date() -> Date {
    Date::at(UNIX_EPOCH + Duration::from_secs(NOW_SECONDS))
}

fn facts(length: u64) -> Facts<'static> {
    Facts {
        length,
        etag: EntityTag::strong("v1").unwrap(),
        modified: Some(modified()),
        content_type: None,
    }
}

fn lookup(path: &str) -> Answer<'static> {
    match path {
        "digits" | "notes.txt" => Answer::Found(facts(10)),
        "empty" => Answer::Found(facts(0)),
        "huge" => Answer::Found(facts(HUGE_BYTES)),
        "undated" => Answer::Found(Facts { modified: None, ..facts(10) }),
        "busy" => Answer::Busy,
        "broken" => Answer::Internal,
        _ => Answer::NotFound,
    }
}

/// A session whose client reads all bytes at once.
struct Connection {
    session: Session,
    now: Now,
    /// The bytes that the client received; of the object `huge` only the range.
    out: Vec<u8>,
    requests: Vec<(Method, String)>,
    /// The most bytes that leave at a time.
    step: Cell<usize>,
}

impl Connection {
    fn new() -> Self {
        let now = Now { instant: Instant::now(), date: date() };
        Self {
            session: Session::new(Timeouts::default(), now.instant),
            now,
            out: Vec::new(),
            requests: Vec::new(),
            step: Cell::new(usize::MAX),
        }
    }

    fn advance(&mut self, time: Duration) {
        self.now.instant += time;
    }

    /// Gives `input` to the session as it accepts bytes, and answers its requests. Returns the
    /// bytes that were not taken.
    fn feed<'a>(&mut self, mut input: &'a [u8]) -> &'a [u8] {
        loop {
            let taken = self.session.handle_input(&self.now, input);
            input = &input[taken..];
            let served = self.serve();
            self.drain();
            if !served && (taken == 0 || input.is_empty()) {
                return input;
            }
        }
    }

    /// Whether a request was answered.
    fn serve(&mut self) -> bool {
        let Some(request) = self.session.poll_request() else { return false };
        let (method, path) = (request.method(), request.path().to_owned());
        let answer = lookup(&path);
        self.requests.push((method, path));
        self.session.answer(&self.now, &answer).unwrap();
        true
    }

    /// Accepts all bytes that the session wants to write.
    fn drain(&mut self) {
        while self.transmit_one() {}
    }

    /// Accepts one step of output; false when there is none.
    fn transmit_one(&mut self) -> bool {
        let step = self.step.get();
        match self.session.poll_transmit() {
            None => return false,
            Some(Transmit::Bytes { bytes, .. }) => {
                let count = bytes.len().min(step);
                self.out.extend_from_slice(&bytes[..count]);
                self.session.bytes_sent(&self.now, count);
            }
            Some(Transmit::Payload(range)) if range.end > 10 => {
                self.out.extend_from_slice(format!("<{}..{}>", range.start, range.end).as_bytes());
                self.session.payload_sent(&self.now, range.end - range.start);
            }
            Some(Transmit::Payload(range)) => {
                let start = usize::try_from(range.start).unwrap();
                let count = (usize::try_from(range.end).unwrap() - start).min(step);
                self.out.extend_from_slice(&DIGITS[start..start + count]);
                self.session.payload_sent(&self.now, count as u64);
            }
        }
        true
    }

    fn out(&self) -> &str {
        str::from_utf8(&self.out).unwrap()
    }
}

/// All bytes that a client receives for `input`, and whether the connection stays open.
fn exchange(input: &[u8]) -> (String, bool) {
    let mut connection = Connection::new();
    connection.feed(input);
    (connection.out().to_owned(), !connection.session.should_close())
}

/// A request for `path` with these field lines.
fn get(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: h\r\n{fields}\r\n")
}

/// The status line of what a client gets for `input`.
fn status(input: &str) -> String {
    exchange(input.as_bytes()).0.split("\r\n").next().unwrap().to_owned()
}
