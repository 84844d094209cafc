//! The harness without an attack keeps to the protocol, so only the attack makes a difference.

use zput_proto::{
    message::{Condition, Info, Kind, Request, Response, Section, Version},
    name::{BlobName, ObjectKey},
    session::{ClientConfig, ClientTls},
};
use zput_seal::{
    aead::Engine,
    age::Identity,
    blob::{
        header::Header,
        open::{Asked, BarePolicy, Vouching},
    },
    keys::{DeviceSeed, KeyFile},
};
use zput_tests::RawClient;
use zput_tests::hostile::{Answer, Damage, Direction, Forgery, HostileServer, Payload, Proxy};

fn member() -> KeyFile {
    let identity = Identity::generate_x25519(&mut rand::rng());
    KeyFile::from_identity(identity, &mut rand::rng())
}

/// An unchanged Forgery opens as a valid blob, by either suite and at any length.
#[test]
fn forgery_without_changes_is_a_valid_blob() {
    let member = member();
    let name = BlobName::parse("a/b").unwrap();
    let key = member.object_key(&name);
    for plaintext in [vec![], vec![1; 65_535], vec![2; 65_536], vec![3; 200_000]] {
        for suite in [1, 2] {
            let facts = Some(b"\x09\x01x".to_vec());
            let honest = Forgery::honest(&member, &key, "a/b", &plaintext);
            let pieces = Forgery { suite, facts, ..honest }.pieces();
            let header = Header::parse(&pieces.header).unwrap();
            let identities = [member.identity().unwrap().clone()];
            let named = header
                .unwrap_file_key(&identities)
                .unwrap()
                .authenticate(Engine::default())
                .unwrap()
                .for_key(Asked::Key(&key))
                .unwrap();
            let vault = member.vault_secret().mac_key();
            let writers = [member.device_seed().writer_key().public_key()];
            let vouching =
                Vouching { vault: Some(&vault), writers: &writers, bare: BarePolicy::Refuse };
            let trusted =
                named.vouched_by(&pieces.footer, &vouching).unwrap().not_older_than(None).unwrap();
            assert_eq!(trusted.metadata().name, name);
            assert_eq!(trusted.metadata().mode, 0o640);
            let mut opened = Vec::new();
            for (i, part) in pieces.parts.iter().enumerate() {
                let mut opening = trusted.open_part(i as u64, Vec::new()).unwrap();
                opening.push(part).unwrap();
                opened.extend_from_slice(&opening.finish().unwrap());
            }
            assert_eq!(opened, plaintext);
        }
    }
}

/// HostileServer, RawClient and Proxy transfer an object correctly until told to lie.
#[test]
fn hostile_server_client_and_proxy_can_behave_honestly() {
    let server = HostileServer::new();
    let proxy = Proxy::new(server.address());
    let device = DeviceSeed::generate(&mut rand::rng()).tls_key();
    let tls = ClientConfig::Tls(ClientTls::new(&device, &server.key()).unwrap());
    for config in [ClientConfig::Plaintext, tls] {
        let mut client = RawClient::connect(proxy.address(), &config).unwrap();
        let key = ObjectKey::new("k").unwrap();
        let begin = Request::Begin {
            key: key.clone(),
            kind: Kind::Plain,
            condition: Condition::Any,
            header: None,
        };
        client.send(&begin).unwrap();
        client.slice(b"hello ").unwrap();
        client.slice(b"world").unwrap();
        assert_eq!(client.receive().unwrap(), Response::Begun);
        assert_eq!(client.receive().unwrap(), Response::SliceHeld);
        assert_eq!(client.receive().unwrap(), Response::SliceHeld);
        let Response::Committed { version } = client.ask(&Request::Commit).unwrap() else {
            panic!("not committed");
        };
        let range = Section::Range { offset: 6, length: 3 };
        let get = Request::Get {
            key,
            version: None,
            sections: vec![Section::All, range],
            kind: Kind::Plain,
        };
        let info =
            Info { version, kind: Kind::Plain, length: 11, header_length: 0, footer_length: 0 };
        assert_eq!(client.ask(&get).unwrap(), Response::Object { info, header: None, payload: 14 });
        assert_eq!(client.payload().unwrap(), b"hello worldwor");
        assert_eq!(client.ask(&Request::Ping).unwrap(), Response::Pong);

        server.lie(|_, answer| Answer { payload: Payload::Bytes(b"hell".to_vec()), ..answer });
        assert!(matches!(client.ask(&get).unwrap(), Response::Object { .. }));
        assert!(client.payload().is_err());
        server.repent();
    }
    assert_eq!(server.asked().len(), 14);
    assert_eq!(server.shelf().get(&ObjectKey::new("k").unwrap()).unwrap().info.version, Version(2));
    let recorded = proxy.recorded();
    assert_eq!(recorded.len(), 2);
    assert!(recorded[0].down.windows(5).any(|w| w == b"world"));

    proxy.damage(Direction::Down, Damage::Flip(11, 1));
    let refused = RawClient::connect(proxy.address(), &ClientConfig::Plaintext).unwrap_err();
    assert_eq!(refused.to_string(), "the server chose version 0, which was not offered");
}
