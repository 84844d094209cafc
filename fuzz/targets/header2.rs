//! A header of format 2: one that parses is the only encoding of what it says, and a server comes
//! to a verdict about it for the golden vault and for none.

use zput_proto::{
    blob::{
        Content, Header,
        check::{self, Asked, CheckError, Entered, Object},
        header_length,
    },
    name::ObjectKey,
    vault::Order,
};

use super::golden_v2::HELD;

pub(crate) fn run(input: &[u8]) {
    let Ok(header) = Header::parse(input) else {
        return;
    };
    assert_eq!(header.as_bytes(), input);
    assert_eq!(header_length(input), Ok(header.length()));
    let (before, mac) = header.mac();
    let fields = header.fields();
    assert!(fields.to_mac().is_ok_and(|written| written == before));
    let written = mac.try_into().map(|mac| fields.with_mac(mac));
    assert!(written.is_ok_and(|written| written.as_ref() == Ok(&header)));
    verdicts(&header);
}

/// A server that is asked for the very address of the header, with nothing there and with a version
/// of the same order, which the header is not above.
fn verdicts(header: &Header) {
    let core = &header.fields().core;
    let Some(key) = &core.key else {
        return;
    };
    let pack = id(key);
    let object = match &pack {
        Some(id) if core.shape.content == Content::Pack => Object::Pack(id),
        _ => Object::Key(key),
    };
    let vaults = HELD.iter().map(|charter| Entered::Anonymous(charter.state()));
    for vault in vaults.chain([Entered::NoVault]) {
        let verdict = |before: Option<Order>| {
            let asked = Asked { vault, object, keeps_packs: true, before, now: u64::MAX };
            check::header(header, &asked)
        };
        match verdict(None) {
            Ok(check::HeaderVerdict::Good) => {
                let equal = verdict(Some(core.order));
                let is_pack = core.shape.content == Content::Pack;
                assert_eq!(equal == Ok(check::HeaderVerdict::Older), !is_pack);
            }
            Ok(verdict) => assert_eq!(verdict, check::HeaderVerdict::Stale),
            Err(error) => assert!(matches!(error, CheckError::OtherVault | CheckError::Key)),
        }
    }
}

fn id(key: &ObjectKey) -> Option<[u8; 16]> {
    key.as_bytes().try_into().ok()
}
