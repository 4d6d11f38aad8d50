//! The plugin on MockHost against Debian's slapd and against peers that say what it would not.

use crate::ber::{integer, tagged};
use crate::tests::{assert_waits_for_room, at, check, plugin, refused, told, with};
use healthd_plugin::Status;
use healthd_plugin::mock::Outcome;
use healthd_plugin::serde_json::{Value, json};
use healthd_testing::{Certs, Peer, Server, accepts, free_port, program, run, until};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

fn ask(port: u16, more: &Value) -> Outcome {
    check("ldap", &at(port, more))
}

const ROOT: &str = "cn=admin,dc=example,dc=org";
const ENTRIES: &str = "dn: dc=example,dc=org\nobjectClass: dcObject\nobjectClass: organization\no: x\ndc: example\n\n\
    dn: cn=a,dc=example,dc=org\nobjectClass: person\ncn: a\nsn: one\n\n\
    dn: cn=b,dc=example,dc=org\nobjectClass: person\ncn: b\nsn: two (2)\n";

/// A directory with three entries, on a port with STARTTLS, on one with TLS from the start, and on a socket.
fn slapd() -> Option<(Server, u16, Certs)> {
    let slapd = program("slapd", "slapd")?;
    let slapadd = program("slapadd", "slapd")?;
    if !Certs::possible() {
        return None;
    }
    let certs = Certs::new();
    let implicit = free_port("127.0.0.1");
    let server = Server::start(
        |folder, port| {
            let data = folder.file("data");
            std::fs::create_dir(&data).unwrap();
            std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
            let conf = format!(
                "include /etc/ldap/schema/core.schema\nmodulepath /usr/lib/ldap\nmoduleload back_mdb\n\
                 pidfile {0}/pid\nargsfile {0}/args\nTLSCACertificateFile {1}\nTLSCertificateFile {2}\nTLSCertificateKeyFile {3}\n\
                 database mdb\nmaxsize 10485760\nsuffix dc=example,dc=org\nrootdn {ROOT}\nrootpw s3cret\ndirectory {0}/data\n\
                 access to dn.base=\"cn=b,dc=example,dc=org\" by * none\naccess to * by * read\n",
                folder.path().display(),
                certs.ca().display(),
                certs.certificate().display(),
                certs.key().display()
            );
            let conf = folder.write("slapd.conf", conf);
            let entries = folder.write("entries", ENTRIES);
            run(Command::new(&slapadd)
                .arg("-f")
                .arg(&conf)
                .arg("-l")
                .arg(entries));
            let socket = folder
                .file("sock")
                .display()
                .to_string()
                .replace('/', "%2F");
            let urls =
                format!("ldap://127.0.0.1:{port} ldaps://127.0.0.1:{implicit} ldapi://{socket}");
            let mut command = Command::new(&slapd);
            command.arg("-f").arg(conf).args(["-h", &urls, "-d", "0"]);
            command
        },
        |_, port| accepts(port) && accepts(implicit),
    );
    Some((server, implicit, certs))
}

#[test]
fn the_page_has_all_options() {
    plugin("ldap").assert_documented(include_str!("../../LDAP.md"));
}

#[test]
fn mistakes_in_options() {
    for (options, text) in [
        (
            json!({"insecure": true}),
            "ca_file, insecure, server_name: need `tls`",
        ),
        (json!({"user": "x"}), "user, password: both or none"),
        (
            json!({"user": "x", "password": "y"}),
            "user: a password is only told inside of TLS or over a socket; see the option tls",
        ),
        (
            json!({"filter": "a=b"}),
            "filter: \"a=b\" does not begin with (",
        ),
    ] {
        assert_eq!(refused("ldap", &options), text);
    }
}

#[test]
fn slapd_and_its_entries() {
    let Some((server, implicit, certs)) = slapd() else {
        return;
    };
    until(
        || ask(server.port, &json!({})).status == Status::Ok,
        || server.log(),
    );
    let base = "dc=example,dc=org";
    for (more, status, text) in [
        (json!({}), Status::Ok, "1 entry found"),
        (json!({"base": base}), Status::Ok, "1 entry found"),
        (
            json!({"base": base, "scope": "sub"}),
            Status::Ok,
            "2 entries found",
        ),
        (
            json!({"base": base, "scope": "one", "filter": "(&(objectClass=person)(|(cn=a)(cn=b)))"}),
            Status::Ok,
            "1 entry found",
        ),
        (
            json!({"base": base, "scope": "sub", "filter": "(cn=nobody)"}),
            Status::Critical,
            "nothing was found",
        ),
        (
            json!({"base": base, "scope": "sub", "filter": "(cn=nobody)", "entries_warn": 5}),
            Status::Ok,
            "0 entries found",
        ),
        (
            json!({"base": base, "scope": "sub", "entries_warn": "3:"}),
            Status::Warn,
            "2 entries, outside of 3:",
        ),
        (
            json!({"base": base, "scope": "sub", "entries_crit": 1}),
            Status::Critical,
            "2 entries, outside of 1",
        ),
        (
            json!({"base": "dc=elsewhere"}),
            Status::Critical,
            "search: noSuchObject",
        ),
        (
            json!({"base": "nonsense"}),
            Status::Critical,
            "search: invalidDNSyntax: invalid DN",
        ),
    ] {
        let o = ask(server.port, &more);
        assert_eq!(told(&o), (status, text), "{more}");
    }
    let ca = certs.ca();
    let socket = server.folder().file("sock");
    let login = json!({"user": ROOT, "password": "s3cret", "base": base, "scope": "sub", "filter": "(sn=two \\28*)"});
    for way in [
        json!({"tls": "starttls", "ca_file": ca}),
        json!({"tls": "implicit", "ca_file": ca, "port": implicit}),
        json!({"socket": socket}),
    ] {
        let o = ask(server.port, &with(way.clone(), &login));
        let text = format!("logged in as {ROOT}, 1 entry found");
        assert_eq!(told(&o), (Status::Ok, text.as_str()), "{way}");
        assert_eq!(o.metric("bind").unit, "s");
        let wrong = with(way.clone(), &json!({"user": ROOT, "password": "x"}));
        assert_eq!(
            told(&ask(server.port, &wrong)),
            (Status::Critical, "bind: invalidCredentials")
        );
    }
    let o = ask(server.port, &json!({"tls": "starttls"}));
    assert_eq!(
        told(&o),
        (
            Status::Critical,
            "tls: certificate is signed by no CA that is trusted here"
        )
    );
}

fn done(id: i32, tag: u8, code: u8, text: &[u8]) -> Vec<u8> {
    let content = [tagged(0x0A, &[code]), tagged(4, b""), tagged(4, text)].concat();
    tagged(0x30, &[integer(id), tagged(tag, &content)].concat())
}

#[test]
fn long_answers_wait_for_their_room() {
    let entry = [integer(2), tagged(0x64, &[0; 300_000])].concat();
    let answer = [tagged(0x30, &entry), done(2, 0x65, 0, b"")].concat();
    let peer = Peer::answering(answer);
    assert_waits_for_room(|| ask(peer.addr.port(), &json!({})));
}

#[test]
fn what_a_server_may_say() {
    let entry = tagged(0x30, &[integer(2), tagged(0x64, &[])].concat());
    let reference = tagged(0x30, &[integer(2), tagged(0x73, &[])].concat());
    for (said, status, text) in [
        (Vec::new(), Status::Critical, "search: connection closed"),
        (
            b"HTTP/1.1 400".to_vec(),
            Status::Critical,
            "search: it has type 0x48 where a message begins",
        ),
        (
            b"\x30\x80\0\0".to_vec(),
            Status::Critical,
            "search: it has a length of type 0x80",
        ),
        (
            b"\x30\x84\xff\xff\xff\xff".to_vec(),
            Status::Critical,
            "search: it has a message of 4294967295 bytes",
        ),
        (
            b"\x30\x05\x02\x01\x02".to_vec(),
            Status::Critical,
            "search: connection closed in the middle of a message",
        ),
        (
            b"\x30\x03\x02\x01\x02".to_vec(),
            Status::Critical,
            "search: it is cut short",
        ),
        (
            done(1, 0x65, 0, b""),
            Status::Critical,
            "search: it answers another request",
        ),
        (
            done(2, 0x61, 0, b""),
            Status::Critical,
            "search: it answers a search with type 0x61",
        ),
        (
            done(0, 0x78, 52, b"going down"),
            Status::Critical,
            "search: the server hangs up: unavailable: going down",
        ),
        (
            done(2, 0x65, 50, b"no"),
            Status::Unknown,
            "search: insufficientAccessRights: no",
        ),
        (
            done(2, 0x65, 13, b""),
            Status::Unknown,
            "search: confidentialityRequired",
        ),
        (done(2, 0x65, 51, b""), Status::Critical, "search: busy"),
        (
            done(2, 0x65, 80, b""),
            Status::Critical,
            "search: result 80",
        ),
        (
            [entry.clone(), reference, done(2, 0x65, 4, b"")].concat(),
            Status::Ok,
            "1 entry and more found",
        ),
        (
            [entry.repeat(10_002), done(2, 0x65, 0, b"")].concat(),
            Status::Critical,
            "search: it sends more entries than it was asked for",
        ),
    ] {
        let peer = Peer::answering(said);
        assert_eq!(told(&ask(peer.addr.port(), &json!({}))), (status, text));
    }
}
