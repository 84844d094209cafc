//! Checks of the lengths that a server states for a sealed blob.

use zput_proto::{
    envelope::longest_footer,
    limits::PARTS_MAX,
    message::{Info, Kind},
};

use super::request::HeadRequest;
use crate::error::Error;

/// Longest footer in bytes (FORMAT 9).
const FOOTER_MAX_BYTES: u64 = longest_footer(PARTS_MAX);

/// Rejects lengths that no sealed blob can have, before anything is allocated or awaited because of
/// them.
pub(super) fn check_lengths(
    info: &Info,
    header: usize,
    payload: u64,
    request: &HeadRequest<'_>,
) -> Result<(), Error> {
    let refuse = |what| Err(Error::Envelope(what));
    let footer = u64::from(info.footer_length);
    if info.kind != Kind::Sealed {
        return refuse("it is unsealed");
    }
    if request.version.is_some_and(|version| version != info.version) {
        return refuse("it is another version");
    }
    if info.header_length as usize != header || header == 0 {
        return refuse("its header has another length");
    }
    let header = header as u64;
    if footer == 0 || footer > FOOTER_MAX_BYTES {
        return refuse("its footer cannot be so long");
    }
    if header + footer > info.length {
        return refuse("header and footer are longer than the blob");
    }
    if payload != if request.body { info.length - header } else { footer } {
        return refuse("the payload is not what was asked for");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use zput_proto::{message::Version, name::ObjectKey};

    use super::*;

    fn info(length: u64, header_length: u32, footer_length: u32) -> Info {
        Info { version: Version(7), kind: Kind::Sealed, length, header_length, footer_length }
    }

    /// The error for an answer whose header has 300 bytes.
    fn refusal(info: &Info, payload: u64, version: Option<Version>, body: bool) -> Option<String> {
        let key = ObjectKey::new("k").unwrap();
        let request = HeadRequest { key: &key, version, allow_rollback: false, body };
        check_lengths(info, 300, payload, &request).err().map(|error| error.to_string())
    }

    /// Lengths, versions and kinds that do not fit the request or a sealed blob are refused.
    #[test]
    fn check_lengths_refuses_lengths_no_sealed_blob_has() {
        assert_eq!(refusal(&info(1000, 300, 200), 700, None, true), None);
        assert_eq!(refusal(&info(1000, 300, 200), 200, None, false), None);
        let of = |what: &str| Some(format!("the server's answer is not a sealed blob: {what}"));
        let (header, footer) = ("its header has another length", "its footer cannot be so long");
        assert_eq!(refusal(&info(1000, 0, 200), 700, None, true), of(header));
        assert_eq!(refusal(&info(1000, 299, 200), 700, None, true), of(header));
        assert_eq!(refusal(&info(1000, 301, 200), 700, None, true), of(header));
        assert_eq!(refusal(&info(1000, 300, 0), 700, None, true), of(footer));
        assert_eq!(refusal(&info(u64::MAX, 300, 8_389_816), u64::MAX, None, true), of(footer));
        assert_eq!(
            refusal(&info(499, 300, 200), 199, None, true),
            of("header and footer are longer than the blob")
        );
        let payload = "the payload is not what was asked for";
        assert_eq!(refusal(&info(1000, 300, 200), 701, None, true), of(payload));
        assert_eq!(refusal(&info(1000, 300, 200), 700, None, false), of(payload));
        assert_eq!(
            refusal(&info(1000, 300, 200), 700, Some(Version(6)), true),
            of("it is another version")
        );
        let plain = Info { kind: Kind::Plain, ..info(1000, 300, 200) };
        assert_eq!(refusal(&plain, 700, None, true), of("it is unsealed"));
    }
}
