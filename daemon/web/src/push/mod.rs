//! `[push]`: a picture of all series each `interval`, sent to whoever takes remote write or OTLP, for machines that
//! nobody can scrape. What a scrape would have got is what is sent. And some runs as traces, to whoever takes OTLP.
//!
//! `encode` makes bodies of families, `traces` of runs; `queue` holds those that are not sent yet, `send` and `connect`
//! bring them away.

mod connect;
mod encode;
mod otlp;
mod queue;
mod remote_write;
mod send;
mod spans;
mod traces;

use crate::metrics::Parts;
use crate::metrics::format::{Kind, Labels, Writer};
use crate::routes::Site;
use encode::Encoder;
use healthd_core::config::{Endpoint, Push};
use healthd_sys::clock;
use queue::Queue;
use send::{Sender, Signal};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use tokio::time::{MissedTickBehavior, interval};

const METRICS: &str = "metrics";

/// What has become of what was to be sent, for `/metrics`.
#[derive(Default)]
pub struct Pushed {
    queues: RefCell<Vec<(&'static str, Rc<Queue>)>>,
    /// Pictures that could not be taken.
    missed: Cell<u64>,
    /// Runs that were to be traced, and were written over before they were read.
    traces_missed: Cell<u64>,
}

/// For as long as the process lives.
pub fn begin(site: &Rc<Site>, push: Push) {
    if let Some(to) = push.traces.clone() {
        tokio::task::spawn_local(traces::run(site.clone(), push.clone(), to));
    }
    if let Some(to) = push.url.clone() {
        tokio::task::spawn_local(metrics(site.clone(), push, to));
    }
}

async fn metrics(site: Rc<Site>, push: Push, to: Endpoint) {
    let queue = site.pushed.queue(METRICS);
    log::info!("metrics are pushed  to={to} each={:?}", push.interval);
    let signal = Signal::of(push.format);
    let sender = Sender::new(&push, to, signal, queue.clone());
    tokio::task::spawn_local(sender.run());
    let mut encoder = Encoder::new(push.format, labels(&push));
    let mut turns = interval(push.interval);
    turns.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut begun = false;
    loop {
        turns.tick().await;
        let parts = Parts::new(&site, None, Writer::families(), Vec::new(), true).await;
        let mut parts = match parts {
            Ok(parts) => parts,
            // The manager may not have begun yet.
            Err(why) => {
                log::debug!("no picture is taken: {why}");
                let missed = &site.pushed.missed;
                missed.set(missed.get() + u64::from(begun));
                continue;
            }
        };
        begun = true;
        let at = clock::realtime_ns();
        while let Some(families) = parts.families() {
            queue.put(encoder.body(&families, at));
            // Others want to be answered.
            tokio::task::yield_now().await;
        }
        encoder
            .ended(at)
            .into_iter()
            .for_each(|body| queue.put(body));
    }
}

/// Of each series; by default those that a scrape would give it.
fn labels(push: &Push) -> BTreeMap<String, String> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let mut labels = BTreeMap::from([
        ("job".to_owned(), "healthd".to_owned()),
        ("instance".to_owned(), host.trim().to_owned()),
    ]);
    labels.extend(push.labels.clone());
    labels
}

impl Pushed {
    fn queue(&self, signal: &'static str) -> Rc<Queue> {
        let queue = Rc::new(Queue::default());
        self.queues.borrow_mut().push((signal, queue.clone()));
        queue
    }

    /// What waits ends with this process, but for runs: those are sent by the next.
    pub fn ends(&self) {
        let queues = self.queues.borrow();
        let metrics = queues.iter().filter(|(signal, _)| *signal == METRICS);
        for points in metrics.map(|(_, queue)| queue.points()) {
            if points > 0 {
                log::warn!("push: what waited for the receiver is lost  points={points}");
            }
        }
    }

    pub fn write(&self, out: &mut Writer) {
        let queues = self.queues.borrow();
        let of = |signal: &str| Labels::none().with("signal", signal);
        let name = "healthd_push_points_total";
        let help = "What was to be pushed, by what became of it: sent; refused by the receiver; dropped, as there was no room while it was away.";
        out.family(name, Kind::Counter, help);
        for (signal, queue) in queues.iter() {
            for (result, count) in [
                ("sent", &queue.sent),
                ("refused", &queue.refused),
                ("dropped", &queue.dropped),
            ] {
                out.sample(name, &of(signal).with("result", result), count.get() as f64);
            }
        }
        let name = "healthd_push_waiting_points";
        out.family(name, Kind::Gauge, "What is not sent yet.");
        for (signal, queue) in queues.iter() {
            out.sample(name, &of(signal), queue.points() as f64);
        }
        let name = "healthd_push_failures_total";
        let help = "Times that the receiver could not be reached, or asked for another try.";
        out.family(name, Kind::Counter, help);
        for (signal, queue) in queues.iter() {
            out.sample(name, &of(signal), queue.failures.get() as f64);
        }
        let name = "healthd_push_last_sent_timestamp_seconds";
        let help = "When the receiver last took something; absent: not yet.";
        out.family(name, Kind::Gauge, help);
        for (signal, queue) in queues.iter() {
            if queue.last_sent.get() != 0 {
                out.sample(name, &of(signal), queue.last_sent.get() as f64 / 1e9);
            }
        }
        let name = "healthd_push_pictures_missed_total";
        let help = "Times that there was nothing to push, as the manager's maps could not be read.";
        out.family(name, Kind::Counter, help);
        out.sample(name, &Labels::none(), self.missed.get() as f64);
        let name = "healthd_push_traces_missed_total";
        let help = "Runs that were to be traced, and of which there was no room to be told.";
        out.family(name, Kind::Counter, help);
        out.sample(name, &Labels::none(), self.traces_missed.get() as f64);
    }
}
