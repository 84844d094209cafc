use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    time::{Duration, Instant},
};

use rustix::net::{AddressFamily, SocketType, connect, socket, sockopt};

use super::*;
use crate::transfer::engines::{Engine, Pipes};

const NOTHING: Directions = Directions { read: false, write: false };
const READ: Directions = Directions { read: true, write: false };
const WRITE: Directions = Directions { read: false, write: true };
const BOTH: Directions = Directions { read: true, write: true };

fn pair() -> (ReadySocket, std::os::unix::net::UnixStream) {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    (ReadySocket::new(Socket::Unix(UnixStream::from_std(ours))), theirs)
}

/// ReadySocket gives a Blocked witness only after the direction returned WouldBlock.
#[test]
fn ready_socket_gives_blocked_only_after_would_block() {
    let (mut socket, mut peer) = pair();
    assert!(socket.blocked(READ, None, Instant::now()).is_none(), "never tried");
    peer.write_all(b"ab").unwrap();
    let mut buffer = [0; 8];
    // A short read is not yet WouldBlock.
    assert_eq!(socket.read(&mut buffer).unwrap(), Received::Bytes(2));
    assert!(socket.blocked(READ, None, Instant::now()).is_none());
    assert_eq!(socket.read(&mut buffer).unwrap(), Received::Blocked);
    assert!(socket.blocked(READ, None, Instant::now()).is_some());
    assert!(socket.blocked(BOTH, None, Instant::now()).is_none(), "writing has not blocked");
    assert!(socket.blocked(WRITE, None, Instant::now()).is_none());
}

/// `TCP_NOTSENT_LOWAT` before and after a megabyte.
#[test]
fn ready_socket_raises_notsent_lowat_after_one_mebibyte() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (ours, _) = listener.accept().unwrap();
    let mut socket = ReadySocket::new(Socket::Tcp(TcpStream::from_std(ours)));
    let reads = std::thread::spawn(move || io::copy(&mut peer, &mut io::sink()));
    let mut taken = 0;
    while taken < 1_048_576 {
        assert_eq!(socket.unsent(), 32_768);
        let most = (1_048_576 - taken).min(65_536);
        let Sent::Bytes(n) = socket.send(&[7; 65_536][..most], false).unwrap() else { continue };
        taken += n;
    }
    assert_eq!(socket.unsent(), 262_144);
    let fd = socket.socket.as_fd();
    assert_eq!(socket2::SockRef::from(&fd).tcp_notsent_lowat().unwrap(), 262_144);
    drop(socket);
    reads.join().unwrap().unwrap();
}

/// A Blocked witness for both directions is given once both have blocked.
#[test]
fn ready_socket_blocked_requires_all_wanted_directions() {
    let (mut socket, _peer) = pair();
    let mut buffer = [0; 8];
    assert_eq!(socket.read(&mut buffer).unwrap(), Received::Blocked);
    let filler = [0; 65_536];
    let mut sends = 0;
    while socket.send(&filler, false).unwrap() != Sent::Blocked {
        sends += 1;
        assert!(sends < 1000, "a socket buffer has an end");
    }
    assert!(socket.blocked(BOTH, None, Instant::now()).is_some());
    assert!(socket.blocked(WRITE, None, Instant::now()).is_some());
}

/// A Blocked witness without a direction is given only with the ticket of a job.
#[test]
fn ready_socket_blocked_on_nothing_requires_ticket() {
    let (mut socket, _peer) = pair();
    assert!(socket.blocked(NOTHING, None, Instant::now()).is_none());
    assert!(socket.blocked(NOTHING, Some(&Ticket::for_test()), Instant::now()).is_some());
    assert!(
        socket.blocked(READ, Some(&Ticket::for_test()), Instant::now()).is_none(),
        "reading has not blocked"
    );
}

/// ReadySocket::read returns End when the peer has closed and Blocked when nothing came.
#[test]
fn ready_socket_read_distinguishes_end_from_blocked() {
    let (mut socket, peer) = pair();
    let mut buffer = [0; 8];
    assert_eq!(socket.read(&mut buffer).unwrap(), Received::Blocked);
    socket.readable = true;
    drop(peer);
    assert_eq!(socket.read(&mut buffer).unwrap(), Received::End);
}

/// A connection over loopback, set up as a listener does it. Its peer has a window of 190 KiB, into
/// which everything fits that these tests send, so that no send waits for an acknowledgement.
fn loopback_pair() -> (ReadySocket, std::net::TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    sys::net::set_unsent(&listener, UNSENT_BYTES).unwrap();
    let peer = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    sockopt::set_socket_recv_buffer_size(&peer, 212_992).unwrap();
    connect(&peer, &listener.local_addr().unwrap()).unwrap();
    let (ours, _) = listener.accept().unwrap();
    ours.set_nonblocking(true).unwrap();
    sys::net::set_nodelay(&ours).unwrap();
    let _default_elsewhere = sys::net::set_congestion(&ours, "cubic");
    (ReadySocket::new(Socket::Tcp(TcpStream::from_std(ours))), peer.into())
}

/// An announcement, and a range that begins in the middle of a page, as each part of a sealed
/// object does: 17 pieces, the most that one segment has, are less than a segment of loopback and
/// more than [`UNSENT_BYTES`]. Splice and sendfile left such a segment in the socket, nothing under
/// way, until a timer of 200 ms.
#[test]
fn ready_socket_full_send_leaves_no_held_segment() {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&[7; 160_000]).unwrap();
    for engine in Engine::ALL {
        for offset in [0, 1, 900, 4095] {
            let (mut socket, mut peer) = loopback_pair();
            let (mut engine_state, mut resources) =
                (SendEngine::new(engine), EngineResources::new(Pipes::default()));
            assert_eq!(socket.send(&[9; 100], true).unwrap(), Sent::Bytes(100));
            let mut moved = 0;
            while moved < 150_000 {
                let (at, count) = (offset + moved as u64, 150_000 - moved);
                let sent = socket
                    .move_from(&mut engine_state, &mut resources, file.as_fd(), at, count)
                    .unwrap();
                let Sent::Bytes(n) = sent else {
                    panic!("{engine} from {offset}: {sent:?} after {moved}, with a window open");
                };
                moved += n;
            }
            let mut got = vec![0; 150_100];
            peer.read_exact(&mut got).unwrap();
            assert_eq!((&got[..100], &got[100..]), (&[9; 100][..], &[7; 150_000][..]));
        }
    }
}

/// The kernel would keep each for 200 ms: 10 s in all, of which half may pass on a busy machine.
#[test]
fn ready_socket_pushes_announcement_when_it_blocks() {
    let (mut socket, mut peer) = loopback_pair();
    let began = Instant::now();
    for _ in 0..50 {
        assert_eq!(socket.send(&[9; 100], true).unwrap(), Sent::Bytes(100));
        assert!(socket.blocked(NOTHING, Some(&Ticket::for_test()), Instant::now()).is_some());
        peer.read_exact(&mut [0; 100]).unwrap();
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}
