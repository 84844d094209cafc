//! What a signal ends, whatever processes the command of `--exec` has started; and core limits
//! where a process stays dumpable.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use zput_skip::{self as skip, or_skip};
use zput_testkit::{Machine, until};

/// proc_pid_stat(5): the state letter after the command's name; `None` for a process that is gone.
fn state(pid: &str) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Runs `zput --exec -- bash -c SCRIPT`, which writes process ids into files of these names. Once
/// all exist and `is_ready`, a signal ends zput, and all those processes have to end.
fn all_are_ended(script: &str, files: &[&str], is_ready: impl Fn(&[String]) -> bool) {
    let machine = Machine::new();
    let mut put = machine.command("zput");
    put.args(["--exec", "--name", "e", "--", "bash", "-c", script]).stderr(Stdio::null());
    let mut put = put.spawn().unwrap();
    let read = |name: &&str| fs::read_to_string(machine.file(name)).unwrap_or_default();
    until("all have begun", || files.iter().all(|name| read(name).ends_with('\n')));
    let pids: Vec<String> = files.iter().map(|name| read(name).trim().to_owned()).collect();
    until("all are as they should be", || is_ready(&pids));
    kill_process(Pid::from_child(&put), Signal::TERM).unwrap();
    assert_eq!(put.wait().unwrap().code(), Some(143));
    for (name, pid) in files.iter().zip(&pids) {
        until(name, || matches!(state(pid), None | Some('Z')));
    }
}

/// `sh -c 'dump | gzip &'` in a shell with job control: the parent has exited, and only the process
/// group still relates the processes.
#[test]
fn sigterm_ends_orphaned_process_groups_of_zput_exec() {
    let script = "set -m; ((sleep 600 & echo $! > orphan); echo $BASHPID > leader; exec sleep 600) & \
                  echo $$ > child; wait";
    all_are_ended(script, &["child", "leader", "orphan"], |pids| {
        let stat = fs::read_to_string(format!("/proc/{}/stat", pids[2])).unwrap();
        let fields: Vec<_> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        // The parent is not among the processes that zput has started, but the group is led by one
        // of them.
        !pids.iter().any(|pid| pid == fields[1]) && fields[2] == pids[1]
    });
}

/// SIGTERM to zput ends a command that is stopped.
#[test]
fn sigterm_ends_a_stopped_command_of_zput_exec() {
    let script = "echo $$ > child; kill -STOP $$; sleep 600";
    all_are_ended(script, &["child"], |pids| state(&pids[0]) == Some('T'));
}

/// core(5): where the kernel refuses `PR_SET_DUMPABLE`, the limit is used, which the command of
/// `--exec` inherits.
#[test]
fn core_limit_is_zero_when_prctl_is_refused() {
    let limit = |by: &str| {
        let machine = Machine::new();
        let script =
            format!("ulimit -S -c $(ulimit -H -c); {by} zput --exec --name l -- sh -c 'ulimit -c'");
        machine.sh(&script).ok();
        machine.run_line("zget -o - l").ok().text()
    };
    let traces = Command::new("strace").args(["-o", "/dev/null", "true"]).output();
    let traces = traces.is_ok_and(|traced| traced.status.success());
    or_skip!(traces.then_some(()).ok_or("strace is not installed, or may not trace"));
    if limit("") == "0\n" {
        return skip::because("cores have no room here");
    }
    let without = "strace -qq -o /dev/null -e inject=prctl:error=EINVAL";
    assert_eq!(limit(without), "0\n");
    assert!(!Path::new("core").exists());
}
