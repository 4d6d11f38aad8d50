//! A real Exim, with a mailbox.

use crate::{Certs, Server, accepts, program};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

/// A mailbox for example.org, on a port of its own, with STARTTLS and accounts.
pub struct Exim {
    pub certs: Certs,
    server: Server,
    port: u16,
}

impl Exim {
    pub const USER: &str = "ana";
    pub const PASSWORD: &str = "s3cret \"x\\";

    /// None: it is not installed, or cannot run here.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start() -> Option<Exim> {
        Exim::on(None)
    }

    /// On the port that mail has, as on a machine with a mail server of its own: for a test with a network of its own.
    ///
    /// # Panics
    /// If it does not start.
    pub fn on_the_port_of_mail() -> Option<Exim> {
        Exim::on(Some(25))
    }

    fn on(fixed: Option<u16>) -> Option<Exim> {
        let exim = program("exim4", "exim4-daemon-light")?;
        let root = std::fs::metadata("/proc/self").is_ok_and(|of| of.uid() == 0);
        if !Certs::possible() || !root {
            eprintln!("skipped: exim needs root");
            return None;
        }
        let certs = Certs::new();
        let open_to = |path: &Path, mode| {
            std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("our own file");
        };
        // It reads it, and writes its log, as a user of its own.
        open_to(&certs.key(), 0o644);
        let server = Server::start(
            |folder, port| {
                open_to(folder.path(), 0o777);
                let spool = folder.file("spool");
                std::fs::create_dir(&spool).expect("a new folder");
                open_to(&spool, 0o777);
                open_to(&folder.write("log", ""), 0o666);
                for log in ["main", "panic", "reject"] {
                    symlink(folder.file("log"), spool.join(log)).expect("a new folder");
                }
                folder.write("secret", Exim::PASSWORD);
                let dir = folder.path().display();
                let secret = format!("${{readfile{{{dir}/secret}}}}");
                let conf = format!(
                    "primary_hostname = mail.example.org\nspool_directory = {dir}/spool\nlog_file_path = {dir}/spool/%s\n\
                     local_interfaces = 127.0.0.1\ndaemon_startup_retries = 0\nkeep_environment =\nnotifier_socket =\n\
                     tls_advertise_hosts = *\ntls_certificate = {}\ntls_privatekey = {}\nacl_smtp_rcpt = rcpt\nacl_smtp_data = data\n\
                     rfc1413_query_timeout = 0s\nhost_lookup =\ndeliver_drop_privilege = true\nbegin acl\ndata:\n accept\nrcpt:\n\
                     \x20 accept domains = example.org\n  deny message = relay not permitted\n\
                     begin routers\nall:\n driver = accept\n transport = inbox\nbegin transports\ninbox:\n driver = appendfile\n \
                     file = {dir}/inbox\nbegin authenticators\n\
                     plain:\n driver = plaintext\n public_name = PLAIN\n server_prompts = :\n \
                     server_condition = ${{if and{{{{eq{{$auth2}}{{ana}}}}{{eq{{$auth3}}{{{secret}}}}}}}}}\n \
                     server_advertise_condition = ${{if def:tls_in_cipher}}\n\
                     cram:\n driver = cram_md5\n public_name = CRAM-MD5\n server_secret = {secret}\n server_set_id = $auth1\n",
                    certs.certificate().display(),
                    certs.key().display(),
                );
                let conf = folder.write("exim.conf", conf);
                let mut command = Command::new(&exim);
                command.arg("-C").arg(conf).arg("-bdf");
                command.arg("-oX").arg(fixed.unwrap_or(port).to_string());
                command.arg("-oP").arg(spool.join("pid"));
                command
            },
            |_, port| accepts(fixed.unwrap_or(port)),
        );
        Some(Exim {
            certs,
            port: fixed.unwrap_or(server.port),
            server,
        })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn log(&self) -> String {
        self.server.log()
    }

    /// All mails that have arrived, one behind the other.
    pub fn inbox(&self) -> String {
        std::fs::read_to_string(self.server.folder().file("inbox")).unwrap_or_default()
    }
}
