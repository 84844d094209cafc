//! Commits whose answers may have been lost are found by their header.

use zput_proto::{
    keys::DevicePublicKey,
    message::{HeaderSlice, Request, Scopes},
};

use super::*;
use crate::{
    connection::zput::{
        authorize::Principal,
        dispatch::{Action, RequestContext, dispatch},
    },
    mounts::{Mounts, Policy},
    store::Upload,
};

const WRITER: DevicePublicKey = DevicePublicKey::from_bytes([0xd5; 32]);

/// A complete small upload of "doc", with a different header for each `generation`.
fn whole(home: &Home, generation: u8) -> Upload {
    let [mut header, body, footer] = sealed("doc", &[3; 90]);
    header[55] = generation;
    let upload = home.store.begin(&key("doc"), Kind::Sealed, Condition::Any, Some(WRITER));
    let mut upload = upload.unwrap();
    upload.write_header(&header, Digest::of(&header)).unwrap();
    for slice in [body, footer] {
        upload.start_slice(slice.len() as u32, Digest::of(&slice)).unwrap();
        upload.write(&slice).unwrap();
        upload.end_slice().unwrap();
    }
    upload
}

fn header(generation: u8) -> HeaderSlice {
    let [mut header, ..] = sealed("doc", &[3; 90]);
    header[55] = generation;
    HeaderSlice::of(header)
}

fn found(home: &Home, writer: Option<DevicePublicKey>, generation: u8) -> Option<u64> {
    let found = home.store.committed(&key("doc"), writer, &header(generation));
    found.unwrap().map(|version| version.0)
}

/// Store::committed finds a commit after it was replaced, deleted or restored.
#[test]
fn committed_finds_version_after_replace_delete_restore() {
    let home = Home::new();
    assert_eq!(found(&home, Some(WRITER), 1), None);
    let first = whole(&home, 1).commit().unwrap().0;
    assert_eq!(found(&home, Some(WRITER), 1), Some(first));
    // Replaced, deleted and restored.
    let second = whole(&home, 2).commit().unwrap().0;
    assert_eq!(found(&home, Some(WRITER), 1), Some(first));
    assert_eq!(found(&home, Some(WRITER), 2), Some(second));
    home.store.delete(&key("doc"), Condition::Any).unwrap();
    assert_eq!(found(&home, Some(WRITER), 2), Some(second));
    home.store.restore(&key("doc"), Version(second)).unwrap();
    assert_eq!(found(&home, Some(WRITER), 2), Some(second));
}

/// Store::committed finds a commit only for its own writer and header.
#[test]
fn committed_finds_version_of_same_writer_only() {
    let home = Home::new();
    whole(&home, 1).commit().unwrap();
    assert_eq!(found(&home, None, 1), None);
    assert_eq!(found(&home, Some(DevicePublicKey::from_bytes([7; 32])), 1), None);
    assert_eq!(found(&home, Some(WRITER), 2), None);
}

/// An upload too small to be kept cannot be told from one that was never begun.
#[test]
fn resume_during_commit_is_in_use() {
    let home = Home::new();
    let resume = || {
        let resumed =
            home.store.resume(&key("doc"), Condition::Any, Some(WRITER), &header(1)).map(drop);
        resumed.map_err(|error| format!("{error:?}"))
    };
    let upload = whole(&home, 1);
    assert_eq!(resume(), Err("InUse".to_owned()));
    let waiting = std::thread::scope(|scope| {
        let committing = scope.spawn(|| upload.commit().unwrap());
        while resume() == Err("InUse".to_owned()) {}
        // By then the commit has succeeded or failed.
        let found = found(&home, Some(WRITER), 1);
        (found, committing.join().unwrap().0)
    });
    assert_eq!(waiting.0, Some(waiting.1));
    drop(whole(&home, 2));
    let gone = home.store.resume(&key("doc"), Condition::Any, Some(WRITER), &header(2));
    assert!(matches!(gone, Err(StoreError::NotFound)));
}

/// Also while the job is still in the pool's queue.
#[test]
fn resume_is_in_use_while_begin_waits_in_pool() {
    let home = Home::new();
    let policy = Policy { anonymous: Scopes::ALL, ..Policy::PRIVATE };
    let mounts = Mounts::of_store(home.store.clone(), policy);
    let (mount, principal) = (mounts.named("").unwrap(), Principal::Anonymous);
    let (key, kind, condition) = (key("doc"), Kind::Sealed, Condition::Any);
    let begin = Request::Begin { key: key.clone(), kind, condition, header: Some(header(1)) };
    let authorized = principal.authorize(begin, Some(mount.policy())).unwrap();
    let context = RequestContext {
        principal: &principal,
        connection: 1,
        is_plaintext: true,
        mount: Some(mount),
        home: None,
    };
    let Action::Submit(job) = dispatch(authorized, &context, &mut None) else {
        panic!("it is for the pool")
    };
    let resumed = || home.store.resume(&key, condition, None, &header(1)).map(drop);
    assert!(matches!(resumed(), Err(StoreError::InUse)));
    drop(job);
    assert!(matches!(resumed(), Err(StoreError::NotFound)));
}

/// Store::committed searches the current version and the 64 before it.
#[test]
fn committed_searches_current_and_64_earlier_versions() {
    let home = Home::new();
    for generation in 0..66 {
        whole(&home, generation).commit().unwrap();
    }
    // The current version and the 64 before it.
    assert!(found(&home, Some(WRITER), 1).is_some());
    assert_eq!(found(&home, Some(WRITER), 0), None);
}
