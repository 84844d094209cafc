//! An HTTP connection against any client: a head is what it says and ends where it ends, a path
//! stays below where it starts, a response has the content that it announces, and however the bytes
//! come, the same comes of them.
//!
//! The first byte says in pieces of which size the others come and leave; 0 is all at once.

use std::{
    path::{Component, Path},
    time::{Duration, Instant, UNIX_EPOCH},
};

use zput_server::http::{
    Answer, Date, EntityTag, FIELDS_MAX, Facts, HEAD_MAX_BYTES, Method, Now, Session,
    TARGET_MAX_BYTES, Timeouts, Transmit,
};

pub(crate) fn run(input: &[u8]) {
    let Some((step, stream)) = input.split_first() else {
        return;
    };
    let whole = serve(stream, usize::MAX);
    assert_eq!(serve(stream, 1), whole);
    if *step > 1 {
        assert_eq!(serve(stream, usize::from(*step)), whole);
    }
}

/// What came of a stream.
#[derive(Debug, Default, PartialEq)]
struct Served {
    /// Where each request ended.
    ends: Vec<usize>,
    out: Vec<u8>,
    over: bool,
}

fn serve(stream: &[u8], step: usize) -> Served {
    let now = Now {
        instant: Instant::now(),
        date: Date::at(UNIX_EPOCH + Duration::from_secs(784_111_777)),
    };
    let mut session = Session::new(Timeouts::default(), now.instant);
    let mut served = Served::default();
    let (mut taken, mut offered, mut start) = (0, 0, 0);
    while taken < stream.len() && session.wants_read() {
        // The next piece comes when the last one was taken.
        if taken == offered {
            offered = stream.len().min(taken.saturating_add(step));
        }
        let count = session.handle_input(&now, &stream[taken..offered]);
        assert!(count > 0 && count <= offered - taken, "a session that wants bytes takes some");
        taken += count;
        assert!(taken - start <= HEAD_MAX_BYTES + 2);
        let mut asked = None;
        if let Some(request) = session.poll_request() {
            check_head(&stream[start..taken]);
            check_path(request.path());
            asked = Some(request.method());
            let answer = look_up(request.path());
            let payload = session.answer(&now, &answer);
            assert!(payload.is_ok_and(|range| range.is_none_or(|range| range.start < range.end)));
        }
        if session.wants_read() {
            continue;
        }
        check_response(&mut session, &now, asked, step, &mut served.out);
        served.ends.push(taken);
        start = taken;
    }
    served.over = session.should_close();
    if served.over {
        assert!(!session.wants_read());
        assert_eq!(session.handle_input(&now, b"GET / HTTP/1.1\r\n"), 0);
        assert!(session.poll_request().is_none() && session.poll_transmit().is_none());
        assert_eq!(session.deadline(), None);
    } else {
        assert_eq!(taken, stream.len());
        session.handle_eof();
        assert!(session.should_close());
    }
    served
}

/// What was taken for one request.
fn check_head(head: &[u8]) {
    assert!(head.ends_with(b"\r\n\r\n") && !head.contains(&0));
    let head = head.strip_prefix(b"\r\n").unwrap_or(head);
    assert!(head.starts_with(b"GET ") || head.starts_with(b"HEAD "));
    let lines: Vec<_> = head.split(|byte| *byte == b'\n').collect();
    // The empty line, and nothing behind it.
    let [first, fields @ .., b"\r", b""] = lines.as_slice() else {
        panic!("not one head: {}", head.escape_ascii())
    };
    assert!(first.len() <= TARGET_MAX_BYTES + 16 && fields.len() <= FIELDS_MAX);
    for line in [*first].iter().chain(fields) {
        let text = line.strip_suffix(b"\r").unwrap_or_default();
        assert!(!text.is_empty() && !text.contains(&b'\r') && !text[0].is_ascii_whitespace());
    }
    for line in fields {
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        assert!(!name.eq_ignore_ascii_case(b"transfer-encoding"));
        if name.eq_ignore_ascii_case(b"content-length") {
            let value = line[name.len() + 1..].trim_ascii();
            assert!(!value.is_empty() && value.iter().all(|digit| *digit == b'0'));
        }
    }
}

/// A path that is looked up.
fn check_path(path: &str) {
    assert!(!path.is_empty() && !path.contains(['\0', '\\']));
    let components: Vec<_> = Path::new(path)
        .components()
        .map(|component| match component {
            Component::Normal(name) => name.to_str(),
            _ => None,
        })
        .collect();
    assert_eq!(components, path.split('/').map(Some).collect::<Vec<_>>());
}

fn look_up(path: &str) -> Answer<'static> {
    let facts = |length| Facts {
        length,
        etag: EntityTag::strong("v1").unwrap_or_else(|| unreachable!()),
        modified: Some(UNIX_EPOCH + Duration::from_secs(784_100_000)),
        content_type: None,
    };
    match path.as_bytes()[0] {
        b'e' => Answer::Found(facts(0)),
        b'h' => Answer::Found(facts(u64::MAX)),
        b'n' => Answer::NotFound,
        b'b' => Answer::Busy,
        b'i' => Answer::Internal,
        _ => Answer::Found(facts(10)),
    }
}

/// Lets a response out: its head and its content are as long as it says.
fn check_response(
    session: &mut Session,
    now: &Now,
    asked: Option<Method>,
    step: usize,
    out: &mut Vec<u8>,
) {
    let (begin, mut payload) = (out.len(), 0);
    while let Some(transmit) = session.poll_transmit() {
        assert!(!session.wants_read() && !session.should_close());
        match transmit {
            Transmit::Bytes { bytes, .. } => {
                let count = bytes.len().min(step);
                assert!(count > 0 && payload == 0);
                out.extend_from_slice(&bytes[..count]);
                session.bytes_sent(now, count);
            }
            Transmit::Payload(range) => {
                assert!(range.start < range.end);
                payload += range.end - range.start;
                session.payload_sent(now, range.end - range.start);
            }
        }
    }
    let response = str::from_utf8(&out[begin..]).unwrap_or_default();
    assert!(response.starts_with("HTTP/1.1 "), "{response}");
    let Some((head, content)) = response.split_once("\r\n\r\n") else {
        panic!("not a response: {response}")
    };
    let length = head.split("\r\n").find_map(|line| line.strip_prefix("Content-Length: "));
    let sent = content.len() as u64 + payload;
    match length.map(str::parse::<u64>) {
        None => assert!(head.starts_with("HTTP/1.1 304 ") && sent == 0, "{head}"),
        Some(length) if sent == 0 => assert!(length == Ok(0) || asked != Some(Method::Get)),
        Some(length) => assert!(length == Ok(sent) && asked != Some(Method::Head), "{head}"),
    }
    let closes = head.contains("\r\nConnection: close");
    assert_eq!(closes, session.should_close(), "{head}");
    assert!(asked.is_some() || closes || head.starts_with("HTTP/1.1 404 "), "{head}");
    out.extend_from_slice(format!("<{payload}>").as_bytes());
}
