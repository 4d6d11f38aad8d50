//! Example plugins, one for each lane: `redis_ping` waits on the network, `memory_left` blocks. `../../README.md` explains
//! them step by step.

#![forbid(unsafe_code)]

use healthd_plugin::net::TcpStream;
use healthd_plugin::thresholds::Lower;
use healthd_plugin::{BlockingCheck, Check, Cx, Metric, Status, options, plugins};
use std::net::SocketAddr;

options! {
    /// Asks a Redis server whether it is there.
    pub struct RedisOptions {
        /// Address and port, like "127.0.0.1:6379".
        address: String { min_length: 3 },
    }
}

struct Redis {
    address: SocketAddr,
}

impl Check for Redis {
    type Options = RedisOptions;

    fn create(options: RedisOptions, _: Cx<'_>) -> Result<Self, String> {
        let address = options
            .address
            .parse()
            .map_err(|e| format!("address: {e}"))?;
        Ok(Redis { address })
    }

    async fn check(&self, cx: Cx<'_>) -> Status {
        let begun = cx.now_ns();
        cx.phase("connect");
        let stream = match TcpStream::connect(cx, self.address).await {
            Ok(stream) => stream,
            Err(e) => return cx.fail("connect", &e),
        };
        cx.phase("ping");
        if let Err(e) = stream.write_all(b"PING\r\n").await {
            return cx.fail("ping", &e);
        }
        let mut answer = [0; 64];
        let n = match stream.read(&mut answer).await {
            Ok(n) => n,
            Err(e) => return cx.fail("ping", &e),
        };
        cx.metric(
            Metric::new("time", (cx.now_ns() - begun) as f64 / 1e9)
                .unit("s")
                .min(0.0),
        );
        match &answer[..n] {
            b"+PONG\r\n" => cx.ok("PONG"),
            other => cx.critical(format_args!("ping: {:?}", String::from_utf8_lossy(other))),
        }
    }
}

options! {
    /// Looks at the free memory of this machine.
    pub struct MemoryOptions {
        /// Warn below so many percent.
        warn: f64 { min: 0, max: 100 } = 10.0,
        /// Critical below so many percent.
        crit: f64 { min: 0, max: 100 } = 5.0,
    }
}

struct Memory {
    limits: Lower,
}

impl BlockingCheck for Memory {
    type Options = MemoryOptions;

    fn create(options: MemoryOptions, _: Cx<'_>) -> Result<Self, String> {
        if options.crit > options.warn {
            return Err("crit: must not be above warn".into());
        }
        Ok(Memory {
            limits: Lower {
                warn: Some(options.warn),
                crit: Some(options.crit),
            },
        })
    }

    fn run(&self, cx: Cx<'_>) -> Status {
        let text = match std::fs::read_to_string("/proc/meminfo") {
            Ok(text) => text,
            Err(e) => return cx.fail("/proc/meminfo", &e),
        };
        let Some(percent) = available_percent(&text) else {
            return cx.unknown("/proc/meminfo: no MemAvailable");
        };
        cx.metric(
            self.limits.on(Metric::new("available", percent)
                .unit("%")
                .min(0.0)
                .max(100.0)),
        );
        cx.message(format_args!("{percent:.0} % of the memory is available"));
        self.limits.judge(percent)
    }
}

fn available_percent(meminfo: &str) -> Option<f64> {
    let value = |key: &str| {
        meminfo.lines().find_map(|l| {
            l.strip_prefix(key)?
                .split_whitespace()
                .next()?
                .parse::<f64>()
                .ok()
        })
    };
    Some(value("MemAvailable:")? / value("MemTotal:")? * 100.0)
}

plugins! {
    step Redis { name: "redis_ping", summary: "PING to a Redis server", default_timeout_ms: 5_000 }
    run Memory { name: "memory_left", summary: "available memory of this machine" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use healthd_plugin::mock::MockHost;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::time::Duration;

    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn a_server_that_answers() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_exact(&mut [0; 6]).unwrap();
            stream.write_all(b"+PONG\r\n").unwrap();
        });
        let plugin = MockHost::new(hd_plugin_v1).plugin("redis_ping");
        let check = plugin
            .create(format!(r#"{{"address": "{address}"}}"#))
            .unwrap();
        let outcome = check.run(LONG);
        server.join().unwrap();
        assert_eq!((outcome.status, &*outcome.message), (Status::Ok, "PONG"));
        // The listener is gone now.
        assert_eq!(check.run(LONG).message, "connect: connection refused");
    }

    #[test]
    fn memory_of_this_machine() {
        let plugin = MockHost::new(hd_plugin_v1).plugin("memory_left");
        let outcome = plugin
            .create(r#"{"warn": 0, "crit": 0}"#)
            .unwrap()
            .run(LONG);
        assert_eq!(outcome.status, Status::Ok);
        assert_eq!(
            plugin.create(r#"{"crit": 50}"#).err().unwrap(),
            "crit: must not be above warn"
        );
        assert_eq!(
            available_percent("MemTotal: 200 kB\nMemAvailable: 50 kB\n"),
            Some(25.0)
        );
        assert_eq!(available_percent(""), None);
    }
}
