//! The hellos of protocol 2: what is read as a hello says the same when it is written, and a reader
//! of a stream takes whole hellos alone. A server comes to an answer that its client takes.

use zput_proto::hello_v2::{
    Answer, ClientHello, HelloReader, ServerHello, client_reader, server_reader,
};

pub(crate) fn run(input: &[u8]) {
    if let Ok(hello) = ClientHello::parse(input) {
        assert_eq!(hello.encode().as_deref(), Ok(input));
    }
    if let Ok(hello) = ServerHello::parse(input) {
        let Ok(written) = hello.encode() else {
            panic!("what was read is not written: {hello:?}");
        };
        // Of a refusal the fields that mean nothing are 0, and its reason is cleaned.
        assert_eq!(ServerHello::parse(&written).as_ref(), Ok(&hello));
        match &hello.answer {
            Answer::Accepted(_) => assert_eq!(written, input),
            Answer::Refused(refusal) => {
                assert!(refusal.code() != 0 && !refusal.reason().contains(char::is_control));
            }
        }
    }
    stream(client_reader, input);
    stream(server_reader, input);
}

/// At once and byte by byte; no byte beyond the hello is taken.
fn stream(reader: fn() -> HelloReader, input: &[u8]) {
    let (mut whole, mut pieces, mut rest) = (reader(), reader(), input);
    let hello = whole.read(&mut rest);
    let taken = &input[..input.len() - rest.len()];
    let mut last = Ok(None);
    for byte in taken {
        last = pieces.read(&mut &[*byte][..]);
        if last.is_err() {
            break;
        }
    }
    match hello {
        Ok(Some(bytes)) => {
            assert_eq!(bytes, taken);
            assert_eq!(last, Ok(Some(bytes)));
        }
        Ok(None) => assert_eq!(last, Ok(None)),
        Err(_) => {}
    }
}
