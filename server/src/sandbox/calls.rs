//! Giving up the system calls that a server never makes (seccomp).
//!
//! Landlock knows files, and TCP ports where the kernel is new enough. What this filter refuses is what
//! it does not know: sockets of any kind beyond those that are there, programs, processes, signals
//! to and memory of others, and parts of the kernel in which nobody here has business. It is a list
//! of what must never happen, and not of what may: a C library or a kernel that does a thing another way
//! does not end the server. What is refused fails with `EPERM`.
//!
//! The kernel remembers which calls such a filter lets through whatever their arguments are
//! (since Linux 5.11), so what moves payload costs what it did.

use std::{collections::BTreeMap, env::consts::ARCH, io, process};

use libc::c_long;
use rustix::io::Errno;
use seccompiler::{
    BackendError, BpfProgram, Error, SeccompAction,
    SeccompCmpArgLen::{Dword, Qword},
    SeccompCmpOp::{Eq, MaskedEq, Ne},
    SeccompCondition, SeccompFilter, SeccompRule, TargetArch, apply_filter,
};

/// Refused, whatever the arguments are.
const NEVER: &[c_long] = &[
    // Sockets: there are all that are needed. Datagrams have no other way to name an address than
    // sendto(2), below.
    libc::SYS_socket,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    // Programs.
    libc::SYS_execve,
    libc::SYS_execveat,
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_tkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_kcmp,
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_msgget,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    libc::SYS_msgctl,
    libc::SYS_semget,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_semctl,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
    // Other ways to make calls, and to see what others do.
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_fanotify_init,
    // Keys of the kernel.
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // Mounts and namespaces.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mknodat,
    libc::SYS_open_by_handle_at,
    // The machine.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_syslog,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
];

/// What this architecture has besides.
#[cfg(target_arch = "x86_64")]
const NEVER_HERE: &[c_long] = &[
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_mknod,
    libc::SYS_kexec_file_load,
    libc::SYS_modify_ldt,
    libc::SYS_iopl,
    libc::SYS_ioperm,
];
#[cfg(not(target_arch = "x86_64"))]
const NEVER_HERE: &[c_long] = &[];

/// With this bit a number is the same call of the x32 ABI, which the kernel reports as the same
/// architecture (seccomp(2)).
#[cfg(target_arch = "x86_64")]
const OTHER_ABI: &[c_long] = &[0x4000_0000];
#[cfg(not(target_arch = "x86_64"))]
const OTHER_ABI: &[c_long] = &[];

/// Gives them up, for this thread and those that it starts from now on. Gives whether the kernel knows how.
///
/// # Errors
/// When it does and refuses.
pub(super) fn give_up() -> Result<bool, io::Error> {
    let Ok(target) = TargetArch::try_from(ARCH) else { return Ok(false) };
    // clone3(2) keeps its flags in memory, where no filter looks. The C library takes clone(2) where there is no other.
    let absent = Errno::NOSYS.raw_os_error().unsigned_abs();
    let only_clone = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    let refused = Errno::PERM.raw_os_error().unsigned_abs();
    for (rules, errno) in [(only_clone, absent), (rules().map_err(invalid)?, refused)] {
        let filter =
            SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(errno), target);
        let program: BpfProgram = filter.and_then(TryInto::try_into).map_err(invalid)?;
        match apply_filter(&program) {
            Ok(()) => {}
            // Not compiled in, or already in the hands of somebody who allows no more of it.
            Err(Error::Prctl(e) | Error::Seccomp(e)) if is_unknown(&e) => return Ok(false),
            Err(Error::Prctl(e) | Error::Seccomp(e)) => return Err(e),
            Err(other) => return Err(io::Error::other(other)),
        }
    }
    Ok(true)
}

fn invalid(error: BackendError) -> io::Error {
    io::Error::other(error)
}

fn is_unknown(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::INVAL | Errno::NOSYS | Errno::PERM | Errno::ACCESS))
}

fn rules() -> Result<BTreeMap<i64, Vec<SeccompRule>>, BackendError> {
    let own = u64::from(process::id());
    let bits = |flags: i32| u64::from(flags.unsigned_abs());
    let when = |conditions: &[SeccompCondition]| SeccompRule::new(conditions.to_vec());
    let condition = SeccompCondition::new;
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for call in NEVER.iter().chain(NEVER_HERE) {
        rules.insert(*call, Vec::new());
    }
    // A datagram to an address: what is connected needs none.
    rules.insert(libc::SYS_sendto, vec![when(&[condition(4, Qword, Ne, 0)?])?]);
    // Threads are made, and no processes.
    let no_thread = MaskedEq(bits(libc::CLONE_THREAD));
    rules.insert(libc::SYS_clone, vec![when(&[condition(0, Qword, no_thread, 0)?])?]);
    // Signals to others; abort(3) sends one to itself.
    for call in [libc::SYS_kill, libc::SYS_tgkill] {
        rules.insert(call, vec![when(&[condition(0, Dword, Ne, own)?])?]);
    }
    // The limits of others.
    let others = [condition(0, Dword, Ne, 0)?, condition(0, Dword, Ne, own)?];
    rules.insert(libc::SYS_prlimit64, vec![when(&others)?]);
    // Typing into the terminal from which it was started.
    let typing = [libc::TIOCSTI, libc::TIOCLINUX].map(|request| {
        let request = condition(1, Dword, Eq, request)?;
        when(&[request])
    });
    rules.insert(libc::SYS_ioctl, typing.into_iter().collect::<Result<_, _>>()?);
    for bit in OTHER_ABI {
        let again: Vec<_> = rules.iter().map(|(call, rule)| (call | bit, rule.clone())).collect();
        rules.extend(again);
    }
    Ok(rules)
}
