//! One function a request.

use super::client::{Job, Watch, error};
use super::ids::IdSet;
use super::matcher::Matcher;
use super::selection::Wish;
use crate::alerts::Silenced;
use crate::director::{Manager, Phase};
use crate::journal::Fact;
use crate::rollout::work::Work;
use crate::schedule::pause::{LONGEST_MS, Paused};
use crate::services::said::Said;
use crate::services::states::{self, Feed};
use crate::time::MS;
use healthd_core::check::outcome::Verdict;
use healthd_core::matching::Match;
use healthd_core::wire::control::{ErrorCode, Filter, Op, Reply, VersionInfo};
use healthd_core::wire::events::{EventKind, message_room};
use healthd_core::wire::glob;
use healthd_core::wire::probe::ProbeAsk;
use healthd_core::wire::supervisor::ToSupervisor;
use healthd_sys::clock;
use std::collections::{HashSet, VecDeque};

impl Manager {
    pub(super) fn request(&mut self, client: usize, op: Op) {
        match op {
            Op::Status(filter) => {
                // Of those that are named, their rows say it.
                if filter.names.is_empty() && filter.plugins.is_empty() {
                    for problem in self.problems() {
                        self.clients.reply(client, &Reply::Problem(problem));
                    }
                }
                self.select_by(client, filter, Wish::Status);
            }
            Op::Show { name } => {
                if let Some(id) = self.named(client, &name) {
                    let detail = self.checks.get(id).map(|c| {
                        let mut detail = c.detail();
                        detail.samples = self.books.samples_of(c.identity.index);
                        Reply::Detail(Box::new(detail))
                    });
                    detail.iter().for_each(|d| self.clients.reply(client, d));
                    self.clients.reply(client, &Reply::End);
                }
            }
            Op::Run(filter) => self.select_by(client, filter, Wish::Run),
            Op::Watch(filter) => self.select_by(client, filter, Wish::Watch),
            Op::Why { name } => {
                if let Some(id) = self.named(client, &name) {
                    let why = self.why(id);
                    self.clients.reply(client, &Reply::Why(Box::new(why)));
                    self.clients.reply(client, &Reply::End);
                }
            }
            Op::Workers => {
                for row in self.worker_rows() {
                    self.clients.reply(client, &Reply::Worker(row));
                }
                self.clients.reply(client, &Reply::End);
            }
            Op::Objects => {
                let lines = self.object_rows().into_iter().map(Reply::Object).collect();
                self.set_job(client, Job::Lines { lines });
            }
            Op::Plugins => {
                for row in self.plugin_rows() {
                    self.clients.reply(client, &Reply::Plugin(row));
                }
                self.clients.reply(client, &Reply::End);
            }
            Op::Pause {
                filter,
                reason,
                for_ms,
            } => self.select_pause(client, filter, reason, for_ms),
            Op::Resume(filter) => self.select_by(client, filter, Wish::Resume),
            Op::Release { names } => self.release_named(client, names),
            Op::Reload => {
                self.set_job(client, Job::Waiting);
                let asker = self.clients.asker(client);
                self.begin_reload(asker);
            }
            Op::PluginsReload { name } => {
                self.set_job(client, Job::Waiting);
                let client = self.clients.asker(client);
                self.enqueue(Work::Plugins { client, name });
            }
            Op::PluginsRollback { name } => {
                self.set_job(client, Job::Waiting);
                let uid = self.clients.get_mut(client).map_or(0, |c| c.uid);
                let asker = self.clients.asker(client);
                if let Err(e) = self.ask_rollback(asker, &name, uid) {
                    self.clients.reply(client, &Reply::Error(e));
                }
            }
            Op::Events(asked) => self.events(client, asked),
            Op::Alerts => {
                let report = self.alerts.report();
                self.clients.reply(client, &Reply::Alerts(Box::new(report)));
                self.clients.reply(client, &Reply::End);
            }
            Op::Silence(ask) => {
                let uid = self.uid_of(client);
                let silenced = self.alerts.silence(ask, uid);
                self.silenced(client, silenced);
            }
            Op::Unsilence { id } => {
                let uid = self.uid_of(client);
                let taken_back = self.alerts.unsilence(&id, uid);
                self.silenced(client, taken_back);
            }
            Op::Ack {
                name,
                reason,
                for_ms,
            } => {
                if self.named(client, &name).is_some() {
                    let uid = self.uid_of(client);
                    let held = self.alerts.acknowledge(&name, reason, for_ms, uid);
                    self.silenced(client, held);
                }
            }
            Op::Note { name, text } => self.note(client, &name, text),
            Op::AlertsTest { route } => {
                let asker = self.clients.asker(client);
                match self.alerts.test(&route, asker) {
                    Ok(()) => self.set_job(client, Job::Waiting),
                    Err(e) => self.clients.reply(client, &Reply::Error(e)),
                }
            }
            Op::AlertsWho { name, at, verdict } => {
                if let Some(id) = self.named(client, &name) {
                    self.who(client, id, at, verdict);
                }
            }
            Op::Probe(ask) => self.probe(client, &ask),
            Op::Heartbeat(beat) => {
                let name = beat.name.clone();
                self.feed(client, &name, "heartbeat", Said::beat(beat));
            }
            Op::Submit(submission) => {
                let name = submission.name.clone();
                self.feed(client, &name, "passive", Ok(Said::submission(submission)));
            }
            Op::Stop => {
                log::info!("a client asks for a stop");
                self.clients.reply(client, &Reply::End);
                self.fleet.supervisor.say(&ToSupervisor::Stop);
            }
            Op::Version => {
                let info = VersionInfo {
                    version: env!("CARGO_PKG_VERSION").into(),
                    protocol: healthd_core::wire::control::VERSION,
                    abi: "1.2".into(),
                    supervisor_pid: self.args.parent,
                    manager_pid: std::process::id(),
                    started: crate::time::rfc3339(self.args.started).unwrap_or_default(),
                    checks: self.checks.order().len() as u64,
                    generation: self.rollout.generation,
                    config: self.args.config.display().to_string(),
                    users: self.args.users.clone(),
                };
                self.clients.reply(client, &Reply::Version(info));
                self.clients.reply(client, &Reply::End);
            }
        }
    }

    fn probe(&mut self, client: usize, ask: &ProbeAsk) {
        let Some(asker) = self.clients.asker(client) else {
            return;
        };
        if self.phase != Phase::Running {
            let message = "the daemon is starting or stopping";
            let e = error(ErrorCode::Busy, message, "try again in a moment");
            return self.clients.reply(client, &Reply::Error(e));
        }
        let plugins = &self.rollout.plugins;
        let modules = &self.model.modules;
        let probes = &mut self.clients.probes;
        let loaded = probes.load(ask, asker, modules, &mut self.checks, plugins);
        match loaded {
            Ok(id) => {
                self.set_job(client, Job::Waiting);
                self.run_wanted(id);
            }
            Err(e) => self.clients.reply(client, &Reply::Error(e)),
        }
    }

    /// A word for a check of this plugin: answered when it is kept.
    fn feed(&mut self, client: usize, name: &str, plugin: &str, said: Result<Said, &str>) {
        let Some(check) = self.named(client, name).and_then(|id| self.checks.get(id)) else {
            return;
        };
        let own = check.spec.plugin.as_str();
        let wrong = match (&said, own == plugin) {
            (Ok(_), true) => None,
            (Err(why), _) => Some(((*why).to_owned(), "see `healthctl heartbeat --help`")),
            (Ok(_), false) => Some((
                format!("`{name}` is a check of plugin `{own}`, which finds its results itself"),
                "what takes a heartbeat has `plugin = \"heartbeat\"`, what takes results `plugin = \"passive\"`",
            )),
        };
        if let Some((message, help)) = wrong {
            let e = error(ErrorCode::BadRequest, message, help);
            return self.clients.reply(client, &Reply::Error(e));
        }
        let Ok(said) = said else { return };
        let feed = Feed {
            plugin: plugin.to_owned(),
            check: name.to_owned(),
            said,
            wall: clock::realtime_ns(),
            asker: self.clients.asker(client),
        };
        let path = self.args.state_dir.join(states::FILE);
        let owners = || self.checks.owners();
        let fed = (self.services.states).feed(feed, path, &self.clockwork.inbox, owners);
        match fed {
            Ok(()) => self.set_job(client, Job::Waiting),
            Err(e) => {
                let e = error(
                    ErrorCode::Busy,
                    format!("no thread for what checks keep: {e}"),
                    "try again in a moment",
                );
                self.clients.reply(client, &Reply::Error(e));
            }
        }
    }

    fn uid_of(&mut self, client: usize) -> u32 {
        self.clients.get_mut(client).map_or(0, |c| c.uid)
    }

    fn silenced(&mut self, client: usize, silenced: Silenced) {
        match silenced {
            Ok((row, fact)) => {
                self.books.journal.record(fact);
                self.clients.reply(client, &Reply::Silence(row));
                self.clients.reply(client, &Reply::End);
            }
            Err(e) => self.clients.reply(client, &Reply::Error(e)),
        }
    }

    /// Nothing is kept of it but the event.
    fn note(&mut self, client: usize, name: &str, text: String) {
        if self.named(client, name).is_none() {
            return;
        }
        let author = format!("uid {}", self.uid_of(client));
        let (length, room) = (text.len(), message_room(name, &author));
        let wrong = match text.trim().is_empty() {
            true => Some(("the note says nothing".to_owned(), "say something")),
            false => (length > room).then(|| {
                let message = format!("a note of {length} bytes: there is room for {room}");
                (message, "shorten it, or make it two")
            }),
        };
        if let Some((message, help)) = wrong {
            let e = error(ErrorCode::BadRequest, message, help);
            return self.clients.reply(client, &Reply::Error(e));
        }
        let fact = Fact::new(EventKind::Noted).check(name).cause(author);
        self.books.journal.record(fact.why(text));
        self.clients.reply(client, &Reply::End);
    }

    fn who(&mut self, client: usize, id: u32, at: Option<String>, verdict: Option<Verdict>) {
        let Some(check) = self.checks.get(id) else {
            return;
        };
        let time = at.as_deref().map(crate::time::parse);
        if let (Some(None), Some(at)) = (&time, &at) {
            let e = error(
                ErrorCode::BadRequest,
                format!("`at` is no time: {at}"),
                "write it as in RFC 3339: 2026-11-29T02:00:00Z",
            );
            return self.clients.reply(client, &Reply::Error(e));
        }
        let verdict = verdict.unwrap_or(Verdict::Critical);
        let spec = &check.spec;
        let rows = self
            .alerts
            .who(&spec.name, &spec.labels, verdict, time.flatten());
        let lines = rows.into_iter().map(Reply::Who).collect();
        self.set_job(client, Job::Lines { lines });
    }

    pub(super) fn set_job(&mut self, client: usize, job: Job) {
        if let Some(c) = self.clients.get_mut(client) {
            c.job = job;
        }
        self.clients.mark(client);
    }

    /// The check of that name; None: the client was told that there is none.
    fn named(&mut self, client: usize, name: &str) -> Option<u32> {
        let id = self.checks.find(name);
        if id.is_none() {
            self.no_such(client, name);
        }
        id
    }

    fn select_by(&mut self, client: usize, filter: Filter, wish: Wish) {
        match Matcher::new(filter, |name| self.checks.find(name).is_some()) {
            Ok(matcher) => self.select(client, matcher, wish),
            Err(e) => self.clients.reply(client, &Reply::Error(e)),
        }
    }

    pub(super) fn status(&mut self, client: usize, ids: Vec<u32>) {
        self.set_job(client, Job::Rows { ids: ids.into() });
    }

    pub(super) fn watch(&mut self, client: usize, ids: Vec<u32>, matcher: Matcher) {
        self.clients.reply(
            client,
            &Reply::Started {
                total: ids.len() as u64,
            },
        );
        // Subscribed from here on, and all rows as they are now to begin with: no change falls between.
        let known: IdSet = ids.iter().copied().collect();
        let watch = Watch {
            matcher,
            asked: known.clone(),
            meant: known.clone(),
            first: ids.len(),
            queued: known,
            changed: ids.into(),
            told: IdSet::default(),
            gone: Vec::new(),
        };
        self.set_job(client, Job::Watch(Box::new(watch)));
    }

    pub(super) fn run_now(&mut self, client: usize, mut ids: Vec<u32>, matcher: &Matcher) {
        if self.phase != Phase::Running {
            let e = error(
                ErrorCode::Busy,
                "the daemon is starting or stopping",
                "try again in a moment",
            );
            return self.clients.reply(client, &Reply::Error(e));
        }
        // A check named by itself must be able to run; of a pattern those that can are run.
        let runnable = |m: &Manager, id: &u32| m.checks.get(*id).is_some_and(|c| c.spec.enabled);
        if let [id] = ids[..]
            && !runnable(self, &id)
            && self
                .checks
                .get(id)
                .is_some_and(|c| matcher.names_only(&c.spec.name))
        {
            let e = error(
                ErrorCode::BadRequest,
                "this check is disabled",
                "set `enabled = true` and reload",
            );
            return self.clients.reply(client, &Reply::Error(e));
        }
        ids.retain(|id| runnable(self, id));
        self.clients.reply(
            client,
            &Reply::Started {
                total: ids.len() as u64,
            },
        );
        let mut waiting = HashSet::new();
        let mut done = VecDeque::new();
        for id in ids {
            match self.checks.get(id) {
                // Its plugin cannot be used: that is all there is to say.
                Some(c) if c.target.is_none() => done.push_back(id),
                Some(_) => drop(waiting.insert(id)),
                None => {}
            }
        }
        let wanted: Vec<u32> = waiting.iter().copied().collect();
        self.set_job(client, Job::Run { waiting, done });
        for id in wanted {
            self.run_wanted(id);
        }
    }

    /// A client waits for a run of it: as soon as there is room, if none is under way.
    fn run_wanted(&mut self, id: u32) {
        let Some(check) = self.checks.get_mut(id) else {
            return;
        };
        check.wanted = true;
        if !check.stage.is_busy() {
            self.request_run(id, clock::monotonic_ns());
            self.publish(id);
        }
    }

    fn select_pause(&mut self, client: usize, filter: Filter, reason: String, for_ms: Option<u64>) {
        if let Some(wrong) = for_ms.filter(|ms| !(1..=LONGEST_MS).contains(ms)) {
            let days = LONGEST_MS / 86_400_000;
            let e = error(
                ErrorCode::BadRequest,
                format!("`for_ms` is {wrong}"),
                format!("a pause lasts 1 ms to {days} days, or until it is resumed"),
            );
            return self.clients.reply(client, &Reply::Error(e));
        }
        let now = clock::realtime_ns();
        let paused = Paused {
            reason,
            by_uid: self.clients.get_mut(client).map(|c| c.uid),
            since: now,
            until: for_ms.map_or(0, |ms| now + ms * MS),
        };
        self.select_by(client, filter, Wish::Pause(paused));
    }

    pub(super) fn pause(&mut self, client: usize, ids: Vec<u32>, paused: &Paused) {
        for &id in &ids {
            self.unplan(id);
            if let Some(check) = self.checks.get_mut(id) {
                check.paused = Some(paused.clone());
                let fact = Fact::new(EventKind::Paused).check(&check.spec.name);
                if !check.wanted {
                    self.leave_queue(id);
                }
                self.books.journal.record(fact.why(&paused.reason));
            }
            self.time_pause(id);
            self.publish(id);
        }
        self.store_now(&ids);
        let by = paused
            .by_uid
            .map_or_else(|| "?".into(), |uid| uid.to_string());
        let until = crate::time::rfc3339(paused.until).unwrap_or_else(|| "resume".into());
        log::info!(
            "paused  checks={} by_uid={by} until={until} reason=\"{}\"",
            ids.len(),
            paused.reason
        );
        self.set_job(client, Job::Rows { ids: ids.into() });
    }

    /// Each name is a check's, a glob, or a plugin's, whose checks are meant then.
    fn release_named(&mut self, client: usize, names: Vec<String>) {
        let all_names = names.iter().map(String::as_str);
        let unknown = all_names.clone().find(|n| {
            let is_plugin = |c: &crate::check::Check| c.spec.plugin == **n;
            !glob::is_pattern(n)
                && !Match::is_meant(n)
                && self.checks.find(n).is_none()
                && !self.checks.iter().any(is_plugin)
        });
        if let Some(name) = unknown.map(str::to_owned) {
            return self.no_such(client, &name);
        }
        match Matcher::of_names_or_plugins(names, |name| self.checks.find(name).is_some()) {
            Ok(matcher) => self.select(client, matcher, Wish::Release),
            Err(e) => self.clients.reply(client, &Reply::Error(e)),
        }
    }

    pub(super) fn release_all(&mut self, client: usize, ids: Vec<u32>) {
        let mut released = VecDeque::new();
        for id in ids {
            if self.release(id) {
                released.push_back(id);
            }
        }
        self.store_now(released.make_contiguous());
        log::info!("released  checks={}", released.len());
        self.set_job(client, Job::Rows { ids: released });
    }

    pub(super) fn resume(&mut self, client: usize, ids: Vec<u32>) {
        let now = clock::monotonic_ns();
        for &id in &ids {
            self.resume_check(id, now);
        }
        self.store_now(&ids);
        log::info!("resumed  checks={}", ids.len());
        self.set_job(client, Job::Rows { ids: ids.into() });
    }
}
