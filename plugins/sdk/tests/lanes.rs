//! Both lanes through the C entries on MockHost: results, panics, deadlines, sleeps, wakers, names, children.

#![forbid(unsafe_code)]

use healthd_plugin::mock::MockHost;
use healthd_plugin::net::{TcpStream, UdpSocket, UnixStream};
use healthd_plugin::{
    BlockingCheck, Check, Cx, ExecSpec, Family, Metric, Status, abi, options, plugins,
    run_is_cancelled,
};
use healthd_testing::free_port;
use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(30);

options! {
    struct Options {
        /// Which test.
        case: String,
        at: Option<String>,
    }
}

struct Step(Options);

impl Check for Step {
    type Options = Options;

    fn create(options: Options, cx: Cx<'_>) -> Result<Self, String> {
        assert_eq!((cx.attempt(), cx.check_name()), (0, "mock"));
        assert_ne!(options.case, "panic in create");
        if options.case == "refuse" {
            Err("refused".into())
        } else {
            Ok(Step(options))
        }
    }

    async fn check(&self, cx: Cx<'_>) -> Status {
        let at = self.0.at.as_deref().unwrap_or_default();
        match self.0.case.as_str() {
            "results" => {
                cx.detail("one ");
                cx.detail(format_args!("{}", "two"));
                cx.label("k", "v");
                cx.metric(
                    Metric::new("m", 1.5)
                        .unit("s")
                        .warn(2.0)
                        .crit(Some(3.0))
                        .min(0.0)
                        .max(None),
                );
                cx.warn("the last message counts")
            }
            "panic at once" => panic!("told {}", "you"),
            "panic later" => {
                cx.sleep(Duration::from_millis(1)).await;
                panic!("later")
            }
            "hang" => {
                cx.phase("dreaming");
                std::future::pending().await
            }
            "give back" => {
                let deadline = cx.deadline_ns();
                let half = Duration::from_millis(40);
                assert!(cx.give_back(half).is_ok() && cx.give_back(Duration::ZERO).is_ok());
                assert_eq!(cx.deadline_ns(), deadline + 40_000_000);
                let e = cx.give_back(half + Duration::from_nanos(1)).err();
                assert_eq!(e.and_then(|e| e.raw_os_error()), Some(libc::EDQUOT));
                assert_eq!(cx.deadline_ns(), deadline + 40_000_000);
                std::future::pending().await
            }
            "earliest" => {
                let begun = cx.now_ns();
                let (mut slow, mut fast) = (
                    pin!(cx.sleep(LONG)),
                    pin!(cx.sleep(Duration::from_millis(5))),
                );
                poll_fn(|t| {
                    assert!(slow.as_mut().poll(t).is_pending());
                    fast.as_mut().poll(t)
                })
                .await;
                assert!(cx.now_ns() - begun >= 5_000_000);
                match cx
                    .timeout(Duration::from_millis(5), std::future::pending::<()>())
                    .await
                {
                    Err(elapsed) => cx.ok(elapsed),
                    Ok(()) => Status::Unknown,
                }
            }
            "wake self" => {
                let mut left = 1000;
                poll_fn(|t| {
                    left -= 1;
                    t.waker().wake_by_ref();
                    if left == 0 {
                        Poll::Ready(())
                    } else {
                        Poll::Pending
                    }
                })
                .await;
                cx.yield_now().await;
                Status::Ok
            }
            "wake from thread" => {
                let woken = Arc::new(AtomicBool::new(false));
                let mut started = false;
                poll_fn(|t| {
                    if woken.load(SeqCst) {
                        return Poll::Ready(());
                    }
                    if !std::mem::replace(&mut started, true) {
                        let (woken, waker) = (woken.clone(), t.waker().clone());
                        std::thread::spawn(move || {
                            woken.store(true, SeqCst);
                            waker.wake();
                        });
                    }
                    Poll::Pending
                })
                .await;
                Status::Ok
            }
            "sub-executor" => {
                // Polls its halves only when their own wakers were woken, as FuturesUnordered does.
                let mut halves = [Half::new(cx, 1), Half::new(cx, 3), Half::new(cx, 2)];
                poll_fn(|t| {
                    let mut pending = false;
                    for half in &mut halves {
                        pending |= half.poll_if_woken(t).is_pending();
                    }
                    if pending {
                        Poll::Pending
                    } else {
                        Poll::Ready(())
                    }
                })
                .await;
                Status::Ok
            }
            "resolve" => {
                let all = cx.resolve(at, Family::Any).await;
                let none = cx.resolve("127.0.0.1", Family::Ipv6).await.unwrap_err();
                match all {
                    Ok(ips) => cx.ok(format_args!("{} {none}", ips[0].is_loopback())),
                    Err(e) => cx.fail("dns", &e),
                }
            }
            "tcp" => {
                let to: SocketAddr = at.parse().unwrap();
                let stream = match TcpStream::start(cx, to) {
                    Ok(s) => s,
                    Err(e) => return cx.fail("connect", &e),
                };
                if let Err(e) = stream.write_all(b"ping").await {
                    return cx.fail(
                        if stream.is_connecting() {
                            "connect"
                        } else {
                            "send"
                        },
                        &e,
                    );
                }
                let mut buf = [0; 16];
                match stream.read(&mut buf).await {
                    Ok(n) => cx.ok(String::from_utf8_lossy(&buf[..n])),
                    Err(e) => cx.fail("receive", &e),
                }
            }
            "listen" => {
                let to: SocketAddr = at.parse().unwrap();
                match TcpStream::connect(cx, to).await {
                    Ok(s) => match s.read(&mut [0; 16]).await {
                        Ok(n) => cx.ok(n),
                        Err(e) => cx.fail("receive", &e),
                    },
                    Err(e) => cx.fail("connect", &e),
                }
            }
            "any" => {
                let to: Vec<SocketAddr> = at.split(' ').map(|a| a.parse().unwrap()).collect();
                match TcpStream::connect_any(cx, &to).await {
                    Ok(s) => cx.ok(s.peer()),
                    Err(e) => cx.fail("connect", &e),
                }
            }
            "udp" => {
                let socket = UdpSocket::connect(cx, at.parse().unwrap()).unwrap();
                socket.send(b"ping").await.unwrap();
                let mut buf = [0; 16];
                match socket.recv(&mut buf).await {
                    Ok(n) => cx.ok(String::from_utf8_lossy(&buf[..n])),
                    Err(e) => cx.fail("receive", &e),
                }
            }
            "unix" => match UnixStream::connect(cx, at.as_ref()).await {
                Ok(s) => {
                    s.write_all(b"ping").await.unwrap();
                    let mut buf = [0; 16];
                    let n = s.read(&mut buf).await.unwrap();
                    cx.ok(String::from_utf8_lossy(&buf[..n]))
                }
                Err(e) => cx.fail("connect", &e),
            },
            "exec" => {
                let argv = ["/bin/sh", "-c", at].map(String::from);
                let spec = ExecSpec {
                    argv: &argv,
                    env: &["K=V".into()],
                    input: b"in",
                    max_output: 4,
                    ..Default::default()
                };
                match cx.exec(&spec).await {
                    Ok(o) => cx.ok(format_args!(
                        "{:?} {:?} {} {} {}",
                        o.exit_code,
                        o.signal,
                        String::from_utf8_lossy(&o.out),
                        o.out_truncated,
                        o.dropped
                    )),
                    Err(e) => cx.fail("exec", &e),
                }
            }
            "no file" => cx.fail("open", &std::io::Error::from_raw_os_error(24)),
            other => cx.unknown(format_args!("{other}?")),
        }
    }
}

/// A sleep behind a waker of its own.
struct Half<'a> {
    sleep: Option<Pin<Box<dyn Future<Output = ()> + 'a>>>,
    flag: Arc<Flag>,
}

struct Flag {
    woken: AtomicBool,
    parent: Mutex<Option<Waker>>,
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, SeqCst);
        if let Some(parent) = self.parent.lock().unwrap().take() {
            parent.wake();
        }
    }
}

impl<'a> Half<'a> {
    fn new(cx: Cx<'a>, millis: u64) -> Self {
        let flag = Flag {
            woken: true.into(),
            parent: Mutex::default(),
        };
        Half {
            sleep: Some(Box::pin(cx.sleep(Duration::from_millis(millis)))),
            flag: Arc::new(flag),
        }
    }

    fn poll_if_woken(&mut self, t: &mut Context<'_>) -> Poll<()> {
        let Some(sleep) = &mut self.sleep else {
            return Poll::Ready(());
        };
        *self.flag.parent.lock().unwrap() = Some(t.waker().clone());
        if self.flag.woken.swap(false, SeqCst)
            && sleep
                .as_mut()
                .poll(&mut Context::from_waker(&self.flag.clone().into()))
                .is_ready()
        {
            self.sleep = None;
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

struct Block(Options);

impl BlockingCheck for Block {
    type Options = Options;

    fn create(options: Options, _: Cx<'_>) -> Result<Self, String> {
        Ok(Block(options))
    }

    fn run(&self, cx: Cx<'_>) -> Status {
        match self.0.case.as_str() {
            "panic" => panic!("blocked"),
            "until cancelled" => {
                assert!(!run_is_cancelled());
                while !cx.is_cancelled() {
                    std::thread::yield_now();
                }
                assert!(run_is_cancelled());
                Status::Cancelled
            }
            "sleep" => {
                assert!(cx.remaining() > Duration::ZERO && cx.cancel_fd().is_none());
                let mut sleep = pin!(cx.resolve("localhost", Family::Any));
                let task = &mut std::task::Context::from_waker(Waker::noop());
                match sleep.as_mut().poll(task) {
                    Poll::Ready(Err(e)) => cx.ok(e),
                    _ => Status::Unknown,
                }
            }
            "give back" => {
                let deadline = cx.deadline_ns();
                assert!(cx.give_back(Duration::from_millis(1)).is_err());
                assert_eq!(cx.deadline_ns(), deadline);
                Status::Ok
            }
            _ => cx.ok("ran"),
        }
    }
}

plugins! {
    step Step { name: "step", summary: "step lane", default_timeout_ms: 1234 }
    run Block { name: "block", summary: "run lane", stack_kib: 512 }
    cpu Block { name: "compute", summary: "run lane, cpu worker" }
    exec Step { name: "children", summary: "step lane, exec worker" }
}

fn step(case: &str, at: impl std::fmt::Display) -> healthd_plugin::mock::Outcome {
    let config = healthd_plugin::serde_json::json!({"case": case, "at": at.to_string()});
    MockHost::new(hd_plugin_v1)
        .plugin("step")
        .create(config.to_string())
        .unwrap()
        .run(LONG)
}

#[test]
fn descriptors_say_what_the_macro_was_told() {
    let all = MockHost::new(hd_plugin_v1).descriptors();
    let workloads: Vec<_> = all.iter().map(|p| p.workload).collect();
    assert_eq!(
        workloads,
        [abi::WL_IO, abi::WL_BLOCK, abi::WL_CPU, abi::WL_EXEC]
    );
    assert_eq!(
        (
            all[0].default_timeout_ms,
            all[1].stack_kib,
            all[2].default_timeout_ms
        ),
        (1234, 512, 60_000)
    );
    assert_eq!(all[3].flags, abi::F_INSTANCE_MT | abi::F_NEEDS_EXEC);
    assert!(std::ptr::eq(all[0], hd_plugin_v1(0)));
    assert!(hd_plugin_v1(4).is_null() && hd_plugin_v1(u32::MAX).is_null());
    let schema = MockHost::new(hd_plugin_v1).plugin("step").schema();
    assert_eq!(schema["properties"]["case"]["description"], "Which test.");
}

#[test]
fn create_refuses_with_a_message() {
    let plugin = MockHost::new(hd_plugin_v1).plugin("step");
    assert_eq!(
        plugin.create(r#"{"case": "refuse"}"#).err().unwrap(),
        "refused"
    );
    assert_eq!(plugin.create("{}").err().unwrap(), "case: missing");
    assert!(plugin.create("{").err().unwrap().starts_with("config: "));
    let panic = plugin
        .create(r#"{"case": "panic in create"}"#)
        .err()
        .unwrap();
    assert!(
        panic.starts_with("panic at ") && panic.contains("lanes.rs:"),
        "{panic}"
    );
}

#[test]
fn results_arrive() {
    let o = step("results", "");
    assert_eq!(
        (o.status, &*o.message, &*o.detail),
        (Status::Warn, "the last message counts", "one two")
    );
    assert_eq!(o.labels["k"], "v");
    let m = o.metric("m");
    assert_eq!(
        (m.value, &*m.unit, m.warn, m.crit, m.min),
        (1.5, "s", 2.0, 3.0, 0.0)
    );
    assert!(m.max.is_nan());
}

#[test]
fn panics_stop_at_the_barrier() {
    for (case, text) in [("panic at once", "told you"), ("panic later", "later")] {
        let o = step(case, "");
        assert_eq!(o.code, abi::E_PANIC);
        assert!(
            o.message.ends_with(text) && o.message.contains("lanes.rs:"),
            "{}",
            o.message
        );
    }
    let block = MockHost::new(hd_plugin_v1)
        .plugin("block")
        .create(r#"{"case": "panic"}"#)
        .unwrap();
    assert_eq!(block.run(LONG).code, abi::E_PANIC);
}

#[test]
fn time_that_was_given_back_moves_the_deadline() {
    let host = MockHost::new(hd_plugin_v1);
    let check = host.plugin("step").create(r#"{"case": "give back"}"#);
    let begun = Instant::now();
    let o = check.expect("fine").run(Duration::from_millis(80));
    assert_eq!(
        (o.status, &*o.message),
        (Status::Critical, "timeout after 80ms")
    );
    assert!(begun.elapsed() >= Duration::from_millis(120));
    // The run lane keeps its deadline.
    let block = host.plugin("block").create(r#"{"case": "give back"}"#);
    assert_eq!(block.expect("fine").run(LONG).status, Status::Ok);
}

#[test]
fn a_deadline_names_the_phase() {
    let check = MockHost::new(hd_plugin_v1)
        .plugin("step")
        .create(r#"{"case": "hang"}"#)
        .unwrap();
    let o = check.run(Duration::from_millis(20));
    assert_eq!(
        (o.status, &*o.message),
        (Status::Critical, "timeout after 20ms in phase dreaming")
    );
    assert_eq!(check.run_many(100, Duration::from_millis(20)).len(), 100);
}

#[test]
fn the_earliest_sleep_wins() {
    let begun = Instant::now();
    let o = step("earliest", "");
    assert_eq!((o.status, &*o.message), (Status::Ok, "timed out"));
    assert!(begun.elapsed() < LONG);
}

#[test]
fn wake_ups_are_not_lost() {
    for case in ["wake self", "wake from thread", "sub-executor"] {
        assert_eq!(step(case, "").status, Status::Ok, "{case}");
    }
}

#[test]
fn names_are_resolved() {
    let o = step("resolve", "localhost");
    assert_eq!(
        o.message,
        "true 127.0.0.1 is not of the wanted address family"
    );
    let o = step("resolve", "no-such-name.invalid");
    assert_eq!(o.status, Status::Critical);
    assert!(o.message.starts_with("dns: "), "{}", o.message);
}

#[test]
fn tcp_talks_over_both_families() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let listener = TcpListener::bind(address).unwrap();
        let to = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut s, _) = listener.accept().unwrap();
            let mut buf = [0; 4];
            s.read_exact(&mut buf).unwrap();
            s.write_all(b"pong").unwrap();
        });
        let o = step("tcp", to);
        server.join().unwrap();
        assert_eq!((o.status, &*o.message), (Status::Ok, "pong"));
        // The request left with the first poll; one watch and one more step for the answer.
        assert_eq!(o.watches, 1);
        // One more should the machine be so busy that the handshake takes its time.
        assert!((2..=3).contains(&o.steps), "{o:?}");
    }
}

#[test]
fn a_refused_connection_is_one() {
    let to = SocketAddr::from(([127, 0, 0, 1], free_port("127.0.0.1")));
    for case in ["tcp", "listen"] {
        let o = step(case, to);
        assert_eq!(
            (o.status, &*o.message),
            (Status::Critical, "connect: connection refused")
        );
    }
}

#[test]
fn any_takes_the_first_that_answers() {
    let refused = SocketAddr::from(([127, 0, 0, 1], free_port("127.0.0.1")));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let good = listener.local_addr().unwrap();
    assert_eq!(
        step("any", format!("{refused} {good}")).message,
        good.to_string()
    );
    assert_eq!(
        step("any", format!("{good} {refused}")).message,
        good.to_string()
    );
    assert_eq!(
        step("any", format!("{refused} {refused}")).message,
        "connect: connection refused"
    );
}

#[test]
fn udp_talks_and_hears_a_refusal() {
    let server = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = server.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let (_, from) = server.recv_from(&mut [0; 16]).unwrap();
        server.send_to(b"pong", from).unwrap();
    });
    assert_eq!(step("udp", to).message, "pong");
    thread.join().unwrap();
    assert_eq!(step("udp", to).message, "receive: connection refused");
}

#[test]
fn unix_sockets_talk() {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("lanes.{}.sock", std::process::id()));
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let thread = std::thread::spawn(move || {
        let (mut s, _) = listener.accept().unwrap();
        s.read_exact(&mut [0; 4]).unwrap();
        s.write_all(b"pong").unwrap();
    });
    assert_eq!(step("unix", path.display()).message, "pong");
    thread.join().unwrap();
    assert_eq!(
        step("unix", path.display()).message,
        "connect: connection refused"
    );
    std::fs::remove_file(&path).unwrap();
    assert_eq!(
        step("unix", "/".repeat(200)).message,
        "connect: unix socket path too long"
    );
}

#[test]
fn children_run() {
    assert_eq!(
        step("exec", "cat; echo $K; exit 3").message,
        "Some(3) None inV\n false 0"
    );
    assert_eq!(
        step("exec", "echo longer").message,
        "Some(0) None long true 3"
    );
    assert_eq!(step("exec", "kill -9 $$").message, "None Some(9)  false 0");
    // The children hold the socket; the end of file says that the deadline ended them all.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap().port();
    let script = format!("exec bash -c 'exec 3<>/dev/tcp/127.0.0.1/{to}; sleep 1000 & sleep 1000'");
    let config = healthd_plugin::serde_json::json!({"case": "exec", "at": script});
    let check = MockHost::new(hd_plugin_v1)
        .plugin("children")
        .create(config.to_string())
        .unwrap();
    let waits =
        std::thread::spawn(move || listener.accept().unwrap().0.read(&mut [0; 1]).unwrap_or(0));
    assert_eq!(check.run(Duration::from_secs(5)).code, abi::PENDING);
    assert_eq!(waits.join().unwrap(), 0);
}

#[test]
fn our_own_lack_is_no_alarm() {
    let o = step("no file", "");
    assert_eq!(
        (o.code, &*o.message),
        (abi::E_RESOURCES, "open: too many open files")
    );
}

#[test]
fn the_run_lane_blocks_and_cancels() {
    let plugin = MockHost::new(hd_plugin_v1).plugin("block");
    assert_eq!(
        plugin.create(r#"{"case": ""}"#).unwrap().run(LONG).message,
        "ran"
    );
    let o = plugin.create(r#"{"case": "sleep"}"#).unwrap().run(LONG);
    assert_eq!(o.message, "async I/O is for the step lane only");
    let check = plugin.create(r#"{"case": "until cancelled"}"#).unwrap();
    let (o, took) = check.run_cancelled(LONG, Duration::from_millis(5));
    assert_eq!(o.status, Status::Cancelled);
    assert!(took < LONG);
    assert!(!run_is_cancelled(), "the run is over");
}
