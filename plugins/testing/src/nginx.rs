//! The real nginx, unprivileged, in a folder of its own.

use crate::{Certs, Folder, Process, free_port};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const ATTEMPTS: usize = 20;

/// nginx on IPv4, IPv6, TLS and a unix socket, all with the same locations.
#[derive(Debug)]
pub struct Nginx {
    pub port: u16,
    pub port_v6: u16,
    pub port_tls: u16,
    pub unix: PathBuf,
    pub certs: Certs,
    _process: Process,
    folder: Folder,
}

impl Nginx {
    /// False, and a word about it, if nginx or what makes its certificates is missing.
    pub fn installed() -> bool {
        if !Path::new("/usr/sbin/nginx").exists() {
            eprintln!("skipped: nginx is missing (package nginx-light)");
            return false;
        }
        Certs::possible()
    }

    /// The URL of `path` over plain HTTP and IPv4.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// The folder whose files it serves where no location says otherwise.
    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    /// `locations`: `location` blocks for the config.
    pub fn start(locations: &str) -> Nginx {
        let certs = Certs::new();
        let (pem, key) = (certs.certificate(), certs.key());
        Nginx::start_with(locations, certs, &pem, &key)
    }

    /// With this certificate and key instead of the good ones.
    pub fn start_with(locations: &str, certs: Certs, pem: &Path, key: &Path) -> Nginx {
        for _ in 0..ATTEMPTS {
            let folder = Folder::new();
            let unix = folder.file("web.sock");
            let [port, port_v6, port_tls] = ["127.0.0.1", "::1", "127.0.0.1"].map(free_port);
            let config = config(
                folder.path(),
                [port, port_v6, port_tls],
                pem,
                key,
                locations,
            );
            let config = folder.write("nginx.conf", config);
            let child = Command::new("/usr/sbin/nginx")
                .arg("-p")
                .arg(folder.path())
                .arg("-c")
                .arg(&config)
                .stdin(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("nginx is needed for this test");
            // nginx writes its pid once all sockets listen. One taken by somebody else is logged, tried again for
            // seconds, and then ends it.
            let mut process = Process(child);
            let log = || std::fs::read_to_string(folder.file("error.log")).unwrap_or_default();
            let taken = || log().contains("Address already in use");
            let up = loop {
                if folder.file("pid").exists() {
                    break true;
                }
                let ended = process.0.try_wait().expect("our own child").is_some();
                if taken() {
                    break false;
                }
                assert!(!ended, "nginx did not start: {}", log());
                std::thread::yield_now();
            };
            if up {
                return Nginx {
                    port,
                    port_v6,
                    port_tls,
                    unix,
                    certs,
                    _process: process,
                    folder,
                };
            }
        }
        panic!("no free ports in {ATTEMPTS} attempts");
    }
}

fn config(folder: &Path, ports: [u16; 3], pem: &Path, key: &Path, locations: &str) -> String {
    let (folder, pem, key) = (folder.display(), pem.display(), key.display());
    let [port, port_v6, port_tls] = ports;
    let temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {folder}/{name};"))
        .join("\n");
    format!(
        "daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
         events {{ worker_connections 1024; }}
         http {{
           access_log off; {temp}
           server {{
             listen 127.0.0.1:{port} backlog=4096; listen [::1]:{port_v6}; listen unix:{folder}/web.sock;
             listen 127.0.0.1:{port_tls} ssl; ssl_certificate {pem}; ssl_certificate_key {key};
             root {folder}; {locations}
           }}
         }}"
    )
}
