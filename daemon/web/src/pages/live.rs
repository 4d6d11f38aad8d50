//! An open overview is kept as it is: four times a second at most, and only what has changed. The server makes the
//! rows, and a script puts them where they belong.

use super::overview::Asked;
use super::parts::{Parts, Scene, parts, row, scene, told, without_rows};
use crate::body::Answer;
use crate::problem::Problem;
use crate::routes::{Answered, Call, Site, typed};
use crate::times;
use healthd_scoreboard::samples_map::SamplesView;
use hyper::StatusCode;
use hyper::body::Bytes;
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::Instant;

/// Merged to so many a second.
const EVERY: Duration = Duration::from_millis(250);
/// So often something is sent, so that a dead connection is found, and ages grow.
const AT_LEAST: Duration = Duration::from_secs(15);
/// A browser comes back by itself. A server that ends is not waited for.
const LONGEST: Duration = Duration::from_secs(300);
/// Of all kinds at once: places are left for those who only ask.
const CLIENTS: usize = 128;

/// Counts among those who are told until it is dropped.
pub struct Listening {
    site: Rc<Site>,
    pub until: Instant,
    sender: Sender<io::Result<Bytes>>,
}

pub fn listen(site: &Rc<Site>) -> Result<(Listening, Receiver<io::Result<Bytes>>), Problem> {
    if site.live.get() >= CLIENTS {
        let full = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too many are told already");
        return Err(full.help("close a page, or ask without a stream"));
    }
    site.live.set(site.live.get() + 1);
    let (sender, receiver) = channel(4);
    let listening = Listening {
        site: site.clone(),
        until: Instant::now() + LONGEST,
        sender,
    };
    Ok((listening, receiver))
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.site.live.set(self.site.live.get() - 1);
    }
}

impl Listening {
    /// False: nobody listens any more, it has been long enough, or the process ends.
    pub async fn say(&self, text: String) -> bool {
        let sent = self.site.ending.or(self.sender.send(Ok(text.into()))).await;
        sent.is_some_and(|sent| sent.is_ok()) && self.goes_on()
    }

    /// Until something may have changed; false: as of `say`.
    pub async fn pause(&self, time: Duration) -> bool {
        let gone = self.site.ending.or(self.sender.closed());
        tokio::time::timeout(time, gone).await.is_err() && self.goes_on()
    }

    fn goes_on(&self) -> bool {
        Instant::now() < self.until && !self.site.ending.has_begun()
    }
}

pub fn stream(receiver: Receiver<io::Result<Bytes>>) -> Answered {
    Ok(typed(
        StatusCode::OK,
        "text/event-stream",
        Answer::Fed(receiver),
    ))
}

pub async fn overview(site: Rc<Site>, call: Call) -> Answered {
    let (listening, receiver) = listen(&site)?;
    let asked = Asked::read(&call.query);
    tokio::task::spawn_local(async move { tell(&site, &asked, &listening).await });
    stream(receiver)
}

async fn tell(site: &Rc<Site>, asked: &Asked, listening: &Listening) {
    let mut sent = Sent::default();
    // The page may be older than the connection: all of it once.
    let mut said = Instant::now();
    // Comes back after half a second: a daemon that was updated is there again.
    if !listening.say("retry: 500\n\n".to_owned()).await {
        return;
    }
    loop {
        let mut text = {
            let scene = scene(site, asked).await;
            if said.elapsed() > AT_LEAST {
                // All of them anew: ages grow.
                sent.rows.clear();
            }
            sent.changes(site, &scene, asked)
        };
        if !text.is_empty() {
            said = Instant::now();
            text += &event("clock", &[times::now(&site.zone).as_str()]);
            if !listening.say(text).await {
                return;
            }
        }
        if !listening.pause(EVERY).await {
            return;
        }
    }
}

/// What the other end has.
#[derive(Default)]
struct Sent {
    order: Vec<usize>,
    /// By its place: of which record, how it is held back and whom it was told, and what of it history has.
    rows: HashMap<usize, (u64, u8, String, String)>,
    parts: HashMap<&'static str, String>,
    begun: bool,
}

impl Sent {
    fn changes(&mut self, site: &Site, scene: &Scene, asked: &Asked) -> String {
        let now = healthd_sys::clock::monotonic_ns();
        let key = |at: usize| {
            let row = &scene.picture.rows[at];
            let held = scene.alerts.as_deref();
            let held = held.and_then(|r| super::board::held_back(r, &row.name));
            let held = held.filter(|_| row.urgency(now) <= 3);
            (
                row.seq,
                row.urgency(now) | u8::from(row.is_stale(now)) << 4,
                held.map(|s| s.id.clone()).unwrap_or_default() + &told(site, scene, row, now),
                site.days.of(&row.name),
            )
        };
        let keys: HashMap<usize, _> = scene.view.rows.iter().map(|at| (*at, key(*at))).collect();
        let mut text = String::new();
        if !self.begun || self.order != scene.view.rows {
            let all = parts(site, scene, asked);
            self.begun = true;
            self.order.clone_from(&scene.view.rows);
            text += &event("part", &["rows", &all.rows]);
            self.others(all, &mut text);
        } else {
            let changed = |at: &&usize| self.rows.get(at) != keys.get(at);
            let changed: Vec<usize> = self.order.iter().filter(changed).copied().collect();
            if !changed.is_empty() {
                let samples = SamplesView::open(&site.args.runtime_dir).ok();
                for at in changed {
                    let id = format!("c{at}");
                    text += &event("row", &[&id, &row(site, scene, at, samples.as_ref())]);
                }
            }
            self.others(without_rows(scene, asked), &mut text);
        }
        let alarm = scene.alarm.clone();
        if self.parts.get("alarm") != Some(&alarm) {
            text += &event("alarm", &[&alarm]);
            self.parts.insert("alarm", alarm);
        }
        self.rows = keys;
        text
    }

    fn others(&mut self, all: Parts, text: &mut String) {
        let named = [
            ("counts", all.counts),
            ("groups", all.groups),
            ("caption", all.caption),
            ("pager", all.pager),
        ];
        for (id, html) in named {
            if self.parts.get(id) != Some(&html) {
                *text += &event("part", &[id, &html]);
                self.parts.insert(id, html);
            }
        }
    }
}

/// One of server-sent events: its data is a list of texts as JSON, and so has no line end.
pub fn event(kind: &str, texts: &[&str]) -> String {
    let data = serde_json::to_string(texts).unwrap_or_default();
    format!("event: {kind}\ndata: {data}\n\n")
}
