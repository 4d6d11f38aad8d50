//! Maps, lists and locks that all workers share, and what one check keeps over a restart: the host's `hd.map/1`,
//! `hd.lock/1` and `hd.state/1`.

use crate::cx::Cx;
use crate::host::host;
use crate::task::Mail;
use healthd_abi::{
    self as abi, EXT_LOCK, EXT_MAP, EXT_STATE, HdLock, HdLockAsk, HdLockDone, HdMap, HdMapAsk,
    HdMapReply, HdStr,
};
use std::ffi::c_void;
use std::future::poll_fn;
use std::io;
use std::marker::PhantomData;
use std::task::Poll;
use std::time::Duration;

/// A value in a map, and its version: what [`Ask::only_if`] compares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub value: Vec<u8>,
    pub version: u64,
}

/// A map or a list that the manager keeps for all workers. It outlives them and the manager, in memory only.
#[derive(Clone, Copy)]
pub struct SharedMap<'a> {
    cx: Cx<'a>,
    name: &'a str,
    flags: u32,
}

/// Something to ask of a map: [`wait`](Ask::wait) for the answer in the step lane, or [`block`](Ask::block) in the run
/// lane and in `create`.
pub struct Ask<'a, T> {
    map: SharedMap<'a>,
    op: u32,
    key: &'a str,
    value: &'a [u8],
    expected: Option<u64>,
    ttl: Duration,
    read: fn(Answer) -> io::Result<T>,
    _borrows: PhantomData<T>,
}

/// The host's answer, copied.
pub(crate) struct Answer {
    error: i32,
    version: u64,
    items: Vec<(String, Vec<u8>)>,
}

/// What became of a change that was bound to a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It is done; this is the new version.
    Done(u64),
    /// Not done: this is there instead; None: nothing is.
    Other(Option<Entry>),
}

impl<'a> Cx<'a> {
    /// The map, or list, of this name that this plugin's runs share in all workers. Names are those of
    /// [`counter`](Cx::counter).
    pub fn shared_map(self, name: &'a str) -> SharedMap<'a> {
        SharedMap {
            cx: self,
            name,
            flags: 0,
        }
    }

    /// As [`shared_map`](Self::shared_map), shared with every other plugin that names it so.
    pub fn shared_map_of_all(self, name: &'a str) -> SharedMap<'a> {
        SharedMap {
            cx: self,
            name,
            flags: abi::SHARED,
        }
    }
}

/// Some bytes of one check, at most 16 KiB, that the daemon keeps in a file: where it stopped to read, its last counters. No
/// death of a process and no restart loses what was set; the check's end does.
#[derive(Clone, Copy)]
pub struct State<'a>(SharedMap<'a>);

impl<'a> Cx<'a> {
    /// What this check has kept. Under `healthctl try`, and with a daemon that has no states, every ask is
    /// [`Unsupported`](io::ErrorKind::Unsupported).
    pub fn state(self) -> State<'a> {
        State(self.shared_map(""))
    }
}

impl<'a> State<'a> {
    pub fn get(self) -> Ask<'a, Option<Entry>> {
        Ask {
            op: abi::STATE_GET,
            ..self.0.get("")
        }
    }

    /// [`Ask::only_if`] binds it to a version.
    pub fn set(self, value: &'a [u8]) -> Ask<'a, Changed> {
        Ask {
            op: abi::STATE_SET,
            ..self.0.set("", value)
        }
    }

    pub fn remove(self) -> Ask<'a, Changed> {
        Ask {
            op: abi::STATE_DELETE,
            ..self.0.remove("")
        }
    }
}

impl<'a> SharedMap<'a> {
    fn ask<T>(
        self,
        op: u32,
        key: &'a str,
        value: &'a [u8],
        read: fn(Answer) -> io::Result<T>,
    ) -> Ask<'a, T> {
        Ask {
            map: self,
            op,
            key,
            value,
            expected: None,
            ttl: Duration::ZERO,
            read,
            _borrows: PhantomData,
        }
    }

    pub fn get(self, key: &'a str) -> Ask<'a, Option<Entry>> {
        self.ask(abi::MAP_GET, key, &[], |a| match -a.error {
            libc::ENOENT => Ok(None),
            _ => a.fine().map(Answer::entry),
        })
    }

    /// Puts a value there. [`Ask::ttl`] and [`Ask::only_if`] say more.
    pub fn set(self, key: &'a str, value: &'a [u8]) -> Ask<'a, Changed> {
        self.ask(abi::MAP_SET, key, value, Answer::changed)
    }

    pub fn remove(self, key: &'a str) -> Ask<'a, Changed> {
        self.ask(abi::MAP_DELETE, key, &[], |a| match -a.error {
            libc::ENOENT => Ok(Changed::Other(None)),
            _ => a.changed(),
        })
    }

    /// To the end of a list; returns its version.
    pub fn append(self, value: &'a [u8]) -> Ask<'a, u64> {
        self.ask(abi::MAP_APPEND, "", value, |a| Ok(a.fine()?.version))
    }

    /// All keys and values, by key; of a list all values in order, with empty keys.
    pub fn snapshot(self) -> Ask<'a, Vec<(String, Vec<u8>)>> {
        self.ask(abi::MAP_SNAPSHOT, "", &[], |a| Ok(a.fine()?.items))
    }

    /// The whole map or list goes.
    pub fn clear(self) -> Ask<'a, ()> {
        self.ask(abi::MAP_DELETE, "", &[], |a| match -a.error {
            libc::ENOENT => Ok(()),
            _ => a.fine().map(drop),
        })
    }
}

impl Answer {
    /// # Safety
    /// NULL, or the host's reply, valid for this call.
    pub(crate) unsafe fn from_abi(raw: *const HdMapReply) -> Answer {
        // SAFETY: the caller's promise.
        let Some(raw) = (unsafe { raw.as_ref() }) else {
            return Answer {
                error: -libc::EIO,
                version: 0,
                items: Vec::new(),
            };
        };
        let mut items = Vec::new();
        if raw.n != 0 && !raw.items.is_null() {
            // SAFETY: the host's n items, valid for this call.
            for item in unsafe { std::slice::from_raw_parts(raw.items, raw.n as usize) } {
                // SAFETY: the host's string, valid for this call.
                let key = unsafe { item.key.as_bytes() };
                // SAFETY: as above.
                let value = unsafe { item.value.as_bytes() };
                items.push((String::from_utf8_lossy(key).into_owned(), value.to_vec()));
            }
        }
        Answer {
            error: raw.error,
            version: raw.version,
            items,
        }
    }

    fn fine(self) -> io::Result<Answer> {
        match -self.error {
            0 => Ok(self),
            libc::ENOSYS => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "shared maps need a running daemon",
            )),
            e => Err(io::Error::from_raw_os_error(e)),
        }
    }

    fn entry(self) -> Option<Entry> {
        let version = self.version;
        let value = self.items.into_iter().next()?.1;
        Some(Entry { value, version })
    }

    fn changed(self) -> io::Result<Changed> {
        match -self.error {
            libc::EAGAIN => Ok(Changed::Other(self.entry())),
            _ => Ok(Changed::Done(self.fine()?.version)),
        }
    }
}

impl<'a, T> Ask<'a, T> {
    /// What is set or appended stays so long; else for ever.
    pub fn ttl(self, time: Duration) -> Self {
        Ask { ttl: time, ..self }
    }

    /// A change is made only if this version is there; 0: only if nothing is. So one of many gets it.
    pub fn only_if(self, version: u64) -> Self {
        Ask {
            expected: Some(version),
            ..self
        }
    }

    fn raw(&self, token: u32) -> HdMapAsk {
        let expect = if self.expected.is_some() {
            abi::MAP_EXPECT
        } else {
            0
        };
        HdMapAsk {
            struct_size: size_of::<HdMapAsk>() as u32,
            op: self.op,
            flags: self.map.flags | expect,
            token,
            map: HdStr::new(self.map.name),
            key: HdStr::new(self.key),
            value: HdStr::from_bytes(self.value),
            expected: self.expected.unwrap_or(0),
            ttl_ns: u64::try_from(self.ttl.as_nanos()).unwrap_or(u64::MAX),
        }
    }

    /// Step lane: the answer, without blocking anybody.
    pub async fn wait(self) -> io::Result<T> {
        let cx = self.map.cx;
        let head = cx.head()?;
        let token = head.new_token_of(MAP_TOKEN);
        let ask = map_table(self.op)?.ask.ok_or_else(unsupported)?;
        let raw = self.raw(token);
        // SAFETY: a live ctx on its own thread (head() proved the step lane); the host borrows raw for this call.
        errno(unsafe { ask(cx.raw(), &raw) })?;
        let answer = poll_fn(|task| match head.take_mail(token) {
            Some(Mail::Map(answer)) => Poll::Ready(answer),
            _ => {
                head.park(task);
                Poll::Pending
            }
        });
        (self.read)(answer.await)
    }

    /// Run lane and `create`: blocks until the answer, at most until the run's deadline.
    pub fn block(self) -> io::Result<T> {
        let ask = map_table(self.op)?.ask_and_wait.ok_or_else(unsupported)?;
        let raw = self.raw(0);
        let mut answer: Option<Answer> = None;
        let place: *mut Option<Answer> = &mut answer;
        // SAFETY: a live ctx on its own thread; the host borrows raw for this call, and calls `take` with our place in it
        // during this call only.
        errno(unsafe { ask(self.map.cx.raw(), &raw, Some(take), place.cast()) })?;
        let nothing = || io::Error::other("the host gave no answer");
        (self.read)(answer.ok_or_else(nothing)?)
    }
}

/// # Safety
/// `place` is the `Option<Answer>` of a `block` under way, `reply` the host's, valid for this call.
unsafe extern "C" fn take(place: *mut c_void, reply: *const HdMapReply) {
    // SAFETY: the caller's promise.
    let answer = unsafe { Answer::from_abi(reply) };
    // SAFETY: the caller's promise; nobody else touches it meanwhile.
    unsafe { *place.cast::<Option<Answer>>() = Some(answer) };
}

fn map_table(op: u32) -> io::Result<&'static HdMap> {
    let id = match op {
        abi::STATE_GET | abi::STATE_SET | abi::STATE_DELETE => EXT_STATE,
        _ => EXT_MAP,
    };
    // SAFETY: what the host returns for these ids is NULL or a static hd_map.
    let table = unsafe { host().extension(id).cast::<HdMap>().as_ref() };
    table.ok_or_else(unsupported)
}

fn lock_table() -> io::Result<&'static HdLock> {
    // SAFETY: what the host returns for this id is NULL or a static hd_lock.
    let table = unsafe { host().extension(EXT_LOCK).cast::<HdLock>().as_ref() };
    table.ok_or_else(unsupported)
}

fn unsupported() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "this host has no shared maps and locks",
    )
}

fn errno(r: i32) -> io::Result<()> {
    match r {
        0.. => Ok(()),
        e => Err(io::Error::from_raw_os_error(-e)),
    }
}

/// Names that this run holds alone, over all workers, until it is dropped. It ends with the run whatever happens, and
/// with its worker.
pub struct SharedLock<'a> {
    cx: Cx<'a>,
}

impl Drop for SharedLock<'_> {
    fn drop(&mut self) {
        if let Ok(HdLock {
            unlock: Some(unlock),
            ..
        }) = lock_table()
        {
            // SAFETY: a live ctx on its own thread: a Cx leaves neither, and a task is dropped on its own.
            unsafe { unlock(self.cx.raw()) }
        }
    }
}

fn lock_ask(names: &[HdStr], token: u32, timeout: Duration) -> HdLockAsk {
    HdLockAsk {
        struct_size: size_of::<HdLockAsk>() as u32,
        n: names.len() as u32,
        names: names.as_ptr(),
        flags: 0,
        token,
        timeout_ns: u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX),
    }
}

/// # Safety
/// NULL, or the host's word, valid for this call.
pub(crate) unsafe fn lock_error(raw: *const HdLockDone) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { raw.as_ref() }.map_or(-libc::EIO, |done| done.error)
}

impl<'a> Cx<'a> {
    /// Step lane: waits until all these names are this run's alone, in all workers; they are taken at once, first come
    /// first served. `TimedOut` if that takes longer. A run that holds names, or waits for some, may not ask for more
    /// (`EDEADLK`): so nobody can wait in a circle.
    pub async fn lock(self, names: &[&str], timeout: Duration) -> io::Result<SharedLock<'a>> {
        let head = self.head()?;
        let token = head.new_token_of(LOCK_TOKEN);
        let ask = lock_table()?.ask.ok_or_else(unsupported)?;
        let names: Vec<HdStr> = names.iter().map(|n| HdStr::new(n)).collect();
        let raw = lock_ask(&names, token, timeout);
        // SAFETY: a live ctx on its own thread (head() proved the step lane); the host borrows raw for this call.
        errno(unsafe { ask(self.raw(), &raw) })?;
        drop(names);
        // From here on dropping it gives back, or leaves the line.
        let lock = SharedLock { cx: self };
        let error = poll_fn(|task| match head.take_mail(token) {
            Some(Mail::Lock(error)) => Poll::Ready(error),
            _ => {
                head.park(task);
                Poll::Pending
            }
        });
        errno(error.await)?;
        Ok(lock)
    }

    /// Run lane and `create`: as [`lock`](Self::lock); waits at most until the run's deadline.
    pub fn lock_blocking(self, names: &[&str], timeout: Duration) -> io::Result<SharedLock<'a>> {
        let ask = lock_table()?.ask_and_wait.ok_or_else(unsupported)?;
        let names: Vec<HdStr> = names.iter().map(|n| HdStr::new(n)).collect();
        let raw = lock_ask(&names, 0, timeout);
        // SAFETY: a live ctx on its own thread; the host borrows raw for this call.
        errno(unsafe { ask(self.raw(), &raw) })?;
        Ok(SharedLock { cx: self })
    }
}

/// What kind of answer a token brings back: its uppermost four bits.
pub(crate) const MAP_TOKEN: u32 = 1;
pub(crate) const LOCK_TOKEN: u32 = 2;
