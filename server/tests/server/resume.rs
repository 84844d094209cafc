//! Uploads whose connection ends, and those that go on with them (PROTOCOL 5, "Resume").

use std::{
    fs::{self, File},
    path::PathBuf,
    thread,
    time::{Duration, SystemTime},
};

use tempfile::TempDir;
use zput_proto::{
    digest::Digest,
    keys::DeviceTlsKey,
    message::{
        ClaimedSlice, Condition, ErrorCode, HeaderSlice, Kind, Request, Response, Scopes, Section,
    },
    mount::MountName,
};
use zput_server::{
    mounts::{DirMount, MountPoint, Policy, Source},
    store::Clock,
};
use zput_testkit::{RawClient, StoreServer, until};

use super::peer::{
    self, PART_SIZE_LOG2, begin, bytes, code, get, key, sealed, seed, serve, serve_mounts,
};

/// A full part, of which two are worth keeping.
const PART: usize = 524_872;

fn header(name: &str) -> HeaderSlice {
    HeaderSlice::of(sealed(name, 0)[0].clone())
}

fn resume(name: &str) -> Request {
    Request::Resume { key: key(name), condition: Condition::Any, header: header(name) }
}

fn claim(slices: &[&[u8]]) -> Request {
    let claimed =
        |slice: &&[u8]| ClaimedSlice { length: slice.len() as u32, digest: Digest::of(slice) };
    Request::Claim { slices: slices.iter().map(claimed).collect() }
}

/// Three parts, none of them like another, of which the last is short.
fn parts() -> [Vec<u8>; 3] {
    let all = bytes(3 * PART);
    [0..PART, PART..2 * PART, 2 * PART..2 * PART + 400_000].map(|part| all[part].to_vec())
}

/// Puts two parts of "k", and a piece of the third on its way. Gives the rest of that.
fn put_two(peer: &mut RawClient) -> Vec<u8> {
    let [one, two, three] = parts();
    assert_eq!(peer.ask(&begin("k", Kind::Sealed)).unwrap(), Response::Begun);
    for part in [&one, &two] {
        peer.queue_slice(part);
        assert_eq!(peer.receive().unwrap(), Response::SliceHeld);
    }
    peer.queue_slice(&three);
    let mut written = peer.queued();
    let rest = written.split_off(100_000);
    std::io::Write::write_all(peer.stream(), &written).unwrap();
    rest
}

/// Resumes, once the other connection's end has been noticed.
fn resume_at_last(peer: &mut RawClient) -> Response {
    let mut answer = peer.ask(&resume("k")).unwrap();
    until("no other connection has it", || {
        let busy = code(&answer) == Some(ErrorCode::Busy);
        if busy {
            answer = peer.ask(&resume("k")).unwrap();
        }
        !busy
    });
    answer
}

/// Claims what is there, puts the rest, and reads all of it.
fn finish(peer: &mut RawClient) {
    let [one, two, three] = parts();
    assert_eq!(peer.ask(&claim(&[&one])).unwrap(), Response::Held { slices: 1 });
    assert_eq!(peer.ask(&claim(&[&two, &three])).unwrap(), Response::Held { slices: 1 });
    let [header, ..] = sealed("k", 0);
    let footer = zput_framed::footer(&[&one, &two, &three], PART_SIZE_LOG2);
    peer.queue_slice(&three);
    peer.queue_slice(&footer);
    peer.queue(&Request::Commit);
    assert_eq!(peer.receive().unwrap(), Response::SliceHeld);
    assert_eq!(peer.receive().unwrap(), Response::SliceHeld);
    assert!(matches!(peer.receive().unwrap(), Response::Committed { .. }));
    let answer =
        peer.ask(&get("k", &[Section::Header, Section::Body, Section::Footer], Kind::Sealed));
    let Response::Object { header: got, .. } = answer.unwrap() else { panic!("no object") };
    assert_eq!(got.as_deref(), Some(&header[..]));
    assert!(peer.payload().unwrap() == [&one[..], &two, &three, &footer].concat());
}

/// A server, and a device that may put and get.
fn home() -> (StoreServer, DeviceTlsKey) {
    let home = serve(|_| {});
    let device = seed(1);
    home.enroll(&device, Scopes::PUT.and(Scopes::GET));
    (home, device)
}

/// The one file in staging.
fn staged(store: &TempDir) -> PathBuf {
    let files: Vec<_> = fs::read_dir(store.path().join("staging")).unwrap().collect();
    assert_eq!(files.len(), 1);
    files.into_iter().next().unwrap().unwrap().path()
}

/// An upload whose connection ended is resumed and committed on another one.
#[test]
fn upload_is_resumed_on_new_connection() {
    let (home, device) = home();
    let mut first = home.device(&device);
    let _unsent = put_two(&mut first);
    let mut second = home.device(&device);
    // Without a farewell, in the middle of a slice.
    drop(first);
    assert_eq!(resume_at_last(&mut second), Response::Begun);
    finish(&mut second);
    assert_eq!(home.staged(), 0);
    // Nobody need have heard of it.
    assert!(matches!(second.ask(&resume("k")).unwrap(), Response::Committed { .. }));
}

/// PROTOCOL 5: "a client whose connection ended behind a `Commit` asks, and stores nothing twice".
#[test]
fn resume_after_lost_commit_answer_returns_version() {
    let (home, device) = home();
    // The older of the two: it takes nothing from the other one.
    let mut second = home.device(&device);
    let mut first = home.device(&device);
    let [_, body, footer] = sealed("k", 90);
    let absent = |request| match request {
        Request::Resume { key, header, .. } => {
            Request::Resume { key, header, condition: Condition::Absent }
        }
        other => other,
    };
    assert_eq!(first.ask(&begin("k", Kind::Sealed)).unwrap(), Response::Begun);
    // Too small to be kept, and under way all the same.
    let Response::Error(busy) = second.ask(&resume("k")).unwrap() else { panic!("it was taken") };
    assert_eq!(busy.known(), Some(ErrorCode::Busy));
    assert_eq!(
        busy.text,
        "the upload is in use by another connection or process, or is being committed"
    );
    first.queue_slice(&body);
    first.queue_slice(&footer);
    first.queue(&Request::Commit);
    let versions: Vec<_> = (0..3)
        .filter_map(|_| match first.receive().unwrap() {
            Response::Committed { version } => Some(version),
            _ => None,
        })
        .collect();
    for request in [resume("k"), absent(resume("k"))] {
        let answer = second.ask(&request).unwrap();
        assert_eq!(answer, Response::Committed { version: versions[0] });
    }
    // No upload is open: another one can be begun.
    assert_eq!(code(&second.ask(&Request::Commit).unwrap()), Some(ErrorCode::State));
    assert_eq!(second.ask(&begin("k", Kind::Sealed)).unwrap(), Response::Begun);
}

/// PROTOCOL 5: a line that has died in silence has not ended for the server. The client comes back
/// by another connection, and the upload is that one's, whatever is still on its way by the first.
#[test]
fn resume_takes_upload_over_from_silent_connection() {
    for in_clear in [false, true] {
        let (home, device) = home();
        let connect = || if in_clear { home.plain() } else { home.device(&device) };
        let mut first = connect();
        let rest = put_two(&mut first);
        let mut second = connect();
        assert_eq!(second.ask(&resume("k")).unwrap(), Response::Begun);
        assert_eq!(home.staged(), 1);
        let file = staged(&home.dir);
        let there = fs::metadata(&file).unwrap().len();
        // What the line had swallowed comes after all: PROTOCOL 5, "read, thrown away and answered
        // `State`".
        std::io::Write::write_all(first.stream(), &rest).unwrap();
        assert_eq!(code(&first.receive().unwrap()), Some(ErrorCode::State));
        for request in [Request::Commit, claim(&[&parts()[0]])] {
            assert_eq!(code(&first.ask(&request).unwrap()), Some(ErrorCode::State));
        }
        assert_eq!(fs::metadata(&file).unwrap().len(), there);
        finish(&mut second);
        assert_eq!(home.staged(), 0);
        // It is as good as any other connection, and older: it is told what became of the upload.
        assert!(matches!(first.ask(&resume("k")).unwrap(), Response::Committed { .. }));
    }
}

/// Nobody takes over what is not its own, whatever header it knows.
#[test]
fn resume_takes_over_no_upload_of_other_device() {
    let (home, device) = home();
    let other = seed(2);
    home.enroll(&other, Scopes::ALL);
    let mut first = home.device(&device);
    let rest = put_two(&mut first);
    for mut stranger in [home.device(&other), home.plain()] {
        assert_eq!(code(&stranger.ask(&resume("k")).unwrap()), Some(ErrorCode::NotFound));
        assert_eq!(stranger.ask(&begin("k", Kind::Sealed)).unwrap(), Response::Begun);
        assert_eq!(stranger.ask(&Request::Abort).unwrap(), Response::Aborted);
    }
    let [one, two, three] = parts();
    std::io::Write::write_all(first.stream(), &rest).unwrap();
    assert_eq!(first.receive().unwrap(), Response::SliceHeld);
    first.queue_slice(&zput_framed::footer(&[&one, &two, &three], PART_SIZE_LOG2));
    first.queue(&Request::Commit);
    assert_eq!(first.receive().unwrap(), Response::SliceHeld);
    assert!(matches!(first.receive().unwrap(), Response::Committed { .. }));
}

/// Another device or an anonymous peer cannot resume an interrupted upload.
#[test]
fn interrupted_upload_is_resumed_by_its_writer_only() {
    let (home, device) = home();
    let mut first = home.device(&device);
    let _unsent = put_two(&mut first);
    drop(first);
    until("it was cut off", || home.server.stats().connections == 0);
    let other = seed(2);
    home.enroll(&other, Scopes::ALL);
    let mut other = home.device(&other);
    assert_eq!(code(&other.ask(&resume("k")).unwrap()), Some(ErrorCode::NotFound));
    assert_eq!(code(&home.plain().ask(&resume("k")).unwrap()), Some(ErrorCode::NotFound));
    // An anonymous one is not that device's.
    let mut anonymous = home.plain();
    let _unsent = put_two(&mut anonymous);
    drop(anonymous);
    until("it was cut off", || home.server.stats().connections == 1);
    assert_eq!(home.staged(), 2);
    let mut anonymous = home.plain();
    assert_eq!(resume_at_last(&mut anonymous), Response::Begun);
    finish(&mut anonymous);
    let mut again = home.device(&device);
    assert_eq!(resume_at_last(&mut again), Response::Begun);
}

/// A resumed upload that is aborted is removed and cannot be resumed again.
#[test]
fn aborted_resumed_upload_cannot_be_resumed() {
    let (home, device) = home();
    let mut peer = home.device(&device);
    let _unsent = put_two(&mut peer);
    peer.queue_slice_as(&bytes(PART)[..1], Digest::of(&bytes(PART)[..1]));
    drop(peer);
    until("it was cut off", || home.server.stats().connections == 0);
    let mut peer = home.device(&device);
    assert_eq!(resume_at_last(&mut peer), Response::Begun);
    assert_eq!(peer.ask(&Request::Abort).unwrap(), Response::Aborted);
    assert_eq!(home.staged(), 0);
    assert_eq!(code(&peer.ask(&resume("k")).unwrap()), Some(ErrorCode::NotFound));
}

/// PROTOCOL 5: a slice that was damaged on its way ends the upload as the end of the connection
/// would.
#[test]
fn upload_with_damaged_slice_is_resumed_after_intact_slices() {
    let (home, device) = home();
    let [one, two, three] = parts();
    let mut peer = home.device(&device);
    assert_eq!(peer.ask(&begin("k", Kind::Sealed)).unwrap(), Response::Begun);
    for part in [&one, &two] {
        peer.queue_slice(part);
        assert_eq!(peer.receive().unwrap(), Response::SliceHeld);
    }
    let mut damaged = three.clone();
    damaged[PART / 2] ^= 1;
    peer.queue_slice_as(&damaged, Digest::of(&three));
    assert_eq!(code(&peer.receive().unwrap()), Some(ErrorCode::Digest));
    assert_eq!(code(&peer.ask(&Request::Commit).unwrap()), Some(ErrorCode::State));
    assert_eq!(home.staged(), 1);
    // Also on the same connection.
    assert_eq!(resume_at_last(&mut peer), Response::Begun);
    let all = [&one[..], &two, &three];
    assert_eq!(peer.ask(&claim(&all)).unwrap(), Response::Held { slices: 2 });
    assert_eq!(peer.ask(&Request::Abort).unwrap(), Response::Aborted);
    assert_eq!(home.staged(), 0);
}

/// An upload under way at a shutdown is kept and resumed after the restart.
#[test]
fn shutdown_keeps_upload_for_resume_after_restart() {
    let home = serve(|options| options.limits.shutdown_timeout = Duration::from_millis(200));
    let device = seed(1);
    home.enroll(&device, Scopes::PUT.and(Scopes::GET));
    let mut peer = home.device(&device);
    let _unsent = put_two(&mut peer);
    let StoreServer { server, dir, .. } = home;
    server.shutdown().unwrap();
    assert_eq!(peer::count(&dir.path().join("staging")), 1);

    let home = StoreServer::start_in(dir, StoreServer::EVERYTHING, [], |_| {});
    let mut peer = home.device(&device);
    assert_eq!(peer.ask(&resume("k")).unwrap(), Response::Begun);
    finish(&mut peer);
}

/// A Claim without an upload and a Resume during one are refused with State.
#[test]
fn claim_and_resume_out_of_order_are_refused() {
    let (home, device) = home();
    let mut peer = home.device(&device);
    assert_eq!(code(&peer.ask(&claim(&[b"x"])).unwrap()), Some(ErrorCode::State));
    // A new upload has nothing that could be claimed.
    assert_eq!(peer.ask(&begin("k", Kind::Sealed)).unwrap(), Response::Begun);
    assert_eq!(peer.ask(&claim(&[b"x"])).unwrap(), Response::Held { slices: 0 });
    // One upload at a time; the open one is gone.
    assert_eq!(code(&peer.ask(&resume("k")).unwrap()), Some(ErrorCode::State));
    assert_eq!(code(&peer.ask(&Request::Commit).unwrap()), Some(ErrorCode::State));
    until("it is gone", || home.staged() == 0);
    // Slices behind a Resume that fails are discarded, and the connection stays open.
    peer.queue(&resume("k"));
    peer.queue(&claim(&[b"x"]));
    peer.queue_slice(&bytes(100_000));
    peer.queue(&Request::Ping);
    let answers: Vec<_> = (0..4).map(|_| peer.receive().unwrap()).collect();
    let codes: Vec<_> = answers.iter().map(code).collect();
    let (missing, state) = (Some(ErrorCode::NotFound), Some(ErrorCode::State));
    assert_eq!(codes, [missing, state, state, None]);
    assert_eq!(answers[3], Response::Pong);
    // The header of another object.
    let other = Request::Resume { key: key("l"), condition: Condition::Any, header: header("k") };
    assert_eq!(code(&peer.ask(&other).unwrap()), Some(ErrorCode::Malformed));
    assert!(peer.end().is_empty());
}

/// A Resume on a directory mount is denied.
#[test]
fn resume_on_read_only_mount_is_denied() {
    let tree = tempfile::tempdir().unwrap();
    let source = Source::Dir(DirMount::open(tree.path(), Clock::system()).unwrap());
    let policy = Policy { anonymous: Scopes::GET, ..Policy::PRIVATE };
    let home = serve_mounts(StoreServer::EVERYTHING, [MountPoint::new("tree", source, policy)]);
    let reader = seed(1);
    home.enroll(&reader, Scopes::ALL);
    let mut peer = home.device(&reader);
    let name = MountName::parse("tree").unwrap();
    assert_eq!(peer.ask(&Request::Mount { name }).unwrap(), Response::Mounted);
    assert_eq!(code(&peer.ask(&resume("k")).unwrap()), Some(ErrorCode::Denied));
}

/// Kept uploads that have expired are removed when the server starts.
#[test]
fn upload_expiry_removes_expired_uploads_at_server_start() {
    for (keep, age, left) in [(72 * 3600, 71 * 3600, 1), (72 * 3600, 73 * 3600, 0), (0, 0, 0)] {
        let (home, device) = home();
        let mut peer = home.device(&device);
        let _unsent = put_two(&mut peer);
        drop(peer);
        until("it was cut off", || home.server.stats().connections == 0);
        let StoreServer { server, dir, .. } = home;
        server.shutdown().unwrap();
        let file = File::options().write(true).open(staged(&dir)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
        drop(file);
        let home = StoreServer::start_in(dir, StoreServer::EVERYTHING, [], |options| {
            options.limits.upload_expiry = Duration::from_secs(keep);
        });
        if left == 0 {
            until("it is gone", || home.staged() == 0);
        } else {
            thread::sleep(Duration::from_millis(200));
            assert_eq!(home.staged(), left);
        }
    }
}
