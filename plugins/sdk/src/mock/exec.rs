//! `hd.exec/1`, as far as tests of plugins need it: output caps, limits, and the kill of the group at the end.

use super::reactor::Delivery;
use super::{run_of, strings, text};
use healthd_abi::{self as abi, HdCtx};
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::ptr::null_mut;
use std::sync::Arc;

/// A child that leads its own process group. Holds its pid until it is reaped, so that no other process is killed.
pub(super) struct LiveChild(std::sync::Mutex<Option<i32>>);

impl LiveChild {
    pub(super) fn kill(&self) {
        if let Some(pid) = *self.0.lock().expect("no panic while it is held") {
            // SAFETY: plain numbers; not reaped yet, so the number is still this child's.
            unsafe { libc::kill(-pid, libc::SIGKILL) };
        }
    }

    /// Waits for the end, then reaps under the lock.
    pub(super) fn wait(&self, child: &mut std::process::Child) -> Option<std::process::ExitStatus> {
        // SAFETY: all zeroes is a valid siginfo_t.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let how = libc::WEXITED | libc::WNOWAIT;
        // SAFETY: info is writable; WNOWAIT leaves the child for the wait below.
        unsafe { libc::waitid(libc::P_PID, child.id(), &mut info, how) };
        let mut pid = self.0.lock().expect("no panic while it is held");
        *pid = None;
        child.wait().ok()
    }
}

fn limit(child: &std::process::Child, spec: &abi::HdExecSpec) {
    for (resource, value) in [
        (libc::RLIMIT_AS, spec.max_memory),
        (libc::RLIMIT_CPU, spec.max_cpu_s),
        (libc::RLIMIT_NOFILE, spec.max_files),
        (libc::RLIMIT_NPROC, spec.max_processes),
    ] {
        if value != 0 {
            let limit = libc::rlimit {
                rlim_cur: value,
                rlim_max: value,
            };
            // SAFETY: limit lives through the call, and no old value is asked for.
            unsafe { libc::prlimit(child.id() as i32, resource, &limit, null_mut()) };
        }
    }
}

pub(super) unsafe extern "C" fn host_spawn(ctx: *const HdCtx, spec: *const abi::HdExecSpec) -> i32 {
    // SAFETY: a plugin passes a live ctx.
    let run = unsafe { run_of(ctx) };
    // SAFETY: a plugin passes a live spec.
    let spec = unsafe { &*spec };
    let Some((reactor, slot)) = run.reactor.borrow().clone() else {
        return -libc::EINVAL;
    };
    // SAFETY: argv and env have as many entries as the spec says.
    let argv = unsafe { strings(spec.argv, spec.argc) };
    // SAFETY: as above.
    let env = unsafe { strings(spec.env, spec.envc) };
    let Some((program, arguments)) = argv.split_first() else {
        return -libc::EINVAL;
    };
    // SAFETY: the plugin's bytes, valid for this call.
    let input = unsafe { spec.input.as_bytes() }.to_vec();
    let keep = if spec.max_output == 0 {
        64 << 10
    } else {
        spec.max_output as usize
    };
    let cwd = if spec.cwd.len == 0 {
        "/"
    } else {
        text(spec.cwd)
    };
    let child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(env.iter().filter_map(|kv| kv.split_once('=')))
        .current_dir(cwd)
        .stdin(if input.is_empty() {
            Stdio::null()
        } else {
            Stdio::piped()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(e) => return -e.raw_os_error().unwrap_or(libc::EINVAL),
    };
    limit(&child, spec);
    let live = Arc::new(LiveChild(Some(child.id() as i32).into()));
    *run.child.borrow_mut() = Some(live.clone());
    let token = spec.token;
    std::thread::spawn(move || {
        let stdin = child.stdin.take();
        let feed = std::thread::spawn(move || stdin.map(|mut s| s.write_all(&input)));
        let stderr = child.stderr.take();
        let errors = std::thread::spawn(move || capture(stderr, keep));
        let (out, out_lost) = capture(child.stdout.take(), keep);
        let (err, err_lost) = errors.join().unwrap_or_default();
        let _ = feed.join();
        let status = live.wait(&mut child);
        use std::os::unix::process::ExitStatusExt;
        let done = crate::ExecOutput {
            exit_code: status.and_then(|s| s.code()),
            signal: status.and_then(|s| s.signal()),
            out,
            err,
            out_truncated: out_lost > 0,
            err_truncated: err_lost > 0,
            dropped: out_lost + err_lost,
            ..crate::ExecOutput::default()
        };
        reactor.send(slot, Delivery::Exec { token, done });
    });
    0
}

fn capture(stream: Option<impl Read>, keep: usize) -> (Vec<u8>, u64) {
    let mut all = Vec::new();
    if let Some(mut stream) = stream {
        let _ = stream.read_to_end(&mut all);
    }
    let lost = all.len().saturating_sub(keep) as u64;
    all.truncate(keep);
    (all, lost)
}
