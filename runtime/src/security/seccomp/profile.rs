//! The profile of containers that bring none: the calls that ordinary programs make, and with each capability
//! those that it is for.
//!
//! It grants what Docker's does, so that an image that runs there runs here, but for the x32 ABI, which no
//! distribution's kernel has enabled: its calls are killed as those of any unlisted ABI. Left out on purpose:
//! kernel keyrings (not namespaced), io_uring (its requests pass by every filter), userfaultfd, swap, kexec, module
//! and clock calls, nested namespaces, and the socket families AF_ALG (CVE-2026-31431) and AF_VSOCK (reaches
//! the hypervisor). Answers EPERM, and ENOSYS to calls that are newer than this list.

use oci_spec::runtime::{
    Arch, Capabilities, Capability, LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg,
    LinuxSeccompArgBuilder, LinuxSeccompOperator as Operator, LinuxSyscall,
};

use super::{ENOSYS, EPERM};

/// Files by descriptor and by name, and everything that reads, writes or describes them.
const FILES: &str = "
    access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 faccessat
    faccessat2 fadvise64 fadvise64_64 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchown32
    fchownat fcntl fcntl64 fdatasync fgetxattr file_getattr file_setattr flistxattr flock
    fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64
    futimesat getcwd getdents getdents64 getxattr getxattrat ioctl lchown lchown32 lgetxattr link
    linkat listmount listxattr listxattrat llistxattr lremovexattr lseek lsetxattr lstat lstat64
    mkdir mkdirat mknod mknodat name_to_handle_at newfstatat open openat openat2 pread64 preadv
    preadv2 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv removexattr
    removexattrat rename renameat renameat2 rmdir sendfile sendfile64 setxattr setxattrat splice
    stat stat64 statfs statfs64 statmount statx symlink symlinkat sync sync_file_range syncfs tee
    truncate truncate64 umask unlink unlinkat utime utimensat utimensat_time64 utimes vmsplice write
    writev _llseek";

/// Waiting for descriptors, and what can be waited for.
const EVENTS: &str = "
    epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait
    epoll_wait_old eventfd eventfd2 fanotify_mark inotify_add_watch inotify_init inotify_init1
    inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup
    io_submit pipe pipe2 poll ppoll ppoll_time64 pselect6 pselect6_time64 select signalfd signalfd4
    _newselect";

/// Memory.
const MEMORY: &str = "
    brk madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2 mlockall
    mmap mmap2 mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free
    pkey_mprotect remap_file_pages";

/// Processes, threads and their signals. Tracing is here because the kernel asks for the right credentials, and
/// since 4.8 a tracer's changes pass through the filter.
const PROCESSES: &str = "
    alarm capget capset execve execveat exit exit_group fork futex futex_requeue futex_time64
    futex_wait futex_waitv futex_wake get_robust_list get_thread_area getcpu getitimer getpgid
    getpgrp getpid getppid getpriority getrlimit getrusage getsid gettid ioprio_get ioprio_set kill
    landlock_add_rule landlock_create_ruleset landlock_restrict_self pause pidfd_open
    pidfd_send_signal prctl prlimit64 process_mrelease restart_syscall riscv_hwprobe rseq
    rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend
    rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_get_priority_max
    sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler
    sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr
    sched_setparam sched_setscheduler sched_yield seccomp set_robust_list set_thread_area
    set_tid_address setitimer setpgid setpriority setrlimit setsid sigaltstack sigprocmask sigreturn
    tgkill tkill ugetrlimit uretprobe vfork wait4 waitid waitpid process_vm_readv process_vm_writev
    ptrace";

/// Users and groups.
const IDENTITY: &str = "
    getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getresgid getresgid32
    getresuid getresuid32 getuid getuid32 setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32
    setgroups setgroups32 setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid
    setreuid32 setuid setuid32";

/// Sockets once they exist; making one has a rule of its own.
const SOCKETS: &str = "
    accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg
    recvmmsg_time64 recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socketpair";

/// System V and POSIX messages, semaphores and shared memory.
const IPC: &str = "
    ipc mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend
    mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop semtimedop
    semtimedop_time64 shmat shmctl shmdt shmget";

/// Clocks, timers and facts about the machine.
const TIME: &str = "
    adjtimex cachestat clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime
    clock_gettime64 clock_nanosleep clock_nanosleep_time64 getrandom gettimeofday nanosleep sysinfo
    time timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime
    timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime
    timerfd_settime64 times uname";

/// Calls of one architecture; names that an ABI lacks are skipped there.
const ARCHITECTURE: &str = "
    arch_prctl modify_ldt arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint
    cacheflush set_tls";

/// What each capability is for.
const BY_CAPABILITY: &[(Capability, &str)] = &[
    (Capability::DacReadSearch, "open_by_handle_at"),
    (
        Capability::SysAdmin,
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie \
         mount mount_setattr move_mount open_tree open_tree_attr perf_event_open quotactl \
         quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare",
    ),
    (Capability::SysBoot, "reboot"),
    (Capability::SysChroot, "chroot"),
    (Capability::SysModule, "delete_module finit_module init_module"),
    (Capability::SysPacct, "acct"),
    (Capability::SysPtrace, "kcmp pidfd_getfd process_madvise"),
    (Capability::SysRawio, "ioperm iopl"),
    (Capability::SysTime, "clock_settime clock_settime64 settimeofday stime"),
    (Capability::SysTtyConfig, "vhangup"),
    (Capability::SysNice, "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    (Capability::Syslog, "syslog"),
    (Capability::Bpf, "bpf"),
    (Capability::Perfmon, "perf_event_open"),
];

/// The flags of `clone` that make namespaces, all but that of time, which `clone` cannot make.
const NAMESPACE_FLAGS: u64 = 0x7e02_0000;

/// Socket families as mask and value: 0 to 47 without AF_ALG (38) and AF_VSOCK (40).
///
/// The kernel takes the lower 32 bits of the argument. So do these masks; a plain `> 40` on all 64 bits would let
/// 0x1_0000_0026 through, which the kernel reads as 38.
const SOCKET_FAMILIES: &[(u64, u64)] = &[
    (0xffff_ffe0, 0),  // 0 to 31
    (0xffff_fffc, 32), // 32 to 35
    (0xffff_fffe, 36), // 36, 37
    (0xffff_ffff, 39),
    (0xffff_ffff, 41),
    (0xffff_fffe, 42), // 42, 43
    (0xffff_fffc, 44), // 44 to 47; kernel 6.18 knows 45
];

/// Execution domains that are safe: Linux, with or without 32-bit and 2.6 disguise, and asking for the current.
const PERSONALITIES: &[u64] = &[0, 0x0008, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// The default profile for a container that may ever hold these capabilities (its bounding set).
pub fn default_profile(bounding: &Capabilities) -> LinuxSeccomp {
    let mut rules = vec![rule(
        &[FILES, EVENTS, MEMORY, PROCESSES, IDENTITY, SOCKETS, IPC, TIME, ARCHITECTURE].join(" "),
        Action::ScmpActAllow,
        &[],
    )];
    let allow_if = |name: &str, condition| rule(name, Action::ScmpActAllow, &[condition]);
    rules.extend(
        PERSONALITIES
            .iter()
            .map(|value| allow_if("personality", argument(0, Operator::ScmpCmpEq, *value, None))),
    );
    rules.extend(SOCKET_FAMILIES.iter().map(|(mask, family)| {
        allow_if("socket", argument(0, Operator::ScmpCmpMaskedEq, *mask, Some(*family)))
    }));
    // 32-bit x86 hides the family behind a pointer; the direct call exists since 4.3 and its libraries fall back.
    rules.push(allow_if("socketcall", argument(0, Operator::ScmpCmpGt, 1, None)));
    rules.push(errno("socketcall", ENOSYS, &[argument(0, Operator::ScmpCmpLe, 1, None)]));
    for (capability, names) in BY_CAPABILITY {
        if bounding.contains(capability) {
            rules.push(rule(names, Action::ScmpActAllow, &[]));
        }
    }
    if !bounding.contains(&Capability::SysAdmin) {
        rules.push(allow_if("clone", argument(0, Operator::ScmpCmpMaskedEq, NAMESPACE_FLAGS, Some(0))));
        // Its flags are behind a pointer; the C library then uses clone.
        rules.push(errno("clone3", ENOSYS, &[]));
    }
    let mut profile = LinuxSeccomp::default();
    profile
        .set_default_action(Action::ScmpActErrno)
        .set_default_errno_ret(Some(EPERM))
        .set_architectures(Some(architectures()))
        .set_syscalls(Some(rules));
    profile
}

#[cfg(target_arch = "x86_64")]
fn architectures() -> Vec<Arch> {
    vec![Arch::ScmpArchX86_64, Arch::ScmpArchX86]
}

#[cfg(target_arch = "aarch64")]
fn architectures() -> Vec<Arch> {
    vec![Arch::ScmpArchAarch64, Arch::ScmpArchArm]
}

/// A rule for the calls of a list separated by spaces.
fn rule(names: &str, action: Action, arguments: &[LinuxSeccompArg]) -> LinuxSyscall {
    let mut rule = LinuxSyscall::default();
    rule.set_names(names.split_ascii_whitespace().map(str::to_owned).collect()).set_action(action);
    rule.set_args((!arguments.is_empty()).then(|| arguments.to_vec()));
    rule
}

fn errno(names: &str, errno: u32, arguments: &[LinuxSeccompArg]) -> LinuxSyscall {
    let mut rule = rule(names, Action::ScmpActErrno, arguments);
    rule.set_errno_ret(Some(errno));
    rule
}

fn argument(index: usize, operator: Operator, value: u64, masked: Option<u64>) -> LinuxSeccompArg {
    let builder = LinuxSeccompArgBuilder::default().index(index).op(operator).value(value);
    let builder = match masked {
        Some(masked) => builder.value_two(masked),
        None => builder,
    };
    // Cannot fail: the builder demands no field.
    builder.build().unwrap_or_default()
}
