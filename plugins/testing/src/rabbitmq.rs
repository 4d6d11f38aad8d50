//! Debian's RabbitMQ in a folder of its own: one user, one virtual host, one queue.

use crate::{Certs, Folder, Server, accepts, free_port, program};
use std::process::Command;

/// The queue `orders` of the virtual host `shop`, in plain and inside of TLS.
#[derive(Debug)]
pub struct RabbitMq {
    pub port: u16,
    pub secure: u16,
    pub certs: Certs,
    server: Server,
    _mapper: Server,
}

const DEFINITIONS: &str = r#"{
  "users": [
    {"name": "health", "password": "s3cret", "tags": ""}],
  "vhosts": [{"name": "shop"}],
  "permissions": [
    {"user": "health", "vhost": "shop", "configure": "", "write": ".*", "read": ".*"}],
  "queues": [{"name": "orders", "vhost": "shop", "durable": true, "auto_delete": false, "arguments": {}}],
  "exchanges": [], "bindings": []
}"#;

impl RabbitMq {
    pub const USER: &str = "health";
    pub const PASSWORD: &str = "s3cret";

    /// None, and a word about it, if it is not installed.
    ///
    /// # Panics
    /// With its log, if it does not start.
    pub fn start() -> Option<RabbitMq> {
        program("rabbitmq-server", "rabbitmq-server")?;
        let epmd = program("epmd", "erlang-base")?;
        if !Certs::possible() {
            return None;
        }
        let certs = Certs::new();
        let mapper = Server::start(
            |_, port| {
                let mut command = Command::new(&epmd);
                command.args(["-address", "127.0.0.1", "-port", &port.to_string()]);
                command
            },
            |_, port| accepts(port),
        );
        let secure = free_port("127.0.0.1");
        let server = Server::start(
            |folder, port| rabbit(folder, port, secure, mapper.port, &certs),
            |folder, port| {
                let log = std::fs::read_to_string(folder.file("log")).unwrap_or_default();
                log.contains("Server startup complete") && accepts(port) && accepts(secure)
            },
        );
        Some(RabbitMq {
            port: server.port,
            secure,
            certs,
            server,
            _mapper: mapper,
        })
    }

    pub fn log(&self) -> String {
        self.server.log()
    }
}

/// A node with a port mapper of its own: that of the machine is another's.
fn rabbit(folder: &Folder, port: u16, secure: u16, mapper: u16, certs: &Certs) -> Command {
    let definitions = folder.write("definitions.json", DEFINITIONS);
    let conf = format!(
        "listeners.tcp.1 = 127.0.0.1:{port}\nlisteners.ssl.1 = 127.0.0.1:{secure}\nload_definitions = {}\n\
         ssl_options.cacertfile = {}\nssl_options.certfile = {}\nssl_options.keyfile = {}\nlog.console = true\n",
        definitions.display(),
        certs.ca().display(),
        certs.certificate().display(),
        certs.key().display(),
    );
    let conf = folder.write("rabbitmq.conf", conf);
    let own = folder.path();
    let mut command = Command::new("/usr/lib/rabbitmq/bin/rabbitmq-server");
    command
        .env("HOME", own)
        .env("LANG", "C.UTF-8")
        .env("ERL_EPMD_PORT", mapper.to_string())
        .env("ERL_EPMD_ADDRESS", "127.0.0.1")
        .env("RABBITMQ_NODENAME", format!("hd{port}@localhost"))
        .env("RABBITMQ_DIST_PORT", free_port("127.0.0.1").to_string())
        .env("RABBITMQ_MNESIA_BASE", own.join("db"))
        .env("RABBITMQ_LOG_BASE", own)
        .env("RABBITMQ_LOGS", "-")
        .env("RABBITMQ_CONFIG_FILE", conf)
        .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
        .env("RABBITMQ_GENERATED_CONFIG_DIR", own)
        .env(
            "RABBITMQ_ENABLED_PLUGINS_FILE",
            folder.write("enabled", "[].\n"),
        )
        .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "+S 1 +sbwt none")
        // In the foreground, without a process around it.
        .env("RUNNING_UNDER_SYSTEMD", "1");
    command
}
