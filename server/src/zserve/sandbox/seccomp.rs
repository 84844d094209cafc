//! Denying the system calls that a server never makes (seccomp).
//!
//! Landlock covers files, and TCP ports where the kernel is new enough. This filter denies what
//! Landlock does not cover: new sockets of any kind, programs, processes, signals to other
//! processes and access to their memory, and parts of the kernel that the server has no use for. It
//! lists the calls that must never happen instead of those that may, so that a C library or a
//! kernel that does something in another way does not end the server. Denied calls fail with
//! `EPERM`.
//!
//! Since Linux 5.11 the kernel caches which calls a filter allows whatever their arguments are, so
//! the calls that move payload cost what they did before.

use std::{collections::BTreeMap, env::consts::ARCH, io, ops::RangeInclusive, process};

use libc::c_long;
use rustix::io::Errno;
use seccompiler::{
    BackendError, BpfProgram, Error, SeccompAction,
    SeccompCmpArgLen::{Dword, Qword},
    SeccompCmpOp::{Eq, MaskedEq, Ne},
    SeccompCondition, SeccompFilter, SeccompRule, TargetArch, apply_filter,
};

/// Denied with any arguments.
const DENIED: &[c_long] = &[
    // Sockets: all that are needed exist. A datagram can name an address only by sendto(2), which
    // is handled below.
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
    libc::SYS_process_mrelease,
    libc::SYS_move_pages,
    libc::SYS_migrate_pages,
    libc::SYS_get_robust_list,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_tkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_kcmp,
    // It hangs up a terminal, which signals all processes that were started from it.
    libc::SYS_vhangup,
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
    // Other ways to make calls, and to observe other processes.
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_fanotify_init,
    // Kernel keyrings.
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
    libc::SYS_quotactl_fd,
    libc::SYS_syslog,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
];

/// Calls that exist on this architecture only.
#[cfg(target_arch = "x86_64")]
const DENIED_ON_THIS_ARCH: &[c_long] = &[
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_mknod,
    libc::SYS_kexec_file_load,
    libc::SYS_modify_ldt,
    libc::SYS_iopl,
    libc::SYS_ioperm,
];
#[cfg(not(target_arch = "x86_64"))]
const DENIED_ON_THIS_ARCH: &[c_long] = &[];

/// A call number with this bit is one of the x32 ABI, which the kernel reports as the same
/// architecture (seccomp(2)): the same call, except for the numbers in [`X32_NUMBERS`].
#[cfg(target_arch = "x86_64")]
const X32_BIT: &[c_long] = &[0x4000_0000];
#[cfg(not(target_arch = "x86_64"))]
const X32_BIT: &[c_long] = &[];

/// Numbers of x32's own calls, execve(2) and ptrace(2) among them
/// (arch/x86/entry/syscalls/syscall_64.tbl: "certain syscalls are numbered differently in x32 as
/// compared to native x86_64. These syscalls have numbers 512-547"). The native ABI has no calls
/// with these numbers.
#[cfg(target_arch = "x86_64")]
const X32_NUMBERS: RangeInclusive<c_long> = 512..=547;
#[cfg(not(target_arch = "x86_64"))]
#[expect(clippy::reversed_empty_ranges, reason = "other architectures have none")]
const X32_NUMBERS: RangeInclusive<c_long> = 1..=0;

/// fcntl(2) commands that choose the process to signal about a descriptor, and the signal
/// (asm-generic/fcntl.h).
const OWNER_FCNTLS: [u64; 3] = [8, 10, 15]; // F_SETOWN, F_SETSIG, F_SETOWN_EX

/// Applies the filter to this thread and the threads that it starts from now on. Returns `false`
/// where the kernel has no filters.
///
/// # Errors
/// When the kernel has filters and refuses this one.
pub(super) fn apply() -> Result<bool, io::Error> {
    let Ok(target) = TargetArch::try_from(ARCH) else { return Ok(false) };
    for program in filter_programs(target)? {
        match apply_filter(&program) {
            Ok(()) => {}
            // Not compiled in, or denied by an outer sandbox.
            Err(Error::Prctl(e) | Error::Seccomp(e)) if is_unsupported(&e) => return Ok(false),
            Err(Error::Prctl(e) | Error::Seccomp(e)) => return Err(e),
            Err(other) => return Err(io::Error::other(other)),
        }
    }
    Ok(true)
}

/// The filters; a call has to pass both.
fn filter_programs(target: TargetArch) -> Result<[BpfProgram; 2], io::Error> {
    // clone3(2) takes its flags in memory, which filters cannot read. The C library falls back to
    // clone(2) when it does not exist.
    let absent = Errno::NOSYS.raw_os_error().unsigned_abs();
    let only_clone = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    let refused = Errno::PERM.raw_os_error().unsigned_abs();
    let program = |rules, errno| {
        let deny = SeccompAction::Errno(errno);
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, deny, target);
        filter.and_then(TryInto::try_into).map_err(invalid)
    };
    Ok([program(only_clone, absent)?, program(rules().map_err(invalid)?, refused)?])
}

fn invalid(error: BackendError) -> io::Error {
    io::Error::other(error)
}

fn is_unsupported(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::INVAL | Errno::NOSYS | Errno::PERM | Errno::ACCESS))
}

fn rules() -> Result<BTreeMap<i64, Vec<SeccompRule>>, BackendError> {
    let own = u64::from(process::id());
    let bits = |flags: i32| u64::from(flags.unsigned_abs());
    let when = |conditions: &[SeccompCondition]| SeccompRule::new(conditions.to_vec());
    let condition = SeccompCondition::new;
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for call in DENIED.iter().copied().chain(DENIED_ON_THIS_ARCH.iter().copied()).chain(X32_NUMBERS)
    {
        rules.insert(call, Vec::new());
    }
    // A datagram to an address; connected sockets need none.
    rules.insert(libc::SYS_sendto, vec![when(&[condition(4, Qword, Ne, 0)?])?]);
    // Threads may be made, processes may not.
    let no_thread = MaskedEq(bits(libc::CLONE_THREAD));
    rules.insert(libc::SYS_clone, vec![when(&[condition(0, Qword, no_thread, 0)?])?]);
    // Signals to other processes; abort(3) sends one to its own.
    for call in [libc::SYS_kill, libc::SYS_tgkill] {
        rules.insert(call, vec![when(&[condition(0, Dword, Ne, own)?])?]);
    }
    // The limits of other processes.
    let others = [condition(0, Dword, Ne, 0)?, condition(0, Dword, Ne, own)?];
    rules.insert(libc::SYS_prlimit64, vec![when(&others)?]);
    // These send signals as well: the kernel signals the process that is set as a descriptor's
    // owner, with any number (fcntl(2), F_SETSIG).
    let second = |values: &[u64]| -> Result<Vec<SeccompRule>, BackendError> {
        values.iter().map(|value| when(&[condition(1, Dword, Eq, *value)?])).collect()
    };
    rules.insert(libc::SYS_fcntl, second(&OWNER_FCNTLS)?);
    // The first two also set an owner (asm-generic/sockios.h: FIOSETOWN, SIOCSPGRP); the others
    // inject input into the terminal from which the server was started.
    rules.insert(libc::SYS_ioctl, second(&[0x8901, 0x8902, libc::TIOCSTI, libc::TIOCLINUX])?);
    for bit in X32_BIT {
        let again: Vec<_> = rules.iter().map(|(call, rule)| (call | bit, rule.clone())).collect();
        rules.extend(again);
    }
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use seccompiler::sock_filter;

    use super::*;

    /// The number of the architecture in linux/audit.h (`AUDIT_ARCH_*`).
    const NATIVE_ARCH: u32 = if cfg!(target_arch = "x86_64") {
        0xc000_003e
    } else if cfg!(target_arch = "aarch64") {
        0xc000_00b7
    } else {
        0xc000_00f3
    };

    /// Runs a filter as the kernel does (linux/filter.h); returns its result for a `struct
    /// seccomp_data`.
    fn verdict(program: &[sock_filter], arch: u32, call: c_long, arguments: &[u64]) -> u32 {
        let mut data = vec![call as u32, arch, 0, 0];
        for number in 0..6 {
            let argument = arguments.get(number).copied().unwrap_or(0);
            data.extend([argument as u32, (argument >> 32) as u32]);
        }
        let (mut at, mut accumulator) = (0, 0_u32);
        loop {
            let sock_filter { code, jt, jf, k } = program[at].clone();
            at += 1;
            let taken = match code {
                // BPF_LD | BPF_W | BPF_ABS, BPF_ALU | BPF_AND | BPF_K, BPF_RET | BPF_K.
                0x20 => {
                    accumulator = data[k as usize / 4];
                    continue;
                }
                0x54 => {
                    accumulator &= k;
                    continue;
                }
                0x06 => return k,
                // BPF_JMP: BPF_JA, then BPF_JEQ, BPF_JGT, BPF_JGE, BPF_JSET with BPF_K.
                0x05 => {
                    at += k as usize;
                    continue;
                }
                0x15 => accumulator == k,
                0x25 => accumulator > k,
                0x35 => accumulator >= k,
                0x45 => accumulator & k != 0,
                other => panic!("an instruction {other:#x}"),
            };
            at += usize::from(if taken { jt } else { jf });
        }
    }

    /// The kernel's decision about a call of an architecture: the stricter result of both filters.
    /// The values of linux/seccomp.h compare as signed numbers.
    fn strictest(arch: u32, call: c_long, arguments: &[u64]) -> u32 {
        let Ok(target) = TargetArch::try_from(ARCH) else {
            panic!("no filter is known for {ARCH}")
        };
        let programs = filter_programs(target).unwrap();
        let verdicts = programs.map(|program| verdict(&program, arch, call, arguments));
        verdicts.into_iter().min_by_key(|verdict| verdict.cast_signed()).unwrap()
    }

    /// The error that a call fails with; `None` if it is allowed.
    fn refused(call: c_long, arguments: &[u64]) -> Option<Errno> {
        // SECCOMP_RET_ERRNO and SECCOMP_RET_ALLOW.
        let strictest = strictest(NATIVE_ARCH, call, arguments);
        match (strictest & 0xffff_0000, strictest & 0xffff) {
            (0x7fff_0000, _) => None,
            (0x0005_0000, errno) => Some(Errno::from_raw_os_error(errno as i32)),
            (other, _) => panic!("{call}: {other:#x}"),
        }
    }

    /// Each call alone: elsewhere, a call missing from this list may be denied because of another
    /// one.
    #[test]
    fn seccomp_filter_refuses_each_denied_call() {
        let own = u64::from(process::id());
        let threads = (libc::CLONE_VM | libc::CLONE_THREAD) as u64;
        let always_refused = [
            libc::SYS_socket,
            libc::SYS_connect,
            libc::SYS_bind,
            libc::SYS_listen,
            libc::SYS_sendmsg,
            libc::SYS_sendmmsg,
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_process_vm_writev,
            libc::SYS_process_madvise,
            libc::SYS_process_mrelease,
            libc::SYS_move_pages,
            libc::SYS_migrate_pages,
            libc::SYS_get_robust_list,
            libc::SYS_pidfd_open,
            libc::SYS_pidfd_getfd,
            libc::SYS_pidfd_send_signal,
            libc::SYS_tkill,
            libc::SYS_rt_sigqueueinfo,
            libc::SYS_rt_tgsigqueueinfo,
            libc::SYS_kcmp,
            libc::SYS_vhangup,
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
            libc::SYS_io_uring_setup,
            libc::SYS_io_uring_enter,
            libc::SYS_io_uring_register,
            libc::SYS_bpf,
            libc::SYS_perf_event_open,
            libc::SYS_userfaultfd,
            libc::SYS_fanotify_init,
            libc::SYS_add_key,
            libc::SYS_request_key,
            libc::SYS_keyctl,
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
            libc::SYS_init_module,
            libc::SYS_finit_module,
            libc::SYS_delete_module,
            libc::SYS_kexec_load,
            libc::SYS_reboot,
            libc::SYS_swapon,
            libc::SYS_swapoff,
            libc::SYS_acct,
            libc::SYS_quotactl,
            libc::SYS_quotactl_fd,
            libc::SYS_syslog,
            libc::SYS_settimeofday,
            libc::SYS_clock_settime,
            libc::SYS_adjtimex,
            libc::SYS_clock_adjtime,
            libc::SYS_sethostname,
            libc::SYS_setdomainname,
            // New processes, and signals to other ones.
            libc::SYS_clone,
            libc::SYS_kill,
            libc::SYS_tgkill,
        ];
        for call in always_refused {
            assert_eq!(refused(call, &[]), Some(Errno::PERM), "{call}");
            // The x32 ABI of x86-64, which the kernel reports as the same architecture.
            if cfg!(target_arch = "x86_64") {
                assert_eq!(refused(call | 0x4000_0000, &[]), Some(Errno::PERM), "{call}, x32");
            }
        }
        for call in DENIED {
            assert!(always_refused.contains(call), "{call} is not tried here");
        }
        for (call, arguments) in [
            (libc::SYS_sendto, &[3, 1, 1, 0, 0x7fff_0000_0000, 16][..]),
            (libc::SYS_sendto, &[3, 1, 1, 0, 1 << 33, 16]),
            (libc::SYS_kill, &[own + 1, 15]),
            (libc::SYS_kill, &[u64::MAX, 15]),
            (libc::SYS_prlimit64, &[own + 1]),
            (libc::SYS_ioctl, &[0, 0x5412]),
            (libc::SYS_ioctl, &[0, 0x541c]),
            (libc::SYS_ioctl, &[3, 0x8901]),
            (libc::SYS_ioctl, &[3, 0x8902]),
            (libc::SYS_fcntl, &[3, 8, own + 1]),
            (libc::SYS_fcntl, &[3, 10, 9]),
            (libc::SYS_fcntl, &[3, 15]),
            (libc::SYS_clone, &[17]),
        ] {
            assert_eq!(refused(call, arguments), Some(Errno::PERM), "{call}{arguments:?}");
        }
        assert_eq!(refused(libc::SYS_clone3, &[]), Some(Errno::NOSYS));
        for (call, arguments) in [
            (libc::SYS_read, &[3][..]),
            (libc::SYS_writev, &[3]),
            (libc::SYS_openat2, &[3]),
            (libc::SYS_accept4, &[3]),
            (libc::SYS_splice, &[3]),
            (libc::SYS_sendfile, &[3, 4]),
            (libc::SYS_sendto, &[3, 1, 1, 0, 0, 0]),
            (libc::SYS_socketpair, &[1, 1]),
            (libc::SYS_clone, &[threads]),
            (libc::SYS_kill, &[own, 6]),
            (libc::SYS_tgkill, &[own, own + 1, 6]),
            (libc::SYS_prlimit64, &[0]),
            (libc::SYS_prlimit64, &[own]),
            (libc::SYS_ioctl, &[0, 0x541b]),
            (libc::SYS_fcntl, &[3, 3]),
            (libc::SYS_fcntl, &[3, 1031]),
        ] {
            assert_eq!(refused(call, arguments), None, "{call}{arguments:?}");
        }
    }

    /// By the numbers of arch/x86/entry/syscalls: x86-64's own calls; x32's renumbered calls, with
    /// and without the bit; and all calls of the 32-bit ABI, which end the process.
    #[test]
    fn seccomp_filter_refuses_calls_of_x32_and_i386() {
        if !cfg!(target_arch = "x86_64") {
            return zput_skip::because("this is no x86-64");
        }
        // fork, vfork, mknod, modify_ldt, iopl, ioperm, kexec_file_load.
        for call in [57, 58, 133, 154, 172, 173, 320] {
            assert_eq!(refused(call, &[]), Some(Errno::PERM), "{call}");
        }
        // sendmsg, execve, ptrace, rt_sigqueueinfo, kexec_load, rt_tgsigqueueinfo, sendmmsg,
        // process_vm_readv and _writev, execveat.
        for call in [518, 520, 521, 524, 528, 536, 538, 539, 540, 545] {
            for call in [call, call | 0x4000_0000] {
                assert_eq!(refused(call, &[]), Some(Errno::PERM), "{call:#x}");
            }
        }
        // AUDIT_ARCH_I386 of linux/audit.h; SECCOMP_RET_KILL_PROCESS of linux/seccomp.h. 11 is
        // execve, 3 is read.
        for call in [3, 11] {
            assert_eq!(strictest(0x4000_0003, call, &[]), 0x8000_0000, "{call}");
        }
    }
}
