//! The `amqp` plugin: an AMQP 0-9-1 broker as RabbitMQ. Options, metrics and verdicts are in `AMQP.md`.
//!
//! Runs in: the step lane.

mod frame;
mod options;

use crate::report::{Report, Unit, seconds_text};
use frame::{Closed, Frame, Method, long, next, odd, short};
use healthd_client::server::Server;
use healthd_client::wire::Wire;
use healthd_plugin::net::Lines;
use healthd_plugin::thresholds::{Lower, Upper};
use healthd_plugin::{Check, Cx, Metric, Status};
use options::Options;
use std::io;
use std::time::Duration;

const LINE_MAX: usize = 64;
/// A broker that has said all else and is slow with its farewell is not waited for.
const FAREWELL: Duration = Duration::from_millis(500);

pub struct Amqp {
    options: Options,
    server: Server,
}

struct Queue {
    messages: u32,
    consumers: u32,
}

struct Seen {
    login_seconds: f64,
    seconds: f64,
    /// "RabbitMQ 3.10.8"
    product: String,
    queue: Option<Queue>,
}

/// Where the talk ended before its end.
enum Ended {
    Io(io::Error),
    /// The broker said why.
    Closed(Closed),
}

impl From<io::Error> for Ended {
    fn from(e: io::Error) -> Ended {
        Ended::Io(e)
    }
}

impl Check for Amqp {
    type Options = Options;

    fn create(o: Options, _: Cx<'_>) -> Result<Self, String> {
        let port = o.port.unwrap_or(if o.tls { 5671 } else { 5672 });
        let server = Server::new(&o.host, port, o.family)?.with_tls(
            o.tls,
            o.ca_file.as_deref(),
            o.insecure,
            o.server_name.as_deref(),
        )?;
        let of_a_queue = [
            o.messages_warn,
            o.messages_crit,
            o.consumers_warn,
            o.consumers_crit,
        ];
        if o.queue.is_none() && of_a_queue.iter().any(Option::is_some) {
            return Err(
                "messages_warn, messages_crit, consumers_warn, consumers_crit: need `queue`".into(),
            );
        }
        for (name, text) in [("user", &o.user), ("vhost", &o.vhost)] {
            if text.len() > 255 || text.contains('\0') {
                return Err(format!("{name}: at most 255 bytes, none of them 0"));
            }
        }
        if o.queue.as_ref().is_some_and(|q| q.len() > 255) {
            return Err("queue: at most 255 bytes".into());
        }
        Ok(Amqp { server, options: o })
    }

    async fn check(&self, cx: Cx<'_>) -> Status {
        match self.talk(cx).await {
            Ok(seen) => self.judge(cx, &seen),
            Err(status) => status,
        }
    }
}

impl Amqp {
    /// The error is the outcome, with its message set.
    async fn talk(&self, cx: Cx<'_>) -> Result<Seen, Status> {
        let o = &self.options;
        let begin = cx.now_ns();
        let lines = self.server.lines(cx, LINE_MAX).await;
        let mut lines = lines.map_err(|f| f.tell(cx))?;
        cx.phase("login");
        let product = match self.login(&mut lines).await {
            Ok(product) => product,
            Err(Ended::Io(e)) => return Err(cx.fail("login", &e)),
            // 403: who we are; 530: where we want to be.
            Err(Ended::Closed(c)) => {
                let _ = lines.write(&frame::frame(0, frame::CLOSE_OK, &[])).await;
                return Err(cx.critical(format_args!("login: the broker refuses: {}", c.shown())));
            }
        };
        let login_seconds = lines.get_ref().seconds_since(begin);
        let mut queue = None;
        let mut refused = None;
        if let Some(name) = &o.queue {
            cx.phase("queue");
            match declare(&mut lines, name).await {
                Ok(found) => queue = Some(found),
                Err(Ended::Io(e)) => return Err(cx.fail("queue", &e)),
                Err(Ended::Closed(c)) => refused = Some(c),
            }
        }
        let seconds = lines.get_ref().seconds_since(begin);
        let bye = [&200u16.to_be_bytes()[..], &short("bye"), &[0; 4]].concat();
        let bye = frame::frame(0, frame::CLOSE, &bye);
        if lines.write(&bye).await.is_ok() {
            let farewell = until(&mut lines, frame::CLOSE_OK);
            let _ = cx.timeout(FAREWELL, farewell).await;
        }
        if let Some(c) = refused {
            cx.message(format_args!("queue: {}", c.shown()));
            // That this user may not look says nothing about the queue.
            return Err(match c.code {
                403 | 405 => Status::Unknown,
                _ => Status::Critical,
            });
        }
        Ok(Seen {
            login_seconds,
            seconds,
            product,
            queue,
        })
    }

    /// What the broker calls itself.
    async fn login(&self, lines: &mut Lines<Wire<'_>>) -> Result<String, Ended> {
        let o = &self.options;
        lines.write(frame::HELLO).await?;
        let start = expect(lines, frame::START, "a greeting").await?;
        let mut arguments = start.arguments();
        let texts = arguments.take(2).and_then(|_| arguments.texts());
        let texts = texts.ok_or_else(|| odd("its greeting is cut short".into()))?;
        let plain = arguments
            .long()
            .is_some_and(|all| all.split(|b| *b == b' ').any(|one| one == b"PLAIN"));
        if !plain {
            return Err(odd("it takes no login by user and password (PLAIN)".into()).into());
        }
        let answer = frame::start_ok(&o.user, &o.password);
        lines
            .write(&frame::frame(0, frame::START_OK, &answer))
            .await?;
        let tune = expect(lines, frame::TUNE, "its limits").await?;
        let mut arguments = tune.arguments();
        let limits = arguments.u16().zip(arguments.u32());
        let (channels, size) = limits.ok_or_else(|| odd("its limits are cut short".into()))?;
        // Its own limits, and no heartbeat: this does not last.
        let limits = [&channels.to_be_bytes()[..], &size.to_be_bytes(), &[0, 0]].concat();
        let mut answer = frame::frame(0, frame::TUNE_OK, &limits);
        let open = [short(&o.vhost), short(""), vec![0]].concat();
        answer.extend(frame::frame(0, frame::OPEN, &open));
        lines.write(&answer).await?;
        expect(lines, frame::OPEN_OK, "an open connection").await?;
        let text = |key: &str| {
            let found = texts.iter().find(|(name, _)| name == key);
            found.map(|(_, text)| cut(text))
        };
        let product = text("product").unwrap_or_else(|| "a broker".into());
        Ok(match text("version") {
            Some(version) => format!("{product} {version}"),
            None => product,
        })
    }

    fn judge(&self, cx: Cx<'_>, seen: &Seen) -> Status {
        let o = &self.options;
        let mut report = Report::new(cx);
        cx.metric(Metric::new("login", seen.login_seconds).unit("s").min(0.0));
        let limits = Upper::of_durations(o.latency_warn, o.latency_crit);
        let metric = Metric::new("total", seen.seconds).unit("s").min(0.0);
        let text = format!("took {}", seconds_text(seen.seconds));
        report.upper(limits, metric, seen.seconds, &text, Unit::Seconds);
        let mut summary = format!("{}, logged in", seen.product);
        if let (Some(name), Some(queue)) = (&o.queue, &seen.queue) {
            let count = |n: Option<u64>| n.map(|n| n as f64);
            let messages = f64::from(queue.messages);
            let limits = Upper {
                warn: count(o.messages_warn),
                crit: count(o.messages_crit),
            };
            let metric = Metric::new("messages", messages).min(0.0);
            let text = format!("{messages} messages wait in {name}");
            report.upper(limits, metric, messages, &text, Unit::Plain);
            let consumers = f64::from(queue.consumers);
            let limits = Lower {
                warn: count(o.consumers_warn),
                crit: count(o.consumers_crit),
            };
            let metric = Metric::new("consumers", consumers).min(0.0);
            let text = format!("{consumers} consumers listen to {name}");
            report.lower(limits, metric, consumers, &text, Unit::Plain);
            summary = format!(
                "{name}: {} messages, {} consumers; {summary}",
                queue.messages, queue.consumers
            );
        }
        report.end(&summary)
    }
}

impl Closed {
    fn shown(&self) -> String {
        format!("{} ({})", cut(&self.text), self.code)
    }
}

/// The broker's words, as far as they go into a message.
fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(120).collect()
}

/// The next method, which must be this one.
async fn expect(lines: &mut Lines<Wire<'_>>, method: Method, what: &str) -> Result<Frame, Ended> {
    let frame = next(lines).await?;
    if frame.method == method {
        return Ok(frame);
    }
    match frame.closed() {
        Some(closed) => Err(Ended::Closed(closed)),
        None => Err(odd(format!("it sends something else than {what}")).into()),
    }
}

async fn until(lines: &mut Lines<Wire<'_>>, method: Method) -> io::Result<()> {
    while next(lines).await?.method != method {}
    Ok(())
}

/// Asks for a queue, and does not make it.
async fn declare(lines: &mut Lines<Wire<'_>>, name: &str) -> Result<Queue, Ended> {
    const CHANNEL: u16 = 1;
    const PASSIVE: u8 = 1;
    lines
        .write(&frame::frame(CHANNEL, frame::CHANNEL_OPEN, &short("")))
        .await?;
    expect(lines, frame::CHANNEL_OPEN_OK, "an open channel").await?;
    let arguments = [vec![0, 0], short(name), vec![PASSIVE], long(&[])].concat();
    lines
        .write(&frame::frame(CHANNEL, frame::DECLARE, &arguments))
        .await?;
    let answer = expect(lines, frame::DECLARE_OK, "a queue").await?;
    let mut arguments = answer.arguments();
    let numbers = arguments
        .short()
        .and_then(|_| arguments.u32().zip(arguments.u32()));
    let (messages, consumers) =
        numbers.ok_or_else(|| odd("what it says of the queue is cut short".into()))?;
    Ok(Queue {
        messages,
        consumers,
    })
}

#[cfg(test)]
mod tests;
