//! Whole look-ups against servers that are closures, on a clock that the test moves.

use super::*;
use crate::hosts::Hosts;
use crate::message::Why;
use crate::nsswitch::Machine;
use crate::resolv_conf::Settings;

const MS: u64 = 1_000_000;
const S: u64 = SECOND;

/// What a server says to a question; None: nothing.
type Server = fn(&str, Kind, usize) -> Option<Reply>;

struct World {
    engine: Engine,
    now: u64,
    server: Server,
    told: Vec<Told>,
    asked: Vec<String>,
    open: Vec<Ask>,
    threads: Vec<(Ticket, String)>,
}

fn system(options: impl Fn(&mut Settings), hosts: &str, nsswitch: &str) -> Arc<System> {
    let mut settings = Settings {
        servers: vec![([192, 0, 2, 1], 53).into()],
        ..Settings::default()
    };
    options(&mut settings);
    Arc::new(System {
        settings,
        hosts: Hosts::parse(hosts),
        services: nsswitch::parse(nsswitch),
        machine: Machine::default(),
    })
}

impl World {
    fn new(system: Arc<System>, server: Server) -> World {
        World {
            engine: Engine::new(system, 64, Box::new(|ips| ips)),
            now: S,
            server,
            told: Vec::new(),
            asked: Vec::new(),
            open: Vec::new(),
            threads: Vec::new(),
        }
    }

    fn plain(server: Server) -> World {
        World::new(system(|_| {}, "", ""), server)
    }

    fn ask(&mut self, task: u64, host: &str) -> Option<Found> {
        self.ask_for(task, host, 5 * S)
    }

    fn ask_for(&mut self, task: u64, host: &str, time: u64) -> Option<Found> {
        let waiter = Waiter {
            task,
            token: 0,
            deadline_ns: self.now + time,
        };
        let found = self.engine.ask(host, Family::Any, waiter, self.now);
        self.act();
        found.map(|f| f.as_ref().clone())
    }

    fn act(&mut self) {
        loop {
            self.told.extend(self.engine.take_told());
            let actions = self.engine.take_actions();
            if actions.is_empty() {
                return;
            }
            for action in actions {
                match action {
                    Action::Close(ticket) => self.open.retain(|a| a.ticket != ticket),
                    Action::Thread { ticket, host, .. } => self.threads.push((ticket, host)),
                    Action::Probe { server, at } => {
                        self.asked.push(format!("probe {server}"));
                        if let Some(reply) = (self.server)("", Kind::Ns, server) {
                            self.engine.probe_heard(server, at, &reply, self.now);
                        }
                    }
                    Action::Ask(ask) => {
                        let stream = if ask.stream { " tcp" } else { "" };
                        self.asked.push(format!(
                            "{} {:?} {}{stream}",
                            ask.name, ask.kind, ask.server
                        ));
                        if let Some(reply) = (self.server)(&ask.name, ask.kind, ask.server) {
                            self.engine
                                .heard(ask.ticket, ask.query, ask.server, reply, self.now);
                        } else {
                            self.open.push(ask);
                        }
                    }
                }
            }
        }
    }

    /// Until nothing is left to wait for, or `until` has come.
    fn pass(&mut self, until: u64) {
        while let Some(at) = self.engine.wake_at().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.engine.tick(self.now);
            self.act();
        }
        self.now = self.now.max(until);
    }

    fn told(&mut self, task: u64) -> Found {
        let at = self.told.iter().position(|t| t.waiter.task == task);
        let at = at.unwrap_or_else(|| panic!("{task} was not told"));
        self.told.swap_remove(at).found.as_ref().clone()
    }

    fn resolve(&mut self, host: &str) -> Found {
        match self.ask(1, host) {
            Some(found) => found,
            None => {
                self.pass(self.now + 30 * S);
                self.told(1)
            }
        }
    }

    /// Nothing is held by anybody.
    fn assert_empty(&self) {
        assert!(self.engine.lookups.is_empty() && self.engine.by_key.is_empty());
        assert!(self.engine.by_task.is_empty());
        assert_eq!(
            (self.engine.dns.taken(), self.engine.threads.taken()),
            (0, 0)
        );
    }
}

fn ip(last: u8) -> Vec<IpAddr> {
    vec![[192, 0, 2, last].into()]
}

fn addresses(last: u8, ttl_s: u32) -> Option<Reply> {
    Some(Reply::Addresses {
        ips: ip(last),
        ttl_s,
    })
}

fn none() -> Option<Reply> {
    Some(Reply::NoName { ttl_s: Some(10) })
}

fn nothing() -> Option<Reply> {
    Some(Reply::NoData {
        ttl_s: Some(10),
        alias: None,
    })
}

fn code(code: u8) -> Option<Reply> {
    Some(Reply::Failed(Why::Code(code)))
}

/// `good.test` answers, `dead.test` is silent, everything else is not there.
fn usual(name: &str, kind: Kind, _: usize) -> Option<Reply> {
    match (name, kind) {
        (name, _) if name.ends_with("dead.test") => None,
        (name, Kind::A) if name.ends_with("good.test") => addresses(7, 60),
        (name, _) if name.ends_with("good.test") => nothing(),
        _ => none(),
    }
}

#[test]
fn what_waits_for_nobody() {
    let hosts = "127.0.0.1 localhost\n192.0.2.9 web web.test\n";
    let mut w = World::new(system(|_| {}, hosts, ""), |_, _, _| None);
    let found =
        |w: &mut World, host: &str| w.ask(1, host).unwrap_or_else(|| panic!("{host} waits"));
    assert_eq!(found(&mut w, "192.0.2.1"), Ok(ip(1)));
    let local = found(&mut w, "localhost").expect("always");
    assert_eq!(
        local,
        [
            "127.0.0.1".parse::<IpAddr>().unwrap(),
            "::1".parse().unwrap()
        ]
    );
    assert_eq!(found(&mut w, "a.LOCALHOST.").expect("always").len(), 2);
    assert_eq!(found(&mut w, "WEB"), Ok(ip(9)));
    assert!(found(&mut w, "a..b").is_err_and(|f| !f.own));
    assert!(w.asked.is_empty());
    w.assert_empty();
    // None of the wanted kind in the file: DNS is asked.
    let waiter = Waiter {
        task: 1,
        token: 0,
        deadline_ns: w.now + S,
    };
    assert!(w.engine.ask("web", Family::V6, waiter, w.now).is_none());
}

#[test]
fn a_name_is_found_shared_and_kept_for_its_time() {
    let mut w = World::plain(|_, _, _| None);
    assert!(w.ask(1, "a.good.test").is_none() && w.ask(2, "A.good.test").is_none());
    assert_eq!(w.asked, ["a.good.test A 0", "a.good.test Aaaa 0"]);
    for ask in std::mem::take(&mut w.open) {
        let reply = usual(&ask.name, ask.kind, 0).expect("it answers");
        w.engine.heard(ask.ticket, ask.query, 0, reply, w.now);
    }
    w.act();
    assert_eq!((w.told(1), w.told(2)), (Ok(ip(7)), Ok(ip(7))));
    w.assert_empty();
    w.pass(60 * S);
    assert_eq!(w.ask(3, "a.good.test"), Some(Ok(ip(7))));
    w.pass(61 * S);
    assert_eq!(w.ask(3, "a.good.test"), None);
}

#[test]
fn no_such_name_is_the_targets_and_is_kept_shortly() {
    let mut w = World::new(
        system(|s| s.search = vec!["corp.test".into()], "", ""),
        usual,
    );
    assert_eq!(w.ask(1, "db"), None);
    let e = w.told(1).expect_err("nobody has it");
    assert!(!e.own && e.code == libc::EAI_NONAME);
    assert_eq!(
        e.text,
        "there is no such name: db (asked: db.corp.test, db)"
    );
    assert!(w.ask(1, "db").is_some(), "kept");
    w.pass(w.now + 10 * S);
    assert!(w.ask(1, "db").is_none(), "and not for longer");
    let e = World::plain(|_, _, _| nothing())
        .resolve("a.test")
        .expect_err("it has none");
    assert_eq!(e.text, "a.test has no address");
}

#[test]
fn the_search_list_ends_where_somebody_is_silent() {
    let search = |s: &mut Settings| s.search = vec!["good.test".into(), "dead.test".into()];
    let mut w = World::new(system(search, "", ""), usual);
    assert_eq!(w.resolve("db"), Ok(ip(7)));
    let search = |s: &mut Settings| s.search = vec!["dead.test".into(), "good.test".into()];
    let mut w = World::new(system(search, "", ""), usual);
    let e = w.resolve("db").expect_err("dead.test might have it");
    assert!(
        e.text.starts_with("db.dead.test: 192.0.2.1 is silent"),
        "{}",
        e.text
    );
    // SERVFAIL: the next one may know it, as in glibc.
    let server: Server = |name, kind, n| match name {
        "db.broken.test" => code(2),
        name => usual(name, kind, n),
    };
    let search = |s: &mut Settings| s.search = vec!["broken.test".into(), "good.test".into()];
    assert_eq!(
        World::new(system(search, "", ""), server).resolve("db"),
        Ok(ip(7))
    );
}

#[test]
fn a_silent_zone_is_the_targets_and_silent_servers_are_ours() {
    let mut w = World::plain(usual);
    assert!(w.ask(1, "a.dead.test").is_none());
    w.pass(w.now + 5 * S);
    let e = w.told(1).expect_err("nobody answers");
    assert!(!e.own, "{}", e.text);
    assert_eq!(
        e.text,
        "a.dead.test: 192.0.2.1 is silent, and other names are answered (5.0 s)"
    );
    assert!(w.asked.contains(&"probe 0".into()));
    w.assert_empty();
    let mut w = World::plain(|_, _, _| None);
    let e = w.resolve("a.dead.test").expect_err("nobody answers");
    assert!(
        e.own
            && e.text
                .starts_with("no name server answers: a.dead.test: 192.0.2.1 is silent"),
        "{}",
        e.text
    );
    w.assert_empty();
    // Told within its own time, however short that is.
    let mut w = World::plain(usual);
    assert!(w.ask_for(1, "a.dead.test", 200 * MS).is_none());
    w.pass(w.now + 200 * MS);
    assert!(w.told(1).is_err_and(|f| !f.own));
}

#[test]
fn a_run_at_its_end_is_told_at_once_whatever_is_known() {
    let mut w = World::plain(|_, _, _| None);
    assert!(w.ask(1, "a.test").is_none() && w.ask(2, "a.test").is_none());
    w.now += 3 * S;
    let told = w.engine.late(1, w.now);
    assert_eq!(told.len(), 1);
    let e = told[0].found.as_ref().as_ref().expect_err("no answer");
    assert!(
        e.own && e.text.ends_with("192.0.2.1 is silent (3.0 s)"),
        "{}",
        e.text
    );
    assert!(w.engine.late(1, w.now).is_empty(), "once");
    w.act();
    assert_eq!(w.engine.late(2, w.now).len(), 1);
    w.act();
    w.assert_empty();
    assert!(w.open.is_empty());
}

#[test]
fn each_failure_has_its_words_and_its_owner() {
    let say = |server: Server| {
        let mut w = World::plain(server);
        let e = w.resolve("a.test").expect_err("it fails");
        w.assert_empty();
        (e.own, e.text)
    };
    let (own, text) = say(|name, _, _| if name.is_empty() { none() } else { code(2) });
    assert_eq!(
        (own, text.as_str()),
        (false, "a.test: SERVFAIL from 192.0.2.1")
    );
    let (own, text) = say(|_, _, _| code(2));
    assert_eq!(
        (own, text.as_str()),
        (
            true,
            "no name server answers: a.test: SERVFAIL from 192.0.2.1"
        )
    );
    let (own, text) = say(|name, _, _| if name.is_empty() { none() } else { code(5) });
    assert_eq!(
        (own, text.as_str()),
        (false, "a.test: REFUSED from 192.0.2.1")
    );
    let (own, text) = say(|_, _, _| code(5));
    assert_eq!(
        (own, text.as_str()),
        (
            true,
            "no name server serves this machine: a.test: REFUSED from 192.0.2.1"
        )
    );
    let lame: Server = |name, _, _| {
        if name.is_empty() {
            none()
        } else {
            Some(Reply::Failed(Why::Lame))
        }
    };
    let (own, text) = say(lame);
    assert_eq!(
        (own, text.as_str()),
        (
            false,
            "a.test: 192.0.2.1 does not resolve for others (lame)"
        )
    );
}

#[test]
fn servers_that_cannot_be_reached_are_ours_at_once() {
    let both = |s: &mut Settings| s.servers.push(([192, 0, 2, 2], 53).into());
    let mut w = World::new(system(both, "", ""), |_, _, _| None);
    assert!(w.ask(1, "a.test").is_none());
    while let Some(ask) = w.open.pop() {
        w.engine
            .unreachable(ask.ticket, ask.query, ask.server, libc::ECONNREFUSED, w.now);
        w.act();
    }
    let e = w.told(1).expect_err("nobody is there");
    assert!(e.own);
    assert_eq!(
        e.text,
        "no name server answers: a.test: 192.0.2.1: connection refused, 192.0.2.2: connection refused"
    );
    // No descriptor: nobody else can be asked either.
    assert!(w.ask(1, "a.test").is_none());
    let ask = w.open.pop().expect("it is asked");
    w.engine
        .unreachable(ask.ticket, ask.query, ask.server, libc::EMFILE, w.now);
    w.act();
    let e = w.told(1).expect_err("no socket");
    assert!(
        e.own && e.text == "no socket for a look-up: too many open files",
        "{}",
        e.text
    );
    w.assert_empty();
}

#[test]
fn the_second_server_is_asked_and_the_silent_first_one_is_left_until_it_speaks() {
    let both = |s: &mut Settings| s.servers.push(([192, 0, 2, 2], 53).into());
    let mut w = World::new(system(both, "", ""), |name, kind, n| match n {
        0 => None,
        _ => usual(name, kind, n),
    });
    assert_eq!(w.ask(1, "a.good.test"), None);
    w.pass(w.now + 1100 * MS);
    assert_eq!(w.told(1), Ok(ip(7)));
    assert!(w.asked.contains(&"probe 0".into()));
    w.pass(w.now + 2 * S);
    w.asked.clear();
    assert_eq!(w.ask(1, "b.good.test"), None);
    assert_eq!(
        (w.told(1), w.asked.as_slice()),
        (
            Ok(ip(7)),
            ["b.good.test A 1".to_owned(), "b.good.test Aaaa 1".into()].as_slice()
        )
    );
    // It is looked after, and comes back to its place.
    w.pass(w.now + 12 * S);
    w.server = usual;
    assert_eq!(w.ask(1, "c.good.test"), None);
    assert!(w.asked.contains(&"probe 0".into()));
    w.asked.clear();
    assert_eq!(w.ask(1, "d.good.test"), None);
    assert_eq!(w.asked[0], "d.good.test A 0");
}

#[test]
fn one_kind_alone_is_used_when_the_other_does_not_come() {
    let mut w = World::plain(|name, kind, n| match kind {
        Kind::Aaaa => None,
        _ => usual(name, kind, n),
    });
    assert_eq!(w.ask(1, "a.good.test"), None);
    w.pass(w.now + 60 * MS);
    assert_eq!(w.told(1), Ok(ip(7)));
    // And is not kept for long: the other may come back.
    w.pass(w.now + 6 * S);
    assert_eq!(w.ask(1, "a.good.test"), None);
}

#[test]
fn options_of_resolv_conf() {
    let mut w = World::new(system(|s| s.no_aaaa = true, "", ""), usual);
    assert_eq!((w.resolve("a.good.test"), w.asked.len()), (Ok(ip(7)), 1));
    let mut w = World::new(system(|s| s.use_vc = true, "", ""), usual);
    assert_eq!(w.resolve("a.good.test"), Ok(ip(7)));
    assert_eq!(w.asked[0], "a.good.test A 0 tcp");
    let mut w = World::new(system(|s| s.single_request = true, "", ""), |_, _, _| None);
    assert_eq!(w.ask(1, "a.good.test"), None);
    assert_eq!(w.asked, ["a.good.test A 0"]);
    let ask = w.open.pop().expect("it is asked");
    w.engine.heard(
        ask.ticket,
        ask.query,
        0,
        addresses(7, 60).expect("some"),
        w.now,
    );
    w.act();
    assert_eq!(w.asked[1], "a.good.test Aaaa 0");
    // Cut off: the same question by TCP.
    let mut w = World::plain(|_, _, _| None);
    assert_eq!(w.ask(1, "a.good.test"), None);
    let ask = w.open.pop().expect("it is asked");
    w.engine
        .heard(ask.ticket, ask.query, 0, Reply::Truncated, w.now);
    w.act();
    assert_eq!(
        w.asked.last().map(String::as_str),
        Some("a.good.test Aaaa 0 tcp")
    );
}

#[test]
fn sixty_silent_names_hold_nobody_up() {
    let mut w = World::plain(usual);
    for n in 0..60 {
        assert_eq!(w.ask(100 + n, &format!("h{n}.dead.test")), None);
    }
    // Eight of 64 places are the zone's; the others wait, and each good one goes at once.
    assert_eq!(w.engine.dns.taken(), 8);
    for n in 0..1000 {
        assert_eq!(w.ask(1, &format!("h{n}.good.test")), None);
        assert_eq!(w.told(1), Ok(ip(7)));
    }
    // What a queue takes is given back, and is nobody's fault.
    w.pass(w.now + 2 * S);
    assert_eq!(w.engine.owed(159, w.now), (2 * S, Waits::Queued));
    assert_eq!(w.engine.owed(159, w.now), (0, Waits::Queued));
    assert_eq!(w.engine.owed(100, w.now), (0, Waits::Asked));
    // Whose run is over does not stay in line, and the next one has its place.
    for n in 0..8 {
        w.engine.forget(100 + n, w.now);
        w.act();
    }
    assert_eq!(w.engine.dns.taken(), 8);
    for n in 8..60 {
        w.engine.forget(100 + n, w.now);
        w.act();
    }
    w.assert_empty();
    assert!(w.open.is_empty(), "no socket is left open");
}

#[test]
fn a_zone_known_to_be_silent_lets_nobody_wait_in_line() {
    let mut w = World::plain(usual);
    for n in 0..8 {
        assert_eq!(w.ask_for(n, &format!("h{n}.dead.test"), 20 * S), None);
    }
    w.pass(w.now + 2 * S);
    assert_eq!(w.ask(50, "early.dead.test"), None);
    w.engine.forget(50, w.now);
    w.pass(w.now + 3500 * MS);
    assert_eq!(w.ask(1, "x.good.test"), None);
    let e = w
        .ask(51, "late.dead.test")
        .expect("at once")
        .expect_err("it is silent");
    assert!(
        !e.own
            && e.text
                .contains("nobody has answered for any name of dead.test for 5 s"),
        "{}",
        e.text
    );
}

#[test]
fn changed_files_begin_everything_anew() {
    let mut w = World::plain(|_, _, n| if n == 9 { none() } else { None });
    assert_eq!(w.ask(1, "a.good.test"), None);
    w.server = usual;
    let other = system(|s| s.servers = vec![([192, 0, 2, 99], 53).into()], "", "");
    w.engine.follow(other, w.now);
    w.act();
    assert_eq!(w.told(1), Ok(ip(7)));
    w.assert_empty();
    // What was found with the old ones is void.
    w.engine
        .follow(system(|_| {}, "192.0.2.3 a.good.test", ""), w.now);
    assert_eq!(w.ask(1, "a.good.test"), Some(Ok(ip(3))));
}

#[test]
fn what_glibc_must_do_goes_to_threads_and_none_is_starved() {
    let mut w = World::new(
        system(|_| {}, "192.0.2.3 known", "hosts: files ldap"),
        usual,
    );
    assert_eq!(w.ask(1, "known"), Some(Ok(ip(3))));
    for n in 0..10 {
        assert_eq!(w.ask(10 + n, &format!("h{n}.dead.corp")), None);
    }
    assert_eq!((w.threads.len(), w.ask(2, "a.good.test")), (3, None));
    assert_eq!(w.threads.len(), 4);
    let (ticket, host) = w.threads.pop().expect("four");
    assert_eq!(host, "a.good.test");
    w.engine.thread_done(ticket, "good.test", Ok(ip(5)), w.now);
    w.act();
    assert_eq!(w.told(2), Ok(ip(5)));
    // A thread that does not come back keeps its place; who waits is told in time.
    w.pass(w.now + 6 * S);
    let e = w.told(10).expect_err("it hangs");
    assert!(
        !e.own
            && e.text
                .contains("getaddrinfo (nsswitch.conf) does not come back"),
        "{}",
        e.text
    );
    assert_eq!(w.engine.threads.taken(), 3);
    let error = |code, own: Option<&str>| ThreadError {
        code,
        text: "h: some word".into(),
        own: own.map(Into::into),
    };
    let threads = std::mem::take(&mut w.threads);
    let late = w.ask(3, "other.test");
    assert_eq!(late, None);
    let (ticket, _) = w.threads.pop().expect("a place of its own zone");
    w.engine.thread_done(
        ticket,
        "other.test",
        Err(error(libc::EAI_SYSTEM, Some("too many open files"))),
        w.now,
    );
    w.act();
    assert!(
        w.told(3)
            .is_err_and(|f| f.own && f.text == "too many open files")
    );
    // "Try again": whose fault it is, the name servers tell.
    assert_eq!(w.ask(4, "more.test"), None);
    let (ticket, _) = w.threads.pop().expect("a place of its own zone");
    w.engine.thread_done(
        ticket,
        "more.test",
        Err(error(libc::EAI_AGAIN, None)),
        w.now,
    );
    w.act();
    assert!(
        w.told(4)
            .is_err_and(|f| !f.own && f.code == libc::EAI_AGAIN)
    );
    for (ticket, _) in threads {
        w.engine.thread_done(
            ticket,
            "dead.corp",
            Err(error(libc::EAI_NONAME, None)),
            w.now,
        );
        w.act();
    }
    // Seven waited in line, and three of them run now.
    assert_eq!(w.engine.threads.taken(), 3);
}

#[test]
fn nsswitch_says_what_follows() {
    let mut w = World::new(
        system(
            |_| {},
            "192.0.2.3 a.good.test\n192.0.2.4 b.test",
            "hosts: dns files",
        ),
        usual,
    );
    assert_eq!(
        (w.resolve("a.good.test"), w.resolve("b.test")),
        (Ok(ip(7)), Ok(ip(4)))
    );
    let mut w = World::new(
        system(|_| {}, "", "hosts: files [NOTFOUND=return] dns"),
        usual,
    );
    assert!(
        w.ask(1, "a.good.test")
            .expect("at once")
            .is_err_and(|f| !f.own)
    );
    let mut w = World::new(system(|_| {}, "", "hosts:"), usual);
    assert!(
        w.ask(1, "a.good.test")
            .expect("at once")
            .is_err_and(|f| f.own)
    );
    w.assert_empty();
}
