//! Which plugin asks which server: by the name of its process, else by its port.

use super::listeners::Listener;
use super::{Candidate, Way};
use std::path::Path;
use toml::{Table, Value};

struct Service {
    processes: &'static [&'static str],
    ports: &'static [u16],
    udp: bool,
    ways: Ways,
}

const SERVICES: &[Service] = &[
    tcp(&[], &[443, 8443], over_tls),
    tcp(
        &[
            "nginx", "apache2", "httpd", "lighttpd", "caddy", "haproxy", "traefik", "varnishd",
        ],
        &[80, 8000, 8080, 8081, 8888, 3000, 9090, 9100],
        |l| {
            let url = format!("http://{}:{}/", bracketed(&l.host), l.port);
            let url = Table::new().and("url", url);
            // A login page, or no page at all, is an answer too.
            let any = url
                .clone()
                .and("status", Value::Array(vec!["200-499".into()]));
            vec![of("http", url), of("http", any), port(l)]
        },
    ),
    tcp(&["sshd", "dropbear"], &[22], |l| asked("ssh", l)),
    tcp(&["postgres", "pgbouncer"], &[5432, 6432], |l| {
        vec![port(l).hint("a login, a query, a standby: healthctl plugins show postgres")]
    }),
    tcp(&["mysqld", "mariadbd"], &[3306], |l| {
        vec![port(l).hint("a login, a query, replicas, Galera: healthctl plugins show mysql")]
    }),
    tcp(
        &["redis-server", "valkey-server", "keydb-server"],
        &[6379],
        |l| {
            let with_password = "with its password: healthctl plugins show redis";
            vec![of("redis", with_host(l)), port(l).hint(with_password)]
        },
    ),
    tcp(&["memcached"], &[11211], |l| asked("memcached", l)),
    tcp(&["rabbitmq", "beam.smp"], &[5672], |l| {
        vec![port(l).hint("a login, a queue and its messages: healthctl plugins show amqp")]
    }),
    tcp(&["mosquitto"], &[1883], |l| {
        let with_login = "with user and password: healthctl plugins show mqtt";
        vec![of("mqtt", with_host(l)), port(l).hint(with_login)]
    }),
    tcp(&["slapd"], &[389], |l| asked("ldap", l)),
    tcp(&["master", "exim4", "smtpd", "sendmail"], &[25, 587], |l| {
        asked("smtp", l)
    }),
    tcp(&[], &[143], |l| {
        vec![of("imap", with_host(l).and("tls", "none")), port(l)]
    }),
    tcp(&[], &[110], |l| {
        vec![of("pop3", with_host(l).and("tls", "none")), port(l)]
    }),
    tcp(&[], &[465, 993, 995, 636, 5671, 8883], over_tls),
    udp(
        &[
            "named",
            "unbound",
            "dnsmasq",
            "knotd",
            "pdns_server",
            "pdns_recursor",
            "systemd-resolve",
        ],
        &[53],
        |l| {
            let server = format!("{}:{}", bracketed(&l.host), l.port);
            let servers = Value::Array(vec![server.into()]);
            let ask = Table::new()
                .and("servers", servers)
                .and("name", ".")
                .and("type", "NS");
            vec![of("dns", ask).hint("a name that matters to you in place of the root")]
        },
    ),
    udp(&["chronyd", "ntpd"], &[123], |l| {
        vec![of("ntp", Table::new().and("server", l.host.clone()))]
    }),
    udp(&["snmpd"], &[161], |l| {
        vec![of("snmp", Table::new().and("host", l.host.clone()))]
    }),
];

type Ways = fn(&Listener) -> Vec<Way>;

const fn tcp(processes: &'static [&'static str], ports: &'static [u16], ways: Ways) -> Service {
    Service {
        processes,
        ports,
        udp: false,
        ways,
    }
}

const fn udp(processes: &'static [&'static str], ports: &'static [u16], ways: Ways) -> Service {
    Service {
        udp: true,
        ..tcp(processes, ports, ways)
    }
}

/// By its own plugin, which needs to know no more than where it is; else by its port.
fn asked(plugin: &'static str, l: &Listener) -> Vec<Way> {
    vec![of(plugin, with_host(l)), port(l)]
}

fn over_tls(l: &Listener) -> Vec<Way> {
    let any = with_host(l).and("insecure", true);
    vec![of("tls", any).hint(SITE), port(l)]
}

const SITE: &str = "verified for its name: `host` or `server_name` of your site, without `insecure`; or the plugin http";

/// A check for each server. Ports from here on are handed out to whoever asks, and others tomorrow.
pub fn of_listeners(listeners: &[Listener]) -> Vec<Candidate> {
    const HANDED_OUT: u16 = 32_768;
    let mut found: Vec<Candidate> = Vec::new();
    for listener in listeners {
        let is_ours = listener
            .process
            .as_deref()
            .is_some_and(|p| p.starts_with("healthd"));
        let Some(ways) = ways(listener, HANDED_OUT).filter(|_| !is_ours) else {
            continue;
        };
        let what = listener.process.as_deref().unwrap_or("Somebody");
        let kind = if listener.udp { "UDP port" } else { "port" };
        let on = match listener.host.as_str() {
            "localhost" => String::new(),
            host => format!(" of {host}"),
        };
        let name = match &listener.process {
            Some(process) => format!("{}/{}", plain(process), listener.port),
            None => format!("port/{}", listener.port),
        };
        // The same server by UDP and TCP is one check.
        if found.iter().any(|c| c.name == name) {
            continue;
        }
        found.push(Candidate {
            name,
            found: format!("{what} listens on {kind} {}{on}", listener.port),
            ways,
            is_machine: false,
        });
    }
    found
}

fn ways(listener: &Listener, handed_out: u16) -> Option<Vec<Way>> {
    let of_kind = || SERVICES.iter().filter(|s| s.udp == listener.udp);
    let by_port = of_kind().find(|s| s.ports.contains(&listener.port));
    let by_process = (listener.process.as_deref())
        .and_then(|process| of_kind().find(|s| s.processes.contains(&process)));
    // TLS is on its port whoever serves it; elsewhere the process says more than the port.
    let is_tls = by_port.is_some_and(|s| s.processes.is_empty());
    let service = if is_tls {
        by_port
    } else {
        by_process.or(by_port)
    };
    match service {
        Some(service) => Some((service.ways)(listener)),
        // DNS over TCP is that of UDP; what else is on UDP nobody knows how to ask.
        None if listener.udp || listener.port == 53 => None,
        None if listener.port >= handed_out => None,
        None => Some(vec![port(listener)]),
    }
}

/// The machine itself. `root` is /.
pub fn of_machine(root: &Path) -> Vec<Candidate> {
    let check = |name: &str, found: &str, plugin| Candidate {
        name: name.to_owned(),
        found: found.to_owned(),
        ways: vec![of(plugin, Table::new())],
        is_machine: true,
    };
    let mut all = vec![
        check("machine/disks", "The file systems of this machine", "disk"),
        check("machine/memory", "Its memory", "memory"),
        check("machine/load", "Its processors", "load"),
        check("machine/clock", "Its clock", "clock"),
    ];
    if root.join("run/systemd/system").is_dir() {
        all.push(check(
            "machine/units",
            "Units of systemd that have failed",
            "systemd",
        ));
    }
    let arrays = std::fs::read_to_string(root.join("proc/mdstat")).unwrap_or_default();
    if arrays.lines().any(|line| line.starts_with("md")) {
        all.push(check("machine/raid", "Software RAID", "raid"));
    }
    all
}

fn of(plugin: &'static str, options: Table) -> Way {
    Way {
        plugin,
        options,
        hint: None,
    }
}

/// That somebody listens: what can be asked of every server.
fn port(listener: &Listener) -> Way {
    of("tcp", with_host(listener))
}

fn with_host(listener: &Listener) -> Table {
    Table::new()
        .and("host", listener.host.clone())
        .and("port", i64::from(listener.port))
}

/// As an address stands before a colon.
fn bracketed(host: &str) -> String {
    match host.contains(':') {
        true => format!("[{host}]"),
        false => host.to_owned(),
    }
}

/// Of a process's name what a check's name may have.
fn plain(process: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    process
        .chars()
        .map(|c| if is_plain(c) { c } else { '-' })
        .collect()
}

impl Way {
    fn hint(self, hint: &'static str) -> Way {
        Way {
            hint: Some(hint),
            ..self
        }
    }
}

trait And {
    fn and(self, key: &str, value: impl Into<Value>) -> Self;
}

impl And for Table {
    fn and(mut self, key: &str, value: impl Into<Value>) -> Table {
        self.insert(key.to_owned(), value.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(process: Option<&str>, port: u16, host: &str) -> Listener {
        Listener {
            udp: false,
            port,
            host: host.into(),
            process: process.map(str::to_owned),
        }
    }

    fn first(listener: &Listener) -> Option<(String, &'static str)> {
        let all = of_listeners(std::slice::from_ref(listener));
        all.first().map(|c| (c.name.clone(), c.ways[0].plugin))
    }

    #[test]
    fn a_server_is_known_by_its_process_or_by_its_port() {
        for (process, port, plugin) in [
            (Some("nginx"), 80, Some("http")),
            (Some("nginx"), 4000, Some("http")),
            (Some("nginx"), 443, Some("tls")),
            (None, 22, Some("ssh")),
            (Some("python3"), 8000, Some("http")),
            (Some("postgres"), 5433, Some("tcp")),
            (Some("redis-server"), 6380, Some("redis")),
            (Some("java"), 9200, Some("tcp")),
            // Another one tomorrow.
            (Some("rpc.statd"), 40_123, None),
            (Some("redis-server"), 40_123, Some("redis")),
            (Some("healthd-web"), 8420, None),
            (Some("named"), 53, None),
        ] {
            let found = first(&listener(process, port, "localhost")).map(|(_, plugin)| plugin);
            assert_eq!(found, plugin, "{process:?} {port}");
        }
        let dns = Listener {
            udp: true,
            ..listener(Some("unbound"), 53, "127.0.0.1")
        };
        assert_eq!(first(&dns), Some(("unbound/53".into(), "dns")));
        let unknown = Listener {
            udp: true,
            ..listener(Some("avahi-daemon"), 5353, "localhost")
        };
        assert_eq!(first(&unknown), None);
    }

    #[test]
    fn names_and_addresses_can_be_written() {
        let odd = listener(Some("a*b{c}"), 80, "::1");
        let found = of_listeners(&[odd]);
        assert_eq!(found[0].name, "a-b-c-/80");
        let url = found[0].ways[0].options["url"].as_str();
        assert_eq!(url, Some("http://[::1]:80/"));
        assert_eq!(found[0].ways.last().map(|way| way.plugin), Some("tcp"));
    }
}
