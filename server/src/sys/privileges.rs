//! Dropping privileges. No unsafe code: `rustix` has the calls.
//!
//! On Linux, user and group IDs belong to threads: the calls change the thread that makes them, and
//! threads that are started later inherit from it. So privileges are dropped while there is only
//! one thread.

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
    /// There is no user of that name.
    #[error("there is no user \"{0}\": make one, or name another")]
    NoUser(String),
    /// The process is not root, and cannot become another user.
    #[error("cannot become \"{0}\": start as root, or as that user and without user")]
    NotRoot(String),
    /// The user is root.
    #[error("the user \"{0}\" is root: name one that may do less")]
    Root(String),
    /// The user's groups cannot be looked up.
    #[error("cannot become \"{0}\": its groups cannot be looked up")]
    Groups(String),
    /// A system call failed.
    #[error("cannot become \"{user}\": {call} failed: {source}")]
    Call {
        /// The user to become.
        user: String,
        /// The name of the call.
        call: &'static str,
        /// The error of the call.
        source: io::Error,
    },
    /// A privilege of root was left after all calls succeeded.
    #[error("cannot become \"{user}\": {left} was left")]
    Left {
        /// The user to become.
        user: String,
        /// The privilege that was left.
        left: &'static str,
    },
    /// There are several threads, this many.
    #[error("privileges are dropped before threads are started, and there are {0}")]
    Threads(usize),
}

/// Becomes `user` for good: sets groups, group and user, and checks that none can be regained. Does
/// nothing if the process runs as that user already.
///
/// # Errors
/// When it did not succeed. The process must then end.
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
    check_single_thread()?;
    let groups: Vec<Gid> = uzers::get_user_groups(user, gid.as_raw())
        .ok_or_else(|| PrivilegeError::Groups(owned()))?
        .iter()
        .map(|group| Gid::from_raw(group.gid()))
        .collect();
    let call = |call, done: rustix::io::Result<()>| {
        done.map_err(|e| PrivilegeError::Call { user: owned(), call, source: e.into() })
    };
    // In this order: after the change of the user, groups and group may not be changed any more.
    call("setgroups", set_thread_groups(&groups))?;
    call("setresgid", set_thread_res_gid(gid, gid, gid))?;
    call("setresuid", set_thread_res_uid(uid, uid, uid))?;
    check_irrevocable(user, uid, gid, &groups)
}

/// Gives up the privileges that programs with set-user-ID bits could give (prctl(2),
/// `PR_SET_NO_NEW_PRIVS`).
///
/// # Errors
/// When the kernel does not support it.
pub fn forbid_new_privileges() -> io::Result<()> {
    Ok(set_no_new_privs(true)?)
}

/// Prevents a core dump when this process crashes. The limit prevents a core file. Where the kernel
/// pipes the core to a program, which no limit prevents (core(5), "Piping core dumps to a
/// program"), the core contains none of this process's memory. Refusals of the system are ignored.
pub fn disable_core_dumps() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let _limited = setrlimit(Resource::Core, none);
    // core(5), "Controlling which mappings are written": none of them.
    let _filtered = fs::write("/proc/self/coredump_filter", "0");
}

/// Whether this process runs as root.
#[must_use]
pub fn is_root() -> bool {
    geteuid().is_root()
}

/// Checks that what was given up cannot be regained, by trying it.
fn check_irrevocable(user: &str, uid: Uid, gid: Gid, groups: &[Gid]) -> Result<(), PrivilegeError> {
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

/// Checks that there is only one thread. Without /proc this cannot be told; this program starts
/// none before.
fn check_single_thread() -> Result<(), PrivilegeError> {
    let threads = fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads > 1 { Err(PrivilegeError::Threads(threads)) } else { Ok(()) }
}
