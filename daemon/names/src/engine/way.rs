//! The way of one look-up: step by step through nsswitch.conf, candidate by candidate through the search list.

use super::*;

impl Engine {
    /// Goes on with the first of its steps. Some: it ends here, and nobody was told yet.
    pub(super) fn next_step(&mut self, id: usize, now: u64) -> Option<Arc<Found>> {
        loop {
            let lookup = &self.lookups[id];
            let zone = name::zone(&lookup.host.name).to_owned();
            let Some(step) = lookup.steps.front().copied() else {
                if lookup.heard.failed.is_some() {
                    self.doubt(id, now);
                    return None;
                }
                let (none, ttl_s) = (self.no_such_name(id), lookup.heard.ttl_s);
                return Some(self.close(id, Err(none), ttl_s, now));
            };
            match step.source {
                Source::Files => {
                    let (name, family) = (lookup.host.name.clone(), lookup.key.family);
                    if let Some(found) = self.by_files(&name, family) {
                        return Some(self.close(id, found, None, now));
                    }
                    self.done_with_step(id, step.ends_if_not_found);
                }
                Source::Dns => {
                    if self.dns.take(&zone, id, now) {
                        self.begin_dns(id, now);
                    }
                    return None;
                }
                Source::Threads => {
                    if self.threads.take(&zone, id, now) {
                        self.begin_thread(id, now);
                    }
                    return None;
                }
            }
        }
    }

    pub(super) fn done_with_step(&mut self, id: usize, ends: bool) {
        let steps = &mut self.lookups[id].steps;
        match ends {
            true => steps.clear(),
            false => drop(steps.pop_front()),
        }
    }

    pub(super) fn by_files(&self, name: &str, family: Family) -> Option<Found> {
        let ips = self.system.hosts.get(name)?;
        let ips: Vec<IpAddr> = ips.iter().copied().filter(|ip| family.allows(ip)).collect();
        // With none of this kind DNS may know more, as in glibc.
        (!ips.is_empty()).then_some(Ok(ips))
    }

    /// As the hosts file has it; and whatever that says, both addresses are this machine's.
    pub(super) fn localhost(&self, name: &str, family: Family) -> Vec<IpAddr> {
        let hosts = &self.system.hosts;
        let listed = hosts
            .get(name)
            .or_else(|| hosts.get("localhost"))
            .unwrap_or_default();
        let mut ips: Vec<IpAddr> = listed.to_vec();
        for own in [
            IpAddr::from(Ipv4Addr::LOCALHOST),
            Ipv6Addr::LOCALHOST.into(),
        ] {
            if !ips.contains(&own) {
                ips.push(own);
            }
        }
        ips.retain(|ip| family.allows(ip));
        ips
    }

    pub(super) fn begin_dns(&mut self, id: usize, now: u64) {
        let lookup = &mut self.lookups[id];
        lookup.candidates = search::candidates(&lookup.host, &self.system.settings);
        lookup.at = 0;
        lookup.heard = Heard {
            ttl_s: Some(u32::MAX),
            ..Heard::default()
        };
        lookup.began = now;
        let left = lookup
            .waiting
            .iter()
            .map(|w| w.tell_at.saturating_sub(now))
            .min();
        lookup.probe_at = now + (left.unwrap_or(SECOND) / 4).min(SECOND);
        lookup.stage = Stage::Dns;
        for server in 0..self.servers.len() {
            if self.servers.probes_silent(server, now) {
                self.probe(server);
            }
        }
        self.begin_candidate(id, now);
        self.drive(id, now);
    }

    pub(super) fn begin_candidate(&mut self, id: usize, now: u64) {
        self.close_questions(id);
        self.stamp = self.stamp.wrapping_add(1);
        let settings = &self.system.settings;
        let mut order = || self.servers.order(now);
        let lookup = &mut self.lookups[id];
        lookup.stamp = self.stamp;
        lookup.first_at = None;
        let name = lookup.candidates[lookup.at].clone();
        let kinds: &[Kind] = match lookup.key.family {
            Family::Any if settings.no_aaaa => &[Kind::A],
            Family::Any => &[Kind::A, Kind::Aaaa],
            Family::V4 => &[Kind::A],
            Family::V6 => &[Kind::Aaaa],
        };
        let order = order();
        let query = |kind: &Kind| Query::new(name.clone(), *kind, order.clone(), settings, now);
        let at_once = if settings.single_request {
            1
        } else {
            kinds.len()
        };
        lookup.queries = kinds[..at_once].iter().map(query).collect();
        lookup.then = kinds.get(at_once).copied();
    }

    /// Asks whom it is time to ask, and goes on once the candidate is judged.
    pub(super) fn drive(&mut self, id: usize, now: u64) {
        loop {
            self.ask_servers(id, now);
            let servers = &self.servers;
            match self.lookups[id].outcome(now, |n| servers.at(n)) {
                Outcome::Open => return,
                Outcome::Found { ips, ttl_s } => {
                    return self.finish(id, Ok(ips), Some(ttl_s), now);
                }
                Outcome::Not => {
                    self.lookups[id].at += 1;
                    if self.lookups[id].at < self.lookups[id].candidates.len() {
                        self.begin_candidate(id, now);
                        continue;
                    }
                }
                Outcome::Stop => {}
            }
            return self.dns_is_done(id, now);
        }
    }

    pub(super) fn dns_is_done(&mut self, id: usize, now: u64) {
        let step = self.lookups[id].steps[0];
        let failed = self.lookups[id].heard.failed.is_some();
        let ends = if failed {
            step.ends_if_failed
        } else {
            step.ends_if_not_found
        };
        if failed && (ends || self.lookups[id].steps.len() == 1) {
            return self.doubt(id, now);
        }
        self.close_questions(id);
        self.leave_place(id);
        self.lookups[id].stage = Stage::Queued;
        self.done_with_step(id, ends);
        if let Some(found) = self.next_step(id, now) {
            self.tell_all(id, &found);
        }
        self.let_in(now);
    }

    pub(super) fn ask_servers(&mut self, id: usize, now: u64) {
        let lookup = &mut self.lookups[id];
        if lookup.then.is_some() && lookup.queries.iter().all(|q| q.end.is_some()) {
            let first = &lookup.queries[0];
            let (name, kind) = (first.name.clone(), lookup.then.take().expect("it is some"));
            let order = self.servers.order(now);
            let second = Query::new(name, kind, order, &self.system.settings, now);
            lookup.queries.push(second);
        }
        let ticket = Ticket {
            lookup: id,
            stamp: lookup.stamp,
        };
        for (n, query) in lookup.queries.iter_mut().enumerate() {
            while let Due::Ask(server) = query.due(now) {
                self.actions.push(Action::Ask(Ask {
                    ticket,
                    query: n,
                    server,
                    at: self.servers.at(server),
                    stream: self.system.settings.use_vc,
                    name: query.name.clone(),
                    kind: query.kind,
                    extras: query.extras(),
                }));
            }
        }
    }

    pub(super) fn begin_thread(&mut self, id: usize, now: u64) {
        self.stamp = self.stamp.wrapping_add(1);
        let lookup = &mut self.lookups[id];
        lookup.stage = Stage::Threads;
        lookup.began = now;
        lookup.probe_at = now + SECOND;
        lookup.stamp = self.stamp;
        self.actions.push(Action::Thread {
            ticket: Ticket {
                lookup: id,
                stamp: lookup.stamp,
            },
            host: lookup.key.host.clone(),
            family: lookup.key.family,
        });
    }
}
