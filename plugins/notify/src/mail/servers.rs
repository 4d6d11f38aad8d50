//! Real mail servers of Debian for the tests: Exim with a mailbox, and in front of it Dovecot's submission service, which
//! knows every way to log in.

use crate::sign::hmac_sha256;
use healthd_testing::{Certs, Server, accepts, program};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

/// A mailbox for example.org, on a port of its own, with STARTTLS and accounts.
pub struct Exim {
    pub certs: Certs,
    server: Server,
}

impl Exim {
    pub fn start() -> Option<Exim> {
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
                folder.write("secret", PASSWORD);
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
                command.arg("-oX").arg(port.to_string());
                command.arg("-oP").arg(spool.join("pid"));
                command
            },
            |_, port| accepts(port),
        );
        Some(Exim { certs, server })
    }

    pub fn port(&self) -> u16 {
        self.server.port
    }

    pub fn log(&self) -> String {
        self.server.log()
    }

    /// All mails that have arrived, one behind the other.
    pub fn inbox(&self) -> String {
        std::fs::read_to_string(self.server.folder().file("inbox")).unwrap_or_default()
    }
}

pub const USER: &str = "ana";
pub const PASSWORD: &str = "s3cret \"x\\";

/// Takes mail from who has logged in, and hands it on.
pub struct Submission {
    pub certs: Certs,
    server: Server,
}

impl Submission {
    const KEY: &[u8] = b"a key for tokens";

    pub fn start(relay: &Exim) -> Option<Submission> {
        program("/usr/lib/dovecot/submission", "dovecot-submissiond")?;
        let dovecot = program("dovecot", "dovecot-submissiond")?;
        if !Certs::possible() {
            return None;
        }
        let certs = Certs::new();
        let server = Server::start(
            |folder, port| {
                std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755))
                    .expect("our own folder");
                let users = folder.write("users", format!("{}:{{PLAIN}}{}\n", USER, PASSWORD));
                let keys = folder.file("keys/default/HS256");
                std::fs::create_dir_all(&keys).expect("our own folder");
                std::fs::write(
                    keys.join("default"),
                    healthd_plugin::base64::base64(Self::KEY),
                )
                .expect("our own folder");
                let dir = folder.path().display();
                let oauth = folder.write(
                    "oauth2.conf",
                    format!("introspection_mode = local\nlocal_validation_key_dict = fs:posix:prefix={dir}/keys/\nusername_attribute = sub\n"),
                );
                let conf = format!(
                    "base_dir = {dir}/run\nprotocols = submission\nlisten = 127.0.0.1\nlog_path = /dev/stderr\nssl = yes\n\
                     ssl_cert = <{}\nssl_key = <{}\nauth_mechanisms = plain login cram-md5 xoauth2\nfirst_valid_uid = 1\n\
                     hostname = submit.example.org\nsubmission_relay_host = 127.0.0.1\nsubmission_relay_port = {}\n\
                     mail_location = maildir:{dir}/mail\nauth_failure_delay = 0\n\
                     passdb {{\n driver = passwd-file\n mechanisms = plain login cram-md5\n args = scheme=PLAIN username_format=%u {}\n}}\n\
                     passdb {{\n driver = oauth2\n mechanisms = xoauth2\n args = {}\n}}\n\
                     userdb {{\n driver = static\n args = uid=nobody gid=nogroup home={dir}\n}}\n\
                     service submission-login {{\n inet_listener submission {{\n port = {port}\n }}\n chroot =\n}}\nservice anvil {{\n chroot =\n unix_listener anvil-auth-penalty {{\n mode = 0\n }}\n}}\n",
                    certs.certificate().display(),
                    certs.key().display(),
                    relay.port(),
                    users.display(),
                    oauth.display(),
                );
                let conf = folder.write("dovecot.conf", conf);
                let mut command = Command::new(&dovecot);
                command.arg("-F").arg("-c").arg(conf);
                command
            },
            |_, port| accepts(port),
        );
        Some(Submission { certs, server })
    }

    pub fn port(&self) -> u16 {
        self.server.port
    }

    pub fn log(&self) -> String {
        self.server.log()
    }

    /// A token that it takes: JWT, signed by its key.
    pub fn token() -> String {
        let part = |text: &str| {
            healthd_plugin::base64::base64(text.as_bytes())
                .replace('+', "-")
                .replace('/', "_")
                .replace('=', "")
        };
        let now = jiff::Timestamp::now().as_second();
        let head = part(r#"{"typ":"JWT","alg":"HS256"}"#);
        let claims = part(&format!(
            r#"{{"sub":"{}","iat":{},"nbf":{},"exp":{}}}"#,
            USER,
            now - 60,
            now - 60,
            now + 3_600
        ));
        let signed = format!("{head}.{claims}");
        let mac = healthd_plugin::base64::base64(&hmac_sha256(Self::KEY, signed.as_bytes()));
        format!(
            "{signed}.{}",
            mac.replace('+', "-").replace('/', "_").replace('=', "")
        )
    }
}
