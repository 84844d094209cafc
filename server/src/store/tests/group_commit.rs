//! Puts that are made durable together (STORE, "Put" 8).

use std::time::Instant;

use zput_skip::or_skip;

use super::{order::trace, *};

/// How many put at once.
const MANY: usize = 8;

/// That many keys of one shard.
fn neighbours() -> Vec<String> {
    let keys = (0..).map(|n| n.to_string());
    let first = ObjectName::of(&key("0")).shard();
    keys.filter(|name| ObjectName::of(&key(name)).shard() == first).take(MANY).collect()
}

/// Puts all of them at once, and gives how many were acknowledged. What a child does.
pub(super) fn put_neighbours(store: &Store) -> usize {
    std::thread::scope(|scope| {
        let put = |name: &String| put(store, name, b"new", Condition::Any).is_ok();
        let puts = neighbours().into_iter().map(|name| scope.spawn(move || put(&name)));
        let puts: Vec<_> = puts.collect();
        puts.into_iter().map(|put| put.join().unwrap()).filter(|put| *put).count()
    })
}

#[test]
fn puts_of_one_directory_share_its_sync() {
    let home = Home::new();
    let inject = "inject=fsync:delay_enter=300000";
    let traced = or_skip!(trace(&[inject], "put neighbours", &home));
    assert_eq!(traced.said, "ok 8");
    let count = |call: &str| traced.calls.iter().filter(|made| *made == call).count();
    assert_eq!(count("renameat staging/* -> objects/ab/H"), MANY);
    // The first one has one for itself. While it is under way, the others come as far as to wait for the next.
    let syncs = count("fsync objects/ab");
    assert!((2..=4).contains(&syncs), "{syncs}");
    // All is said only behind the last.
    assert!(traced.calls.last().unwrap().starts_with("fsync objects/ab"), "{:?}", traced.calls);
    for name in neighbours() {
        assert_eq!(home.body(&name), Some(b"new".to_vec()));
    }
}

#[test]
fn a_sync_that_fails_fails_all_who_shared_it() {
    let home = Home::new();
    let expressions = ["inject=fsync:delay_enter=300000:error=EIO"];
    let traced = or_skip!(trace(&expressions, "put neighbours", &home));
    assert_eq!(traced.said, "ok 0");
    assert!(home.store.suspicion().unwrap().is_some());
}

/// Whoever finds out first, nobody is told that anything is durable from then on.
#[test]
fn nothing_is_acknowledged_by_a_store_that_became_suspect() {
    for (role, shelf) in [("put", "objects"), ("delete", "trash")] {
        let home = Home::new();
        if role == "delete" {
            home.put("a", b"old");
        }
        let marker = home.path().join("suspect.toml");
        let shard = home.path().join(shelf).join(ObjectName::of(&key("a")).shard().to_string());
        let marking = std::thread::spawn(move || {
            let begun = Instant::now();
            while names_in(&shard).is_empty() && begun.elapsed().as_secs() < 10 {
                std::thread::yield_now();
            }
            fs::write(marker, "").unwrap();
        });
        // The name is there, and its sync is under way.
        let traced = trace(&["inject=fsync:delay_enter=2000000"], role, &home);
        marking.join().unwrap();
        let traced = or_skip!(traced);
        assert_eq!(traced.said.split(':').next(), Some("Suspect"), "{role}");
    }
}
