//! What signals end, and what they leave.

use std::{
    fs,
    io::Write,
    os::unix::{fs::MetadataExt as _, process::ExitStatusExt as _},
    path::Path,
    process::{Command, Stdio},
};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use zput_tests::{command_path, leaves_cores, names, skip, until};

use crate::setting::{got, is_gone, settled, written};

/// Whether this process, and with it what it starts, ignores SIGHUP (proc(5): a bit for each
/// signal; SIGHUP is 1).
fn hangup_is_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    u64::from_str_radix(ignored.trim(), 16).unwrap() & 1 == 1
}

/// All signals that end a process and can be caught leave what SIGTERM leaves: nothing.
#[test]
fn signal_ends_command_without_its_files_and_children() {
    let home = settled();
    let endless = "echo $$ > pid; (sleep 1000 & echo $! > grandchild; wait) & wait";
    let ends = [
        (Signal::HUP, 129),
        (Signal::INT, 130),
        (Signal::QUIT, 131),
        (Signal::USR1, 138),
        (Signal::TERM, 143),
        (Signal::XCPU, 152),
    ];
    for (by, code) in ends {
        if by == Signal::HUP && hangup_is_ignored() {
            skip::because("SIGHUP is ignored here, as under nohup");
            continue;
        }
        let mut put = home.command("zput");
        put.args(["--exec", "--name", "e", "--", "bash", "-c", endless]);
        let mut put = put.spawn().unwrap();
        let (child, grandchild) = (written(&home, "pid"), written(&home, "grandchild"));
        kill_process(Pid::from_child(&put), by).unwrap();
        assert_eq!(put.wait().unwrap().code(), Some(code));
        for pid in [child, grandchild] {
            until("it is gone", || is_gone(pid.trim()));
        }
        fs::remove_file(home.file("pid")).unwrap();
        fs::remove_file(home.file("grandchild")).unwrap();

        // Something is under way, and waits for more.
        for (command, args) in
            [("zblob seal", &["-o", "out", "-"][..]), ("zblob open", &["-o", "out", "-"])]
        {
            let mut child = home.command(command);
            child.args(args).stdin(Stdio::piped()).stderr(Stdio::null());
            let mut child = child.spawn().unwrap();
            // Waiting for the child would close it, and end the input.
            let _stdin = child.stdin.take();
            until("a temporary file", || names(&home.file(".")).len() > 1);
            kill_process(Pid::from_child(&child), by).unwrap();
            assert_eq!(child.wait().unwrap().code(), Some(code), "{command}");
            assert_eq!(names(&home.file(".")), ["first"], "{command}");
        }
    }
}

/// A command that has closed its output and is not over yet.
#[test]
fn signal_ends_exec_command_that_has_closed_its_output() {
    let home = settled();
    let script = "echo x; exec >&-; echo $$ > pid; exec sleep 1000";
    let mut put = home.command("zput");
    let mut put = put.args(["--exec", "--name", "e", "--", "bash", "-c", script]).spawn().unwrap();
    let child = written(&home, "pid");
    until("it sleeps", || {
        fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap().contains("(sleep)")
    });
    kill_process(Pid::from_child(&put), Signal::TERM).unwrap();
    assert_eq!(put.wait().unwrap().code(), Some(143));
    until("it is gone", || is_gone(child.trim()));
}

/// A put whose SIGHUP is ignored outlives a hangup, also without /proc.
#[test]
fn zput_under_nohup_outlives_sighup() {
    outlives_a_hangup("bash", &["-c", "trap '' HUP; exec \"$@\""]);
    // Nor where nothing says that it is ignored.
    let script = "umount -l /proc; trap '' HUP; exec \"$@\"";
    let takes_away = ["-m", "sh", "-c", "umount -l /proc"];
    let takes_away = Command::new("unshare").args(takes_away).stderr(Stdio::null()).status();
    if !takes_away.is_ok_and(|ended| ended.success()) {
        return skip::because("/proc cannot be taken away");
    }
    outlives_a_hangup("unshare", &["-m", "sh", "-c", script]);
}

fn outlives_a_hangup(program: &str, args: &[&str]) {
    let home = settled();
    let mut command = home.program(program);
    command.args(args).arg("sh").arg(command_path("zput"));
    command.args(["--name", "slow", "-"]).stdin(Stdio::piped());
    let mut put = command.spawn().unwrap();
    let status = format!("/proc/{}/status", put.id());
    until("it handles signals", || {
        let status = fs::read_to_string(&status).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        // SIGTERM is 15.
        u64::from_str_radix(caught.trim(), 16).unwrap() >> 14 & 1 == 1
            && status.starts_with("Name:\tzput")
    });
    kill_process(Pid::from_child(&put), Signal::HUP).unwrap();
    put.stdin.take().unwrap().write_all(b"all the same").unwrap();
    assert_eq!(put.wait().unwrap().code(), Some(0));
    assert_eq!(got(&home, "slow"), b"all the same");
}

/// PR_SET_DUMPABLE: no core, and /proc/PID belongs to root.
#[test]
fn zput_that_holds_keys_leaves_no_core() {
    let home = settled();
    let mut command = home.program("bash");
    command.args(["-c", "ulimit -c unlimited; exec \"$@\"", "bash"]).arg(command_path("zput"));
    command.args(["--name", "slow", "-"]).stdin(Stdio::piped());
    let mut put = command.spawn().unwrap();
    put.stdin.as_mut().unwrap().write_all(b"x").unwrap();
    until("it has begun", || {
        let comm = fs::read_to_string(format!("/proc/{}/comm", put.id())).unwrap();
        comm == "zput\n" && names(Path::new(&format!("/proc/{}/task", put.id()))).len() > 1
    });
    // proc(5): what is in /proc/PID of a process that is not dumpable is root's.
    let owner = fs::metadata(format!("/proc/{}/environ", put.id())).unwrap().uid();
    assert_eq!(owner, 0);
    kill_process(Pid::from_child(&put), Signal::ABORT).unwrap();
    let status = put.wait().unwrap();
    assert_eq!((status.signal(), status.core_dumped()), (Some(6), false));
    assert_eq!(names(&home.file(".")), ["first"]);
    if geteuid().is_root()
        && let Err(reason) = leaves_cores(&home)
    {
        skip::because(format!("a core would not be seen: {reason}"));
    }
}

/// The largest a put can be is not reached here; an endless device is read until it is ended.
#[test]
fn signal_ends_zput_of_endless_device() {
    let home = settled();
    let put = home.command("zput").args(["--name", "zero", "/dev/zero"]).spawn();
    let mut put = put.unwrap();
    let staging = home.path().join(".local/share/zput/store/staging");
    until("an upload", || !names(&staging).is_empty());
    kill_process(Pid::from_child(&put), Signal::TERM).unwrap();
    assert_eq!(put.wait().unwrap().code(), Some(143));
    assert_eq!(home.run("zblob ls", [""; 0]).ok().text(), "first\n");
}
