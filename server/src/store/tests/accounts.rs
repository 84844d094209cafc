//! Accounts and invites: files, scopes, expiry, and concurrent devices.

use std::{sync::Barrier, time::Duration};

use zput_proto::{
    keys::{DevicePublicKey, InviteSecret},
    message::{ErrorCode, Scopes},
};

use super::*;

const HOUR: Duration = Duration::from_secs(3600);
const LAPTOP: DevicePublicKey = DevicePublicKey::from_bytes([0xaa; 32]);
const PHONE: DevicePublicKey = DevicePublicKey::from_bytes([0xbb; 32]);

fn client_file(home: &Home, digits: &str) -> PathBuf {
    home.path().join("clients").join(format!("{}.toml", digits.repeat(32)))
}

/// An invite makes one account with its scopes and label, and a second device is denied.
#[test]
fn redeem_invite_makes_one_account() {
    let mut home = Home::new();
    home.set_time(1_700_000_000_123_456_789);
    assert_eq!(home.store.scopes_of(&LAPTOP).unwrap(), None);
    let scopes = Scopes::PUT.and(Scopes::LIST);
    let secret = home.store.create_invite(scopes, HOUR).unwrap();
    let joined = home.store.redeem_invite(&secret, &LAPTOP, "my laptop").unwrap();
    assert_eq!(joined, scopes);
    let again = home.store.redeem_invite(&secret, &PHONE, "thief").unwrap_err();
    assert_eq!(again.code(), ErrorCode::Denied);
    home.reopen();
    assert_eq!(home.store.scopes_of(&LAPTOP).unwrap(), Some(scopes));
    assert_eq!(home.store.scopes_of(&PHONE).unwrap(), None);
    let account = home.store.account(&LAPTOP).unwrap().unwrap();
    assert_eq!(account.label, "my laptop");
    assert_eq!(
        fs::read_to_string(client_file(&home, "aa")).unwrap(),
        "format = 2\nlabel = \"my laptop\"\nscopes = [\"put\", \"list\"]\n\
         joined = \"2023-11-14T22:13:20Z\"\n"
    );
}

/// An invite's file is named by the hash of its secret and does not contain the secret.
#[test]
fn invite_file_is_named_by_hash_of_secret() {
    let home = Home::new();
    home.set_time(1_700_000_000_000_000_000);
    let secret = home.store.create_invite(Scopes::ALL, HOUR).unwrap();
    let names = names_in(&home.path().join("invites"));
    assert_eq!(names.len(), 1);
    assert_eq!(names[0].len(), 64 + 5);
    let text = fs::read_to_string(home.path().join("invites").join(&names[0])).unwrap();
    assert_eq!(
        text,
        "format = 2\nscopes = [\"put\", \"get\", \"list\", \"delete\"]\n\
         expires = \"2023-11-14T23:13:20Z\"\n"
    );
    assert!(!names[0].contains(&hex::encode(secret.as_bytes())));
    // SHA-256 of 32 zero bytes, a well-known value.
    let zeros = "66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925";
    let path = home.path().join("invites").join(format!("{zeros}.toml"));
    fs::write(path, text).unwrap();
    let zeros = InviteSecret::from_bytes([0; 32]);
    assert_eq!(home.store.redeem_invite(&zeros, &PHONE, "").unwrap(), Scopes::ALL);
}

/// An invite is denied at its expiry and spent by that, and is valid just before.
#[test]
fn redeem_invite_after_expiry_is_denied() {
    let home = Home::new();
    home.set_time(1_700_000_000_000_000_000);
    let secret = home.store.create_invite(Scopes::ALL, HOUR).unwrap();
    home.set_time(1_700_003_600_000_000_000);
    let late = home.store.redeem_invite(&secret, &LAPTOP, "laptop").unwrap_err();
    assert!(matches!(late, StoreError::InviteExpired));
    assert_eq!(late.code(), ErrorCode::Denied);
    assert_eq!(home.store.scopes_of(&LAPTOP).unwrap(), None);
    // An expired invite is spent too.
    home.set_time(1_700_000_000_000_000_000);
    let again = home.store.redeem_invite(&secret, &LAPTOP, "laptop").unwrap_err();
    assert!(matches!(again, StoreError::InviteUnknown));
    // Just before the end it is valid.
    let secret = home.store.create_invite(Scopes::ALL, HOUR).unwrap();
    home.set_time(1_700_003_599_999_999_999);
    home.store.redeem_invite(&secret, &LAPTOP, "laptop").unwrap();
}

/// A second invite adds its scopes to the account of the device.
#[test]
fn redeem_second_invite_adds_scopes() {
    let home = Home::new();
    for scopes in [Scopes::PUT, Scopes::GET] {
        let secret = home.store.create_invite(scopes, HOUR).unwrap();
        home.store.redeem_invite(&secret, &LAPTOP, "laptop").unwrap();
    }
    let both = Scopes::PUT.and(Scopes::GET);
    assert_eq!(home.store.scopes_of(&LAPTOP).unwrap(), Some(both));
}

/// STORE: "a lost answer can be asked for again".
#[test]
fn redeem_invite_again_returns_scopes_to_known_device() {
    let home = Home::new();
    let secret = home.store.create_invite(Scopes::PUT, HOUR).unwrap();
    for _ in 0..2 {
        assert_eq!(home.store.redeem_invite(&secret, &LAPTOP, "laptop").unwrap(), Scopes::PUT);
    }
    let unknown = InviteSecret::from_bytes([7; 32]);
    assert_eq!(home.store.redeem_invite(&unknown, &LAPTOP, "laptop").unwrap(), Scopes::PUT);
    for secret in [&secret, &unknown] {
        let error = home.store.redeem_invite(secret, &PHONE, "thief").unwrap_err();
        assert!(matches!(error, StoreError::InviteUnknown));
    }
    assert_eq!(home.store.scopes_of(&PHONE).unwrap(), None);
}

/// Four invites that one device redeems at once all add their scopes.
#[test]
fn redeem_invites_concurrently_adds_all_scopes() {
    let home = Home::new();
    for byte in 0..20u8 {
        let device = DevicePublicKey::from_bytes([byte; 32]);
        let start = std::sync::Barrier::new(4);
        std::thread::scope(|scope| {
            for name in ["put", "get", "list", "delete"] {
                let invite = home.store.create_invite(Scopes::named(name).unwrap(), HOUR).unwrap();
                let (store, device, start) = (&home.store, &device, &start);
                scope.spawn(move || {
                    start.wait();
                    store.redeem_invite(&invite, device, "x").unwrap();
                });
            }
        });
        assert_eq!(home.store.scopes_of(&device).unwrap(), Some(Scopes::ALL));
    }
}

/// A label that is too long or has control characters is refused and spends no invite.
#[test]
fn redeem_invite_with_bad_label_keeps_invite() {
    let home = Home::new();
    let secret = home.store.create_invite(Scopes::ALL, HOUR).unwrap();
    for label in ["\u{1b}[31m", "a\nb", &"x".repeat(65)] {
        let error = home.store.redeem_invite(&secret, &LAPTOP, label).unwrap_err();
        assert_eq!(error.code(), ErrorCode::Malformed);
    }
    home.store.redeem_invite(&secret, &LAPTOP, &"x".repeat(64)).unwrap();
}

/// Of six devices that redeem one invite at once exactly one succeeds.
#[test]
fn redeem_invite_by_many_devices_succeeds_once() {
    let home = Home::new();
    for round in 0..100u8 {
        let barrier = Barrier::new(6);
        let secret = home.store.create_invite(Scopes::ALL, HOUR).unwrap();
        // New devices each round: a device with an account would be told its scopes.
        let devices = (0..6u8).map(|i| {
            let mut bytes = [round; 32];
            bytes[0] = i;
            DevicePublicKey::from_bytes(bytes)
        });
        let results: Vec<_> = std::thread::scope(|scope| {
            let (store, secret, barrier) = (&home.store, &secret, &barrier);
            let threads: Vec<_> = devices
                .map(|device| {
                    scope.spawn(move || {
                        barrier.wait();
                        store.redeem_invite(secret, &device, "x")
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
        for error in results.into_iter().filter_map(Result::err) {
            assert!(matches!(error, StoreError::InviteUnknown), "{error:?}");
        }
    }
    assert_eq!(names_in(&home.path().join("invites")), Vec::<String>::new());
}

/// A damaged account file is an error that names the file and the reason.
#[test]
fn account_file_damaged_is_unreadable_with_reason() {
    let home = Home::new();
    let good = "format = 2\nlabel = \"x\"\nscopes = [\"get\"]\njoined = \"2026-01-01T00:00:00Z\"\n";
    let path = client_file(&home, "aa");
    fs::write(&path, good).unwrap();
    assert_eq!(home.store.scopes_of(&LAPTOP).unwrap(), Some(Scopes::GET));
    for (from, to) in [
        ("format = 2", "format = 1"),
        ("\"get\"", "\"root\""),
        ("label", "lable"),
        ("2026-01", "2026-13"),
        ("[", ""),
    ] {
        fs::write(&path, good.replace(from, to)).unwrap();
        let error = home.store.scopes_of(&LAPTOP).unwrap_err();
        assert_eq!(error.code(), ErrorCode::Unreadable);
        let file = format!("clients/{}.toml is damaged: ", "aa".repeat(32));
        assert!(error.to_string().starts_with(&file), "{to}: {error}");
    }
    fs::write(&path, good.replace("\"get\"", "\"get\", \"gett\"")).unwrap();
    let said = home.store.scopes_of(&LAPTOP).unwrap_err().to_string();
    assert!(said.ends_with(": no scope is called \"gett\""), "{said}");
    fs::write(&path, good.replace("label = \"x\"", "label = \"x")).unwrap();
    let said = home.store.scopes_of(&LAPTOP).unwrap_err().to_string();
    assert!(said.contains(".toml is damaged: line 2: "), "{said}");
    fs::write(&path, [b'x'; 70_000]).unwrap();
    assert!(home.store.scopes_of(&LAPTOP).is_err());
    fs::remove_file(&path).unwrap();
    assert_eq!(home.store.scopes_of(&LAPTOP).unwrap(), None);
}
