//! Measures the CPU of a check: runs it many times on MockHost and prints user and system time of this process, beside
//! the same request made with hyper.
//!
//! cargo run --release -p healthd-plugin --example load -- FILE.so NAME CONFIG_JSON RUNS [hyper ADDRESS]

#[path = "../tests/support/hyper_io.rs"]
mod hyper_io;

use healthd_plugin::mock::{MockCheck, MockHost};
use healthd_plugin::net::TcpStream;
use healthd_plugin::{Check, Cx, Status, abi, options, plugins};
use http_body_util::{BodyExt, Empty};
use hyper_io::Io;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

/// So many at once, as a worker has them.
const AT_ONCE: usize = 50;
const ROUNDS: usize = 5;

type Entry = extern "C" fn(u32) -> *const abi::HdPlugin;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, name, config, runs, rest @ ..] = arguments.as_slice() else {
        eprintln!("usage: load FILE.so NAME CONFIG_JSON RUNS [hyper ADDRESS]");
        std::process::exit(64);
    };
    let runs: usize = runs.parse().expect("RUNS is a number");
    // SAFETY: a plugin the caller trusts; never unloaded.
    let library = Box::leak(Box::new(
        unsafe { libloading::Library::new(file) }.expect("a plugin"),
    ));
    // SAFETY: the symbol is what the header says.
    let entry = unsafe { library.get::<Entry>(abi::ENTRY) }.expect("a plugin");
    let check = MockHost::new(*entry)
        .plugin(name)
        .create(config)
        .expect("a good config");
    let hyper = match rest {
        [_, address] => {
            let plugin = MockHost::new(hd_plugin_v1).plugin("hyper");
            Some(
                plugin
                    .create(format!(r#"{{"address": "{address}"}}"#))
                    .expect("an address"),
            )
        }
        _ => None,
    };
    for _ in 0..ROUNDS {
        measure(name, &check, runs);
        if let Some(hyper) = &hyper {
            measure("hyper", hyper, runs);
        }
    }
}

fn measure(what: &str, check: &MockCheck, runs: usize) {
    let before = cpu();
    let mut steps = 0;
    for _ in 0..runs.div_ceil(AT_ONCE) {
        for outcome in check.run_many(AT_ONCE, Duration::from_secs(30)) {
            assert_eq!(outcome.status, Status::Ok, "{}", outcome.message);
            steps += outcome.steps;
        }
    }
    let after = cpu();
    let each = |i: usize| (after[i] - before[i]) as f64 / runs as f64;
    let steps = f64::from(steps) / runs as f64;
    println!(
        "{what}: {:.1} us user, {:.1} us system, {steps:.2} steps a check",
        each(0),
        each(1)
    );
}

/// User and system time of this process, in microseconds.
fn cpu() -> [i64; 2] {
    // SAFETY: all zeroes is a valid rusage.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: usage is writable.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut usage) };
    [usage.ru_utime, usage.ru_stime].map(|t| t.tv_sec * 1_000_000 + t.tv_usec)
}

options! {
    struct Options {
        address: String,
    }
}

/// The plainest check hyper can make: the lower bound for a plugin built on it.
struct Hyper(SocketAddr);

impl Check for Hyper {
    type Options = Options;

    fn create(o: Options, _: Cx<'_>) -> Result<Self, String> {
        Ok(Hyper(
            o.address.parse().map_err(|e| format!("address: {e}"))?,
        ))
    }

    async fn check(&self, cx: Cx<'_>) -> Status {
        match get(cx, self.0).await {
            Ok(()) => Status::Ok,
            Err(e) => cx.critical(e),
        }
    }
}

async fn get(cx: Cx<'_>, to: SocketAddr) -> Result<(), Box<dyn std::error::Error>> {
    let stream = TcpStream::start(cx, to)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(Io(stream)).await?;
    let mut work = pin!(async {
        let request = hyper::Request::get("/")
            .header("host", "x")
            .header("connection", "close");
        let answer = sender
            .send_request(request.body(Empty::<&[u8]>::new())?)
            .await?;
        answer.into_body().collect().await?;
        Ok(())
    });
    let mut connection = pin!(connection);
    let mut open = true;
    poll_fn(|task| {
        if let Poll::Ready(done) = work.as_mut().poll(task) {
            return Poll::Ready(done);
        }
        open = open && connection.as_mut().poll(task).is_pending();
        Poll::Pending
    })
    .await
}

plugins! {
    step Hyper { name: "hyper", summary: "the same request made with hyper" }
}
