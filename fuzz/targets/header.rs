//! A header: one that parses is the only encoding of itself, what a server without keys reads of it
//! is what a reader reads, and only the golden one authenticates under the golden identity.

use zput_proto::envelope;
use zput_seal::{aead::Engine, blob::header::Header};

use super::golden::GOLDEN;

pub(crate) fn run(input: &[u8]) {
    let Ok(header) = Header::parse(input) else {
        return;
    };
    assert_eq!(header.as_bytes(), input);
    assert_eq!(envelope::header_length(input), Ok(header.length()));
    let key = header.object_key().map_or(&[][..], |key| key.as_bytes());
    assert_eq!(envelope::object_key(input), Ok(key));
    let Some(golden) = &*GOLDEN else {
        panic!("the golden blob does not come apart");
    };
    if let Ok(unwrapped) = header.unwrap_file_key(std::slice::from_ref(&golden.identity)) {
        let authentic = unwrapped.authenticate(Engine::RustCrypto).is_ok();
        assert_eq!(authentic, input == golden.header);
    }
}
