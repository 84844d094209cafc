use std::{
    fs::{self, File},
    io::Read as _,
    os::unix::net::UnixStream,
};

use super::*;
use crate::{
    limits::Semaphore,
    mounts::DirMount,
    store::Clock,
    transfer::{engines::Pipes, socket::Socket},
};

fn object(bytes: &[u8]) -> Arc<OpenObject> {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("f"), bytes).unwrap();
    let found = DirMount::open(dir.path(), Clock::system()).unwrap().find("f").unwrap();
    Arc::new(OpenObject::found(found, Semaphore::new(1).try_acquire().unwrap()).unwrap())
}

fn transfer(bytes: &[u8], ranges: impl IntoIterator<Item = Range<u64>>) -> Transfer {
    Transfer::new(object(bytes), Engine::default(), ranges, Instant::now()).unwrap()
}

fn one_range(range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    std::iter::once(range)
}

fn window(object: &OpenObject, range: Range<u64>) -> Window {
    Window::new(Arc::clone(object.file()), range, 0, Instant::now())
}

fn socket() -> (ReadySocket, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    (ReadySocket::new(Socket::Unix(mio::net::UnixStream::from_std(ours))), theirs)
}

fn resources() -> EngineResources {
    EngineResources::new(Pipes::new(1))
}

/// One step of a transfer whose bytes are in memory, or are loaded first.
fn step(transfer: &mut Transfer, socket: &mut ReadySocket) -> Result<u64, TransferError> {
    let mut resources = resources();
    for _ in 0..2 {
        match transfer.step(socket, &mut resources, &WorkerMetrics::default(), Instant::now())? {
            Stepped::Moved(n) => return Ok(n),
            Stepped::Blocked => return Ok(0),
            Stepped::Absent(window) => {
                window.load().unwrap();
                transfer.loaded(&window, Instant::now());
            }
        }
    }
    panic!("a window is absent after it was loaded")
}

/// A transfer sends its ranges in order, one in each step, and is then exhausted.
#[test]
fn transfer_sends_ranges_in_order_one_per_step() {
    let (mut socket, mut peer) = socket();
    let mut transfer = transfer(b"0123456789", [7..10, 4..4, 0..2]);
    assert_eq!(transfer.left(), 5);
    assert_eq!(step(&mut transfer, &mut socket).unwrap(), 3);
    assert_eq!(step(&mut transfer, &mut socket).unwrap(), 2);
    assert_eq!(transfer.left(), 0);
    assert!(matches!(step(&mut transfer, &mut socket), Err(TransferError::Exhausted)));
    let mut got = [0; 5];
    peer.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"78901");
}

/// A transfer whose file ends early fails and names the offset and the missing bytes.
#[test]
fn transfer_of_short_file_fails_with_file_ended() {
    let (mut socket, _peer) = socket();
    let mut transfer = transfer(b"0123456789", [0..12, 0..0]);
    assert_eq!(step(&mut transfer, &mut socket).unwrap(), 10);
    assert!(matches!(
        step(&mut transfer, &mut socket),
        Err(TransferError::FileEnded { offset: 10, left: 2 })
    ));
}

/// A transfer whose ranges add up to more than 63 bits is refused.
#[test]
fn transfer_ranges_sum_must_fit_63_bits() {
    let new = |ranges: Vec<Range<u64>>| {
        Transfer::new(object(b""), Engine::default(), ranges, Instant::now())
    };
    let half = 0..1u64 << 62;
    assert!(new(vec![half.clone(), 0..0]).is_ok());
    assert_eq!(new(vec![half.clone(), half.clone()]).unwrap_err(), TooLong);
    assert_eq!(new(vec![half; 5]).unwrap_err(), TooLong);
    assert_eq!(new(vec![0..u64::MAX, 0..u64::MAX]).unwrap_err(), TooLong);
}

/// A transfer's step ends at a boundary of 512 KiB.
#[test]
fn transfer_step_ends_at_window_boundary() {
    let (mut socket, _peer) = socket();
    let bytes = vec![7; 1_200_000];
    let mut transfer = transfer(&bytes, one_range(524_000..1_200_000));
    assert_eq!(step(&mut transfer, &mut socket).unwrap(), 288);
    assert!(step(&mut transfer, &mut socket).unwrap() <= 524_288);
}

/// However much was loaded: what is not announced does not leave.
#[test]
fn transfer_range_ends_before_loaded_window_end() {
    let object = object(b"0123456789");
    let mut transfer =
        Transfer::new(Arc::clone(&object), Engine::Sendfile, [2..5, 7..8], Instant::now()).unwrap();
    transfer.loaded(&window(&object, 0..10), Instant::now());
    let (mut socket, mut peer) = socket();
    assert_eq!(step(&mut transfer, &mut socket).unwrap(), 3);
    assert_eq!(step(&mut transfer, &mut socket).unwrap(), 1);
    assert_eq!(transfer.left(), 0);
    let mut got = [0; 4];
    peer.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"2347");
}

/// A reader that takes its time: what was in memory when its window was looked at has gone since.
#[test]
fn transfer_rechecks_residency_after_trusted_time() {
    let program = std::env::current_exe().unwrap();
    // On a disk, where TMPDIR may be memory.
    let dir = tempfile::tempdir_in(program.parent().unwrap()).unwrap();
    fs::write(dir.path().join("f"), vec![7; 500_000]).unwrap();
    let file = File::open(dir.path().join("f")).unwrap();
    file.sync_all().unwrap();
    let found = DirMount::open(dir.path(), Clock::system()).unwrap().find("f").unwrap();
    let object =
        Arc::new(OpenObject::found(found, Semaphore::new(1).try_acquire().unwrap()).unwrap());
    let mut transfer =
        Transfer::new(object, Engine::Sendfile, one_range(0..500_000), Instant::now()).unwrap();
    let (mut socket, _peer) = socket();
    assert!(
        (1..500_000).contains(&step(&mut transfer, &mut socket).unwrap()),
        "the socket holds less"
    );
    let mut step = |transfer: &mut Transfer, now: Instant| {
        // Pages that are in use at the moment are not evicted.
        (0..100).any(|_| {
            crate::sys::fs::drop_cached(&file, 0, 500_000);
            let stepped =
                transfer.step(&mut socket, &mut resources(), &WorkerMetrics::default(), now);
            matches!(stepped, Ok(Stepped::Absent(_)))
        })
    };
    let found = transfer.found;
    assert!(!step(&mut transfer, found), "it was looked at just now");
    assert!(step(&mut transfer, found + RESIDENCY_TRUSTED), "the worker would wait for the disk");
}

/// Up to 3.5 MiB.
#[test]
fn transfer_read_ahead_grows_while_reader_keeps_up() {
    let object = object(b"");
    let now = Instant::now();
    let window = || window(&object, 0..1);
    let mut transfer =
        Transfer::new(Arc::clone(&object), Engine::default(), one_range(0..1 << 30), now).unwrap();
    let mut asked = Vec::new();
    for _ in 0..5 {
        asked.push(transfer.ahead);
        transfer.loaded(&window(), now);
    }
    assert_eq!(asked, [524_288, 1_048_576, 2_097_152, 3_670_016, 3_670_016]);
    transfer.loaded(&window(), now + RESIDENCY_TRUSTED);
    assert_eq!(transfer.ahead, 524_288, "it is slow");
}

/// A payload of up to 32,768 bytes is put behind its head, complete or not at all.
#[test]
fn transfer_small_payload_is_sent_with_its_head() {
    let mut room = vec![0; 65_536];
    let mut behind = |transfer: &Transfer, room_bytes: usize| {
        transfer.behind(b"head", &mut room[..room_bytes]).map(|all| all.map(<[u8]>::to_vec))
    };
    let small = transfer(b"0123456789", one_range(3..7));
    assert_eq!(behind(&small, 65_536).unwrap().unwrap(), b"head3456");
    assert_eq!(small.left(), 4, "nothing has left");
    assert!(behind(&small, 8).unwrap().is_some());
    assert_eq!(behind(&small, 7).unwrap(), None, "there is no room for it");
    assert_eq!(behind(&transfer(b"0123456789", [0..1, 2..3]), 65_536).unwrap(), None);
    let bytes = vec![7; 40_000];
    assert_eq!(behind(&transfer(&bytes, one_range(0..32_769)), 65_536).unwrap(), None);
    assert!(behind(&transfer(&bytes, one_range(0..32_768)), 65_536).unwrap().is_some());
    assert!(behind(&transfer(b"0123", one_range(4..8)), 65_536).is_err(), "the file ends");
}
