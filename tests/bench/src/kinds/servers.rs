//! What each kind asks when its cost is measured: the real server from Debian, started for it, or this machine.

use healthd_testing::{
    Certs, Dovecot, Exim, MariaDb, Nginx, Postgres, RabbitMq, Server, accepts, free_port, program,
    run, until,
};
use std::any::Any;
use std::net::UdpSocket;
use std::process::Command;

/// Options of checks that end well. What they ask is there as long as this is.
pub struct Target {
    pub options: String,
    _keep: Box<dyn Any>,
}

impl Target {
    fn new(options: impl Into<String>, keep: impl Any) -> Target {
        Target {
            options: options.into(),
            _keep: Box::new(keep),
        }
    }

    /// A server of its own, on loopback.
    fn of(server: Server, more: &str) -> Target {
        Target::new(format!("{}{more}", local(server.port)), server)
    }
}

pub fn local(port: u16) -> String {
    format!("host = \"127.0.0.1\", port = {port}")
}

/// `None`: what it takes is not installed, and a word about that was said.
pub fn target(kind: &str) -> Option<Target> {
    let here = |options: &str| Some(Target::new(options, ()));
    match kind {
        "http" => web("url = \"http://127.0.0.1:PORT/\""),
        "tcp" => web("host = \"127.0.0.1\", port = PORT"),
        "tls" => tls(),
        "websocket" => websocket(),
        "grpc" => etcd(),
        "ping" => here("host = \"127.0.0.1\", packets = 1"),
        "dns" => dns(),
        "ntp" => ntp(),
        "ssh" => ssh(),
        "snmp" => snmp(""),
        "snmp v3" => snmp(
            ", version = \"3\", user = \"u\", auth_password = \"password1\", priv_password = \"password2\"",
        ),
        "smtp" => {
            let exim = Exim::start()?;
            Some(Target::new(local(exim.port()), exim))
        }
        "imap" => dovecot(|d| d.imap),
        "pop3" => dovecot(|d| d.pop3),
        "ldap" => slapd(),
        "mqtt" => mosquitto(),
        "amqp" => {
            let server = RabbitMq::start()?;
            let options = format!(
                "{}, user = \"{}\", password = \"{}\", vhost = \"shop\", queue = \"orders\"",
                local(server.port),
                RabbitMq::USER,
                RabbitMq::PASSWORD
            );
            Some(Target::new(options, server))
        }
        "redis" => simple(
            "redis-server",
            "redis-server",
            &["--save", "", "--bind", "127.0.0.1", "--port"],
            "",
        ),
        "memcached" => simple(
            "memcached",
            "memcached",
            &["-l", "127.0.0.1", "-u", "nobody", "-p"],
            "",
        ),
        "mysql" => {
            let server = MariaDb::start(&[])?;
            let options = format!(
                "socket = \"{}\", user = \"root\"",
                server.socket().display()
            );
            Some(Target::new(options, server))
        }
        "postgres" => {
            let server = Postgres::start()?;
            let options = format!(
                "url = \"postgres://postgres@127.0.0.1:{}/postgres\", password = \"{}\"",
                server.port,
                Postgres::PASSWORD
            );
            Some(Target::new(options, server))
        }
        "sqlite" => sqlite(),
        "certificate" => {
            let certs = Certs::possible().then(Certs::new)?;
            let options = format!(
                "files = [\"{}\"], days_warn = 0, days_crit = 0",
                certs.certificate().display()
            );
            Some(Target::new(options, certs))
        }
        "domain" => domain(),
        "disk" => here(
            "paths = [\"/\"], free_warn = \"0%\", free_crit = \"0%\", inodes_warn = 0, inodes_crit = 0",
        ),
        "mount" => here("paths = [\"/\"]"),
        "file" => here("path = \"/etc/hostname\""),
        "memory" => here("available_warn = \"0%\", available_crit = \"0%\""),
        "load" => here("load5_warn = 1000, load5_crit = 1000"),
        "interface" => here("name = \"lo\""),
        "process" => here("name = \"healthd.*\""),
        "clock" => here("unsynchronised = \"ok\""),
        "log" => here("path = \"/etc/hostname\""),
        "stats" => {
            let folder = healthd_testing::Folder::new();
            let file = folder.write("numbers", "1\n2\n3\n".repeat(1000));
            Some(Target::new(
                format!(
                    "path = \"{}\", format = \"csv\", header = false, column = \"1\"",
                    file.display()
                ),
                folder,
            ))
        }
        "digest" => {
            let folder = healthd_testing::Folder::new();
            folder.write("a", "a");
            let sum = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb  a\n";
            let options = format!("manifest = \"{}\"", folder.write("SUMS", sum).display());
            Some(Target::new(options, folder))
        }
        "exec" => here("argv = [\"/bin/true\"]"),
        "updates" => here("security_crit = 100000, reboot = \"ok\", lists_age_warn = \"1000d\""),
        _ => None,
    }
}

fn web(options: &str) -> Option<Target> {
    let nginx = Nginx::installed().then(|| Nginx::start("location / { return 200 \"ok\\n\"; }"))?;
    let options = options.replace("PORT", &nginx.port.to_string());
    Some(Target::new(options, nginx))
}

/// A program that takes its port as the last word.
fn simple(name: &str, package: &str, arguments: &[&str], more: &str) -> Option<Target> {
    let path = program(name, package)?;
    let server = Server::start(
        |_, port| {
            let mut command = Command::new(&path);
            command.args(arguments).arg(port.to_string());
            command
        },
        |_, port| accepts(port),
    );
    Some(Target::of(server, more))
}

fn tls() -> Option<Target> {
    let certs = Certs::possible().then(Certs::new)?;
    let (pem, key) = (certs.certificate(), certs.key());
    let words = [
        "s_server",
        "-quiet",
        "-www",
        "-cert",
        pem.to_str()?,
        "-key",
        key.to_str()?,
        "-accept",
    ];
    simple(
        "openssl",
        "openssl",
        &words,
        ", insecure = true, days_warn = 0, days_crit = 0",
    )
}

fn websocket() -> Option<Target> {
    const SERVER: &str = "import asyncio, sys, websockets\n\
        async def talk(socket, *_):\n    async for _ in socket: pass\n\
        async def main():\n    async with websockets.serve(talk, '127.0.0.1', int(sys.argv[1])):\n        await asyncio.Future()\n\
        asyncio.run(main())\n";
    let python = program("python3", "python3-websockets")?;
    let there = Command::new(&python)
        .args(["-c", "import websockets"])
        .status();
    if !there.is_ok_and(|s| s.success()) {
        eprintln!("skipped: python3-websockets is not installed");
        return None;
    }
    simple(
        "python3",
        "python3-websockets",
        &["-c", SERVER],
        ", tls = false",
    )
}

fn etcd() -> Option<Target> {
    let etcd = program("etcd", "etcd-server")?;
    let server = Server::start(
        |folder, port| {
            let peers = format!("http://127.0.0.1:{}", free_port("127.0.0.1"));
            let clients = format!("http://127.0.0.1:{port}");
            let mut command = Command::new(&etcd);
            command.arg("--data-dir").arg(folder.file("data"));
            command.args([
                "--listen-client-urls",
                &clients,
                "--advertise-client-urls",
                &clients,
            ]);
            command.args([
                "--listen-peer-urls",
                &peers,
                "--initial-advertise-peer-urls",
                &peers,
            ]);
            command.args(["--initial-cluster", &format!("default={peers}")]);
            command
        },
        |folder, _| folder_log(folder).contains("ready to serve client requests"),
    );
    Some(Target::of(server, ""))
}

fn folder_log(folder: &healthd_testing::Folder) -> String {
    std::fs::read_to_string(folder.file("log")).unwrap_or_default()
}

fn dns() -> Option<Target> {
    let named = program("named", "bind9")?;
    let server = Server::start(
        |folder, port| {
            folder.write(
                "zone",
                "$TTL 300\n@ SOA ns root 1 3600 600 86400 20\n@ NS ns\nns A 127.0.0.1\n",
            );
            let conf = format!(
                "options {{ directory \"{}\"; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; pid-file none;
                   session-keyfile none; recursion no; dnssec-validation no; }};
                 controls {{ }};
                 zone \"example.org\" {{ type primary; file \"zone\"; }};",
                folder.path().display()
            );
            let mut command = Command::new(&named);
            command
                .args(["-g", "-n", "1", "-c"])
                .arg(folder.write("named.conf", conf));
            command
        },
        |folder, _| folder_log(folder).contains("all zones loaded"),
    );
    let options = format!(
        "servers = [\"127.0.0.1:{}\"], name = \"ns.example.org\"",
        server.port
    );
    Some(Target::new(options, server))
}

fn ntp() -> Option<Target> {
    let chronyd = program("chronyd", "chrony")?;
    let server = Server::start(
        |folder, port| {
            let conf = format!(
                "port {port}\nbindaddress 127.0.0.1\nallow 127.0.0.1\ncmdport 0\nbindcmdaddress /\npidfile {}\nlocal stratum 5\n",
                folder.file("pid").display()
            );
            let mut command = Command::new(&chronyd);
            command
                .args(["-d", "-x", "-U", "-u", "root", "-f"])
                .arg(folder.write("chrony.conf", conf));
            command
        },
        |_, port| {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback");
            let _ = socket.set_read_timeout(Some(std::time::Duration::from_millis(50)));
            let mut question = [0; 48];
            question[0] = 0x23;
            let _ = socket.send_to(&question, ("127.0.0.1", port));
            socket.recv(&mut [0; 128]).is_ok()
        },
    );
    let options = format!(
        "server = \"127.0.0.1\", port = {}, samples = 1, offset_warn = \"10s\", offset_crit = \"10s\"",
        server.port
    );
    Some(Target::new(options, server))
}

fn ssh() -> Option<Target> {
    let sshd = program("sshd", "openssh-server")?;
    // Where sshd goes without privileges; systemd makes it elsewhere.
    let _ = std::fs::create_dir_all("/run/sshd");
    let server = Server::start(
        |folder, port| {
            let key = folder.file("key");
            run(Command::new("ssh-keygen")
                .args(["-q", "-N", "", "-t", "ed25519", "-f"])
                .arg(&key));
            let conf = format!(
                "ListenAddress 127.0.0.1:{port}\nHostKey {}\nPidFile none\nUsePAM no\nStrictModes no\nMaxStartups 1000\n",
                key.display()
            );
            let mut command = Command::new(&sshd);
            command
                .args(["-D", "-e", "-f"])
                .arg(folder.write("sshd_config", conf));
            command
        },
        |_, port| accepts(port),
    );
    Some(Target::of(server, ""))
}

fn snmp(more: &str) -> Option<Target> {
    let snmpd = program("snmpd", "snmpd")?;
    let server = Server::start(
        |folder, port| {
            let conf = "rocommunity public 127.0.0.1\nsysName box\ncreateUser u SHA \"password1\" AES \"password2\"\nrouser u priv\n";
            let mut command = Command::new(&snmpd);
            command
                .env("SNMP_PERSISTENT_DIR", folder.file("state"))
                .env("MIBS", "");
            command
                .args(["-f", "-Lo", "-C", "-I", "-smux", "-c"])
                .arg(folder.write("snmpd.conf", conf));
            command.arg(format!("udp:127.0.0.1:{port}"));
            command
        },
        |folder, _| folder_log(folder).contains("NET-SNMP version"),
    );
    Some(Target::of(server, more))
}

fn dovecot(port: fn(&Dovecot) -> u16) -> Option<Target> {
    let dovecot = Dovecot::start(1)?;
    let options = format!("{}, tls = \"none\"", local(port(&dovecot)));
    Some(Target::new(options, dovecot))
}

fn slapd() -> Option<Target> {
    let slapd = program("slapd", "slapd")?;
    let server = Server::start(
        |folder, port| {
            std::fs::create_dir(folder.file("data")).expect("our own folder");
            let conf = format!(
                "include /etc/ldap/schema/core.schema\nmodulepath /usr/lib/ldap\nmoduleload back_mdb\npidfile {0}/pid\n\
                 argsfile {0}/args\ndatabase mdb\nmaxsize 10485760\nsuffix dc=example,dc=org\ndirectory {0}/data\n",
                folder.path().display()
            );
            let mut command = Command::new(&slapd);
            command.arg("-f").arg(folder.write("slapd.conf", conf));
            command.args(["-h", &format!("ldap://127.0.0.1:{port}"), "-d", "0"]);
            command
        },
        |_, port| accepts(port),
    );
    Some(Target::of(server, ""))
}

fn mosquitto() -> Option<Target> {
    let mosquitto = program("mosquitto", "mosquitto")?;
    let server = Server::start(
        |folder, port| {
            let conf = format!("user root\nlistener {port} 127.0.0.1\nallow_anonymous true\n");
            let mut command = Command::new(&mosquitto);
            command.arg("-c").arg(folder.write("mosquitto.conf", conf));
            command
        },
        |_, port| accepts(port),
    );
    Some(Target::of(server, ""))
}

fn sqlite() -> Option<Target> {
    let sqlite = program("sqlite3", "sqlite3")?;
    let folder = healthd_testing::Folder::new();
    let file = folder.file("a.db");
    run(Command::new(sqlite)
        .arg(&file)
        .arg("create table t (n); insert into t values (1);"));
    let options = format!("path = \"{}\", query = \"select n from t\"", file.display());
    Some(Target::new(options, folder))
}

/// A registry that says nothing but when the domain ends. It is asked once: then the answer is good for a day.
fn domain() -> Option<Target> {
    let locations = "location / { default_type application/rdap+json; return 200 '{\"objectClassName\":\"domain\",\
        \"ldhName\":\"example.org\",\"events\":[{\"eventAction\":\"expiration\",\"eventDate\":\"2099-01-01T00:00:00Z\"}]}'; }";
    let nginx = Nginx::installed().then(|| Nginx::start(locations))?;
    let server = format!("http://127.0.0.1:{}/", nginx.port);
    until(|| accepts(nginx.port), String::new);
    Some(Target::new(
        format!("name = \"example.org\", server = \"{server}\""),
        nginx,
    ))
}
