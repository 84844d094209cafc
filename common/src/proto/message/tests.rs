use super::*;

/// The variant numbers of PROTOCOL 5 and 6, as literals.
#[test]
fn variant_numbers_are_those_of_the_protocol() {
    let key = ObjectKey::new("k").unwrap();
    let request = |r: &Request| postcard::to_allocvec(r).unwrap();
    assert_eq!(request(&Request::Ping), [1]);
    assert_eq!(
        request(&Request::Get {
            key: key.clone(),
            version: None,
            sections: vec![Section::Header, Section::Range { offset: 1, length: 300 }],
            kind: Kind::Sealed,
        }),
        [3, 1, b'k', 0, 2, 0, 2, 1, 0xac, 0x02, 0]
    );
    assert_eq!(request(&Request::Commit), [9]);
    assert_eq!(request(&Request::Restore { key, version: Version(5) }), [12, 1, b'k', 5]);
    let error = Response::Error(RemoteError { code: 3, text: "no".into() });
    assert_eq!(postcard::to_allocvec(&error).unwrap(), [12, 3, 2, b'n', b'o']);
}

#[test]
fn reserved_and_free_numbers_are_refused() {
    for number in 13..=16 {
        assert!(postcard::from_bytes::<Request>(&[number, 0, 0, 0]).is_err());
    }
}

#[test]
fn scopes_read_as_words() {
    assert_eq!(Scopes::ALL.to_string(), "put,get,list,delete");
    assert_eq!(Scopes::named("list"), Some(Scopes::LIST));
    assert!(!Scopes::PUT.allows(Scopes::GET));
    assert!(Scopes::PUT.and(Scopes::GET).allows(Scopes::GET));
}

#[test]
fn a_secret_does_not_show_in_debug() {
    let join = Request::Join { secret: [0x5a; 32], label: "x".into() };
    assert!(!format!("{join:?}").contains("90"));
    assert!(!format!("{join:?}").contains("5a"));
}
