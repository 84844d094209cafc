//! No core dumps: the memory of a command holds keys and plaintext.

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};

/// From now on the kernel writes no image of this process to a disk, nor to a crash reporter, and lets no other
/// process of the same user read its memory. PR_SET_DUMPABLE(2const): execve(2) lifts it, so the command of
/// `--exec` has its own.
pub fn forbid() {
    if set_dumpable_behavior(DumpableBehavior::NotDumpable).is_err() {
        // core(5) names this limit as the other way. The command of `--exec` inherits it.
        let limit = Rlimit { current: Some(0), maximum: getrlimit(Resource::Core).maximum };
        let _limited = setrlimit(Resource::Core, limit);
    }
}
