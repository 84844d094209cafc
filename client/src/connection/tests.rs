use std::{io::Write, sync::mpsc, thread};

use super::*;

/// Runs `act`, which may hang where it is wrong.
fn ends(act: impl FnOnce() + Send + 'static) -> bool {
    let (done, is_done) = mpsc::channel();
    thread::spawn(move || {
        act();
        let _nobody_waits = done.send(());
    });
    is_done.recv_timeout(Duration::from_secs(10)).is_ok()
}

fn over(stream: UnixStream) -> Connection {
    Connection::on(stream, Remote::Unix("/x".into()), &ClientConfig::Plaintext).unwrap()
}

#[test]
fn a_peer_that_takes_nothing_is_not_waited_for_at_the_end() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    while (&ours).write(&[0; 65_536]).is_ok() {}
    ours.set_nonblocking(false).unwrap();
    assert!(ends(move || over(ours).close()));
    drop(theirs);
}

#[test]
fn a_peer_that_hangs_up_before_its_hello_ends_a_slice() {
    for said in [&b""[..], b"zput/s1\n", b"rubbish"] {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(said).unwrap();
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        let slice = move || {
            assert!(over(ours).send_slice(b"slice", Digest::of(b"slice")).is_err());
        };
        assert!(ends(slice), "{said:?}");
        drop(theirs);
    }
}
