//! A CA, what it signs, and openssl's server that shows it.

use crate::tests::check;
use healthd_plugin::mock::Outcome;
use healthd_plugin::serde_json::{Value, json};
use healthd_testing::{Folder, Server, accepts, run};
use std::process::Command;

/// A CA, an intermediate CA, and what they sign.
pub struct Pki {
    pub folder: Folder,
}

const CONFIG: &str = "[ca]\ndefault_ca = x\n[x]\ndir = .\ndatabase = ./index.txt\nserial = ./serial\nnew_certs_dir = .\n\
    default_md = sha256\npolicy = p\nunique_subject = no\n[p]\ncommonName = optional\n\
    [leaf]\nbasicConstraints = critical,CA:false\nsubjectAltName = DNS:localhost,IP:127.0.0.1\n\
    [wild]\nsubjectAltName = DNS:*.example.org\n[other]\nsubjectAltName = DNS:other.example\n[nosan]\nbasicConstraints = CA:false\n\
    [client]\nsubjectAltName = DNS:localhost\nextendedKeyUsage = clientAuth\n\
    [server]\nsubjectAltName = DNS:localhost\nextendedKeyUsage = serverAuth\nkeyUsage = digitalSignature\n\
    [odd]\nsubjectAltName = DNS:localhost\n1.2.3.4.5 = critical,ASN1:UTF8String:odd\n\
    [many]\nsubjectAltName = @names\n[names]\nDNS.1 = a.example\nDNS.2 = localhost\nemail.1 = a@b.example\nURI.1 = http://x/\n\
    [isca]\nbasicConstraints = critical,CA:true\nsubjectAltName = DNS:localhost\n\
    [inter]\nbasicConstraints = critical,CA:true\n\
    [upper]\nsubjectAltName = DNS:LOCALHOST\n\
    [otherip]\nsubjectAltName = IP:127.0.0.9\n\
    [any]\nsubjectAltName = DNS:localhost\nextendedKeyUsage = anyExtendedKeyUsage\n\
    [email]\nsubjectAltName = DNS:localhost\nextendedKeyUsage = emailProtection\n\
    [lastca]\nbasicConstraints = critical,CA:true,pathlen:0\n\
    [permits]\nbasicConstraints = critical,CA:true\nnameConstraints = critical,permitted;DNS:localhost\n\
    [forbids]\nbasicConstraints = critical,CA:true\nnameConstraints = critical,excluded;DNS:localhost\n\
    [elsewhere]\nbasicConstraints = critical,CA:true\nnameConstraints = critical,permitted;DNS:example.org\n\
    [clientca]\nbasicConstraints = critical,CA:true\nextendedKeyUsage = clientAuth\n";
pub const LONG_LIVED: &str = "-days 90";

impl Pki {
    pub fn new() -> Pki {
        let pki = Pki {
            folder: Folder::new(),
        };
        pki.folder.write("index.txt", "");
        pki.folder.write("serial", "1000\n");
        pki.folder.write("ca.cnf", CONFIG);
        pki.openssl(
            "req -x509 -nodes -days 365 -subj /CN=root -keyout ca.key -out ca.pem",
            "ec",
        );
        pki.openssl(
            "req -x509 -nodes -days 365 -subj /CN=stranger -keyout stranger.key -out stranger.pem",
            "ec",
        );
        pki.issue("inter", "inter", "ca", LONG_LIVED, "ec");
        pki
    }

    pub fn openssl(&self, arguments: &str, key: &str) {
        let mut command = Command::new("openssl");
        command
            .args(arguments.split(' '))
            .current_dir(self.folder.path());
        match key {
            "" => {}
            "ec" => {
                command.args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]);
            }
            "ec384" => {
                command.args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp384r1"]);
            }
            other => {
                command.args(["-newkey", other]);
            }
        }
        run(&mut command);
    }

    /// NAME.pem and NAME.key, with these extensions.
    pub fn issue(&self, name: &str, extensions: &str, by: &str, validity: &str, key: &str) {
        self.openssl(
            &format!("req -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr"),
            key,
        );
        let signed = format!("-cert {by}.pem -keyfile {by}.key -in {name}.csr -out {name}.pem");
        self.openssl(
            &format!(
                "ca -batch -notext -config ca.cnf -extensions {extensions} {signed} {validity}"
            ),
            "",
        );
    }

    /// openssl's server with NAME.pem, sending the others of the chain too.
    pub fn serve(&self, name: &str, chain: &[&str], more: &str) -> Server {
        let file = |name: &str| self.folder.file(name);
        let all: String = chain
            .iter()
            .map(|n| std::fs::read_to_string(file(&format!("{n}.pem"))).unwrap())
            .collect();
        let chain_file = file(&format!("{name}.chain"));
        std::fs::write(&chain_file, &all).unwrap();
        Server::start(
            |_, port| {
                let mut command = Command::new("openssl");
                command
                    .args(["s_server", "-quiet", "-accept"])
                    .arg(format!("127.0.0.1:{port}"));
                command.arg("-cert").arg(file(&format!("{name}.pem")));
                command.arg("-key").arg(file(&format!("{name}.key")));
                if !all.is_empty() {
                    command.arg("-cert_chain").arg(&chain_file);
                }
                command.args(more.split(' ').filter(|w| !w.is_empty()));
                command
            },
            |_, port| accepts(port),
        )
    }

    pub fn look(&self, server: &Server, more: &Value) -> Outcome {
        let ca = self.folder.file("ca.pem");
        let mut options = json!({"host": "127.0.0.1", "port": server.port, "server_name": "localhost", "ca_file": ca});
        for (key, value) in more.as_object().unwrap() {
            options[key] = value.clone();
        }
        check("tls", &options)
    }

    /// Does openssl trust it for this name or address?
    pub fn openssl_trusts(&self, name: &str, chain: &[&str], host: &str) -> bool {
        let by = match host.parse::<std::net::IpAddr>() {
            Ok(_) => "-verify_ip",
            Err(_) => "-verify_hostname",
        };
        let mut command = Command::new("openssl");
        command
            .args(["verify", "-CAfile", "ca.pem", by, host])
            .args(["-purpose", "sslserver"])
            .current_dir(self.folder.path());
        for other in chain {
            command.args(["-untrusted", &format!("{other}.pem")]);
        }
        let done = command.arg(format!("{name}.pem")).output().unwrap();
        done.status.success()
    }
}
