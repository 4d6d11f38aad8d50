//! The other programs of a measurement: nginx as the target, a target that never answers, HAProxy beside us.

use healthd_testing::free_port;
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A server that ends with its owner.
pub struct Server {
    child: Child,
    pub dir: PathBuf,
    pub port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.child.id() as i32);
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::SIGTERM);
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn wait_for(port: u16, what: &str) -> Result<(), String> {
    let deadline = Instant::now() + Duration::from_secs(30);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if Instant::now() > deadline {
            return Err(format!("{what} did not come up"));
        }
        std::thread::yield_now();
    }
    Ok(())
}

pub fn installed(program: &str) -> Option<PathBuf> {
    ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"]
        .iter()
        .map(|d| Path::new(d).join(program))
        .find(|p| p.exists())
}

/// Answers 200 on every loopback address, closes each connection, logs `MSEC URI`.
pub fn nginx() -> Result<Server, String> {
    nginx_with("$msec $uri", "", "location / { return 200 \"ok\\n\"; }")
}

/// With this format of its log, and these parts of its config.
pub fn nginx_with(format: &str, http: &str, server: &str) -> Result<Server, String> {
    let program =
        installed("nginx").ok_or("nginx is not installed: apt-get install nginx-light")?;
    let dir = crate::daemon::temp_dir("nginx")?;
    let port = free_port("127.0.0.1");
    let d = dir.display();
    let config = format!(
        "daemon off;\nmaster_process off;\npid {d}/pid;\nerror_log {d}/error.log;\nevents {{ worker_connections 8192; }}\n\
         http {{\n  log_format bench '{format}'; {http}\n  access_log {d}/access.log bench buffer=64k flush=1s;\n\
         client_body_temp_path {d}/t1; proxy_temp_path {d}/t2; fastcgi_temp_path {d}/t3; uwsgi_temp_path {d}/t4; scgi_temp_path {d}/t5;\n\
         keepalive_timeout 0;\n  server {{ listen {port} backlog=8192; {server} }}\n}}\n"
    );
    fs::write(dir.join("nginx.conf"), config).map_err(|e| e.to_string())?;
    let child = Command::new(program)
        .arg("-p")
        .arg(&dir)
        .arg("-c")
        .arg(dir.join("nginx.conf"))
        .arg("-e")
        .arg(dir.join("error.log"))
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| format!("nginx: {e}"))?;
    let server = Server { child, dir, port };
    wait_for(port, "nginx")?;
    Ok(server)
}

/// The same checks by HAProxy, which does nothing else here, every 2 s. None: it is not installed.
pub fn haproxy(checks: usize, target: u16) -> Result<Option<Server>, String> {
    haproxy_with(
        "spread-checks 50",
        &format!("{HTTPCHK}\n  default-server inter 2s"),
        |i| format!("127.1.{}.{}:{target}", i / 250, 1 + i % 250),
        checks,
    )
}

/// Of its backend: asks as healthd's http plugin does.
pub const HTTPCHK: &str =
    "option httpchk\n  http-check send meth GET uri /haproxy ver HTTP/1.1 hdr Host localhost";

/// With these keys of its global section and of its backend; `target`: the address of a server by number.
pub fn haproxy_with(
    global: &str,
    backend: &str,
    target: impl Fn(usize) -> String,
    checks: usize,
) -> Result<Option<Server>, String> {
    let Some(program) = installed("haproxy") else {
        return Ok(None);
    };
    let dir = crate::daemon::temp_dir("haproxy")?;
    let port = free_port("127.0.0.1");
    let mut config = format!(
        "global\n  maxconn 100\n  nbthread 1\n  {global}\ndefaults\n  mode http\n  timeout connect 5s\n  timeout server 5s\n  timeout client 5s\n\
         listen front\n  bind 127.0.0.1:{port}\n  http-request return status 200\nbackend checked\n  {backend}\n"
    );
    for i in 0..checks {
        config += &format!("  server s{i} {} check\n", target(i));
    }
    fs::write(dir.join("haproxy.cfg"), config).map_err(|e| e.to_string())?;
    let child = Command::new(program)
        .args(["-db", "-q", "-f"])
        .arg(dir.join("haproxy.cfg"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| format!("haproxy: {e}"))?;
    let server = Server { child, dir, port };
    wait_for(port, "haproxy")?;
    Ok(Some(server))
}

impl Server {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}
