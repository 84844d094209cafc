//! Disables core dumps: the memory of a command holds keys and plaintext.

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};

/// Makes this process non-dumpable: the kernel writes no image of it to a disk or a crash reporter,
/// and no other process of the same user can read its memory. PR_SET_DUMPABLE(2const): execve(2)
/// resets it, so the command of `--exec` is not affected.
pub fn disable() {
    if set_dumpable_behavior(DumpableBehavior::NotDumpable).is_err() {
        // core(5) names this limit as the alternative. The command of `--exec` inherits it.
        let limit = Rlimit { current: Some(0), maximum: getrlimit(Resource::Core).maximum };
        let _limited = setrlimit(Resource::Core, limit);
    }
}
