//! Processes: who I am, who has died, what ends with whom.

use nix::unistd::Pid;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// An fd that becomes readable when the process ends; it never means another process of the same number.
pub fn pidfd_open(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: the call takes numbers only.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid as libc::pid_t, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just made this fd for us (with CLOEXEC set), and nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

pub fn pidfd_kill(fd: &OwnedFd, signal: i32) -> io::Result<()> {
    // SAFETY: a null siginfo is allowed; the rest are numbers.
    let r = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            fd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if r == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Kills a whole process group; that it has gone already is no error.
pub fn kill_group(group: u32) {
    if group > 1 {
        let _ = nix::sys::signal::killpg(Pid::from_raw(group as i32), nix::sys::signal::SIGKILL);
    }
}

/// The same with any signal, for whoever wants to know whether it may.
pub fn signal_group(group: u32, signal: nix::sys::signal::Signal) -> nix::Result<()> {
    if group <= 1 {
        return Err(nix::errno::Errno::ESRCH);
    }
    nix::sys::signal::killpg(Pid::from_raw(group as i32), signal)
}

/// Kills one process, a child that is not collected yet, so that the number is its own. PID 1 is never a child.
pub fn kill_one(pid: u32) {
    if pid > 1 {
        let _ = nix::sys::signal::kill(Pid::from_raw(pid as i32), nix::sys::signal::SIGKILL);
    }
}

pub fn may_kill(pid: u32) -> bool {
    let pid = Pid::from_raw(pid as i32);
    nix::sys::signal::kill(pid, None) != Err(nix::errno::Errno::EPERM)
}

/// In the environment of what a check may leave behind, by its operator's wish: it is not ended with its run, nor with
/// its worker.
pub const LEFT_ALONE: (&str, &str) = ("HEALTHD_LEAVE_CHILDREN", "1");

pub fn is_left_alone(pid: u32) -> bool {
    environment_of(pid, LEFT_ALONE.0).is_some_and(|v| v == LEFT_ALONE.1)
}

/// A variable of the environment that a process was started with. None: it has none of that name, or it may not be read.
pub fn environment_of(pid: u32, name: &str) -> Option<String> {
    let all = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
    let value = all
        .split(|b| *b == 0)
        .find_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
    String::from_utf8(value.to_vec()).ok()
}

/// Length of a tick in `Stat::began`: USER_HZ is 100 everywhere on Linux.
pub const TICK_NS: u64 = 10_000_000;

/// Of `/proc/PID/stat`, see proc(5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    pub name: String,
    /// 'Z': it is dead and not collected.
    pub state: char,
    pub group: u32,
    /// Ticks since the machine's start.
    pub began: u64,
}

impl Stat {
    pub fn of(pid: u32) -> Option<Stat> {
        Stat::parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    fn parse(text: &str) -> Option<Stat> {
        // The name may hold anything, brackets too.
        let (head, rest) = text.rsplit_once(')')?;
        let name = head.split_once('(')?.1;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        Some(Stat {
            name: name.into(),
            state: fields.first()?.chars().next()?,
            group: fields.get(2)?.parse().ok()?,
            began: fields.get(19)?.parse().ok()?,
        })
    }
}

/// CPU that a process has used so far, all its threads, in ticks.
pub fn cpu_ticks(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    let mut times = rest.split_ascii_whitespace().skip(11).take(2);
    let mut next = || times.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

/// A process and all below it, as far as they are there to be seen.
pub fn with_descendants(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut at = 0;
    while let Some(pid) = all.get(at).copied() {
        all.extend(children_of(pid));
        at += 1;
        // A program that forks without end is no reason to read without end.
        if all.len() > 1000 {
            break;
        }
    }
    all
}

/// Kills all that is below this process, a subreaper, and waits until nothing is: whoever of them forks meanwhile is found
/// in the next round.
pub fn end_all_below() {
    loop {
        for pid in with_descendants(std::process::id()).split_off(1) {
            kill_one(pid);
        }
        // Without a child there is nobody left, as what loses its parent becomes our child.
        if nix::sys::wait::wait().is_err() {
            return;
        }
    }
}

/// Gives up the controlling terminal, for this process and those that it starts: a program that asks for a password
/// there finds none.
pub fn leave_terminal() {
    let Ok(terminal) = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/tty")
    else {
        return;
    };
    // SAFETY: TIOCNOTTY takes no argument and touches no memory.
    unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCNOTTY) };
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Signal { signal: i32, core: bool },
}

/// The next child that has ended, left where it is. None: no child has ended (or there is none).
pub fn peek_dead() -> Option<u32> {
    match wait(libc::P_ALL, 0, libc::WNOWAIT) {
        // SAFETY: waitid filled this in for a child that has ended, so the pid is the field in use.
        Ok(Some(info)) => Some(unsafe { info.si_pid() } as u32),
        _ => None,
    }
}

/// Is there a child of ours, alive or not yet collected, in this process group?
pub fn has_child_in_group(group: u32) -> bool {
    group > 1 && wait(libc::P_PGID, group, libc::WNOWAIT).is_ok()
}

/// Is there any child at all, alive or not yet collected?
pub fn has_child() -> bool {
    wait(libc::P_ALL, 0, libc::WNOWAIT).is_ok()
}

/// Collects a child that has ended; None while it runs or when it is no child of ours.
pub fn reap(pid: u32) -> Option<Exit> {
    reap_with_bill(pid).map(|(exit, _)| exit)
}

/// The same, with the CPU time of the child and of those that it had collected, in ns.
pub fn reap_with_bill(pid: u32) -> Option<(Exit, u64)> {
    // SAFETY: rusage is plain data, for which all zeroes is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    let info = wait_with(libc::P_PID, pid, 0, &mut usage).ok()??;
    // SAFETY: waitid filled this in for a child that has ended, so the status is the field in use.
    let status = unsafe { info.si_status() };
    let exit = match info.si_code {
        libc::CLD_EXITED => Exit::Code(status),
        code => Exit::Signal {
            signal: status,
            core: code == libc::CLD_DUMPED,
        },
    };
    let ns = |t: libc::timeval| {
        u64::try_from(t.tv_sec).unwrap_or(0) * 1_000_000_000
            + u64::try_from(t.tv_usec).unwrap_or(0) * 1000
    };
    Some((exit, ns(usage.ru_utime) + ns(usage.ru_stime)))
}

fn wait(kind: libc::idtype_t, id: u32, flags: i32) -> io::Result<Option<libc::siginfo_t>> {
    // SAFETY: rusage is plain data, for which all zeroes is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    wait_with(kind, id, flags, &mut usage)
}

/// waitid(2) without waiting. By hand, as nix makes an error of a death by a real-time signal, and that
/// child would be lost; and by its number, as the C library's function leaves out what the child has used.
/// Ok(None): such children exist, and none of them has ended.
fn wait_with(
    kind: libc::idtype_t,
    id: u32,
    flags: i32,
    usage: &mut libc::rusage,
) -> io::Result<Option<libc::siginfo_t>> {
    // SAFETY: siginfo_t is plain data, for which all zeroes is a value.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let flags = libc::WEXITED | libc::WNOHANG | flags;
    loop {
        // SAFETY: `info` and `usage` are writable and live through the call; the rest are numbers.
        let done = unsafe {
            libc::syscall(
                libc::SYS_waitid,
                kind,
                id,
                &raw mut info,
                flags,
                std::ptr::from_mut(usage),
            )
        };
        if done == 0 {
            // With WNOHANG the signal's number stays 0 where nothing has ended (waitid(2)).
            return Ok((info.si_signo != 0).then_some(info));
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Nobody but root may read its memory, its environment and its open files, or trace it: not even its own user. It
/// holds until the next exec; change nothing under /proc/self after it.
pub fn keep_memory_private() {
    if let Err(e) = nix::sys::prctl::set_dumpable(false) {
        log::warn!("the memory of this process is not private: {e}");
    }
}

/// Dies with the parent: set last and from the main thread (setuid clears it; it fires when the forking
/// *thread* ends), then compares the parent with the one that was meant, since it may be gone already.
pub fn die_with_parent(expected_parent: u32) -> io::Result<()> {
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::SIGKILL)?;
    if nix::unistd::getppid().as_raw() as u32 != expected_parent {
        return Err(io::Error::other("the supervisor is gone"));
    }
    Ok(())
}

pub fn set_name(name: &CStr) {
    let _ = nix::sys::prctl::set_name(name);
}

/// Orphans below us become our children, so that we can end and reap them.
pub fn become_subreaper() -> io::Result<()> {
    Ok(nix::sys::prctl::set_child_subreaper(true)?)
}

/// The children of this process, by /proc: what a dying worker left to us.
pub fn children() -> Vec<u32> {
    children_of(std::process::id())
}

/// Of the main thread, which is the one that forks in a program that is no daemon of ours.
fn children_of(pid: u32) -> Vec<u32> {
    std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
        .unwrap_or_default()
        .split_ascii_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

/// Where a process stands, by /proc.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Below this one; `by` is our child through which.
    Below {
        by: u32,
    },
    Elsewhere,
    /// It has ended, or /proc does not show it to us.
    Unseen,
}

/// Is that process below this one? As this one is a subreaper, whoever was ever below it still is.
pub fn place_of(pid: u32) -> Place {
    place_below(std::process::id(), pid)
}

/// The same below any subreaper.
pub fn place_below(root: u32, pid: u32) -> Place {
    if pid == root {
        return Place::Elsewhere;
    }
    // A parent that ends while we climb leaves its children to us: then once more from the bottom.
    'climb: for _ in 0..CLIMBS {
        let mut at = pid;
        for _ in 0..DEEPEST {
            match parent_of(at) {
                Some(parent) if parent == root => return Place::Below { by: at },
                Some(0 | 1) => return Place::Elsewhere,
                Some(parent) => at = parent,
                None if at == pid => return Place::Unseen,
                // Where /proc hides others' processes, one that keeps its memory private is hidden from its own user too.
                None if root == std::process::id() && is_child(at) => {
                    return Place::Below { by: at };
                }
                // It is another user's, and /proc does not show it: so it is none that we have started.
                None if !may_kill(at) => return Place::Elsewhere,
                None => continue 'climb,
            }
        }
    }
    Place::Unseen
}

/// Alive or not yet collected.
fn is_child(pid: u32) -> bool {
    wait(libc::P_PID, pid, libc::WNOWAIT).is_ok()
}

const CLIMBS: u32 = 8;
const DEEPEST: u32 = 1000;

fn parent_of(pid: u32) -> Option<u32> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    // proc_pid_stat(5): the name is in brackets and may hold some.
    let rest = &stat[stat.iter().rposition(|&b| b == b')')? + 1..];
    let parent = rest.split(|&b| b == b' ').nth(2)?;
    std::str::from_utf8(parent).ok()?.parse().ok()
}

/// The name of a process, as it gave it to itself; "?" if it has gone.
pub fn name_of(pid: u32) -> String {
    let name = std::fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    let name = String::from_utf8_lossy(&name);
    match name.trim_end() {
        "" => "?".into(),
        name => name
            .chars()
            .filter(|c| !c.is_control() && *c != '"')
            .collect(),
    }
}

/// Marks every fd from 3 on close-on-exec: what this process opened or inherited stays out of the programs it starts.
/// Only a system call, so a forked child may do it too.
pub fn keep_fds_to_ourselves() {
    // SAFETY: it changes flags of fds and touches no memory; a kernel without it says ENOSYS.
    unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
}

/// `schedstat` and `stat` of a thread, as proc(5) has them: what it had of the processors, and its state.
pub fn time_of_thread(pid: u32, tid: u32) -> io::Result<(String, String)> {
    let read = |file| std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/{file}"));
    Ok((read("schedstat")?, read("stat")?))
}

pub fn gettid() -> u32 {
    nix::unistd::gettid().as_raw() as u32
}

/// Ends the process at once: no destructors, no buffers. For a forked child that must not go on.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit never returns and touches no memory.
    unsafe { libc::_exit(code) }
}

/// Gives free memory back to the kernel. After reading much once, glibc would keep it for ever.
pub fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) only releases what is free; it takes the allocator's own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Before there are threads. glibc would give each thread a heap of its own, of which something is always in use, and
/// would keep what it once had: here threads share two, and what is large goes back to the kernel as soon as it is free.
pub fn keep_the_heap_small() {
    #[cfg(target_env = "gnu")]
    for (what, value) in [
        (libc::M_ARENA_MAX, 2),
        (libc::M_MMAP_THRESHOLD, 512 << 10),
        (libc::M_TRIM_THRESHOLD, 1 << 20),
    ] {
        // SAFETY: plain numbers; mallopt(3) takes the allocator's own lock.
        unsafe { libc::mallopt(what, value) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_whatever_the_name() {
        let line = "12 (a) b (c) S 1 7 8 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4242 1 1";
        let stat = Stat::parse(line).expect("it is one");
        assert_eq!(
            (&*stat.name, stat.state, stat.group, stat.began),
            ("a) b (c", 'S', 7, 4242)
        );
        assert_eq!(Stat::parse("12 (a"), None);
    }
}
