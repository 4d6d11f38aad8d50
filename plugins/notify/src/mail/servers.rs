//! Real mail servers of Debian for the tests: OpenSMTPD with a mailbox, and in front of it Dovecot's submission service,
//! which has STARTTLS and four ways to log in. (The TLS of Debian 12's OpenSMTPD breaks with its own OpenSSL.)

use crate::sign::hmac_sha256;
use healthd_testing::{Certs, Server, accepts, program};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// A mailbox for example.org, on a port of its own.
pub struct Smtpd(Server);

impl Smtpd {
    pub fn start() -> Option<Smtpd> {
        let smtpd = program("smtpd", "opensmtpd")?;
        let possible = Command::new("unshare").args(["-m", "true"]).output();
        if !possible.is_ok_and(|done| done.status.success()) {
            eprintln!("skipped: no mount namespace of one's own");
            return None;
        }
        let server = Server::start(
            |folder, port| {
                let open =
                    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o777));
                open.expect("our own folder");
                let conf = format!(
                    "table people {{ \"@example.org\" = \"nobody\" }}\nlisten on lo inet4 port {port} hostname mail.example.org\naction \"in\" mda \"cat >> {}\" virtual <people> user nobody\n\
                     match from any for domain \"example.org\" action \"in\"\n",
                    folder.file("inbox").display()
                );
                let conf = folder.write("smtpd.conf", conf);
                let own = "mount -t tmpfs none /run && mount -t tmpfs none /var/spool && mkdir -m 711 /var/spool/smtpd && exec \"$@\"";
                let mut command = Command::new("unshare");
                command.args(["-m", "sh", "-c", own, "sh"]);
                command.arg(&smtpd).args(["-d", "-f"]).arg(conf);
                command
            },
            |_, port| accepts(port),
        );
        Some(Smtpd(server))
    }

    pub fn port(&self) -> u16 {
        self.0.port
    }

    pub fn log(&self) -> String {
        self.0.log()
    }

    /// All mails that have arrived, one behind the other.
    pub fn inbox(&self) -> String {
        std::fs::read_to_string(self.0.folder().file("inbox")).unwrap_or_default()
    }
}

/// Takes mail from who has logged in, and hands it on.
pub struct Submission {
    pub certs: Certs,
    server: Server,
}

impl Submission {
    pub const USER: &str = "ana";
    pub const PASSWORD: &str = "s3cret \"x\\";
    const KEY: &[u8] = b"a key for tokens";

    pub fn start(relay: &Smtpd) -> Option<Submission> {
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
                let users = folder.write(
                    "users",
                    format!("{}:{{PLAIN}}{}\n", Self::USER, Self::PASSWORD),
                );
                let keys = folder.file("keys/default/HS256");
                std::fs::create_dir_all(&keys).expect("our own folder");
                std::fs::write(keys.join("default"), crate::secure::base64(Self::KEY))
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
            crate::secure::base64(text.as_bytes())
                .replace('+', "-")
                .replace('/', "_")
                .replace('=', "")
        };
        let now = jiff::Timestamp::now().as_second();
        let head = part(r#"{"typ":"JWT","alg":"HS256"}"#);
        let claims = part(&format!(
            r#"{{"sub":"{}","iat":{},"nbf":{},"exp":{}}}"#,
            Self::USER,
            now - 60,
            now - 60,
            now + 3_600
        ));
        let signed = format!("{head}.{claims}");
        let mac = crate::secure::base64(&hmac_sha256(Self::KEY, signed.as_bytes()));
        format!(
            "{signed}.{}",
            mac.replace('+', "-").replace('/', "_").replace('=', "")
        )
    }
}
