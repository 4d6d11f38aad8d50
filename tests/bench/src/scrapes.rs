//! Scrapes of `/metrics`: our own, by which each page is held against the one before, and those of a real Prometheus.

use healthd_testing::free_port;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub fn get(port: u16, path: &str) -> Result<String, String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).map_err(|e| e.to_string())?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: x\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .map_err(|e| e.to_string())?;
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .map_err(|e| e.to_string())?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.contains(" 200 ") => Ok(body.to_owned()),
        _ => Err(answer.lines().next().unwrap_or_default().to_owned()),
    }
}

/// Ours, and what they showed.
#[derive(Default)]
pub struct Scrapes {
    pub done: usize,
    pub failed: usize,
    /// Of which family how many series went back, over all scrapes.
    pub back: BTreeMap<String, usize>,
    pub slowest: Duration,
    pub bytes: usize,
    before: HashMap<String, f64>,
}

impl Scrapes {
    pub fn scrape(&mut self, port: u16) -> Option<String> {
        let begun = Instant::now();
        self.done += 1;
        let page = match get(port, "/metrics") {
            Ok(page) => page,
            Err(e) => {
                println!("  a scrape failed: {e}");
                self.failed += 1;
                return None;
            }
        };
        self.slowest = self.slowest.max(begun.elapsed());
        self.bytes = page.len();
        let counters = page
            .lines()
            .filter(|l| !l.starts_with('#') && l.contains("_total"));
        for line in counters {
            let Some((series, value)) = line.rsplit_once(' ') else {
                continue;
            };
            let value: f64 = value.parse().unwrap_or(0.0);
            let before = self.before.insert(series.to_owned(), value);
            if before.is_some_and(|before| value < before) {
                let family = series.split('{').next().unwrap_or_default();
                *self.back.entry(family.to_owned()).or_default() += 1;
            }
        }
        Some(page)
    }

    pub fn tell(&self) {
        println!(
            "  scrapes               {:8}  {} failed, {} counters went back, slowest {:.0} ms, {:.1} MB",
            self.done,
            self.failed,
            self.back.values().sum::<usize>(),
            self.slowest.as_secs_f64() * 1e3,
            self.bytes as f64 / 1e6
        );
        for (family, times) in &self.back {
            println!("    went back           {times:8}  {family}");
        }
    }
}

pub fn promtool(page: &str) -> String {
    let tool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut tool) = tool else {
        return "promtool is not installed".into();
    };
    if let Some(mut stdin) = tool.stdin.take() {
        let _ = stdin.write_all(page.as_bytes());
    }
    match tool.wait_with_output() {
        Ok(done) => format!(
            "promtool check metrics: rc {}{}",
            done.status.code().unwrap_or(-1),
            String::from_utf8_lossy(&done.stderr)
        ),
        Err(e) => e.to_string(),
    }
}

/// A real one, which scrapes each 15 s.
pub struct Prometheus {
    child: Child,
    port: u16,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Prometheus {
    /// None: it is not installed.
    pub fn start(dir: &Path, target: u16) -> Result<Option<Prometheus>, String> {
        let port = free_port("127.0.0.1");
        let config = dir.join("prometheus.yml");
        let text = format!(
            "global: {{scrape_interval: 15s}}\nscrape_configs:\n- job_name: healthd\n  static_configs: [{{targets: ['127.0.0.1:{target}']}}]\n"
        );
        fs::write(&config, text).map_err(|e| e.to_string())?;
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                dir.join("tsdb").display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Ok(child.ok().map(|child| Prometheus { child, port }))
    }

    fn query(&self, query: &str) -> String {
        let encoded: String = query.bytes().map(|b| format!("%{b:02x}")).collect();
        let page = get(self.port, &format!("/api/v1/query?query={encoded}"));
        let answer: serde_json::Value = page
            .ok()
            .and_then(|page| serde_json::from_str(&page).ok())
            .unwrap_or_default();
        let value = &answer["data"]["result"][0]["value"][1];
        value.as_str().unwrap_or("?").to_owned()
    }

    pub fn tell(&self) {
        println!(
            "  Prometheus            {:>8} scrapes, {} failed, {} samples each, {} s the slowest",
            self.query("count_over_time(up[2d])"),
            self.query("count_over_time(up[2d]) - sum_over_time(up[2d])"),
            self.query("max_over_time(scrape_samples_scraped[2d])"),
            self.query("max_over_time(scrape_duration_seconds[2d])"),
        );
    }
}
