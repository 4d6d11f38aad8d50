//! Child processes, through the host's `hd.exec/1`. A plugin never forks: workers have threads.

use crate::cx::Cx;
use crate::host::host;
use crate::task::Mail;
use healthd_abi::{
    EXEC_DEADLINE, EXEC_LEAVE_CHILDREN, EXEC_LIVES_ON, EXEC_TELL_DEADLINE, EXEC_TRUNC_ERR,
    EXEC_TRUNC_OUT, EXT_EXEC, HdExec, HdExecDone, HdExecSpec, HdStr,
};
use std::ffi::c_void;
use std::future::poll_fn;
use std::io;
use std::task::Poll;
use std::time::Duration;

/// What to run. No shell is involved; limits of 0 are none.
#[derive(Clone, Debug, Default)]
pub struct ExecSpec<'s> {
    /// The program and its arguments; a program without a `/` is looked up in `env`'s PATH.
    pub argv: &'s [String],
    /// `K=V`, the complete environment.
    pub env: &'s [String],
    /// Empty: `/`.
    pub cwd: &'s str,
    /// Standard input; empty: `/dev/null`.
    pub input: &'s [u8],
    /// Bytes kept of each stream; 0: 64 KiB.
    pub max_output: u32,
    /// RLIMIT_AS, in bytes.
    pub max_memory: u64,
    /// RLIMIT_CPU, in seconds.
    pub max_cpu_s: u64,
    /// RLIMIT_NOFILE.
    pub max_files: u64,
    /// RLIMIT_NPROC.
    pub max_processes: u64,
    /// Between SIGTERM and SIGKILL to its process group; zero: SIGKILL at once.
    pub kill_grace: Duration,
    /// What it started and left behind is not ended with it.
    pub leave_children: bool,
    /// At the deadline the future ends with what was said until then, instead of being dropped. The status of the run
    /// is the time-out's all the same.
    pub tell_deadline: bool,
}

/// How a child came to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChildEnd {
    #[default]
    Itself,
    /// The host ended it at its deadline.
    Deadline,
    /// Neither SIGTERM nor SIGKILL has ended it; `left` says why.
    LivesOn,
}

/// How a child ended and what it wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecOutput {
    /// None if a signal ended it.
    pub exit_code: Option<i32>,
    pub signal: Option<i32>,
    pub out: Vec<u8>,
    pub err: Vec<u8>,
    pub out_truncated: bool,
    pub err_truncated: bool,
    /// Bytes that were read and not kept.
    pub dropped: u64,
    pub cpu: Duration,
    pub end: ChildEnd,
    /// The last signal that the host sent it.
    pub signal_sent: Option<i32>,
    pub ran: Duration,
    pub pid: u32,
    /// Something that it started still holds its output, and was not waited for.
    pub open: bool,
    /// Processes that it left behind in sessions of their own, for people.
    pub left: String,
}

impl ExecOutput {
    /// # Safety
    /// `raw` is NULL or an `hd_exec_done` of the host, valid for this call.
    pub(crate) unsafe fn from_abi(raw: *const HdExecDone) -> ExecOutput {
        if raw.is_null() {
            return ExecOutput::default();
        }
        // What a host of before has not is zero. SAFETY: its first field is the size that the host knew.
        let size = (unsafe { raw.cast::<u32>().read() } as usize).min(size_of::<HdExecDone>());
        let mut known = std::mem::MaybeUninit::<HdExecDone>::zeroed();
        // SAFETY: so much is readable, as the size says, and so much is writable.
        unsafe { std::ptr::copy_nonoverlapping(raw.cast::<u8>(), known.as_mut_ptr().cast(), size) };
        // SAFETY: all zeroes, and what of it was copied is plain data too.
        let raw = unsafe { known.assume_init() };
        // SAFETY: the host's string, valid for this call.
        let out = unsafe { raw.out.as_bytes() }.to_vec();
        // SAFETY: as above.
        let err = unsafe { raw.err.as_bytes() }.to_vec();
        // SAFETY: as above.
        let left = unsafe { raw.left.as_bytes() };
        ExecOutput {
            end: match raw.ended {
                EXEC_DEADLINE => ChildEnd::Deadline,
                EXEC_LIVES_ON => ChildEnd::LivesOn,
                _ => ChildEnd::Itself,
            },
            signal_sent: (raw.signal_sent != 0).then_some(raw.signal_sent),
            ran: Duration::from_nanos(raw.ran_ns),
            pid: raw.pid,
            open: raw.open != 0,
            left: String::from_utf8_lossy(left).into_owned(),
            exit_code: (raw.term_signal == 0).then_some(raw.exit_code),
            signal: (raw.term_signal != 0).then_some(raw.term_signal),
            out,
            err,
            out_truncated: raw.truncated & EXEC_TRUNC_OUT != 0,
            err_truncated: raw.truncated & EXEC_TRUNC_ERR != 0,
            dropped: raw.dropped,
            cpu: Duration::from_nanos(raw.cpu_ns),
        }
    }
}

fn count(strings: &[HdStr]) -> io::Result<u32> {
    u32::try_from(strings.len()).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))
}

impl<'a> Cx<'a> {
    /// Step lane: runs a child to its end. The host kills its whole process group at the deadline, or when this future
    /// is dropped with its task. One child a task at a time.
    pub async fn exec(self, spec: &ExecSpec<'_>) -> io::Result<ExecOutput> {
        let head = self.head()?;
        let token = head.new_token();
        self.spawn(spec, token)?;
        poll_fn(|task| match head.take_mail(token) {
            Some(Mail::Exec(output)) => Poll::Ready(Ok(output)),
            _ => {
                head.park(task);
                Poll::Pending
            }
        })
        .await
    }

    fn spawn(self, spec: &ExecSpec<'_>, token: u32) -> io::Result<()> {
        let extension: *const c_void = host().extension(EXT_EXEC);
        // SAFETY: what the host returns for this id is NULL or a static hd_exec.
        let Some(exec) = (unsafe { extension.cast::<HdExec>().as_ref() }) else {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "this host runs no children",
            ));
        };
        let spawn = exec
            .spawn
            .ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))?;
        let argv: Vec<HdStr> = spec.argv.iter().map(|s| HdStr::new(s)).collect();
        let env: Vec<HdStr> = spec.env.iter().map(|s| HdStr::new(s)).collect();
        let raw = HdExecSpec {
            struct_size: size_of::<HdExecSpec>() as u32,
            argc: count(&argv)?,
            argv: argv.as_ptr(),
            envc: count(&env)?,
            token,
            env: env.as_ptr(),
            cwd: HdStr::new(spec.cwd),
            input: HdStr::from_bytes(spec.input),
            max_output: spec.max_output,
            reserved: 0,
            max_memory: spec.max_memory,
            max_cpu_s: spec.max_cpu_s,
            max_files: spec.max_files,
            max_processes: spec.max_processes,
            kill_grace_ms: u32::try_from(spec.kill_grace.as_millis()).unwrap_or(u32::MAX),
            flags: (u32::from(spec.leave_children) * EXEC_LEAVE_CHILDREN)
                | (u32::from(spec.tell_deadline) * EXEC_TELL_DEADLINE),
        };
        // SAFETY: a live ctx on its own thread (head() proved the step lane); the host borrows raw for this call.
        let r = unsafe { spawn(self.raw(), &raw) };
        if r < 0 {
            Err(io::Error::from_raw_os_error(-r))
        } else {
            Ok(())
        }
    }
}
