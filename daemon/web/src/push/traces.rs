//! Some runs as traces: what the manager writes of them into `traces.map`, read each second and sent as OTLP. What the
//! receiver has had is marked, so that a process that follows this one sends the rest, and not all of the ring again.

use super::otlp::{attribute, compressed, resource, scope};
use super::queue::Body;
use super::send::{Sender, Signal};
use super::spans::spans;
use crate::routes::Site;
use healthd_core::config::{Endpoint, Push};
use healthd_core::wire::traces::{Purpose, TracedRun};
use healthd_scoreboard::traces_map::{Mark, TracesView};
use serde_json::{Value as Json, json};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// The ring has room for some seconds of most daemons.
const LOOK: Duration = Duration::from_secs(1);
/// Runs of one request.
const AT_ONCE: usize = 200;

/// For as long as the process lives.
pub async fn run(site: Rc<Site>, push: Push, to: Endpoint) {
    let queue = site.pushed.queue("traces");
    log::info!("runs are traced  to={to} sample={}", push.sample);
    tokio::task::spawn_local(Sender::new(&push, to, Signal::Otlp, queue.clone()).run());
    let of = of_whom(&push);
    let mut ring = Ring::default();
    let mut turns = interval(LOOK);
    turns.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        turns.tick().await;
        for (runs, keys, missed) in ring.news(&site.args.runtime_dir) {
            let count = &site.pushed.traces_missed;
            count.set(count.get() + missed);
            let labels = site.keeper.borrow_mut().labels();
            for runs in runs.chunks(AT_ONCE) {
                let spans = runs.iter().flat_map(|(_, run)| {
                    let own = match &run.purpose {
                        Purpose::Check { name, .. } => labels.get(name),
                        _ => None,
                    };
                    spans(run, keys, own.into_iter().flatten())
                });
                let mut body = body(&of, spans.collect());
                let last = runs.last().map(|(number, _)| *number);
                body.mark = last.map(|number| Mark::new(&site.args.runtime_dir, number));
                queue.put(body);
                // Others want to be answered.
                tokio::task::yield_now().await;
            }
        }
    }
}

/// The ring that is read, which another takes the place of when the manager has died, or wants another share.
#[derive(Default)]
struct Ring(Option<TracesView>);

/// Runs with their numbers, the keys of their ids, and how many are not there any more.
type News = (Vec<(u64, TracedRun)>, [u64; 2], u64);

impl Ring {
    /// Since the last look, of each ring that there was.
    fn news(&mut self, dir: &Path) -> Vec<News> {
        let mut all = Vec::new();
        let mut read = |view: &mut TracesView| match view.news() {
            Ok((runs, missed)) => all.push((runs, view.keys, missed)),
            Err(e) => log::debug!("no traces are read: {e}"),
        };
        if let Some(view) = &mut self.0 {
            // Before what comes in its place: nobody writes into it after that.
            let replaced = view.is_replaced(dir);
            read(view);
            if !replaced {
                return all;
            }
        }
        let next = match &self.0 {
            Some(view) => view.next(dir),
            None => TracesView::open(dir),
        };
        // The manager may not have begun yet. What was read is not read again.
        if let Ok(mut next) = next {
            read(&mut next);
            self.0 = Some(next);
        }
        all
    }
}

/// Who tells, by the words that it has there.
fn of_whom(push: &Push) -> Json {
    let labels = super::labels(push);
    let host = labels.get("instance").cloned().unwrap_or_default();
    let mut of = resource(&labels);
    if let Some(attributes) = of["attributes"].as_array_mut() {
        attributes.push(attribute("service.version", env!("CARGO_PKG_VERSION")));
        attributes.push(attribute("host.name", &host));
    }
    of
}

fn body(of: &Json, spans: Vec<Json>) -> Body {
    let points = spans.len() as u64;
    let whole = json!({ "resourceSpans": [{
        "resource": of,
        "scopeSpans": [{ "scope": scope(), "spans": spans }],
    }] });
    compressed(&whole, points)
}
