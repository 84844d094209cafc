//! Which keys a server takes under a vault's address (FORMAT 14).

use super::super::check::*;
use super::world::*;
use super::*;
use crate::name::ObjectKey;

/// What is said of an object with this content and key, in a vault of sealed or of clear names.
fn check(has_clear_names: bool, content: Content, bytes: &[u8]) -> Result<(), CheckError> {
    let world = World::of(1, |it| it.has_clear_names = has_clear_names);
    let certificate = world.certificate(20, |_| {});
    let key = ObjectKey::new(bytes).unwrap();
    let own = world.header(|it| {
        it.core.key = Some(key.clone());
        it.core.shape.content = content;
        if content == Content::Pack {
            it.core.order = order(EPOCH, 0);
            it.core.metadata = Vec::new();
        }
    });
    let id = <&[u8; 16]>::try_from(bytes);
    let object = match (content, id) {
        (Content::Pack, Ok(id)) => Object::Pack(id),
        _ => Object::Key(&key),
    };
    let asked = Asked { object, keeps_packs: true, ..world.asked(&certificate, &key) };
    header(&own, &asked).map(|_| ())
}

/// "64 lower-case hex digits where names are sealed"
#[test]
fn header_of_sealed_names_has_key_of_64_hex_digits() {
    let digits = b"0123456789abcdef".repeat(4);
    assert_eq!(check(false, Content::File, &digits), Ok(()));
    assert_eq!(check(false, Content::Folder, &digits), Ok(()));
    let refused = Err(CheckError::Key);
    assert_eq!(check(false, Content::File, &digits[1..]), refused);
    assert_eq!(check(false, Content::File, &[&digits[..], b"0"].concat()), refused);
    assert_eq!(check(false, Content::File, b"a"), refused);
    for wrong in *b"AFg/:`\0\xff" {
        for at in [0, 31, 63] {
            let mut key = digits.clone();
            key[at] = wrong;
            assert_eq!(check(false, Content::File, &key), refused, "{wrong} at {at}");
            assert_eq!(check(false, Content::Folder, &key), refused, "{wrong} at {at}");
        }
    }
    // The id of a pack is no name's key.
    assert_eq!(check(false, Content::Pack, &[7; 16]), Ok(()));
}

/// "a name where they are clear": no NUL, and no component that is empty, `.` or `..`.
#[test]
fn header_of_clear_names_has_name_as_key() {
    let longest = [b'n'; 1024];
    let names: [&[u8]; 8] =
        [b"a", b"a/b/c", b"...", b".a/b.", b"a/..b", b"\x1b[2J\n", b"\xff\xfe", &longest];
    for name in names {
        assert_eq!(check(true, Content::File, name), Ok(()), "{name:?}");
    }
    let refused: [&[u8]; 12] = [
        b"/", b"/a", b"a/", b"a//b", b".", b"..", b"./a", b"a/.", b"a/../b", b"a/..", b"a\0b",
        b"\0",
    ];
    for name in refused {
        assert_eq!(check(true, Content::File, name), Err(CheckError::Key), "{name:?}");
        assert_eq!(check(true, Content::Folder, name), Err(CheckError::Key), "{name:?}");
    }
    assert_eq!(check(true, Content::Pack, &[0; 16]), Ok(()));
}
