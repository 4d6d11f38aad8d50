//! The proof of the step lane: tokio-rustls, tokio-postgres and hyper run on the SDK's streams unchanged, without a
//! runtime, against real servers.

#![forbid(unsafe_code)]

#[path = "support/hyper_io.rs"]
mod hyper_io;

use healthd_plugin::mock::{MockHost, Outcome};
use healthd_plugin::net::TcpStream;
use healthd_plugin::tls::{Connector, Roots};
use healthd_plugin::{Check, Cx, Status, net, options, plugins};
use healthd_testing::{Nginx, Postgres};
use http_body_util::{BodyExt, Empty};
use hyper_io::Io;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(30);

options! {
    struct Options {
        library: String,
        port: u16,
        ca_file: Option<String>,
    }
}

struct Proof {
    options: Options,
    tls: Option<Connector>,
}

impl Check for Proof {
    type Options = Options;

    fn create(options: Options, _: Cx<'_>) -> Result<Self, String> {
        let tls = match &options.ca_file {
            Some(file) => Some(Connector::new(&Roots::File(file.into()), "localhost")?),
            None => None,
        };
        Ok(Proof { options, tls })
    }

    async fn check(&self, cx: Cx<'_>) -> Status {
        let to = SocketAddr::from(([127, 0, 0, 1], self.options.port));
        let stream = match TcpStream::connect(cx, to).await {
            Ok(stream) => stream,
            Err(e) => return cx.fail("connect", &e),
        };
        let done = match self.options.library.as_str() {
            "rustls" => self.rustls(stream).await,
            "postgres" => postgres(stream).await,
            _ => hyper(stream).await,
        };
        match done {
            Ok(text) => cx.ok(text),
            Err(e) => cx.critical(e),
        }
    }
}

type Error = Box<dyn std::error::Error>;

impl Proof {
    async fn rustls(&self, stream: TcpStream<'_>) -> Result<String, Error> {
        let mut tls = self
            .tls
            .as_ref()
            .ok_or("no ca_file")?
            .connect(stream)
            .await?;
        net::write_all(&mut tls, b"GET / HTTP/1.0\r\n\r\n").await?;
        // Larger than any buffer on the way, so reading waits several times.
        let (mut all, mut buffer) = (0, vec![0; 4096]);
        loop {
            match net::read(&mut tls, &mut buffer).await? {
                0 => return Ok(all.to_string()),
                n => all += n,
            }
        }
    }
}

/// Runs a library's connection beside the use of it, as a spawned task would.
async fn beside<T, C: Future>(connection: C, work: impl Future<Output = T>) -> T {
    let (mut connection, mut work) = (pin!(connection), pin!(work));
    let mut open = true;
    poll_fn(|task| {
        // The work first: what it sends to the connection wakes it within this step, what it gets back too.
        if let Poll::Ready(done) = work.as_mut().poll(task) {
            return Poll::Ready(done);
        }
        if open {
            open = connection.as_mut().poll(task).is_pending();
        }
        Poll::Pending
    })
    .await
}

async fn postgres(stream: TcpStream<'_>) -> Result<String, Error> {
    let mut config = tokio_postgres::Config::new();
    config
        .user("postgres")
        .dbname("postgres")
        .password(Postgres::PASSWORD);
    let (client, connection) = config.connect_raw(stream, tokio_postgres::NoTls).await?;
    beside(connection, async {
        let row = client.query_one("SELECT 6 * 7, version()", &[]).await?;
        let rows = client
            .query("SELECT generate_series(1, 10000)", &[])
            .await?;
        Ok(format!(
            "{} {} {}",
            row.get::<_, i32>(0),
            &row.get::<_, &str>(1)[..10],
            rows.len()
        ))
    })
    .await
}

async fn hyper(stream: TcpStream<'_>) -> Result<String, Error> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(Io(stream)).await?;
    beside(connection, async {
        let request = hyper::Request::get("/")
            .header("host", "localhost")
            .body(Empty::<&[u8]>::new())?;
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        Ok(format!("{} {}", status.as_u16(), body.len()))
    })
    .await
}

plugins! {
    step Proof { name: "proof", summary: "libraries on the step lane" }
}

fn check(config: healthd_plugin::serde_json::Value) -> Outcome {
    let check = MockHost::new(hd_plugin_v1)
        .plugin("proof")
        .create(config.to_string())
        .unwrap();
    let all = check.run_many(8, LONG);
    assert!(all.iter().all(|o| o.message == all[0].message), "{all:?}");
    check.run(LONG)
}

const BODY: usize = 1_000_000;

fn nginx() -> Option<Nginx> {
    if !Nginx::installed() {
        return None;
    }
    let nginx = Nginx::start("location / { default_type text/plain; }");
    std::fs::write(nginx.root().join("index.html"), "x".repeat(BODY)).unwrap();
    Some(nginx)
}

#[test]
fn tokio_rustls_reads_a_large_answer() {
    let Some(nginx) = nginx() else { return };
    let config = healthd_plugin::serde_json::json!({"library": "rustls", "port": nginx.port_tls, "ca_file": nginx.certs.ca()});
    let o = check(config);
    assert_eq!(o.status, Status::Ok, "{}", o.message);
    assert!(o.message.parse::<usize>().unwrap() > BODY, "{}", o.message);
}

#[test]
fn hyper_reads_a_large_answer() {
    let Some(nginx) = nginx() else { return };
    let o = check(healthd_plugin::serde_json::json!({"library": "hyper", "port": nginx.port}));
    assert_eq!((o.status, &*o.message), (Status::Ok, "200 1000000"));
}

#[test]
fn tokio_postgres_queries() {
    let Some(postgres) = Postgres::start() else {
        return;
    };
    let o =
        check(healthd_plugin::serde_json::json!({"library": "postgres", "port": postgres.port}));
    assert_eq!((o.status, &*o.message), (Status::Ok, "42 PostgreSQL 10000"));
}
