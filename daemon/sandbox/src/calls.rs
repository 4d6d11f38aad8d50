//! System calls that no check needs, by profile: they fail with EPERM, and nothing else changes.
//!
//! A list of what is forbidden, and not of what is allowed: a call that a new C library makes must not become a false
//! verdict. What the kernel finds harmless whatever its arguments costs next to nothing (it keeps a bitmap of those).

use healthd_core::wire::sandbox::Profile;
use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};
use std::collections::BTreeMap;
use std::io;

/// Whatever a worker does, a program of a check too.
const NOBODY: &[c_long] = &[
    // Other processes' insides.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    // The machine.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_open_by_handle_at,
    // Its mounts and namespaces.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_setns,
    libc::SYS_unshare,
    // A second way to make every call there is.
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
];

/// A worker that starts no programs.
const NO_PROGRAMS: &[c_long] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_setsid,
    libc::SYS_setpgid,
    // Whose it is, and whose files are.
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    libc::SYS_setgroups,
    libc::SYS_capset,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    libc::SYS_mknodat,
    libc::SYS_symlinkat,
    libc::SYS_linkat,
    libc::SYS_fanotify_init,
    // Keys of the kernel, which belong to the user and not to the process.
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    // Others' signals, and servers.
    libc::SYS_tkill,
    libc::SYS_pidfd_send_signal,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
];

/// The same, where the processor has calls by other names for it.
#[cfg(target_arch = "x86_64")]
const NO_PROGRAMS_OLD: &[c_long] = &[
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
    libc::SYS_mknod,
    libc::SYS_symlink,
    libc::SYS_link,
];
#[cfg(not(target_arch = "x86_64"))]
const NO_PROGRAMS_OLD: &[c_long] = &[];

#[cfg(target_arch = "x86_64")]
const NOBODY_OLD: &[c_long] = &[
    libc::SYS_kexec_file_load,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
];
#[cfg(not(target_arch = "x86_64"))]
const NOBODY_OLD: &[c_long] = &[];

/// A worker that computes.
const NO_NETWORK: &[c_long] = &[libc::SYS_bind, libc::SYS_connect];

/// What checks talk through; any other family is a way into a rarely used part of the kernel.
const FAMILIES: [i32; 4] = [
    libc::AF_UNIX,
    libc::AF_INET,
    libc::AF_INET6,
    libc::AF_NETLINK,
];

pub fn restrict(profile: Profile) -> io::Result<()> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(io::Error::other)?;
    let mut rules = Rules::default();
    rules.forbid(NOBODY);
    rules.forbid(NOBODY_OLD);
    if profile != Profile::Programs {
        rules.forbid(NO_PROGRAMS);
        rules.forbid(NO_PROGRAMS_OLD);
        rules.no_new_process()?;
        rules.signals_to_itself_only()?;
        rules.limits_of_itself_only()?;
        // glibc makes threads by clone3, whose flags no filter can see; told that there is none it takes clone.
        let clone3 = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
        apply(clone3, libc::ENOSYS, arch)?;
    }
    match profile {
        Profile::Programs => {}
        Profile::Network => rules.families_of_checks_only(&FAMILIES)?,
        Profile::Compute => {
            rules.forbid(NO_NETWORK);
            rules.families_of_checks_only(&[libc::AF_UNIX])?;
        }
    }
    apply(rules.0, libc::EPERM, arch)
}

fn apply(
    rules: BTreeMap<c_long, Vec<SeccompRule>>,
    errno: i32,
    arch: TargetArch,
) -> io::Result<()> {
    apply_filter(&compiled(rules, errno, arch)?).map_err(io::Error::other)
}

fn compiled(
    rules: BTreeMap<c_long, Vec<SeccompRule>>,
    errno: i32,
    arch: TargetArch,
) -> io::Result<BpfProgram> {
    let answer = match errno {
        libc::EPERM if kills() => SeccompAction::KillProcess,
        _ => SeccompAction::Errno(errno as u32),
    };
    let filter = SeccompFilter::new(with_x32(rules), SeccompAction::Allow, answer, arch);
    let filter = filter.map_err(io::Error::other)?;
    filter.try_into().map_err(io::Error::other)
}

/// Signals that nobody can refuse do not reach this process from here on: not by its number, not by that of its group, which
/// it leads, and not together with all others.
pub fn spare(pid: u32) -> io::Result<()> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(io::Error::other)?;
    let mut rules = Rules::default();
    let pid = pid as i32;
    for signal in [libc::SIGKILL, libc::SIGSTOP] {
        for target in [pid, -pid, -1] {
            rules.forbid_signal(libc::SYS_kill, target, (1, signal))?;
        }
        rules.forbid_signal(libc::SYS_tkill, pid, (1, signal))?;
        rules.forbid_signal(libc::SYS_rt_sigqueueinfo, pid, (1, signal))?;
        rules.forbid_signal(libc::SYS_tgkill, pid, (2, signal))?;
        rules.forbid_signal(libc::SYS_rt_tgsigqueueinfo, pid, (2, signal))?;
    }
    // A way to it by another number.
    let it = argument(0, SeccompCmpOp::Eq, number(pid))?;
    rules.forbid_if(libc::SYS_pidfd_open, vec![it])?;
    let program = compiled(rules.0, libc::EPERM, arch)?;
    let mut program: Vec<libc::sock_filter> = program
        .iter()
        .map(|i| libc::sock_filter {
            code: i.code,
            jt: i.jt,
            jf: i.jf,
            k: i.k,
        })
        .collect();
    healthd_sys::seccomp::put_on(&mut program)
}

/// For tests: a call on the list ends its process, so that what a plugin does in spite of it is seen, though its verdict is right.
fn kills() -> bool {
    cfg!(debug_assertions)
        && std::env::var_os("HEALTHD_TEST_SANDBOX").is_some_and(|how| how == "kill")
}

/// The same calls once more by the numbers that a program of the x32 ABI would use.
#[cfg(target_arch = "x86_64")]
fn with_x32(mut rules: BTreeMap<c_long, Vec<SeccompRule>>) -> BTreeMap<c_long, Vec<SeccompRule>> {
    const X32: c_long = 0x4000_0000;
    /// Those that have numbers of their own there.
    const OWN: [(c_long, c_long); 7] = [
        (libc::SYS_execve, 520),
        (libc::SYS_ptrace, 521),
        (libc::SYS_kexec_load, 528),
        (libc::SYS_process_vm_readv, 539),
        (libc::SYS_process_vm_writev, 540),
        (libc::SYS_execveat, 545),
        (libc::SYS_rt_sigqueueinfo, 524),
    ];
    let own = |call: c_long| OWN.iter().find(|(n, _)| *n == call).map(|(_, own)| *own);
    let again: Vec<_> = rules
        .iter()
        .map(|(call, rule)| (own(*call).unwrap_or(*call) | X32, rule.clone()))
        .collect();
    rules.extend(again);
    rules
}

#[cfg(not(target_arch = "x86_64"))]
fn with_x32(rules: BTreeMap<c_long, Vec<SeccompRule>>) -> BTreeMap<c_long, Vec<SeccompRule>> {
    rules
}

#[derive(Default)]
struct Rules(BTreeMap<c_long, Vec<SeccompRule>>);

impl Rules {
    fn forbid(&mut self, calls: &[c_long]) {
        self.0.extend(calls.iter().map(|call| (*call, Vec::new())));
    }

    fn forbid_if(&mut self, call: c_long, conditions: Vec<SeccompCondition>) -> io::Result<()> {
        let rule = SeccompRule::new(conditions).map_err(io::Error::other)?;
        self.0.entry(call).or_default().push(rule);
        Ok(())
    }

    /// `signal`: which argument is which.
    fn forbid_signal(&mut self, call: c_long, target: i32, signal: (u8, i32)) -> io::Result<()> {
        let (at, signal) = signal;
        let both = vec![
            argument(0, SeccompCmpOp::Eq, number(target))?,
            argument(at, SeccompCmpOp::Eq, number(signal))?,
        ];
        self.forbid_if(call, both)
    }

    /// Threads are made, and nothing else.
    fn no_new_process(&mut self) -> io::Result<()> {
        let thread = libc::CLONE_THREAD as u64;
        let not_a_thread = argument(0, SeccompCmpOp::MaskedEq(thread), 0)?;
        self.forbid_if(libc::SYS_clone, vec![not_a_thread])
    }

    fn signals_to_itself_only(&mut self) -> io::Result<()> {
        let itself = u64::from(std::process::id());
        for call in [
            libc::SYS_kill,
            libc::SYS_tgkill,
            libc::SYS_rt_sigqueueinfo,
            libc::SYS_rt_tgsigqueueinfo,
        ] {
            self.forbid_if(call, vec![argument(0, SeccompCmpOp::Ne, itself)?])?;
        }
        Ok(())
    }

    fn limits_of_itself_only(&mut self) -> io::Result<()> {
        let itself = u64::from(std::process::id());
        let other = vec![
            argument(0, SeccompCmpOp::Ne, 0)?,
            argument(0, SeccompCmpOp::Ne, itself)?,
        ];
        self.forbid_if(libc::SYS_prlimit64, other)
    }

    fn families_of_checks_only(&mut self, families: &[i32]) -> io::Result<()> {
        let none: io::Result<Vec<_>> = families
            .iter()
            .map(|family| argument(0, SeccompCmpOp::Ne, *family as u64))
            .collect();
        self.forbid_if(libc::SYS_socket, none?)
    }
}

/// As the lower half of an argument has it.
fn number(value: i32) -> u64 {
    u64::from(value as u32)
}

/// Of 32 bits: the C library may leave anything above an int.
fn argument(number: u8, op: SeccompCmpOp, value: u64) -> io::Result<SeccompCondition> {
    SeccompCondition::new(number, SeccompCmpArgLen::Dword, op, value).map_err(io::Error::other)
}
