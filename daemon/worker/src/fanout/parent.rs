//! A run that fans out, on its own thread: it waits for chunks, and works on chunks while it waits.

use super::Worked;
use super::book::{Book, Cut};
use super::desk::News;
use crate::active::JobInfo;
use crate::pool::current_line;
use crate::services::{Posted, shared};
use healthd_abi as abi;
use healthd_core::wire::maps::Entry;
use healthd_loader::fanout::{Chunk, Done, Fanout, Plan};
use healthd_loader::{Context, ContextSpec, Instance};
use healthd_scoreboard::worker_map::{Call, WorkerMap};
use healthd_sys::{clock, memfd};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::cell::RefCell;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// A fan-out: the run's thread and the reactor share it.
pub struct Fan {
    pub id: u64,
    /// The run's key in the reactor.
    pub key: u64,
    pub run_id: u64,
    pub attempt: u8,
    pub cut: Cut,
    pub kind: u32,
    pub deadline_ns: u64,
    pub input: Option<Arc<OwnedFd>>,
    book: Mutex<Book>,
    /// Readable when the reactor has put something into the book.
    news: EventFd,
}

impl Fan {
    pub fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Changes the book from the reactor, and wakes the run's thread.
    pub fn tell(&self, change: impl FnOnce(&mut Book)) {
        change(&mut self.book());
        let _ = self.news.write(1);
    }
}

/// The run that a pool thread is in.
pub struct InRun {
    pub key: u64,
    pub info: Arc<JobInfo>,
    pub instance: Arc<Instance>,
    pub map: &'static WorkerMap,
    pub call: Call,
    pub name: Arc<str>,
    pub deadline_ns: u64,
    opens: u32,
    fan: Option<Arc<Fan>>,
    /// In `chunk`, further down on this thread: the run's own context must not be used from there.
    in_chunk: bool,
}

thread_local! {
    static IN_RUN: RefCell<Option<InRun>> = const { RefCell::new(None) };
}

static NEXT: AtomicU64 = AtomicU64::new(1);

impl InRun {
    pub fn new(
        key: u64,
        info: Arc<JobInfo>,
        instance: Arc<Instance>,
        map: &'static WorkerMap,
        call: Call,
        name: Arc<str>,
        deadline_ns: u64,
    ) -> InRun {
        InRun {
            key,
            info,
            instance,
            map,
            call,
            name,
            deadline_ns,
            opens: 0,
            fan: None,
            in_chunk: false,
        }
    }

    fn chunk(&self, fan: &Fan, index: u32) -> Worked {
        let output = match memfd::output() {
            Ok(output) => output,
            Err(e) => return Worked::no_memfd(&e),
        };
        let context = Context::new(ContextSpec {
            lane: abi::LANE_CHUNK,
            attempt: u32::from(self.call.attempt),
            check_id: u64::from(self.call.check),
            run_id: self.call.run_id,
            started_ns: clock::monotonic_ns(),
            deadline_ns: self.deadline_ns,
            name: self.name.clone(),
            plugin: &self.instance.plugin().descriptor.name,
            cancel: self.info.cancel.clone(),
            task: u64::MAX,
            notice: None,
            on_phase: None,
        });
        let work = fan.cut.work(index, fan.kind, fan.deadline_ns);
        let chunk = Chunk {
            kind: work.kind,
            index,
            count: work.count,
            from: work.from,
            to: work.to,
        };
        let line = current_line();
        if let Some(line) = line {
            let call = Call {
                entry: Entry::Chunk,
                since_ns: clock::monotonic_ns(),
                ..self.call
            };
            self.map.enter(line, call);
        }
        let cpu = clock::thread_cpu_ns();
        let input = fan.input.as_ref().map(|fd| fd.as_fd());
        let ret = self.instance.chunk(&context, chunk, input, output.as_fd());
        let cpu_ns = clock::thread_cpu_ns().saturating_sub(cpu);
        healthd_sys::fork_guard::end_if_forked();
        if let Some(line) = line {
            self.map.enter(line, self.call);
        }
        if ret == abi::E_PANIC {
            self.info.poisoned.store(true, Ordering::Relaxed);
        }
        let plugin = &self.instance.plugin().descriptor.name;
        Worked::of(plugin, ret, context.take_results().message, output, cpu_ns)
    }
}

/// Runs `call` with the thread marked as being in this run; what the run has left open is closed.
pub fn in_run<R>(run: InRun, call: impl FnOnce() -> R) -> R {
    IN_RUN.set(Some(run));
    let result = call();
    if let Some(run) = IN_RUN.take()
        && let Some(fan) = &run.fan
    {
        end(fan, &run.info);
    }
    healthd_loader::fanout::forget_told();
    result
}

fn end(fan: &Arc<Fan>, info: &JobInfo) {
    let mut book = fan.book();
    book.close();
    if let Some(why) = book.lost.take() {
        info.chunk_lost(why);
    }
    drop(book);
    shared().post(Posted::Fan(News::Closed(fan.clone())));
}

/// The one value behind `hd_fanout`.
pub struct WorkerFanout;

impl Fanout for WorkerFanout {
    fn open(&self, plan: Plan) -> Result<(), i32> {
        with(|run| {
            if !run.instance.has_chunks() {
                return Err(libc::ENOTSUP);
            }
            if run.fan.is_some() {
                return Err(libc::EBUSY);
            }
            if run.opens >= abi::FANOUT_MAX_OPENS {
                return Err(libc::EDQUOT);
            }
            let cut = Cut::new(plan.items, plan.chunk, self.workers())?;
            let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
            let fan = Arc::new(Fan {
                id: NEXT.fetch_add(1, Ordering::Relaxed),
                key: run.key,
                run_id: run.call.run_id,
                attempt: run.call.attempt,
                cut,
                kind: plan.kind,
                deadline_ns: run.deadline_ns,
                input: plan.input.map(Arc::new),
                book: Mutex::new(Book::new(cut.count, plan.ordered)),
                news: EventFd::from_flags(flags).map_err(|e| e as i32)?,
            });
            run.opens += 1;
            run.fan = Some(fan.clone());
            shared().post(Posted::Fan(News::Open(fan)));
            Ok(())
        })
    }

    fn next(&self) -> Result<Option<Arc<Done>>, i32> {
        let (fan, info) = with(|run| {
            let fan = run.fan.clone().ok_or(libc::EBADF)?;
            Ok((fan, run.info.clone()))
        })?;
        // Once a wait: what the others have not begun is asked back.
        let mut idle_said = false;
        loop {
            let now = clock::monotonic_ns();
            if info.cancel.is_cancelled() || now >= fan.deadline_ns {
                return Err(libc::ECANCELED);
            }
            let (own, away, again_at) = {
                let mut book = fan.book();
                if book.closed {
                    return Err(libc::ECANCELED);
                }
                if let Some(done) = book.tell() {
                    let wants = book.begins_to_want();
                    drop(book);
                    if wants {
                        shared().post(Posted::Fan(News::Wants(fan.id)));
                    }
                    return Ok(Some(done));
                }
                if book.all_told() {
                    return Ok(None);
                }
                let own = book.for_parent(now);
                (own, book.any_away(), book.look_again())
            };
            if let Some(index) = own {
                let worked = work_on(&fan, index)?;
                fan.book().own_done(worked.done(index));
                continue;
            }
            if away && !std::mem::replace(&mut idle_said, true) {
                shared().post(Posted::Fan(News::Idle(fan.id)));
            }
            if wait(
                &fan,
                &info,
                again_at.map_or(fan.deadline_ns, |at| at.min(fan.deadline_ns)),
            ) {
                idle_said = false;
            }
        }
    }

    fn close(&self) {
        let fan = with(|run| Ok(run.fan.take().map(|fan| (fan, run.info.clone()))));
        if let Ok(Some((fan, info))) = fan {
            end(&fan, &info);
        }
    }

    fn workers(&self) -> u32 {
        shared().crew.load(Ordering::Relaxed).max(1)
    }
}

/// The run that this thread is in. Err: it is in none, or in one of its chunks.
fn with<R>(f: impl FnOnce(&mut InRun) -> Result<R, i32>) -> Result<R, i32> {
    IN_RUN.with_borrow_mut(|run| match run {
        Some(run) if !run.in_chunk => f(run),
        _ => Err(libc::EPERM),
    })
}

/// The run is taken out for the length of the call: a chunk that calls back in finds that it may not.
fn work_on(fan: &Arc<Fan>, index: u32) -> Result<Worked, i32> {
    with(|run| {
        run.in_chunk = true;
        Ok(())
    })?;
    let run = IN_RUN.take();
    let worked = run.as_ref().map(|run| run.chunk(fan, index));
    IN_RUN.set(run.map(|run| InRun {
        in_chunk: false,
        ..run
    }));
    worked.ok_or(libc::EPERM)
}

/// Until there is news (true), or the run is cancelled, or it is so late.
fn wait(fan: &Fan, info: &JobInfo, until: u64) -> bool {
    let left = until
        .saturating_sub(clock::monotonic_ns())
        .div_ceil(1_000_000);
    let mut fds = vec![PollFd::new(fan.news.as_fd(), PollFlags::POLLIN)];
    // Without an fd for the cancel its flag is looked at now and then.
    let most = match info.cancel.fd() {
        Some(fd) => {
            fds.push(PollFd::new(fd, PollFlags::POLLIN));
            60_000
        }
        None => 50,
    };
    let timeout = PollTimeout::try_from(left.min(most) as i32).unwrap_or(PollTimeout::MAX);
    let _ = poll(&mut fds, timeout);
    fan.news.read().is_ok()
}
