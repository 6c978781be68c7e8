//! What a worker gives up before it touches a model: the network, new privileges, tracing others, core dumps.
//!
//! It dies with its parent, and with the group it leads die its own children. The filter denies with an error instead of
//! a kill, so that a library which probes for something it does not need goes on without it.

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, setrlimit};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch, apply_filter,
};
use std::collections::BTreeMap;
use std::io;

/// A worker could not give something up; it ends rather than run with it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SandboxError {
    /// A system call failed.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The filter could not be built or installed.
    #[error("the system call filter: {0}")]
    Filter(#[from] seccompiler::Error),
    /// The filter could not be built.
    #[error("the system call filter: {0}")]
    Backend(#[from] seccompiler::BackendError),
    /// The agent is gone already.
    #[error("the agent that started this worker is gone")]
    Orphan,
}

/// Shuts the process in. `parent` is the agent's process id; must be called before any thread is started.
pub(crate) fn enter(parent: u32, address_space_bytes: Option<u64>) -> Result<(), SandboxError> {
    let system = |what| move |e: rustix::io::Errno| SandboxError::System { what, source: e.into() };
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(system("dying with the agent"))?;
    // The agent may have died between the fork and the line above.
    if rustix::process::getppid().map(Pid::as_raw_nonzero).is_none_or(|p| p.get().unsigned_abs() != parent) {
        return Err(SandboxError::Orphan);
    }
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).map_err(system("no core dumps"))?;
    if let Some(bytes) = address_space_bytes {
        let maximum = getrlimit(Resource::As).maximum;
        setrlimit(Resource::As, Rlimit { current: Some(bytes), maximum }).map_err(system("the address space limit"))?;
    }
    rustix::thread::set_no_new_privs(true).map_err(system("no new privileges"))?;
    apply_filter(&filter()?)?;
    Ok(())
}

/// Lets what the machine's owner does come first: steps must not starve it. That they run at ordinary priority is no error.
pub(crate) fn come_second() {
    let _ = rustix::process::nice(5);
}

fn filter() -> Result<BpfProgram, SandboxError> {
    let family = |family: i32| -> Result<SeccompRule, seccompiler::BackendError> {
        let value = u64::from(family.unsigned_abs());
        SeccompRule::new(vec![SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)?])
    };
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = DENIED.iter().map(|call| (*call, vec![])).collect();
    let families = [libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK, libc::AF_PACKET, libc::AF_VSOCK, libc::AF_ALG];
    let families: Result<Vec<_>, _> = families.into_iter().map(family).collect();
    rules.insert(libc::SYS_socket, families?);
    let arch: TargetArch = std::env::consts::ARCH.try_into()?;
    let denied = SeccompAction::Errno(libc::EACCES.unsigned_abs());
    Ok(SeccompFilter::new(rules, SeccompAction::Allow, denied, arch)?.try_into()?)
}

/// Calls no runtime needs: they change the machine, look into other processes, or start programs.
const DENIED: &[i64] = &[
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_fsopen,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_kexec_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_execve,
    libc::SYS_execveat,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_compiles_for_this_machine() {
        assert!(filter().unwrap().len() > DENIED.len());
    }

    #[test]
    fn a_shut_in_thread_opens_no_network_socket_but_may_open_a_local_one() {
        // The filter holds for the calling thread and what it starts, so the test gives one thread away.
        let outcome = std::thread::spawn(|| {
            rustix::thread::set_no_new_privs(true).unwrap();
            apply_filter(&filter().unwrap()).unwrap();
            let tcp = std::net::TcpListener::bind("127.0.0.1:0").map(|_| ()).map_err(|e| e.kind());
            let local = std::os::unix::net::UnixDatagram::unbound().map(|_| ());
            let program = std::process::Command::new("true").status().map(|_| ()).map_err(|e| e.kind());
            (tcp, local.is_ok(), program)
        });
        let (tcp, local, program) = outcome.join().unwrap();
        assert_eq!(tcp, Err(io::ErrorKind::PermissionDenied));
        assert!(local);
        assert_eq!(program, Err(io::ErrorKind::PermissionDenied));
    }
}
