//! A real mail server of Debian for the tests, in front of Exim: Dovecot's submission service, which knows every way to
//! log in.

use crate::sign::hmac_sha256;
use healthd_testing::{Certs, Exim, Server, accepts, program};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

pub const USER: &str = Exim::USER;
pub const PASSWORD: &str = Exim::PASSWORD;

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
