//! A child process with its descendants, found through proc(5): `sh -c 'dump | gzip'` is three
//! processes.
//!
//! Without `/proc` only the child itself is known. A daemon that has left its parent is not found;
//! it is meant to continue.

use std::{collections::BTreeSet, fs};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// Number of scans: each finds processes that were started since the one before.
const SCANS: usize = 3;

/// A process as `/proc/PID/stat` describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    pid: i32,
    parent: i32,
    group: i32,
}

/// Asks the child `pid`, its descendants, and the process groups that they lead, to end.
pub(super) fn terminate(pid: Pid) {
    let mut ended = BTreeSet::new();
    for _ in 0..SCANS {
        let processes = running_processes();
        let tree = descendants(pid.as_raw_pid(), &processes);
        let new: Vec<i32> = tree.difference(&ended).copied().collect();
        for pid in &new {
            let leads_group = processes.iter().any(|process| process.group == *pid);
            signal(*pid, leads_group);
        }
        if new.is_empty() {
            return;
        }
        ended.extend(new);
    }
}

/// Sends SIGTERM, and SIGCONT so that a stopped process receives it.
fn signal(pid: i32, leads_group: bool) {
    let Some(pid) = Pid::from_raw(pid) else { return };
    for signal in [Signal::TERM, Signal::CONT] {
        // A process that has exited already needs no signal.
        let _ended =
            if leads_group { kill_process_group(pid, signal) } else { kill_process(pid, signal) };
    }
}

/// `first` and its descendants.
fn descendants(first: i32, processes: &[Process]) -> BTreeSet<i32> {
    let mut family = BTreeSet::from([first]);
    loop {
        let before = family.len();
        for process in processes {
            if family.contains(&process.parent) {
                family.insert(process.pid);
            }
        }
        if family.len() == before {
            return family;
        }
    }
}

fn running_processes() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let stats = entries.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        parse(pid, &fs::read(entry.path().join("stat")).ok()?)
    });
    stats.collect()
}

/// proc_pid_stat(5): `PID (COMMAND) STATE PPID PGRP …`; the command may contain any bytes.
fn parse(pid: i32, stat: &[u8]) -> Option<Process> {
    let behind = stat.iter().rposition(|byte| *byte == b')')? + 1;
    let fields = str::from_utf8(stat.get(behind..)?).ok()?;
    let mut fields = fields.split_ascii_whitespace().skip(1);
    let (parent, group) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(Process { pid, parent, group })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line of /proc/PID/stat parses whatever bytes the command's name has.
    #[test]
    fn process_stat_parses_any_command_name() {
        let process = Some(Process { pid: 7, parent: 3, group: 5 });
        assert_eq!(parse(7, b"7 (sh) S 3 5 5 0 -1 4194304"), process);
        assert_eq!(parse(7, b"7 (a) S 9 (\xff b)) R 3 5 5 0"), process);
        assert_eq!(parse(7, b"7 (sh"), None);
    }

    /// All descendants of a process are found, in whatever order their ids are.
    #[test]
    fn descendants_are_found_in_any_pid_order() {
        let process = |pid, parent| Process { pid, parent, group: 1 };
        let processes = [process(2, 9), process(3, 2), process(9, 4), process(5, 1)];
        assert_eq!(descendants(9, &processes), BTreeSet::from([2, 3, 9]));
        assert_eq!(descendants(8, &processes), BTreeSet::from([8]));
    }

    /// The list of running processes contains this process.
    #[test]
    fn running_processes_include_this_process() {
        let pid = std::process::id().cast_signed();
        assert!(running_processes().iter().any(|process| process.pid == pid));
    }
}
