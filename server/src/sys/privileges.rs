//! Becoming somebody who may do less. No unsafe code: `rustix` has the calls.
//!
//! On Linux identities belong to threads: the calls change the one that makes them, and threads that
//! are started later inherit from it. So this is done while there is only one.

use std::{fs, io};

use rustix::{
    process::{Gid, Resource, Rlimit, Uid, geteuid, getgroups, getuid, setrlimit},
    thread::{
        capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
    },
};
use thiserror::Error;

/// Why privileges were not dropped.
#[derive(Debug, Error)]
pub enum PrivilegeError {
    /// There is nobody of that name.
    #[error("there is no user \"{0}\": make one, or name another")]
    NoUser(String),
    /// Only root can become somebody else.
    #[error("cannot become \"{0}\": start as root, or as that user and without user")]
    NotRoot(String),
    /// Root cannot become root.
    #[error("the user \"{0}\" is root: name one that may do less")]
    Root(String),
    /// Nobody knows the user's groups.
    #[error("cannot become \"{0}\": its groups cannot be looked up")]
    Groups(String),
    /// A call failed.
    #[error("cannot become \"{user}\": {call} failed: {source}")]
    Call {
        /// Whom.
        user: String,
        /// Which call.
        call: &'static str,
        /// Why.
        source: io::Error,
    },
    /// Something of root was left.
    #[error("cannot become \"{user}\": {left} was left")]
    Left {
        /// Whom.
        user: String,
        /// What.
        left: &'static str,
    },
    /// Threads were started before.
    #[error("privileges are dropped before threads are started, and there are {0}")]
    Threads(usize),
}

/// Becomes `user` for good: groups, group and user, and nothing can be got back. Whoever is that
/// user already stays so.
///
/// # Errors
/// When it did not work; then this process must end.
pub fn become_user(user: &str) -> Result<(), PrivilegeError> {
    let owned = || user.to_owned();
    let found = uzers::get_user_by_name(user).ok_or_else(|| PrivilegeError::NoUser(owned()))?;
    let (uid, gid) = (Uid::from_raw(found.uid()), Gid::from_raw(found.primary_group_id()));
    if uid.is_root() {
        return Err(PrivilegeError::Root(owned()));
    }
    if getuid() == uid && geteuid() == uid {
        return Ok(());
    }
    if !geteuid().is_root() {
        return Err(PrivilegeError::NotRoot(owned()));
    }
    only_thread()?;
    let groups: Vec<Gid> = uzers::get_user_groups(user, gid.as_raw())
        .ok_or_else(|| PrivilegeError::Groups(owned()))?
        .iter()
        .map(|group| Gid::from_raw(group.gid()))
        .collect();
    let call = |call, done: rustix::io::Result<()>| {
        done.map_err(|e| PrivilegeError::Call { user: owned(), call, source: e.into() })
    };
    // In this order: who is not root any more may change neither groups nor group.
    call("setgroups", set_thread_groups(&groups))?;
    call("setresgid", set_thread_res_gid(gid, gid, gid))?;
    call("setresuid", set_thread_res_uid(uid, uid, uid))?;
    verify(user, uid, gid, &groups)
}

/// Gives up what programs with set-user-ID bits could give back (prctl(2), `PR_SET_NO_NEW_PRIVS`).
///
/// # Errors
/// When the kernel has no such thing.
pub fn renounce() -> io::Result<()> {
    Ok(set_no_new_privs(true)?)
}

/// Leaves no core behind when this process crashes. The limit keeps it from being a file; where the
/// kernel hands it to a program, which no limit keeps from it (core(5), "Piping core dumps to a
/// program"), it has none of this process's memory. What the system refuses stays as it is.
pub fn leave_no_core() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let _limited = setrlimit(Resource::Core, none);
    // core(5), "Controlling which mappings are written": none of them.
    let _filtered = fs::write("/proc/self/coredump_filter", "0");
}

/// Whether this process may do everything.
#[must_use]
pub fn is_root() -> bool {
    geteuid().is_root()
}

/// Tries to get back what was given up.
fn verify(user: &str, uid: Uid, gid: Gid, groups: &[Gid]) -> Result<(), PrivilegeError> {
    let left = |left| Err(PrivilegeError::Left { user: user.to_owned(), left });
    let root = (Uid::ROOT, Gid::ROOT);
    if set_thread_res_uid(root.0, root.0, root.0).is_ok()
        || set_thread_res_uid(None, root.0, None).is_ok()
    {
        return left("the way back to root");
    }
    if !gid.is_root() && set_thread_res_gid(None, root.1, None).is_ok() {
        return left("the way back to root's group");
    }
    if getuid() != uid || geteuid() != uid {
        return left("another user");
    }
    let Ok(mut now) = getgroups() else { return left("an unknown group") };
    let mut asked = groups.to_vec();
    now.sort_unstable_by_key(|group| group.as_raw());
    asked.sort_unstable_by_key(|group| group.as_raw());
    if now != asked {
        return left("another group");
    }
    match capabilities(None) {
        Ok(sets) if sets.effective.is_empty() && sets.permitted.is_empty() => Ok(()),
        _ => left("a capability"),
    }
}

/// Where there is no /proc, nobody can tell: this program starts none before.
fn only_thread() -> Result<(), PrivilegeError> {
    let threads = fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads > 1 { Err(PrivilegeError::Threads(threads)) } else { Ok(()) }
}
