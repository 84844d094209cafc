//! Instants (STORE, "Instants"): unique, and growing over keys, processes, clocks, power cuts and a
//! lost file.

use std::collections::BTreeSet;

use zput_proto::message::ErrorCode;

use super::{child::Child, *};

/// Versions that each process puts, and how often the processes take turns.
const PUTS: usize = 300;
const TURNS: usize = 20;

/// The role of a second process: puts many versions, and then one for each line that it is sent.
pub(super) fn put_many(store: &Store) {
    use std::io::BufRead as _;
    let put = |name: &str| put(store, name, b"child", Condition::Any).unwrap();
    let versions: Vec<_> = (0..PUTS).map(|n| put(&format!("{}", n % 7)).to_string()).collect();
    println!("child: {}", versions.join(" "));
    for line in std::io::stdin().lock().lines().take(TURNS) {
        line.unwrap();
        println!("child: {}", put("turn"));
    }
}

/// Promise 3: two processes put into one store, one of them by a clock that stands at 1000: no
/// number is given twice, and each is above those of the puts that were answered before.
#[test]
fn instants_of_two_processes_are_unique_and_grow() {
    let home = Home::new();
    let mut child = Child::start("put many", &home.path());
    let mine: Vec<u64> = (0..PUTS).map(|n| home.put(&format!("{}", n % 5), b"mine")).collect();
    let childs: Vec<u64> = child.line().split(' ').map(|n| n.parse().unwrap()).collect();
    for versions in [&mine, &childs] {
        assert_eq!(versions.len(), PUTS);
        assert!(versions.is_sorted_by(|one, next| one < next), "{versions:?}");
    }
    let all: BTreeSet<_> = mine.iter().chain(&childs).collect();
    assert_eq!(all.len(), 2 * PUTS, "a number was given twice");
    let mut newest = **all.last().unwrap();
    for _ in 0..TURNS {
        let mine = home.put("turn", b"mine");
        child.send_line("go on");
        let childs: u64 = child.line().parse().unwrap();
        assert!(newest < mine && mine < childs, "{newest}, {mine}, {childs}");
        newest = childs;
    }
    child.finish();
}

/// All numbers that were given, in their order.
struct Line(Vec<u64>);

impl Line {
    /// Puts a version, whose number has to be above all before.
    #[track_caller]
    fn put(&mut self, home: &Home, name: &str, what: &str) -> u64 {
        let version = home.put(name, what.as_bytes());
        assert!(self.0.iter().all(|before| *before < version), "{what}: {version} is not above");
        self.0.push(version);
        version
    }
}

/// 2026-01-01, and 2040-01-01, in ns since 1970.
const NOW: u64 = 1_767_225_600_000_000_000;
const FAR: u64 = 2_208_988_800_000_000_000;
const SECOND: u64 = 1_000_000_000;

fn clock_of(home: &Home) -> PathBuf {
    home.path().join("clock")
}

/// The file `clock` as another boot finds it: of what was not synced, the newest instant is lost.
fn after_power_cut(mut file: Vec<u8>, synced_last: u64) -> Vec<u8> {
    file[8..16].copy_from_slice(&synced_last.to_be_bytes());
    file[24..40].iter_mut().for_each(|byte| *byte ^= 0xa5);
    let check = Digest::of(&file[..48]);
    file[48..].copy_from_slice(&check.as_bytes()[..16]);
    file
}

/// Attack 32, and promise 3: whatever becomes of clock, machine and file, each version has a number
/// above all that were acknowledged before, and versions keep their order.
#[test]
fn instants_grow_over_clock_steps_reboots_and_lost_clock() {
    let (mut home, mut line) = (Home::new(), Line(Vec::new()));
    home.set_time(NOW);
    assert_eq!(line.put(&home, "a", "first"), NOW);
    // The clock is at 2040 for a day, and set back.
    home.set_time(FAR);
    assert_eq!(line.put(&home, "b", "ahead"), FAR);
    home.set_time(NOW + SECOND);
    assert_eq!(line.put(&home, "a", "back"), FAR + 1);
    home.reopen();
    assert_eq!(line.put(&home, "b", "a new process"), FAR + 2);
    let states = [(FAR + 2, VersionState::Current), (FAR, VersionState::History)];
    assert_eq!(home.states("b"), states);
    assert_eq!(home.body("b"), Some(b"a new process".to_vec()));

    // The power goes, and the clock is set back too.
    for round in 1..=3 {
        let begin = FAR + 100 * round * SECOND;
        home.set_time(begin);
        assert_eq!(line.put(&home, "a", "its reservation is synced: 10 s"), begin);
        home.set_time(begin + 4 * SECOND);
        line.put(&home, "b", "within the reservation");
        line.put(&home, "c", "within the reservation");
        let file = fs::read(clock_of(&home)).unwrap();
        assert_eq!(file[16..24], (begin + 10 * SECOND).to_be_bytes());
        fs::write(clock_of(&home), after_power_cut(file, FAR)).unwrap();
        home.set_time(NOW);
        home.reopen();
        assert_eq!(line.put(&home, "a", "another boot"), begin + 10 * SECOND + 1);
    }

    // The file is lost or damaged, and the newest version is in any place.
    let whole = fs::read(clock_of(&home)).unwrap();
    let flipped: Vec<u8> = whole.iter().map(|byte| byte ^ 1).collect();
    let longer = [&whole[..], &[0]].concat();
    for left in [None, Some(&whole[..0]), Some(&whole[..63]), Some(&longer), Some(&flipped)] {
        for place in ["objects", "history", "trash"] {
            let what = format!("{place}, {:?}", left.map(<[u8]>::len));
            let newest = line.put(&home, "a", &what);
            match place {
                "trash" => _ = home.store.delete(&key("a"), Condition::Any).unwrap(),
                // As its writer has named it, before the one that replaces it is there.
                "history" => {
                    let name = home.area_path("history", "a", newest);
                    fs::rename(home.object_path("a"), name).unwrap();
                }
                _ => {}
            }
            match left {
                None => fs::remove_file(clock_of(&home)).unwrap(),
                Some(left) => fs::write(clock_of(&home), left).unwrap(),
            }
            home.set_time(NOW);
            home.reopen();
            assert_eq!(line.put(&home, "b", &what), newest + 1, "{what}");
            assert_eq!(fs::read(clock_of(&home)).unwrap().len(), 64, "{what}");
        }
    }
    // Beneath a running server: the next upload makes the file anew, from the clock if need be.
    fs::remove_file(clock_of(&home)).unwrap();
    let upload = home.store.begin(&key("a"), Kind::Plain, Condition::Any, None).unwrap();
    assert_eq!(upload.commit().unwrap_err().code(), ErrorCode::Busy);
    home.set_time(2 * FAR);
    assert_eq!(line.put(&home, "a", "again"), 2 * FAR + 1);
}

/// While a lost file is made anew, writes are refused at once, and reads continue.
#[test]
fn writes_are_busy_while_lost_clock_is_made_anew() {
    let mut home = Home::new();
    home.put("a", b"1");
    fs::remove_file(clock_of(&home)).unwrap();
    home.reopen();
    let mut passes = 0;
    let store = &home.store;
    let instants = &store.0.instants;
    let rebuilt = instants.rebuild(store.fsync(), || {
        passes += 1;
        let begun = Instant::now();
        let begin = store.begin(&key("b"), Kind::Plain, Condition::Any, None);
        assert!(matches!(begin, Err(StoreError::ClockLost)), "{begin:?}");
        assert_eq!(begin.unwrap_err().code(), ErrorCode::Busy);
        assert!(matches!(store.next_instant(None), Err(StoreError::ClockLost)));
        assert!(begun.elapsed() < Duration::from_secs(4), "they waited");
        assert_eq!(home.body("a"), Some(b"1".to_vec()));
        Ok(5000)
    });
    rebuilt.unwrap();
    assert_eq!((passes, home.put("b", b"2")), (1, 5001));
    // It is whole by now.
    instants.rebuild(store.fsync(), || panic!("it is not lost")).unwrap();
}

/// STORE, "Locks": a put waits at most 5 s for a process that does not give the file back.
#[test]
fn put_waits_five_seconds_for_clock() {
    let home = Home::new();
    home.put("a", b"1");
    let clock = fs::File::open(clock_of(&home)).unwrap();
    clock.lock().unwrap();
    let begun = Instant::now();
    let refused = put(&home.store, "a", b"2", Condition::Any).unwrap_err();
    assert!(matches!(refused, StoreError::ClockInUse), "{refused:?}");
    assert_eq!(refused.code(), ErrorCode::Busy);
    let waited = begun.elapsed();
    assert!(Duration::from_secs(5) <= waited && waited < Duration::from_secs(20), "{waited:?}");
    drop(clock);
    home.put("a", b"2");
    assert_eq!((home.states("a").len(), home.staged()), (2, 0));
}

/// A check reports numbers that the file does not know of, as a copy of a store in use may have.
#[test]
fn check_reports_numbers_beyond_clock() {
    let mut home = Home::new();
    let early = fs::read(clock_of(&home)).unwrap();
    home.put("a", b"1");
    assert_eq!(home.store.check(&mut ()).unwrap().damaged, []);
    // The file was copied first, and a put came then.
    fs::write(clock_of(&home), early).unwrap();
    home.reopen();
    let damaged = home.store.check(&mut ()).unwrap().damaged;
    let [damage] = &damaged[..] else { panic!("{damaged:?}") };
    assert_eq!(home.path().join(&damage.file), home.object_path("a"));
    assert!(damage.what.starts_with("its number is above"), "{}", damage.what);
    fs::remove_file(clock_of(&home)).unwrap();
    assert_eq!(home.store.check(&mut ()).unwrap().damaged, []);
    home.put("b", b"2");
    assert_eq!(home.store.check(&mut ()).unwrap().damaged, []);
}
