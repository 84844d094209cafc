//! What is read as a hello says the same when it is written.

use zput_proto::hello::{ClientHello, ServerHello};

pub(crate) fn run(input: &[u8]) {
    if let Ok(hello) = ClientHello::parse(input) {
        assert_eq!(ClientHello::parse(&hello.encode()), Ok(hello));
    }
    if let Ok(hello) = ServerHello::parse(input) {
        assert_eq!(ServerHello::parse(&hello.encode()), Ok(hello));
    }
}
