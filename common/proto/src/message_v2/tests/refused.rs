//! Golden frames with one fault each, which the name says.

use super::*;

/// What is said of a frame: that it is no message, or the very error.
enum Because {
    Encoding,
    Is(FrameError),
}

use Because::{Encoding, Is};

impl From<OutOfBounds> for Because {
    fn from(error: OutOfBounds) -> Self {
        Is(error.into())
    }
}

fn check_refused<M: Message + PartialEq + std::fmt::Debug>(
    what: &str,
    faults: Vec<(&str, Because)>,
) {
    let (mut golden, mut wrong) = (golden(what), Vec::new());
    for (name, because) in faults {
        let bytes = golden.remove(name).unwrap_or_else(|| panic!("there is no {what} {name}"));
        let is_read = read::<M>(&bytes);
        let is_refused = match (&is_read, because) {
            (Err(error), Encoding) => matches!(error, FrameError::Encoding(_)),
            (Err(error), Is(expected)) => *error == expected,
            (Ok(_), _) => false,
        };
        if !is_refused {
            wrong.push((name, is_read));
        }
    }
    assert_eq!(wrong, []);
    assert_eq!(golden.into_keys().collect::<Vec<_>>(), [""; 0], "{what}: not looked at");
}

#[test]
fn requests_are_refused_for_each_fault() {
    let mut faults = vec![
        ("left-over", Is(FrameError::LeftOver(1))),
        ("empty", Is(FrameError::Length(0))),
        ("list-limit-0", OutOfBounds::PageLimit.into()),
        ("versions-limit-0", OutOfBounds::PageLimit.into()),
        ("begin-sealed-without-header", OutOfBounds::HeaderMisplaced.into()),
        ("begin-plain-with-header", OutOfBounds::HeaderMisplaced.into()),
        ("claim-0", OutOfBounds::Claim(0).into()),
        ("claim-slice-0", OutOfBounds::Slice(0).into()),
        ("claim-slice-16842753", OutOfBounds::Slice(16_842_753).into()),
        ("slice-0", OutOfBounds::Slice(0).into()),
        ("slice-16842753", OutOfBounds::Slice(16_842_753).into()),
    ];
    let others = [
        "echo-client-1035",
        "echo-server-2059",
        "join-label-65",
        "join-label-control",
        "join-label-not-utf8",
        "join-cut",
        "enter-mount-256",
        "enter-mount-empty-component",
        "enter-mount-dots",
        "enter-mount-control",
        "enter-certificate-8193",
        "enter-label-65",
        "enter-label-control",
        "enter-option-2",
        "found-114689",
        "found-mount-256",
        "charter-114689",
        "charter-mount-256",
        "get-sections-65",
        "get-sections-without-end",
        "get-object-pack",
        "get-object-2",
        "get-which-at",
        "get-which-3",
        "get-section-parts",
        "get-section-4",
        "get-kind-2",
        "get-head-2",
        "get-generation-2-63",
        "stat-key-0",
        "stat-key-1025",
        "stat-key-beyond-end",
        "stat-which-at",
        "stat-vault-cut",
        "list-cursor-1025",
        "list-limit-2-32",
        "begin-header-65537",
        "begin-condition-3",
        "begin-upload-15",
        "resume-header-65537",
        "claim-65",
        "commit-header-65537",
        "commit-tail-16385",
        "reseal-tail-16385",
        "reseal-base-pack",
        "number-18",
        "number-19",
        "number-20",
        "number-21",
        "number-22",
        "number-23",
        "number-24",
        "number-25",
        "number-26",
        "number-19-with-address",
        "number-2-32",
        "ping-varint-of-6-bytes",
    ];
    faults.extend(others.map(|name| (name, Encoding)));
    check_refused::<Request>("no-request", faults);
}

#[test]
fn answers_are_refused_for_each_fault() {
    let mut faults = vec![
        ("left-over", Is(FrameError::LeftOver(1))),
        ("frame-131073", Is(FrameError::Length(131_073))),
        ("error-3-about-version", OutOfBounds::About(3).into()),
        ("error-4-about-nothing", OutOfBounds::About(4).into()),
        ("error-15-about-nothing", OutOfBounds::About(15).into()),
        ("error-15-about-time", OutOfBounds::About(15).into()),
        ("error-18-about-order", OutOfBounds::About(18).into()),
        ("error-19-about-nothing", OutOfBounds::About(19).into()),
        ("error-20-about-head", OutOfBounds::About(20).into()),
    ];
    let lengths = [
        "object-front-25150471",
        "object-header-65537",
        "object-tail-16385",
        "stat-plain-with-front",
        "stat-plain-with-header",
        "stat-plain-with-tail",
        "versions-corrupt-with-body",
        "versions-corrupt-with-header",
        "versions-tail-16385",
    ];
    let heads = [
        "stat-plain-with-head",
        "page-plain-with-head",
        "versions-plain-with-head",
        "versions-corrupt-with-head",
    ];
    let others = [
        "echo-client-1035",
        "echo-server-2059",
        "joined-mount-256",
        "joined-scopes-2-16",
        "entered-charter-114689",
        "object-head-header-65537",
        "object-head-tail-16385",
        "object-kind-2",
        "page-entries-1001",
        "page-entries-without-end",
        "page-cursor-1025",
        "page-key-1025",
        "versions-1001",
        "versions-end-moved",
        "versions-end-expunged",
        "versions-end-5",
        "error-text-257",
        "error-text-not-utf8",
        "error-charter-114689",
        "error-header-65537",
        "error-tail-16385",
        "error-generation-2-63",
        "about-around",
        "about-until",
        "about-usage",
        "about-parts",
        "about-10",
        "number-17",
        "number-18",
    ];
    faults.extend(lengths.map(|name| (name, OutOfBounds::Lengths.into())));
    faults.extend(heads.map(|name| (name, OutOfBounds::HeadMisplaced.into())));
    faults.extend(others.map(|name| (name, Encoding)));
    check_refused::<Response>("no-answer", faults);
}
