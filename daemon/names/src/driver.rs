//! The thread that does what the engine lists, and tells it what came of it.
//!
//! Runs in: a thread of its own, one a worker, from the first name that needs it on.

use crate::Shared;
use crate::answer::Family;
use crate::engine::{Action, ThreadError, Ticket};
use crate::name;
use crate::sockets::{News, Sockets};
use healthd_sys::clock::monotonic_ns;
use healthd_sys::resolve;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

const WAKE: u64 = u64::MAX;
const STACK: usize = 256 << 10;
const MS: u64 = 1_000_000;

/// Starts the thread; an error says what is missing for it.
pub fn start(shared: &Arc<Shared>) -> io::Result<()> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(&shared.wake, EpollEvent::new(EpollFlags::EPOLLIN, WAKE))?;
    let shared = shared.clone();
    std::thread::Builder::new()
        .name("names".into())
        .stack_size(STACK)
        .spawn(move || run(&shared, &epoll))
        .map(drop)
}

fn run(shared: &Arc<Shared>, epoll: &Epoll) {
    let mut sockets = Sockets::new();
    let mut events = vec![EpollEvent::empty(); 256];
    let mut news = Vec::new();
    loop {
        let (actions, wake_at) = shared.with(|state| {
            let now = monotonic_ns();
            for one in news.drain(..) {
                state.tell_engine(one, now);
            }
            let Some(engine) = &mut state.engine else {
                return (Vec::new(), None);
            };
            engine.tick(now);
            engine.take_told().into_iter().for_each(&shared.hooks.tell);
            let actions = engine.take_actions();
            let wake_at = engine.wake_at();
            state.sleeps_until = wake_at.unwrap_or(u64::MAX);
            (actions, wake_at)
        });
        for action in actions {
            news.extend(act(shared, epoll, &mut sockets, action));
        }
        if !news.is_empty() {
            continue;
        }
        let timeout = wake_at.map_or(EpollTimeout::NONE, |at| {
            let ms = at.saturating_sub(monotonic_ns()).div_ceil(MS).min(60_000);
            EpollTimeout::try_from(ms as i32).unwrap_or(EpollTimeout::ZERO)
        });
        let n = match epoll.wait(&mut events, timeout) {
            Ok(n) => n,
            Err(Errno::EINTR) => 0,
            Err(e) => {
                log::error!("names are not looked up any more: {e}");
                return;
            }
        };
        for event in &events[..n] {
            match event.data() {
                WAKE => drop(shared.wake.read()),
                data => sockets.ready(epoll, data, &mut news),
            }
        }
    }
}

fn act(shared: &Arc<Shared>, epoll: &Epoll, sockets: &mut Sockets, action: Action) -> Option<News> {
    match action {
        Action::Ask(ask) => return sockets.ask(epoll, ask),
        Action::Close(ticket) => sockets.close_all(ticket),
        Action::Probe { server, at } => sockets.probe(epoll, server, at),
        Action::Thread {
            ticket,
            host,
            family,
        } => ask_glibc(shared, ticket, host, family),
    }
    None
}

fn ask_glibc(shared: &Arc<Shared>, ticket: Ticket, host: String, family: Family) {
    let zone = name::zone(host.trim_end_matches('.')).to_owned();
    let on_thread = {
        let (shared, zone) = (shared.clone(), zone.clone());
        move || {
            let result = getaddrinfo(&host, family);
            shared.thread_done(ticket, &zone, result);
        }
    };
    if !(shared.hooks.run)(Box::new(on_thread)) {
        let lack = ThreadError {
            code: libc::EAI_MEMORY,
            text: String::new(),
            own: Some("no thread for getaddrinfo could be started".into()),
        };
        shared.thread_done(ticket, &zone, Err(lack));
    }
}

fn getaddrinfo(host: &str, family: Family) -> Result<Vec<IpAddr>, ThreadError> {
    resolve::lookup(host, family.code()).map_err(|e| {
        // glibc says "try again" or "no such name" where it could not open a file or a socket.
        let lack = match File::open("/dev/null") {
            Err(lack) if matches!(lack.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
                Some(lack)
            }
            _ => None,
        };
        let lack = lack.or_else(|| {
            (e.code == libc::EAI_SYSTEM).then(|| io::Error::from_raw_os_error(e.errno))
        });
        let own = match (lack, e.code) {
            (Some(lack), _) => Some(crate::query::errno_text(lack.raw_os_error().unwrap_or(0))),
            (None, libc::EAI_MEMORY) => Some("no memory".into()),
            (None, _) => None,
        };
        ThreadError {
            code: e.code,
            text: format!("{host}: {}", e.text),
            own: own.map(|why| format!("getaddrinfo: {why}")),
        }
    })
}
