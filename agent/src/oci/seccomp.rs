//! The system calls a container may make: an allow-list after the default profile of Docker and Podman (moby, `profiles/seccomp`).
//!
//! Without any capability, which is how every container runs here, that profile comes down to one list and three exceptions
//! by argument. What is not on it answers `EPERM`; `clone3` answers `ENOSYS`, since its flags lie in memory where a filter
//! cannot look, and every libc then takes `clone`, whose flags are looked at. Namespaces cannot be made.

use oci_spec::OciSpecError;
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArgBuilder, LinuxSeccompBuilder, LinuxSeccompOperator, LinuxSyscall,
    LinuxSyscallBuilder,
};

const ALLOWED: &str = "accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown clock_getres \
    clock_gettime clock_nanosleep close close_range connect copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 \
    epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 \
    fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchownat fcntl fdatasync fgetxattr flistxattr flock fork \
    fremovexattr fsetxattr fstat fstatfs fsync ftruncate futex futex_requeue futex_wait futex_waitv futex_wake futimesat getcpu getcwd \
    getdents getdents64 getegid geteuid getgid getgroups getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom \
    getresgid getresuid getrlimit get_robust_list getrusage getsid getsockname getsockopt get_thread_area gettid gettimeofday getuid \
    getxattr inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents io_setup \
    io_submit ioctl ioprio_get ioprio_set kill landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lgetxattr link \
    linkat listen listxattr llistxattr lremovexattr lseek lsetxattr lstat madvise map_shadow_stack membarrier memfd_create \
    memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap mprotect mq_getsetattr mq_notify mq_open \
    mq_timedreceive mq_timedsend mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock munlockall munmap nanosleep newfstatat \
    open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll prctl pread64 \
    preadv preadv2 prlimit64 process_mrelease pselect6 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recvfrom \
    recvmmsg recvmsg remap_file_pages removexattr rename renameat renameat2 restart_syscall rmdir rseq rt_sigaction rt_sigpending \
    rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo sched_getaffinity sched_getattr \
    sched_getparam sched_get_priority_max sched_get_priority_min sched_getscheduler sched_rr_get_interval sched_setaffinity \
    sched_setattr sched_setparam sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop sendfile sendmmsg sendmsg \
    sendto setfsgid setfsuid setgid setgroups setitimer setpgid setpriority setregid setresgid setresuid setreuid setrlimit \
    set_robust_list setsid setsockopt set_thread_area set_tid_address setuid setxattr shmat shmctl shmdt shmget shutdown sigaltstack \
    signalfd signalfd4 socketpair splice stat statfs statx symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill time \
    timer_create timer_delete timer_getoverrun timer_gettime timer_settime timerfd_create timerfd_gettime timerfd_settime times tkill \
    truncate umask uname unlink unlinkat utime utimensat utimes vfork vmsplice wait4 waitid waitpid write writev \
    arch_prctl modify_ldt";

/// The flags of `clone` that make namespaces.
const CLONE_NAMESPACES: u64 = 0x7E02_0000;
/// Local sockets and, into an empty network namespace, the internet's. Not `AF_VSOCK`, which reaches out of a virtual machine.
const FAMILIES: [i32; 3] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6];
/// The personalities that change nothing of the protection: Linux, 32-bit addresses, uname 2.6, and asking.
const PERSONALITIES: [u64; 5] = [0x0, 0x0008, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// The profile for this processor.
pub(super) fn profile() -> Result<LinuxSeccomp, OciSpecError> {
    let mut calls = vec![plain(ALLOWED.split_whitespace())?];
    calls.push(when("clone", LinuxSeccompOperator::ScmpCmpMaskedEq, CLONE_NAMESPACES, Some(0))?);
    for family in FAMILIES {
        calls.push(when("socket", LinuxSeccompOperator::ScmpCmpEq, u64::from(family.unsigned_abs()), None)?);
    }
    for personality in PERSONALITIES {
        calls.push(when("personality", LinuxSeccompOperator::ScmpCmpEq, personality, None)?);
    }
    let missing = LinuxSyscallBuilder::default().names(vec!["clone3".to_string()]);
    calls.push(missing.action(LinuxSeccompAction::ScmpActErrno).errno_ret(libc::ENOSYS.unsigned_abs()).build()?);
    let profile = LinuxSeccompBuilder::default()
        .default_action(LinuxSeccompAction::ScmpActErrno)
        .default_errno_ret(libc::EPERM.unsigned_abs())
        .architectures(architectures())
        .syscalls(calls);
    profile.build()
}

/// Only the processor's own instructions: a 32-bit call has other numbers and would slip through.
fn architectures() -> Vec<Arch> {
    match std::env::consts::ARCH {
        "aarch64" => vec![Arch::ScmpArchAarch64],
        _ => vec![Arch::ScmpArchX86_64],
    }
}

fn plain<'a>(names: impl Iterator<Item = &'a str>) -> Result<LinuxSyscall, OciSpecError> {
    let names: Vec<String> = names.map(ToString::to_string).collect();
    LinuxSyscallBuilder::default().names(names).action(LinuxSeccompAction::ScmpActAllow).build()
}

fn when(name: &str, operator: LinuxSeccompOperator, value: u64, masked: Option<u64>) -> Result<LinuxSyscall, OciSpecError> {
    let mut argument = LinuxSeccompArgBuilder::default().index(0_usize).value(value).op(operator);
    if let Some(masked) = masked {
        argument = argument.value_two(masked);
    }
    let call = LinuxSyscallBuilder::default().names(vec![name.to_string()]).action(LinuxSeccompAction::ScmpActAllow);
    call.args(vec![argument.build()?]).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_reaches_beyond_the_container_is_not_on_the_list() {
        let allowed: Vec<&str> = ALLOWED.split_whitespace().collect();
        for never in [
            "mount",
            "umount2",
            "pivot_root",
            "chroot",
            "setns",
            "unshare",
            "ptrace",
            "bpf",
            "perf_event_open",
            "kexec_load",
            "init_module",
            "io_uring_setup",
            "userfaultfd",
            "keyctl",
            "add_key",
            "reboot",
            "clone",
            "clone3",
            "socket",
            "personality",
            "open_by_handle_at",
            "process_vm_readv",
            "pidfd_getfd",
            "settimeofday",
            "swapon",
            "fsopen",
            "move_mount",
        ] {
            assert!(!allowed.contains(&never), "{never}");
        }
        let mut once = allowed.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), allowed.len(), "no call stands there twice");
        assert_eq!(profile().unwrap().default_action(), LinuxSeccompAction::ScmpActErrno);
    }
}
