//! An open overview is kept as it is: four times a second at most, and only what has changed. The server makes the
//! rows, once for all who look at the same, and a script puts them where they belong.

use super::overview::Asked;
use super::parts::{Parts, Scene, row, rows, scene, told, without_rows};
use crate::body::Answer;
use crate::ending::unless;
use crate::problem::Problem;
use crate::routes::{Answered, Call, Site, typed};
use crate::times;
use healthd_scoreboard::samples_map::SamplesView;
use hyper::StatusCode;
use hyper::body::Bytes;
use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::broadcast::{self, error::RecvError};
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
    until: Instant,
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
    pub async fn say(&self, text: impl Into<Bytes>) -> bool {
        let sent = self.sender.send(Ok(text.into()));
        self.wait(sent).await.is_some_and(|sent| sent.is_ok())
    }

    /// Until something may have changed; false: as of `say`.
    pub async fn pause(&self, time: Duration) -> bool {
        self.wait(tokio::time::sleep(time)).await.is_some()
    }

    /// None: as false of `say`.
    async fn wait<T>(&self, other: impl Future<Output = T>) -> Option<T> {
        let other = self.site.ending.or(unless(self.sender.closed(), other));
        let in_time = tokio::time::timeout_at(self.until, other).await;
        in_time.ok().flatten().flatten()
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
    let (watched, changes) = watch(&site, Asked::read(&call.query));
    tokio::task::spawn_local(async move { tell(&watched, changes, &listening).await });
    stream(receiver)
}

/// What is looked at by those whose pages are open. What changes is found and written once for all who look at the same.
#[derive(Default)]
pub struct AllWatched(RefCell<Vec<Rc<Watched>>>);

struct Watched {
    asked: Asked,
    sent: RefCell<Sent>,
    changes: broadcast::Sender<Bytes>,
}

/// Changes that wait for one who takes them slowly; then it gets all of it anew.
const BEHIND: usize = 4;

fn watch(site: &Rc<Site>, asked: Asked) -> (Rc<Watched>, broadcast::Receiver<Bytes>) {
    let mut all = site.watched.0.borrow_mut();
    if let Some(watched) = all.iter().find(|w| w.asked == asked) {
        return (watched.clone(), watched.changes.subscribe());
    }
    let (changes, receiver) = broadcast::channel(BEHIND);
    let watched = Rc::new(Watched {
        asked,
        sent: RefCell::default(),
        changes,
    });
    all.push(watched.clone());
    let (site, kept) = (site.clone(), watched.clone());
    tokio::task::spawn_local(async move { keep(&site, &kept).await });
    (watched, receiver)
}

/// For as long as somebody looks.
async fn keep(site: &Rc<Site>, watched: &Rc<Watched>) {
    loop {
        tokio::time::sleep(EVERY).await;
        if watched.changes.receiver_count() == 0 {
            break;
        }
        let scene = scene(site, &watched.asked).await;
        watched.look(site, &scene);
    }
    let mut all = site.watched.0.borrow_mut();
    all.retain(|other| !Rc::ptr_eq(other, watched));
}

impl Watched {
    /// Those who look are told what has changed.
    fn look(&self, site: &Site, scene: &Scene) {
        let text = self.sent.borrow_mut().changes(site, scene, &self.asked);
        if !text.is_empty() {
            // Err: the last one is gone.
            let _ = self.changes.send(text.into());
        }
    }

    /// All of it: what changes from then on, the others are told too.
    async fn all(&self, site: &Rc<Site>) -> Bytes {
        let scene = scene(site, &self.asked).await;
        self.look(site, &scene);
        let mut sent = self.sent.borrow_mut();
        sent.all(site, &scene, &self.asked)
    }
}

async fn tell(watched: &Watched, mut changes: broadcast::Receiver<Bytes>, listening: &Listening) {
    // Comes back after half a second: a daemon that was updated is there again.
    if !listening.say("retry: 500\n\n").await {
        return;
    }
    // The page may be older than the connection: all of it once.
    let mut text = watched.all(&listening.site).await;
    changes = changes.resubscribe();
    while listening.say(text).await {
        text = match listening.wait(changes.recv()).await {
            Some(Ok(text)) => text,
            Some(Err(RecvError::Lagged(_))) => {
                let all = watched.all(&listening.site).await;
                changes = changes.resubscribe();
                all
            }
            Some(Err(RecvError::Closed)) | None => return,
        };
    }
}

/// What the other ends have.
struct Sent {
    order: Vec<usize>,
    rows: HashMap<usize, SentRow>,
    parts: HashMap<&'static str, String>,
    /// As long as it is so: all of it at once.
    all: Option<Bytes>,
    /// When something was said last.
    said: Instant,
}

impl Default for Sent {
    fn default() -> Sent {
        Sent {
            order: Vec::new(),
            rows: HashMap::new(),
            parts: HashMap::new(),
            all: None,
            said: Instant::now(),
        }
    }
}

struct SentRow {
    /// Of which check and record, how it is held back and whom it was told, and what of it history has.
    what: (String, u64, u8, String, String),
    age: String,
    at: Instant,
}

impl SentRow {
    fn new(site: &Site, scene: &Scene, at: usize, now: u64) -> SentRow {
        let row = &scene.picture.rows[at];
        let held = scene.alerts.as_deref();
        let held = held.and_then(|r| super::board::held_back(r, &row.name));
        let held = held.filter(|_| row.urgency(now) <= 3);
        SentRow {
            what: (
                row.name.to_string(),
                scene.picture.numbers[at],
                row.urgency(now) | u8::from(row.is_stale(now)) << 4,
                held.map(|s| s.id.clone()).unwrap_or_default() + &told(site, scene, row, now),
                site.days.of(&row.name),
            ),
            age: times::age(row.since),
            at: Instant::now(),
        }
    }

    fn is_as(&self, now: &SentRow) -> bool {
        self.what == now.what && (self.age == now.age || self.at.elapsed() < AT_LEAST)
    }
}

impl Sent {
    fn all(&mut self, site: &Site, scene: &Scene, asked: &Asked) -> Bytes {
        let make = || {
            let parts = self.parts.iter().map(|(id, html)| match *id {
                "alarm" => event("alarm", &[html]),
                id => event("part", &[id, html]),
            });
            let others: String = parts.collect();
            let rows = event("part", &["rows", &rows(site, scene, asked)]);
            Bytes::from(rows + &others + &clock(site))
        };
        self.all.get_or_insert_with(make).clone()
    }

    /// Empty: nothing has.
    fn changes(&mut self, site: &Site, scene: &Scene, asked: &Asked) -> String {
        let now = healthd_sys::clock::monotonic_ns();
        let made = |at: &usize| (*at, SentRow::new(site, scene, *at, now));
        let mut text = String::new();
        if self.order != scene.view.rows {
            self.order.clone_from(&scene.view.rows);
            self.rows = self.order.iter().map(made).collect();
            text += &event("part", &["rows", &rows(site, scene, asked)]);
        } else {
            let mut samples = None;
            for (at, new) in self.order.iter().map(made) {
                if self.rows.get(&at).is_some_and(|old| old.is_as(&new)) {
                    continue;
                }
                let samples =
                    samples.get_or_insert_with(|| SamplesView::open(&site.args.runtime_dir).ok());
                let html = row(site, scene, at, samples.as_ref());
                text += &event("row", &[&format!("c{at}"), &html]);
                self.rows.insert(at, new);
            }
        }
        self.others(without_rows(scene, asked), &mut text);
        let alarm = scene.alarm.clone();
        if self.parts.get("alarm") != Some(&alarm) {
            text += &event("alarm", &[&alarm]);
            self.parts.insert("alarm", alarm);
        }
        if !text.is_empty() || self.said.elapsed() > AT_LEAST {
            self.said = Instant::now();
            self.all = None;
            text += &clock(site);
        }
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

fn clock(site: &Site) -> String {
    event("clock", &[times::now(&site.zone).as_str()])
}

/// One of server-sent events: its data is a list of texts as JSON, and so has no line end.
pub fn event(kind: &str, texts: &[&str]) -> String {
    let data = serde_json::to_string(texts).unwrap_or_default();
    format!("event: {kind}\ndata: {data}\n\n")
}
