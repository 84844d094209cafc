//! What is known here before it leaves: seen by strace, where it is installed.

use std::{fs, process::Command};

use zput_tests::{Call, Ran, calls, can_trace, or_skip};

use crate::setting::{FILE, PARTS, SEALED_PART, Setting};

/// What writes, makes durable, removes, and sends.
const CALLS: &str =
    "trace=openat,pwrite64,write,writev,sendto,sendmsg,fsync,fdatasync,unlink,unlinkat";

/// The journal's directory, and below it the journal.
const JOURNALS: &str = "/.local/state/zput/puts/";

/// Puts the file under strace; gives the calls in the order in which they returned.
fn traced(setting: &Setting) -> Vec<Call> {
    let trace = setting.home.path().join("trace");
    let inner = setting.home.command("zput");
    let mut command = Command::new("strace");
    command.args(["-f", "-y", "-qq", "-s", "8", "-e", CALLS, "-o"]).arg(&trace);
    command.arg(inner.get_program()).arg(FILE);
    command.current_dir(setting.home.file(".")).env_clear();
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let _ran = Ran::from(command.output().unwrap()).ok();
    calls(&fs::read_to_string(trace).unwrap())
}

fn on_journal(call: &&Call) -> bool {
    call.path()
        .is_some_and(|path| path.split_once(JOURNALS).is_some_and(|(_, below)| below.contains('/')))
}

/// The line of the trace in which the send begins that takes the first byte behind `offset`.
fn sends_behind(calls: &[Call], offset: u64) -> usize {
    let mut sent = 0;
    for call in calls.iter().filter(|call| call.is_send()) {
        sent += u64::try_from(call.result).unwrap_or(0);
        if sent > offset {
            return call.began;
        }
    }
    panic!("only {sent} bytes were sent");
}

/// The journal's row of a part is synced before the part's first byte is sent.
#[test]
fn put_journal_has_part_synced_before_its_first_byte_is_sent() {
    or_skip!(can_trace());
    let setting = Setting::in_clear();
    let (ends, up, _) = setting.ends();
    let bytes = setting.write(1);
    let calls = traced(&setting);
    let syncs: Vec<&Call> =
        calls.iter().filter(|call| call.is(&["fsync", "fdatasync"])).filter(on_journal).collect();
    let writes: Vec<&Call> =
        calls.iter().filter(|call| call.is(&["pwrite64"])).filter(on_journal).collect();
    // The head; a row for each part, and one for the footer; and zeros over the key in the end.
    assert_eq!((syncs.len(), writes.len()), (PARTS as usize + 3, PARTS as usize + 3));
    for (write, sync) in writes.iter().zip(&syncs) {
        assert!(write.ended < sync.began && sync.result == 0, "{sync:?}");
    }
    // The header and the name, before the server is connected to.
    let first = sends_behind(&calls, 0);
    let directory = calls.iter().find(|call| {
        call.is(&["fsync"]) && call.on(JOURNALS) && !on_journal(call) && call.began > syncs[0].ended
    });
    assert!(directory.unwrap().ended < first && syncs[0].ended < first);
    for (part, end) in ends[..PARTS as usize].iter().enumerate() {
        // FORMAT 1: 1,000,000 bytes are 62 chunks.
        let length = if part as u64 == PARTS - 1 { 1_001_048 } else { SEALED_PART };
        let begins = sends_behind(&calls, end - length);
        assert!(syncs[part + 1].ended < begins, "part {part} was sent before it was noted");
    }
    // The footer's row, before the commit: that is the last frame.
    let commit = sends_behind(&calls, up - 1);
    assert!(syncs[PARTS as usize + 1].ended < commit, "it was committed before it was noted");
    // The key goes once the answer is there, and then the file, durably.
    let wiped = syncs[PARTS as usize + 2];
    assert!(wiped.began > commit);
    let gone = calls
        .iter()
        .find(|call| call.is(&["unlink", "unlinkat"]) && call.arguments.contains(JOURNALS))
        .unwrap();
    assert!(gone.began > wiped.ended);
    let durable = |call: &&Call| call.is(&["fsync"]) && call.on(JOURNALS) && !on_journal(call);
    assert!(calls.iter().filter(durable).any(|call| call.began > gone.ended));
    setting.is_stored(&bytes, 1);
}
