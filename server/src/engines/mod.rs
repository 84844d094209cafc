//! What moves payload from a file into a socket: four ways behind one seam.
//!
//! ```text
//!   sendfile   file ──────────────────────────► socket     one call, through a pipe of the kernel's
//!   splice     file ──► pipe of 1 MiB ────────► socket     two calls, pages never copied
//!   mmap       file ──► addresses ── send(2) ─► socket     one copy, in the kernel
//!   copy       file ──► buffer ───── send(2) ─► socket     two copies
//! ```
//!
//! | 1 GiB in memory, by windows of 512 KiB, over loopback (cubic) to a reader that discards | GB/s | CPU-s/GB |
//! |---|---|---|
//! | sendfile | 6.7 | 0.09 |
//! | splice | 9.5 | 0.06 |
//! | mmap, with or without `MADV_POPULATE_READ` | 4.1 | 0.12 to 0.15 |
//! | copy | 6.1 | 0.10 |
//!
//! (The sender's CPU time; best of nine on a machine of two busy cores, Linux 6.18. The same calls from a C program.)
//!
//! A [`Mover`] is one transfer's state, [`Tools`] are what a worker lends to all of its movers. Each step
//! moves at least one byte, or says that the socket takes nothing now, or that the file ends: no pipe
//! and no page ever makes one wait or look blocked. The pages should be in memory
//! ([`crate::sys::residency`]): a step waits for those that are not.
//!
//! A file that shrinks while it is sent makes a step say so, with each of the engines: `Ok(0)`, or an
//! error, never a signal. What the peer got before that may hold zeros in the place of what was cut off
//! (the kernel clears a page behind the file's end, also one that a socket holds on to), so who serves
//! files that others may truncate must end the connection, and count on the peer's own check.
//!
//! `SIGPIPE` is ignored by every program that Rust's runtime starts; sendfile(2) and splice(2) cannot be
//! told to raise none.

use std::{fmt, io, os::fd::BorrowedFd, str::FromStr};

use clap::ValueEnum;
use thiserror::Error;

use crate::sys;

mod copy;
#[path = "mmap.rs"]
mod mapped;
#[path = "splice.rs"]
mod piped;
mod pipes;

use self::{copy::Scratch, mapped::Mapped, piped::Piped};

pub(crate) use self::pipes::Pipes;

/// What moves payload into sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, ValueEnum)]
pub enum Engine {
    /// sendfile(2).
    Sendfile,
    /// splice(2) through pipes of 1 MiB; sendfile(2) while none is free.
    #[default]
    Splice,
    /// mmap(2) of a window, and send(2).
    Mmap,
    /// pread(2) and send(2).
    Copy,
}

/// The name of an engine that there is not.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("\"{0}\" is no engine: choose sendfile, splice, mmap or copy")]
pub struct UnknownEngine(String);

impl Engine {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Sendfile, Self::Splice, Self::Mmap, Self::Copy];

    /// Its name, on command lines and in configuration files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sendfile => "sendfile",
            Self::Splice => "splice",
            Self::Mmap => "mmap",
            Self::Copy => "copy",
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Engine {
    type Err = UnknownEngine;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let named = Self::ALL.into_iter().find(|engine| engine.name() == name);
        named.ok_or_else(|| UnknownEngine(name.to_owned()))
    }
}

/// What a worker lends to the transfers that it gives turns.
#[derive(Debug)]
pub(crate) struct Tools {
    scratch: Scratch,
    pipes: Pipes,
}

impl Tools {
    /// The tools of one worker of a server that has these `pipes`.
    pub(crate) const fn new(pipes: Pipes) -> Self {
        Self { scratch: Scratch::new(), pipes }
    }
}

/// How one transfer moves its bytes, and what it has under way.
///
/// Dropping it at any time is fine: a pipe with bytes in it is closed.
#[derive(Debug)]
pub(crate) struct Mover(State);

#[derive(Debug)]
enum State {
    Sendfile,
    Splice(Piped),
    Mmap(Mapped),
    Copy,
}

impl Mover {
    /// A transfer of `engine`. It takes up nothing until its first step.
    pub(crate) const fn new(engine: Engine) -> Self {
        Self(match engine {
            Engine::Sendfile => State::Sendfile,
            Engine::Splice => State::Splice(Piped::new()),
            Engine::Mmap => State::Mmap(Mapped::new()),
            Engine::Copy => State::Copy,
        })
    }

    /// Whether a [step](Self::step) that moves less than `count` may leave bytes in a TCP socket that wait for those behind them:
    /// splice(2) and sendfile(2) say of all pages but the last ones that more follow (`MSG_MORE`).
    pub(crate) const fn corks(&self) -> bool {
        match &self.0 {
            State::Sendfile | State::Splice(_) => true,
            State::Mmap(_) | State::Copy => false,
        }
    }

    /// Moves at least 1 and at most `count` > 0 bytes of `file` from `offset` into `socket`, which is
    /// non-blocking. Returns how many; 0 means that the file ends at or before `offset`.
    ///
    /// One mover is for one file and one socket. `count` reaches at most to the end of what is to be sent:
    /// the bytes up to there may be taken from the file before the socket takes them, so the next step
    /// begins where this one has ended. One that begins elsewhere forgets them and starts anew.
    ///
    /// # Errors
    /// `WouldBlock` when the socket takes nothing now, and only then. Anything else ends the transfer:
    /// what the peer was promised cannot be kept.
    pub(crate) fn step(
        &mut self,
        tools: &mut Tools,
        socket: BorrowedFd<'_>,
        file: BorrowedFd<'_>,
        offset: u64,
        count: usize,
    ) -> io::Result<usize> {
        debug_assert!(count > 0, "a step of no bytes would look like the end of the file");
        match &mut self.0 {
            State::Sendfile => sys::net::sendfile(socket, file, offset, count),
            State::Splice(piped) => piped.step(&tools.pipes, socket, file, offset, count),
            State::Mmap(mapped) => mapped.step(socket, file, offset, count),
            State::Copy => tools.scratch.step(socket, file, offset, count),
        }
    }
}

#[cfg(test)]
mod tests;
