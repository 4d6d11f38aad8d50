//! One run on all cores, through the host's `hd.fanout/1`: the work is cut into chunks, which all workers for heavy
//! work run; input and output are memory files that no one copies.

use crate::check::BlockingCheck;
use crate::cx::Cx;
use crate::host::host;
use crate::map::Mapped;
use crate::status::Status;
use crate::text::{IoText, is_resource_error};
use healthd_abi::{self as abi, HdChunk, HdFanout, HdFanoutDone, HdFanoutSpec, HdStr};
use std::fmt;
use std::io::{self, Write};
use std::marker::PhantomData;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// A [`BlockingCheck`] that computes and spreads its work: export it with the word `fanout`.
///
/// ```
/// use healthd_plugin::{BlockingCheck, Chunk, Cx, Fanout, Plan, Status, plugins};
/// use std::io::Write;
///
/// /// How many primes are there below ten million?
/// struct Primes;
///
/// impl BlockingCheck for Primes {
///     type Options = ();
///
///     fn create(_: (), _: Cx<'_>) -> Result<Self, String> {
///         Ok(Primes)
///     }
///
///     fn run(&self, cx: Cx<'_>) -> Status {
///         let counts = match cx.map(Plan::over(10_000)) {
///             Ok(counts) => counts,
///             Err(e) => return e.status(cx),
///         };
///         let sum: u64 = counts.iter().map(|c| c[..].try_into().map_or(0, u64::from_le_bytes)).sum();
///         cx.ok(format_args!("{sum} primes"))
///     }
/// }
///
/// impl Fanout for Primes {
///     fn chunk(&self, cx: Cx<'_>, chunk: &mut Chunk<'_>) -> Status {
///         let is_prime = |n: &u64| *n > 1 && (2..).take_while(|d| d * d <= *n).all(|d| n % d != 0);
///         let mut count = 0u64;
///         for n in chunk.items() {
///             if cx.is_cancelled() {
///                 return Status::Cancelled;
///             }
///             count += u64::from(is_prime(&n));
///         }
///         chunk.finish(&count.to_le_bytes())
///     }
/// }
///
/// plugins! {
///     fanout Primes { name: "primes", summary: "counts primes on all cores" }
/// }
/// # use healthd_plugin::mock::MockHost;
/// # let outcome = MockHost::new(hd_plugin_v1).plugin("primes").create("{}").unwrap().run(std::time::Duration::from_secs(60));
/// # assert_eq!(outcome.message, "1229 primes");
/// ```
pub trait Fanout: BlockingCheck {
    /// One chunk, in any worker, on that worker's own instance of the check. It may be begun twice (its worker died),
    /// so it has no effect but its output. In long loops it looks at [`Cx::is_cancelled`]. Anything but [`Status::Ok`]
    /// means that it failed; its message says why, and the run gets both.
    fn chunk(&self, cx: Cx<'_>, chunk: &mut Chunk<'_>) -> Status;
}

/// How the work is cut.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'p> {
    items: u64,
    chunk: u64,
    ordered: bool,
    kind: u32,
    input: Option<BorrowedFd<'p>>,
}

impl<'p> Plan<'p> {
    /// So many items; the host chooses how many are a chunk, and tells of the chunks in their order.
    pub fn over(items: u64) -> Plan<'p> {
        Plan {
            items,
            chunk: 0,
            ordered: true,
            kind: 0,
            input: None,
        }
    }

    /// So many items in a chunk. There may be 4,096 chunks; 5 to 500 ms of work in each are good.
    pub fn chunks_of(self, items: u64) -> Plan<'p> {
        Plan {
            chunk: items,
            ..self
        }
    }

    /// Tell of each chunk as soon as it is done.
    pub fn as_completed(self) -> Plan<'p> {
        Plan {
            ordered: false,
            ..self
        }
    }

    /// A number that each chunk sees, for plugins that have several kinds of work.
    pub fn kind(self, kind: u32) -> Plan<'p> {
        Plan { kind, ..self }
    }

    /// What each chunk can read: a memory file (see [`memory_file`]), or a regular file.
    pub fn input(self, input: &'p impl AsFd) -> Plan<'p> {
        Plan {
            input: Some(input.as_fd()),
            ..self
        }
    }
}

/// A memory file with these bytes, for [`Plan::input`].
pub fn memory_file(bytes: &[u8]) -> io::Result<OwnedFd> {
    let name = c"input";
    // SAFETY: the name is a C string; the flags are valid.
    let fd =
        unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it, and nobody else knows it.
    let mut file = unsafe { std::fs::File::from_raw_fd(fd) };
    file.write_all(bytes)?;
    Ok(file.into())
}

/// One chunk, as [`Fanout::chunk`] gets it. What is written to it is its output.
#[derive(Debug)]
pub struct Chunk<'a> {
    raw: &'a HdChunk,
}

impl<'a> Chunk<'a> {
    /// # Safety
    /// `raw` is the host's chunk of the call that this is made in, which lasts for `'a`.
    pub(crate) unsafe fn new(raw: *const HdChunk) -> Option<Chunk<'a>> {
        // SAFETY: the caller's promise.
        let raw = unsafe { raw.as_ref() }?;
        (raw.struct_size as usize >= size_of::<HdChunk>()).then_some(Chunk { raw })
    }

    /// The items that are its share.
    pub fn items(&self) -> Range<u64> {
        self.raw.from..self.raw.to
    }

    /// Which chunk it is, from 0 on.
    pub fn index(&self) -> u32 {
        self.raw.index
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        self.raw.count
    }

    /// As given to [`Plan::kind`].
    pub fn kind(&self) -> u32 {
        self.raw.kind
    }

    /// The input's fd. All chunks share its offset: read with `read_at`.
    pub fn input_fd(&self) -> Option<BorrowedFd<'a>> {
        // SAFETY: the host keeps the fd open for the length of the call, and 'a does not outlast it.
        (self.raw.input >= 0).then(|| unsafe { BorrowedFd::borrow_raw(self.raw.input) })
    }

    /// The bytes of an input that was made with [`memory_file`].
    pub fn input(&self) -> io::Result<Mapped> {
        match self.input_fd() {
            Some(fd) => Mapped::sealed(fd),
            None => Err(io::Error::new(
                io::ErrorKind::NotFound,
                "this fan-out has no input",
            )),
        }
    }

    /// Writes the output and is [`Status::Ok`], or what a failure of that means.
    pub fn finish(&mut self, output: &[u8]) -> Status {
        match self.write_all(output) {
            Ok(()) => Status::Ok,
            Err(e) if is_resource_error(&e) || e.raw_os_error() == Some(libc::ENOSPC) => {
                Status::Resources
            }
            Err(_) => Status::Unknown,
        }
    }
}

impl Write for Chunk<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // SAFETY: the buffer is readable for its length; the fd is the host's, open during this call.
        let n = unsafe { libc::write(self.raw.output, bytes.as_ptr().cast(), bytes.len()) };
        usize::try_from(n).map_err(|_| io::Error::last_os_error())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Why a fan-out came to nothing.
#[derive(Debug)]
pub enum FanoutError {
    /// It could not begin.
    Open(io::Error),
    /// The run is cancelled, or at its deadline.
    Cancelled,
    /// A chunk failed.
    Chunk {
        index: u32,
        status: Status,
        message: String,
    },
    /// A chunk's output cannot be read.
    Output(io::Error),
}

impl fmt::Display for FanoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FanoutError::Open(e) if e.raw_os_error() == Some(libc::E2BIG) => {
                write!(
                    f,
                    "the work is cut into more than {} chunks",
                    abi::FANOUT_MAX_CHUNKS
                )
            }
            FanoutError::Open(e) => write!(f, "fan-out: {}", IoText(e)),
            FanoutError::Cancelled => f.write_str("cancelled"),
            FanoutError::Chunk { index, message, .. } if message.is_empty() => {
                write!(f, "chunk {index} failed")
            }
            // It names itself.
            FanoutError::Chunk { message, .. } => f.write_str(message),
            FanoutError::Output(e) => write!(f, "the output of a chunk: {}", IoText(e)),
        }
    }
}

impl std::error::Error for FanoutError {}

impl FanoutError {
    /// Sets the message, and is the status that a run which failed by this ends with: never critical, as nothing was
    /// learned of the target.
    pub fn status(&self, cx: Cx<'_>) -> Status {
        cx.message(self);
        match self {
            FanoutError::Cancelled => Status::Cancelled,
            FanoutError::Chunk { status, .. } => match status {
                Status::Resources | Status::Cancelled => *status,
                _ => Status::Unknown,
            },
            FanoutError::Open(e) | FanoutError::Output(e) if is_resource_error(e) => {
                Status::Resources
            }
            FanoutError::Open(_) | FanoutError::Output(_) => Status::Unknown,
        }
    }
}

/// A fan-out under way. Dropping it cancels what is left of it.
pub struct FanOut<'a> {
    cx: Cx<'a>,
    calls: &'static HdFanout,
    /// It borrows the run, like the `Cx`.
    _run: PhantomData<&'a ()>,
}

/// A chunk that is done.
pub struct Done<'f> {
    raw: HdFanoutDone,
    _fan: PhantomData<&'f ()>,
}

impl Done<'_> {
    pub fn index(&self) -> u32 {
        self.raw.index
    }

    /// CPU time that it took.
    pub fn cpu(&self) -> Duration {
        Duration::from_nanos(self.raw.cpu_ns)
    }

    /// What it wrote. It may be kept beyond the next chunk: it is memory, and no descriptor.
    pub fn output(&self) -> Result<Mapped, FanoutError> {
        if self.raw.output < 0 {
            return Ok(Mapped::empty());
        }
        // SAFETY: the host keeps it open until the next call of `next`, for which this must be gone.
        let fd = unsafe { BorrowedFd::borrow_raw(self.raw.output) };
        Mapped::sealed(fd).map_err(FanoutError::Output)
    }
}

impl FanOut<'_> {
    /// Waits for the next chunk, and works on chunks meanwhile. None: all have been told. An error ends it.
    #[allow(
        clippy::should_implement_trait,
        reason = "what it gives borrows from it, which an Iterator's cannot"
    )]
    pub fn next(&mut self) -> Option<Result<Done<'_>, FanoutError>> {
        let mut raw = HdFanoutDone {
            struct_size: size_of::<HdFanoutDone>() as u32,
            index: 0,
            code: 0,
            output: -1,
            size: 0,
            cpu_ns: 0,
            message: HdStr::EMPTY,
        };
        let next = self.calls.next?;
        // SAFETY: a live ctx on its thread (Cx); `raw` is writable.
        match unsafe { next(self.cx.raw(), &mut raw) } {
            0 => None,
            1 if raw.code == abi::OK => Some(Ok(Done {
                raw,
                _fan: PhantomData,
            })),
            1 => {
                // SAFETY: the host's string, valid until the next call.
                let message = unsafe { raw.message.as_bytes() };
                Some(Err(FanoutError::Chunk {
                    index: raw.index,
                    status: match raw.code {
                        abi::E_RESOURCES => Status::Resources,
                        abi::E_CANCELLED => Status::Cancelled,
                        abi::WARN => Status::Warn,
                        abi::CRIT => Status::Critical,
                        _ => Status::Unknown,
                    },
                    message: String::from_utf8_lossy(message).into_owned(),
                }))
            }
            e if e == -libc::ECANCELED => Some(Err(FanoutError::Cancelled)),
            e => Some(Err(FanoutError::Open(io::Error::from_raw_os_error(-e)))),
        }
    }
}

impl Drop for FanOut<'_> {
    fn drop(&mut self) {
        if let Some(close) = self.calls.close {
            // SAFETY: a live ctx on its thread (Cx).
            unsafe { close(self.cx.raw()) }
        }
    }
}

fn calls() -> io::Result<&'static HdFanout> {
    let extension = host().extension(abi::EXT_FANOUT);
    // SAFETY: what the host returns for this id is NULL or a static hd_fanout.
    let calls = unsafe { extension.cast::<HdFanout>().as_ref() };
    calls.ok_or_else(|| io::Error::new(io::ErrorKind::Unsupported, "this host has no fan-out"))
}

impl<'a> Cx<'a> {
    /// How many workers for heavy work there are, this one included.
    pub fn workers(&self) -> u32 {
        let workers = calls().ok().and_then(|c| c.workers);
        // SAFETY: a live ctx on its thread (Cx).
        workers.map_or(1, |f| unsafe { f(self.raw()) }).max(1)
    }

    /// Spreads the work; the results come from [`FanOut::next`]. In `run` of a [`Fanout`] only, one at a time.
    pub fn fan_out(&self, plan: Plan<'_>) -> Result<FanOut<'a>, FanoutError> {
        let calls = calls().map_err(FanoutError::Open)?;
        let unsupported = || FanoutError::Open(io::ErrorKind::Unsupported.into());
        let open = calls.open.ok_or_else(unsupported)?;
        let raw = HdFanoutSpec {
            struct_size: size_of::<HdFanoutSpec>() as u32,
            flags: if plan.ordered { abi::FANOUT_ORDERED } else { 0 },
            items: plan.items,
            chunk: plan.chunk,
            input: plan.input.map_or(-1, |fd| fd.as_raw_fd()),
            kind: plan.kind,
        };
        // SAFETY: a live ctx on its thread (Cx); the host borrows `raw` for this call.
        match unsafe { open(self.raw(), &raw) } {
            0 => Ok(FanOut {
                cx: *self,
                calls,
                _run: PhantomData,
            }),
            e => Err(FanoutError::Open(io::Error::from_raw_os_error(-e))),
        }
    }

    /// The outputs of all chunks, in their order. For large outputs [`fan_out`](Self::fan_out) saves a copy.
    pub fn map(&self, plan: Plan<'_>) -> Result<Vec<Vec<u8>>, FanoutError> {
        let mut fan = self.fan_out(Plan {
            ordered: true,
            ..plan
        })?;
        let mut outputs = Vec::new();
        while let Some(done) = fan.next() {
            outputs.push(done?.output()?.to_vec());
        }
        Ok(outputs)
    }
}
