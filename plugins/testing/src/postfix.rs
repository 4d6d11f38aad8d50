//! A real Postfix, with STARTTLS, logins by Dovecot, and a mailbox.

use crate::{Certs, Exim, Server, accepts, program, unpacked};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A mailbox for example.org on a port of its own. Mail is taken only from who has logged in, inside of TLS.
pub struct Postfix {
    pub certs: Certs,
    server: Server,
    _logins: Server,
}

const DAEMONS: &str = "usr/lib/postfix/sbin";
/// Users that Debian always has, and that nobody else uses here.
const MAIL_OWNER: &str = "uucp";
const SETGID_GROUP: &str = "games";

impl Postfix {
    /// None: it is not there, or cannot run here.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start() -> Option<Postfix> {
        let root = std::fs::metadata("/proc/self").is_ok_and(|of| of.uid() == 0);
        if !Certs::possible() || !root {
            eprintln!("skipped: postfix needs root");
            return None;
        }
        let master = unpacked("postfix", &format!("{DAEMONS}/master"))?;
        let depth = Path::new(DAEMONS).components().count() + 1;
        let tree = master.ancestors().nth(depth)?.to_owned();
        let dovecot = program("dovecot", "dovecot-core")?;
        let (owner, group) = (
            id("/etc/passwd", MAIL_OWNER)?,
            id("/etc/group", SETGID_GROUP)?,
        );
        let (certs, logins) = (Certs::new(), logins(&dovecot));
        let server = Server::start(
            |folder, port| {
                open_to(folder.path(), 0o755);
                let dir = folder.path().display();
                for sub in ["conf", "data", "queue"] {
                    std::fs::create_dir(folder.file(sub)).expect("a new folder");
                }
                for (sub, mode) in QUEUES {
                    let path = folder.file("queue").join(sub);
                    std::fs::create_dir(&path).expect("a new folder");
                    let group = ["public", "maildrop"].contains(&sub).then_some(group);
                    chown(&path, (sub != "pid").then_some(owner), group).expect("as root");
                    open_to(&path, mode);
                }
                chown(folder.file("data"), Some(owner), None).expect("as root");
                let mails = folder.file("mails");
                std::fs::create_dir(&mails).expect("a new folder");
                chown(&mails, Some(NOBODY), Some(NOBODY)).expect("as root");
                let libraries = tree.join("usr/lib/postfix");
                let (at, libraries) = (tree.display(), libraries.display());
                let conf = format!(
                    "compatibility_level = 3.6\nqueue_directory = {dir}/queue\ndata_directory = {dir}/data\n\
                     command_directory = {at}/usr/sbin\ndaemon_directory = {at}/{DAEMONS}\nshlib_directory = no\n\
                     import_environment = MAIL_CONFIG LD_LIBRARY_PATH={libraries}\n\
                     mail_owner = {MAIL_OWNER}\nsetgid_group = {SETGID_GROUP}\nmyhostname = mail.example.org\nmydestination =\n\
                     inet_interfaces = 127.0.0.1\nalias_maps =\nalias_database =\n\
                     maillog_file = {dir}/log\nmaillog_file_prefixes = /\n\
                     virtual_mailbox_domains = example.org\nvirtual_mailbox_base = {dir}\nvirtual_mailbox_maps = static:mails/\n\
                     virtual_uid_maps = static:{NOBODY}\nvirtual_gid_maps = static:{NOBODY}\nvirtual_minimum_uid = 1\n\
                     smtpd_tls_security_level = may\nsmtpd_tls_cert_file = {}\nsmtpd_tls_key_file = {}\nsmtpd_tls_auth_only = yes\n\
                     smtpd_sasl_auth_enable = yes\nsmtpd_sasl_type = dovecot\nsmtpd_sasl_path = {}\n\
                     smtpd_relay_restrictions = reject_unauth_destination\n\
                     smtpd_recipient_restrictions = permit_sasl_authenticated, reject\n",
                    certs.certificate().display(),
                    certs.key().display(),
                    logins.folder().file("socket").display(),
                );
                std::fs::write(folder.file("conf/main.cf"), conf).expect("a new folder");
                let services = format!("127.0.0.1:{port} inet n - n - - smtpd\n{SERVICES}");
                std::fs::write(folder.file("conf/master.cf"), services).expect("a new folder");
                let mut command = Command::new(tree.join(DAEMONS).join("master"));
                command.env("LD_LIBRARY_PATH", tree.join("usr/lib/postfix"));
                command.arg("-d").arg("-c").arg(folder.file("conf"));
                command
            },
            |_, port| accepts(port),
        );
        Some(Postfix {
            certs,
            server,
            _logins: logins,
        })
    }

    pub fn port(&self) -> u16 {
        self.server.port
    }

    pub fn log(&self) -> String {
        self.server.log()
    }

    /// The files of the mails that have arrived, in no order.
    pub fn mails(&self) -> Vec<PathBuf> {
        let new = std::fs::read_dir(self.server.folder().file("mails/new"));
        let files = new.into_iter().flatten().flatten();
        files.map(|file| file.path()).collect()
    }
}

const NOBODY: u32 = 65_534;

const QUEUES: [(&str, u32); 14] = [
    ("active", 0o700),
    ("bounce", 0o700),
    ("corrupt", 0o700),
    ("defer", 0o700),
    ("deferred", 0o700),
    ("flush", 0o700),
    ("hold", 0o700),
    ("incoming", 0o700),
    ("maildrop", 0o730),
    ("pid", 0o755),
    ("private", 0o700),
    ("public", 0o710),
    ("saved", 0o700),
    ("trace", 0o700),
];

const SERVICES: &str = "cleanup unix n - n - 0 cleanup\nqmgr unix n - n 300 1 qmgr\ntlsmgr unix - - n 1000? 1 tlsmgr\n\
    rewrite unix - - n - - trivial-rewrite\nbounce unix - - n - 0 bounce\ndefer unix - - n - 0 bounce\n\
    trace unix - - n - 0 bounce\nproxymap unix - - n - - proxymap\nerror unix - - n - - error\nretry unix - - n - - error\n\
    virtual unix - n n - - virtual\nanvil unix - - n - 1 anvil\npostlog unix-dgram n - n - 1 postlogd\n";

/// Dovecot's part: who may log in. It has Exim's user.
fn logins(dovecot: &Path) -> Server {
    Server::start(
        |folder, _| {
            open_to(folder.path(), 0o755);
            let users = format!("{}:{{PLAIN}}{}\n", Exim::USER, Exim::PASSWORD);
            let users = folder.write("users", users);
            let dir = folder.path().display();
            let conf = format!(
                "base_dir = {dir}/run\nprotocols =\nlog_path = /dev/stderr\nssl = no\nauth_mechanisms = plain login cram-md5\n\
                 auth_failure_delay = 0\ndisable_plaintext_auth = no\n\
                 passdb {{\n driver = passwd-file\n args = scheme=PLAIN username_format=%u {}\n}}\n\
                 userdb {{\n driver = static\n args = uid=nobody gid=nogroup home={dir}\n}}\n\
                 service auth {{\n unix_listener {dir}/socket {{\n mode = 0666\n }}\n}}\nservice anvil {{\n chroot =\n}}\n",
                users.display(),
            );
            let mut command = Command::new(dovecot);
            command
                .arg("-F")
                .arg("-c")
                .arg(folder.write("auth.conf", conf));
            command
        },
        |folder, _| folder.file("socket").exists(),
    )
}

fn open_to(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("our own file");
}

/// The number of a user, or of a group: the third field of its line in both files.
fn id(file: &str, name: &str) -> Option<u32> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find(|l| l.split(':').next() == Some(name))?;
    line.split(':').nth(2)?.parse().ok()
}
