//! What the demo checks: servers of its own, the config that names them, and what had to be left out.

use crate::folder::Folder;
use crate::postgres::Postgres;
use crate::programs::Programs;
use crate::show;
use crate::web::Web;
use rustix::net::{AddressFamily, SocketAddrV4, SocketType};
use std::fmt::Write;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::path::Path;

pub struct Scene {
    pub web: Web,
    /// Where healthd's own page is.
    pub page: String,
    /// The checks, as name and what is special about it.
    pub checks: Vec<&'static str>,
    /// What is not shown, and why.
    pub left_out: Vec<(&'static str, String)>,
    _closed: Option<OwnedFd>,
    _postgres: Option<Postgres>,
}

const HEAD: &str = r#"
[pool.cpu]
workers = 1

[defaults]
interval = "1s"
timeout = "2s"
attempts = 2
retry_interval = "500ms"
"#;

impl Scene {
    /// Starts the servers and writes the config.
    pub fn set(folder: &Folder, programs: &Programs, moody: bool) -> Result<Scene, String> {
        for (name, file) in &programs.plugins {
            folder.copy(file, &format!("plugins/libhealthd_{name}.so"))?;
        }
        // Free a moment ago, and healthd takes it next.
        let (held, page) = closed_port().map_err(|e| format!("a port of 127.0.0.1: {e}"))?;
        drop(held);
        let page = format!("127.0.0.1:{page}");
        let mut scene = Scene {
            web: Web::start(moody)?,
            page: format!("http://{page}/"),
            checks: Vec::new(),
            left_out: Vec::new(),
            _closed: None,
            _postgres: None,
        };
        let mut config = format!(
            "# Made by the demo.\n[daemon]\nplugin_dir = {:?}\nruntime_dir = {:?}\nstate_dir = {:?}\nstop_grace = \"3s\"\n[web]\nlisten = {page:?}\n[history]\n{HEAD}",
            folder.path("plugins"),
            folder.path("run"),
            folder.path("state"),
        );
        let text = &mut config;
        let port = scene.web.address.port();
        scene.add(
            text,
            programs,
            "shop/front",
            "http",
            &format!("url = \"http://127.0.0.1:{port}/\", latency_warn = \"200ms\""),
        );
        scene.add(text, programs, "shop/stock", "http", &format!(
            "url = \"http://127.0.0.1:{port}/api/stock\", json_path = \"$.state\", json_equals = \"up\""
        ));
        scene.add(
            text,
            programs,
            "shop/port",
            "tcp",
            &format!("host = \"127.0.0.1\", port = {port}"),
        );
        match closed_port() {
            Ok((closed, port)) => {
                let options = format!("host = \"127.0.0.1\", port = {port}");
                scene.add(text, programs, "shop/nobody-listens", "tcp", &options);
                scene._closed = Some(closed);
            }
            Err(e) => scene.left_out.push(("shop/nobody-listens", e.to_string())),
        }
        scene.add(text, programs, "machine/cpu", "cpu", "duration = \"50ms\"");
        scene.programs(text, programs);
        match sqlite(&folder.path("orders.db")) {
            Ok(()) => {
                let options = format!(
                    "path = {:?}, query = \"select count(*) from orders where state = 'open'\"",
                    folder.path("orders.db")
                );
                scene.add(text, programs, "shop/orders", "sqlite", &options);
            }
            Err(e) => scene.left_out.push(("shop/orders", e.to_string())),
        }
        scene.postgres(text, folder, programs);
        folder.write("healthd.toml", text)?;
        Ok(scene)
    }

    fn add(
        &mut self,
        config: &mut String,
        programs: &Programs,
        name: &'static str,
        plugin: &str,
        options: &str,
    ) {
        if !programs.has(plugin) {
            return self
                .left_out
                .push((name, format!("there is no plugin `{plugin}`")));
        }
        let block = format!(
            "\n[[check]]\nname = {name:?}\nplugin = {plugin:?}\nconfig = {{ {options} }}\n"
        );
        config.push_str(&block);
        self.checks.push(name);
    }

    /// Nagios plugins, if there are any; else a program that is everywhere.
    fn programs(&mut self, config: &mut String, programs: &Programs) {
        let folders = [
            "/usr/lib/nagios/plugins",
            "/usr/lib64/nagios/plugins",
            "/usr/lib/monitoring-plugins",
        ];
        let mut found = false;
        for (name, program, arguments) in [
            (
                "machine/load",
                "check_load",
                ["-w", "50,50,50", "-c", "99,99,99", "-r"].as_slice(),
            ),
            (
                "machine/disk",
                "check_disk",
                &["-w", "5%", "-c", "1%", "-p", "/"],
            ),
        ] {
            let files = folders.iter().map(|folder| Path::new(folder).join(program));
            if let Some(file) = files.into_iter().find(|file| file.exists()) {
                let mut argv = format!("{file:?}");
                for argument in arguments {
                    let _ = write!(argv, ", {argument:?}");
                }
                self.add(config, programs, name, "exec", &format!("argv = [{argv}]"));
                found = true;
            }
        }
        if !found {
            let why = "no Nagios plugins are installed (Debian's package is `monitoring-plugins-basic`); `uptime` stands in";
            self.left_out
                .push(("machine/load, machine/disk", why.into()));
            self.add(
                config,
                programs,
                "machine/uptime",
                "exec",
                "argv = [\"uptime\"]",
            );
        }
    }

    fn postgres(&mut self, config: &mut String, folder: &Folder, programs: &Programs) {
        let name = "shop/database";
        if !programs.has("postgres") {
            return self.add(config, programs, name, "postgres", "");
        }
        show::say("starting PostgreSQL ...");
        match Postgres::start(folder) {
            Ok(server) => {
                let options = format!(
                    "url = \"postgres://demo@127.0.0.1:{}/postgres?sslmode=disable\", query = \"select count(*) from pg_stat_activity\"",
                    server.port
                );
                self.add(config, programs, name, "postgres", &options);
                self._postgres = Some(server);
            }
            Err(why) => self.left_out.push((name, why)),
        }
    }
}

/// A port that is taken, but where nobody listens.
fn closed_port() -> rustix::io::Result<(OwnedFd, u16)> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    rustix::net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?;
    let address = std::net::SocketAddr::try_from(rustix::net::getsockname(&socket)?)?;
    Ok((socket, address.port()))
}

fn sqlite(path: &Path) -> rusqlite::Result<()> {
    rusqlite::Connection::open(path)?.execute_batch(
        "create table orders (id integer primary key, state text not null);
         insert into orders (state) values ('open'), ('open'), ('sent'), ('sent'), ('sent');",
    )
}
