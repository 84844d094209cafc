//! A certificate: one that parses is the only encoding of what it says, and only the golden ones
//! hold under the golden charters.

use std::ops::Range;

use zput_proto::vault::{Certificate, Epoch, Order, Scopes};

use super::golden_v2::{CERTIFICATES, HELD};

pub(crate) fn run(input: &[u8]) {
    let Ok(certificate) = Certificate::parse(input) else {
        return;
    };
    assert_eq!(certificate.as_bytes(), input);
    let scopes = certificate.fields().scopes;
    assert_eq!(certificate.fields().writer.is_some(), scopes.allows(Scopes::PUT));
    assert!(input.starts_with(&written(&certificate)));
    for charter in &*HELD {
        let Ok(held) = certificate.holds_under(charter.state()) else {
            continue;
        };
        assert!(CERTIFICATES.contains(&input), "a certificate that no root has signed holds");
        if let Some(order) = Order::new(Epoch::new(0), 0) {
            assert!(held.counts(order).is_err() || scopes.allows(Scopes::PUT));
        }
    }
}

/// What was read of the certificate, written again. The bits of scopes that are not known are left
/// out then, and put back here.
fn written(certificate: &Certificate) -> Vec<u8> {
    let Ok(mut bytes) = certificate.fields().to_sign() else {
        panic!("what was parsed cannot be written");
    };
    bytes.drain(..LABEL_BYTES);
    bytes[SCOPES].copy_from_slice(&certificate.as_bytes()[SCOPES]);
    bytes
}

/// `zput/v2/certificate` and a zero byte.
const LABEL_BYTES: usize = 20;
/// Where the scopes are.
const SCOPES: Range<usize> = 34..36;
