//! Send engines: four ways to move payload from a file into a socket, behind one interface.
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
//! (The sender's CPU time; best of nine on a machine with two busy cores, Linux 6.18. The same
//! calls from a C program.)
//!
//! A [`SendEngine`] is the state of one transfer; [`EngineResources`] are shared by all transfers
//! of a worker. Each step moves at least one byte, or returns that the socket has no room, or that
//! the file ends; a full pipe or an absent page is never reported as a full socket. The pages
//! should be in memory ([`crate::sys::residency`]): a step blocks for those that are not.
//!
//! When a file shrinks while it is sent, a step of each engine returns `Ok(0)` or an error, and
//! there is no signal. The bytes sent before that may have zeros in the place of what was cut off,
//! because the kernel clears a page behind the end of the file, also one that a socket refers to.
//! So a server of files that others may truncate must end the connection and rely on the peer's own
//! check.
//!
//! Rust's runtime ignores `SIGPIPE` in every program; sendfile(2) and splice(2) have no flag for
//! that.

use std::{fmt, io, os::fd::BorrowedFd, str::FromStr};

use clap::ValueEnum;
use thiserror::Error;

use crate::sys;

mod copy;
mod mmap;
mod pipes;
mod splice;

use self::{copy::Scratch, mmap::MmapState, splice::SpliceState};

pub(crate) use self::pipes::Pipes;

/// How payload gets from a file into a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, ValueEnum)]
pub enum Engine {
    /// sendfile(2) from the file into the socket.
    Sendfile,
    /// splice(2) through pipes of 1 MiB; sendfile(2) while no pipe is free.
    #[default]
    Splice,
    /// mmap(2) of a window, and send(2).
    Mmap,
    /// pread(2) into a buffer, and send(2).
    Copy,
}

/// An unknown engine's name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("\"{0}\" is no engine: choose sendfile, splice, mmap or copy")]
pub struct UnknownEngine(String);

impl Engine {
    /// All engines, in the order of the measurements in this module.
    pub const ALL: [Self; 4] = [Self::Sendfile, Self::Splice, Self::Mmap, Self::Copy];

    /// Its name on command lines and in configuration files.
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

/// What the transfers of a worker share.
#[derive(Debug)]
pub(crate) struct EngineResources {
    scratch: Scratch,
    pipes: Pipes,
}

impl EngineResources {
    /// The resources of one worker; `pipes` are the server's.
    pub(crate) const fn new(pipes: Pipes) -> Self {
        Self { scratch: Scratch::new(), pipes }
    }
}

/// The state of one transfer.
///
/// It may be dropped at any time: a pipe with bytes in it is closed.
#[derive(Debug)]
pub(crate) struct SendEngine(State);

#[derive(Debug)]
enum State {
    Sendfile,
    Splice(SpliceState),
    Mmap(MmapState),
    Copy,
}

impl SendEngine {
    /// A transfer by `engine`. It takes up no resources until its first step.
    pub(crate) const fn new(engine: Engine) -> Self {
        Self(match engine {
            Engine::Sendfile => State::Sendfile,
            Engine::Splice => State::Splice(SpliceState::new()),
            Engine::Mmap => State::Mmap(MmapState::new()),
            Engine::Copy => State::Copy,
        })
    }

    /// Whether a [step](Self::step) that moves less than `count` may leave bytes in a TCP socket
    /// that wait for later bytes: splice(2) and sendfile(2) mark all pages except the last ones
    /// with `MSG_MORE`.
    pub(crate) const fn corks(&self) -> bool {
        match &self.0 {
            State::Sendfile | State::Splice(_) => true,
            State::Mmap(_) | State::Copy => false,
        }
    }

    /// Moves at least 1 and at most `count` > 0 bytes of `file` from `offset` into `socket`, which
    /// is in non-blocking mode. Returns how many; 0 means that the file ends at or before `offset`.
    ///
    /// The state belongs to one file and one socket. `count` reaches at most to the end of what is
    /// to be sent: bytes up to there may be taken from the file before the socket accepts them, so
    /// the next step should begin where this one ended. A step elsewhere discards those bytes.
    ///
    /// # Errors
    /// `WouldBlock` only when the socket has no room now. Any other error ends the transfer,
    /// because the announced bytes cannot be sent.
    pub(crate) fn step(
        &mut self,
        resources: &mut EngineResources,
        socket: BorrowedFd<'_>,
        file: BorrowedFd<'_>,
        offset: u64,
        count: usize,
    ) -> io::Result<usize> {
        debug_assert!(count > 0, "a step of no bytes would look like the end of the file");
        match &mut self.0 {
            State::Sendfile => sys::net::sendfile(socket, file, offset, count),
            State::Splice(splice) => splice.step(&resources.pipes, socket, file, offset, count),
            State::Mmap(mmap) => mmap.step(socket, file, offset, count),
            State::Copy => resources.scratch.step(socket, file, offset, count),
        }
    }
}

#[cfg(test)]
mod tests;
