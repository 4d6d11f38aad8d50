//! Debian's dovecot, for both mailbox protocols: one user, whose mailbox is a folder.

use crate::{Certs, Folder, Server, accepts, free_port, program};
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;

#[derive(Debug)]
pub struct Dovecot {
    pub imap: u16,
    pub imaps: u16,
    pub pop3: u16,
    pub pop3s: u16,
    pub certs: Certs,
    server: Server,
}

impl Dovecot {
    pub const USER: &str = "health";
    pub const PASSWORD: &str = "s3cret \"x\\";

    /// With so many messages, none of them read. None if it cannot run here.
    ///
    /// # Panics
    /// With its log, if it does not start.
    pub fn start(messages: usize) -> Option<Dovecot> {
        let dovecot = program("dovecot", "dovecot-imapd")?;
        if !Certs::possible() || !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: dovecot needs root");
            return None;
        }
        let certs = Certs::new();
        let [imap, imaps, pop3s] = [(); 3].map(|()| free_port("127.0.0.1"));
        let server = Server::start(
            |folder, pop3| {
                mailbox(folder, messages);
                std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755))
                    .expect("our own folder");
                let users = format!("{}:{{PLAIN}}{}\n", Self::USER, Self::PASSWORD);
                let users = folder.write("users", users);
                let (dir, pem, key) = (folder.path().display(), certs.certificate(), certs.key());
                let conf = format!(
                    "base_dir = {dir}/run\nprotocols = imap pop3\nlisten = 127.0.0.1\nlog_path = /dev/stderr\nssl = yes\n\
                     ssl_cert = <{}\nssl_key = <{}\ndisable_plaintext_auth = no\nmail_location = maildir:{dir}/mail\n\
                     first_valid_uid = 1\npassdb {{\n driver = passwd-file\n args = scheme=PLAIN username_format=%u {}\n}}\n\
                     userdb {{\n driver = static\n args = uid=nobody gid=nogroup home={dir}/mail\n}}\n\
                     service imap-login {{\n inet_listener imap {{\n port = {imap}\n }}\n inet_listener imaps {{\n port = {imaps}\n ssl = yes\n }}\n chroot =\n}}\n\
                     service pop3-login {{\n inet_listener pop3 {{\n port = {pop3}\n }}\n inet_listener pop3s {{\n port = {pop3s}\n ssl = yes\n }}\n chroot =\n}}\n\
                     service anvil {{\n chroot =\n}}\nauth_failure_delay = 0\n",
                    pem.display(),
                    key.display(),
                    users.display()
                );
                let conf = folder.write("dovecot.conf", conf);
                let mut command = Command::new(&dovecot);
                command.arg("-F").arg("-c").arg(conf);
                command
            },
            |_, pop3| accepts(pop3) && accepts(imap),
        );
        Some(Dovecot {
            imap,
            imaps,
            pop3: server.port,
            pop3s,
            certs,
            server,
        })
    }

    pub fn log(&self) -> String {
        self.server.log()
    }
}

fn mailbox(folder: &Folder, messages: usize) {
    let mail = folder.file("mail");
    let own =
        |path: &std::path::Path| chown(path, Some(65534), Some(65534)).expect("our own folder");
    std::fs::create_dir(&mail).expect("our own folder");
    own(&mail);
    for part in ["new", "cur", "tmp"] {
        std::fs::create_dir(mail.join(part)).expect("our own folder");
        own(&mail.join(part));
    }
    for n in 0..messages {
        let file = mail.join(format!("new/{}.x{n}.host", 1_700_000_000 + n));
        std::fs::write(&file, "Subject: a\r\n\r\nb\r\n").expect("our own folder");
        own(&file);
    }
}
