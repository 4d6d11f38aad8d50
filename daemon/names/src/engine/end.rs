//! The end of a look-up: whose fault it is that there is no answer, who is told, and who has the place next.

use super::*;

impl Engine {
    pub(super) fn doubt(&mut self, id: usize, now: u64) {
        let surely = self.lookups[id]
            .heard
            .failed
            .as_ref()
            .is_some_and(|f| f.0 == Failing::Unreachable);
        if surely || self.proved(id) {
            let found = Err(self.fault(id, !surely));
            return self.finish(id, found, None, now);
        }
        self.close_questions(id);
        for server in 0..self.servers.len() {
            if self.servers.probes(server, u64::MAX, now) {
                self.probe(server);
            }
        }
        let lookup = &mut self.lookups[id];
        if lookup.stage == Stage::Threads {
            // Its thread has come back already.
            lookup.steps.clear();
        }
        lookup.stage = Stage::Doubted {
            until: now + DOUBT_NS,
        };
        self.doubted.push(id);
    }

    /// Is somebody else answered, while this one is not?
    pub(super) fn proved(&self, id: usize) -> bool {
        let lookup = &self.lookups[id];
        let (proof, before) = match lookup.heard.failed {
            Some((Failing::Refused, _)) => (Proof::Good, PROVED_BEFORE_NS),
            Some((Failing::Spoken, _)) => (Proof::Alive, PROVED_BEFORE_NS),
            // A server that was well a moment ago may just have died.
            _ => (Proof::Alive, 0),
        };
        self.servers
            .proved(proof, lookup.began.saturating_sub(before))
    }

    /// Somebody was heard: whoever is in doubt knows now whose fault it was.
    pub(super) fn believe(&mut self, now: u64) {
        if self.doubted.is_empty() {
            return;
        }
        let mut doubted = std::mem::take(&mut self.doubted);
        let in_doubt = |id: &usize| {
            let lookup = self.lookups.get(*id);
            lookup.is_some_and(|l| matches!(l.stage, Stage::Doubted { .. }))
        };
        doubted.retain(in_doubt);
        let (told, kept) = doubted.into_iter().partition(|id| self.proved(*id));
        self.doubted = kept;
        let told: Vec<usize> = told;
        for id in told {
            let found = Err(self.fault(id, true));
            self.finish(id, found, None, now);
        }
    }

    pub(super) fn fault(&self, id: usize, others_are_answered: bool) -> Failure {
        let unknown = || (Failing::Silent, self.lookups[id].host.name.clone());
        let (failing, text) = self.lookups[id]
            .heard
            .failed
            .clone()
            .unwrap_or_else(unknown);
        match (others_are_answered, failing) {
            (true, Failing::Silent) => {
                Failure::again(format!("{text}, and other names are answered"))
            }
            (true, _) => Failure::again(text),
            (false, Failing::Refused) => {
                Failure::own(format!("no name server serves this machine: {text}"))
            }
            (false, _) => Failure::own(format!("no name server answers: {text}")),
        }
    }

    pub(super) fn no_such_name(&self, id: usize) -> Failure {
        let lookup = &self.lookups[id];
        if let Some(name) = &lookup.heard.no_data {
            return Failure {
                code: libc::EAI_NONAME,
                ..Failure::target(format!("{name} has {}", lookup.key.family.addresses()))
            };
        }
        let asked = match lookup.candidates.as_slice() {
            [] | [_] => String::new(),
            several => format!(" (asked: {})", several.join(", ")),
        };
        Failure::target(format!(
            "there is no such name: {}{asked}",
            lookup.host.name
        ))
    }

    /// Whose deadline has come is told what is known until now.
    pub(super) fn tell_the_late(&mut self, id: usize, now: u64) {
        let lookup = &mut self.lookups[id];
        if lookup.stage == Stage::Queued || lookup.waiting.iter().all(|w| w.tell_at > now) {
            return;
        }
        let (late, waiting) = std::mem::take(&mut lookup.waiting)
            .into_iter()
            .partition(|w| w.tell_at <= now);
        lookup.waiting = waiting;
        let found = Arc::new(Err(self.known_until_now(id, now)));
        self.tell(id, late, &found);
        self.abandon(id, now);
    }

    /// Its run is at its end: what is known until now of each name that it waits for.
    pub fn late(&mut self, task: u64, now: u64) -> Vec<Told> {
        let mut all = Vec::new();
        for id in self.by_task.get(&task).cloned().unwrap_or_default() {
            let there = self.lookups.get(id);
            if there.is_none_or(|l| l.stage == Stage::Queued) {
                continue;
            }
            let found = Arc::new(Err(self.known_until_now(id, now)));
            let waiting = std::mem::take(&mut self.lookups[id].waiting);
            let (late, others): (Vec<Waiting>, _) =
                waiting.into_iter().partition(|w| w.waiter.task == task);
            self.lookups[id].waiting = others;
            for one in late {
                self.unlist(task, id);
                all.push(one.told(&found));
            }
            self.abandon(id, now);
        }
        all
    }

    fn known_until_now(&self, id: usize, now: u64) -> Failure {
        let lookup = &self.lookups[id];
        let name = &lookup.host.name;
        let mut failure = match lookup.stage {
            Stage::Doubted { .. } => self.fault(id, false),
            _ if self.servers.proved(Proof::Alive, lookup.began) => {
                let text = match lookup.stage {
                    Stage::Dns => format!("{}, and other names are answered", self.silence(id)),
                    _ => format!("{name}: getaddrinfo (nsswitch.conf) does not come back"),
                };
                Failure::again(text)
            }
            Stage::Dns => Failure::own(format!("no name server answers: {}", self.silence(id))),
            _ => Failure::own(format!(
                "{name}: getaddrinfo (nsswitch.conf) does not come back, and no name server answers"
            )),
        };
        let late = now.saturating_sub(lookup.began) as f64 / SECOND as f64;
        failure.text += &format!(" ({late:.1} s)");
        failure
    }

    pub(super) fn silence(&self, id: usize) -> String {
        let lookup = &self.lookups[id];
        let open = lookup.queries.iter().find(|q| q.end.is_none());
        match open.or(lookup.queries.first()) {
            Some(query) => format!("{}: {}", query.name, query.words(|n| self.servers.at(n))),
            None => lookup.host.name.clone(),
        }
    }

    pub(super) fn silent_zone(&self, name: &str, now: u64) -> Option<Failure> {
        let zone = name::zone(name);
        let since = self.dns.silent_since(zone)?;
        let silent = now.saturating_sub(since) >= ZONE_SILENT_NS
            && self.servers.proved(Proof::Alive, since + 1);
        silent.then(|| {
            let s = now.saturating_sub(since) / SECOND;
            Failure::again(format!(
                "{name}: nobody has answered for any name of {zone} for {s} s, and other names are answered"
            ))
        })
    }

    pub(super) fn probe_if_due(&mut self, id: usize, now: u64) {
        let lookup = &mut self.lookups[id];
        if now < lookup.probe_at || matches!(lookup.stage, Stage::Queued) {
            return;
        }
        lookup.probe_at = now + SECOND;
        let since = lookup.began;
        for server in 0..self.servers.len() {
            if self.servers.probes(server, since, now) {
                self.probe(server);
            }
        }
    }

    pub(super) fn probe(&mut self, server: usize) {
        let at = self.servers.at(server);
        self.actions.push(Action::Probe { server, at });
    }

    pub(super) fn finish(&mut self, id: usize, found: Found, ttl_s: Option<u32>, now: u64) {
        let found = self.close(id, found, ttl_s, now);
        self.tell_all(id, &found);
        self.let_in(now);
    }

    /// Closes what is open for it, and keeps the answer. Whoever waits is told by the caller.
    pub(super) fn close(
        &mut self,
        id: usize,
        found: Found,
        ttl_s: Option<u32>,
        now: u64,
    ) -> Arc<Found> {
        self.close_questions(id);
        self.leave_place(id);
        self.lookups[id].stage = Stage::Queued;
        let found = Arc::new(found.map(|ips| (self.sort)(ips)));
        let own = found.as_ref().as_ref().is_err_and(|f| f.own);
        // u32::MAX: no server has said anything of it.
        if let Some(ttl_s) = ttl_s.filter(|t| !own && (*t != u32::MAX || found.is_ok())) {
            self.cache
                .put(self.lookups[id].key.clone(), found.clone(), ttl_s, now);
        }
        found
    }

    pub(super) fn tell_all(&mut self, id: usize, found: &Arc<Found>) {
        let waiting = std::mem::take(&mut self.lookups[id].waiting);
        self.tell(id, waiting, found);
        self.remove(id);
    }

    pub(super) fn tell(&mut self, id: usize, waiting: Vec<Waiting>, found: &Arc<Found>) {
        for one in waiting {
            self.unlist(one.waiter.task, id);
            self.told.push(one.told(found));
        }
    }

    pub(super) fn unlist(&mut self, task: u64, id: usize) {
        if let Some(list) = self.by_task.get_mut(&task) {
            if let Some(at) = list.iter().position(|l| *l == id) {
                list.swap_remove(at);
            }
            if list.is_empty() {
                self.by_task.remove(&task);
            }
        }
    }

    pub(super) fn drop_waiter(&mut self, task: u64, id: usize) {
        self.unlist(task, id);
        self.remove(id);
    }

    pub(super) fn remove(&mut self, id: usize) {
        let lookup = self.lookups.remove(id);
        if self.by_key.get(&lookup.key) == Some(&id) {
            self.by_key.remove(&lookup.key);
        }
    }

    /// Nobody may be waiting any more: then it ends, but for a thread, which cannot be called back.
    pub(super) fn abandon(&mut self, id: usize, now: u64) {
        let Some(lookup) = self.lookups.get(id) else {
            return;
        };
        if !lookup.waiting.is_empty() || lookup.stage == Stage::Threads {
            return;
        }
        if lookup.stage == Stage::Queued {
            let zone = name::zone(&lookup.host.name).to_owned();
            self.dns.leave(&zone, id);
            self.threads.leave(&zone, id);
        }
        self.close_questions(id);
        self.leave_place(id);
        self.remove(id);
        self.let_in(now);
    }

    pub(super) fn close_questions(&mut self, id: usize) {
        let lookup = &mut self.lookups[id];
        if !lookup.queries.is_empty() {
            lookup.queries.clear();
            self.actions.push(Action::Close(Ticket {
                lookup: id,
                stamp: lookup.stamp,
            }));
        }
        lookup.stamp = 0;
    }

    pub(super) fn leave_place(&mut self, id: usize) {
        let lookup = &self.lookups[id];
        let holds = match lookup.stage {
            Stage::Dns => true,
            Stage::Doubted { .. } => lookup.source() == Some(Source::Dns),
            Stage::Queued | Stage::Threads => false,
        };
        if holds {
            let zone = name::zone(&lookup.host.name).to_owned();
            self.dns.release(&zone);
        }
    }

    /// Places are free again.
    pub(super) fn let_in(&mut self, now: u64) {
        while let Some(id) = self.dns.next(now) {
            self.begins(id, now);
            self.begin_dns(id, now);
            self.arm_if_there(id);
        }
        while let Some(id) = self.threads.next(now) {
            self.begins(id, now);
            self.begin_thread(id, now);
            self.arm_if_there(id);
        }
    }

    pub(super) fn begins(&mut self, id: usize, now: u64) {
        self.lookups[id]
            .waiting
            .iter_mut()
            .for_each(|w| w.begins(now));
    }

    pub(super) fn joins(&mut self, id: usize, waiting: Waiting) {
        self.by_task
            .entry(waiting.waiter.task)
            .or_default()
            .push(id);
        self.lookups[id].waiting.push(waiting);
        self.arm(id);
    }

    pub(super) fn current(&mut self, ticket: Ticket) -> Option<&mut Lookup> {
        self.lookups
            .get_mut(ticket.lookup)
            .filter(|l| l.stamp == ticket.stamp && ticket.stamp != 0)
    }

    pub(super) fn arm_if_there(&mut self, id: usize) {
        if self.lookups.contains(id) {
            self.arm(id);
        }
    }

    pub(super) fn arm(&mut self, id: usize) {
        let lookup = &mut self.lookups[id];
        let mut wake = u64::MAX;
        if lookup.stage != Stage::Queued {
            wake = lookup
                .waiting
                .iter()
                .map(|w| w.tell_at)
                .min()
                .unwrap_or(u64::MAX);
            wake = wake.min(lookup.probe_at);
        }
        match lookup.stage {
            Stage::Dns => {
                let due = lookup.queries.iter().map(Query::wake_at).min();
                wake = wake.min(due.unwrap_or(u64::MAX));
                wake = wake.min(lookup.patience_until().unwrap_or(u64::MAX));
            }
            Stage::Doubted { until } => wake = wake.min(until),
            Stage::Queued | Stage::Threads => {}
        }
        if wake != lookup.wake_at {
            lookup.wake_at = wake;
            if wake != u64::MAX {
                self.timers.push(Reverse((wake, id)));
            }
        }
    }
}
