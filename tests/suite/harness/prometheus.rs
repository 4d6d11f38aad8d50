//! The real Prometheus, in a folder of the test's own and on loopback. It ends with its owner.

use super::ctl::wait_for;
use super::http::{Page, get};
use healthd_testing::free_port;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

pub struct Prometheus {
    child: Child,
    dir: PathBuf,
    pub address: String,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Prometheus {
    /// None: it is not installed. `config`: of its file.
    pub fn start(dir: &Path, config: &str, args: &[&str]) -> Option<Prometheus> {
        std::fs::create_dir_all(dir).expect("our own directory");
        std::fs::write(dir.join("prometheus.yml"), config).expect("our own directory");
        let address = format!("127.0.0.1:{}", free_port("127.0.0.1"));
        let prometheus = Prometheus {
            child: run(dir, &address, args)?,
            dir: dir.to_owned(),
            address,
        };
        prometheus.until_ready();
        Some(prometheus)
    }

    fn until_ready(&self) {
        wait_for("Prometheus is ready", || {
            let listens = std::net::TcpStream::connect(&self.address).is_ok();
            listens && get(&self.address, "/-/ready", &[]).status == 200
        });
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// On the same address, with what it had.
    pub fn restart(&mut self, args: &[&str]) {
        self.kill();
        self.child = run(&self.dir, &self.address, args).expect("it was there");
        self.until_ready();
    }

    pub fn api(&self, path: &str) -> serde_json::Value {
        let page = get(&self.address, &format!("/api/v1/{path}"), &[]);
        serde_json::from_str(&page.body).unwrap_or_default()
    }

    /// The first value.
    pub fn query(&self, query: &str) -> Option<f64> {
        self.query_at(query, None)
    }

    /// `at`: seconds since 1970.
    pub fn query_at(&self, query: &str, at: Option<f64>) -> Option<f64> {
        let at = at.map_or_else(String::new, |at| format!("&time={at}"));
        let answer = self.api(&format!("query?query={}{at}", encoded(query)));
        let value = &answer["data"]["result"][0]["value"][1];
        value.as_str()?.parse().ok()
    }

    /// How many series it has an answer for.
    pub fn count(&self, query: &str) -> usize {
        let answer = self.api(&format!("query?query={}", encoded(query)));
        answer["data"]["result"].as_array().map_or(0, Vec::len)
    }
}

fn encoded(text: &str) -> String {
    text.bytes().map(|b| format!("%{b:02x}")).collect()
}

fn run(dir: &Path, address: &str, args: &[&str]) -> Option<Child> {
    let path = |key: &str, name: &str| format!("{key}={}", dir.join(name).display());
    Command::new("prometheus")
        .arg(path("--config.file", "prometheus.yml"))
        .arg(path("--storage.tsdb.path", "data"))
        .arg(format!("--web.listen-address={address}"))
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()
}

/// What Prometheus' own tool says of a page, which has to be nothing; None: it is not installed.
pub fn promtool(page: &Page) -> Option<String> {
    let mut tool = Command::new("promtool");
    tool.args(["check", "metrics"]).stdin(Stdio::piped());
    let tool = tool.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut tool = tool.ok()?;
    let mut stdin = tool.stdin.take().expect("it is piped");
    stdin.write_all(page.body.as_bytes()).expect("it reads");
    drop(stdin);
    let done = tool.wait_with_output().expect("it ends");
    let said = [done.stdout, done.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(done.status.success(), "{said}\n{}", page.body);
    Some(said)
}
