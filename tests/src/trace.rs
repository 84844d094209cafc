//! What strace(1) writes of a process: its system calls.

use std::process::Command;

use crate::installed;

/// A system call as strace(1) prints it, descriptors with their paths.
#[derive(Clone, Debug)]
pub struct Call {
    /// The thread ID, as strace prints it.
    pub thread: u32,
    /// The name of the system call, such as `openat`.
    pub name: String,
    /// The arguments, as strace prints them between the parentheses.
    pub arguments: String,
    /// The return value; negative when the call failed.
    pub result: i64,
    /// The line of the trace in which it began.
    pub began: usize,
    /// The line in which it returned.
    pub ended: usize,
}

impl Call {
    /// Whether it is one of `names`.
    #[must_use]
    pub fn is(&self, names: &[&str]) -> bool {
        names.contains(&self.name.as_str())
    }

    /// The path, or the kind of socket, that its first argument is a descriptor of.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        let (number, rest) = self.arguments.split_once('<')?;
        number.parse::<u32>().ok()?;
        rest.split_once('>').map(|(path, _)| path)
    }

    /// Whether that holds `text`.
    #[must_use]
    pub fn on(&self, text: &str) -> bool {
        self.path().is_some_and(|path| path.contains(text))
    }

    /// Whether it sends from memory.
    #[must_use]
    pub fn is_send(&self) -> bool {
        self.is(&["write", "writev", "sendto", "sendmsg"]) && self.on("socket:")
    }

    /// Whether it received something.
    #[must_use]
    pub fn is_receipt(&self) -> bool {
        self.is(&["read", "readv", "recvfrom", "recvmsg"]) && self.on("socket:") && self.result > 0
    }

    /// Whether it renames.
    #[must_use]
    pub fn is_rename(&self) -> bool {
        self.is(&["rename", "renameat", "renameat2"])
    }
}

/// The calls of a whole trace, in the order in which they returned.
///
/// # Panics
/// When it is no trace of `strace -f`.
#[must_use]
pub fn calls(trace: &str) -> Vec<Call> {
    let mut under_way: Vec<(&str, usize, &str)> = Vec::new();
    let mut calls = Vec::new();
    for (number, line) in trace.lines().enumerate() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        if let Some(begun) = rest.strip_suffix(" <unfinished ...>") {
            under_way.push((thread, number, begun));
            continue;
        }
        let (began, text) = match rest.strip_prefix("<... ") {
            None => (number, rest.to_owned()),
            Some(resumed) => {
                let at = under_way.iter().position(|(other, ..)| *other == thread);
                let at = at.unwrap_or_else(|| panic!("nothing is resumed by {line:?}"));
                let (_, began, begun) = under_way.swap_remove(at);
                let end = resumed.split_once(" resumed>").map_or("", |(_, end)| end);
                (began, format!("{begun}{end}"))
            }
        };
        // Signals and ends are no calls.
        let Some((name, rest)) = text.split_once('(').filter(|(name, _)| !name.contains(' '))
        else {
            continue;
        };
        let Some((arguments, result)) = rest.rsplit_once(" = ") else { continue };
        let result: String =
            result.chars().take_while(|c| c.is_ascii_digit() || *c == '-').collect();
        calls.push(Call {
            thread: thread.parse().unwrap_or(0),
            name: name.to_owned(),
            arguments: arguments.trim_end().trim_end_matches(')').to_owned(),
            // mmap returns an address and an exit nothing; no test reads those.
            result: result.parse().unwrap_or(0),
            began,
            ended: number,
        });
    }
    calls
}

/// Whether there is a strace that may trace.
///
/// # Errors
/// Why there is none.
pub fn can_trace() -> Result<(), &'static str> {
    let strace = installed("strace").ok_or("strace is not installed")?;
    let may = Command::new(strace).args(["-qq", "-o", "/dev/null", "true"]).output();
    let may = may.is_ok_and(|output| output.status.success());
    if may { Ok(()) } else { Err("strace may not trace here") }
}
