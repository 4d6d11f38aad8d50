//! Child processes, through the host's `hd.exec/1`. A plugin never forks: workers have threads.

use crate::cx::Cx;
use crate::host::host;
use crate::task::Mail;
use healthd_abi::{
    EXEC_TRUNC_ERR, EXEC_TRUNC_OUT, EXT_EXEC, HdExec, HdExecDone, HdExecSpec, HdStr,
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
}

impl ExecOutput {
    /// # Safety
    /// `raw` is NULL or an `hd_exec_done` of the host, valid for this call.
    pub(crate) unsafe fn from_abi(raw: *const HdExecDone) -> ExecOutput {
        // SAFETY: the caller's promise.
        let Some(raw) = (unsafe { raw.as_ref() }) else {
            return ExecOutput::default();
        };
        // SAFETY: the host's string, valid for this call.
        let out = unsafe { raw.out.as_bytes() }.to_vec();
        // SAFETY: as above.
        let err = unsafe { raw.err.as_bytes() }.to_vec();
        ExecOutput {
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
