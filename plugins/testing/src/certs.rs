//! Certificates from a CA of our own, made by the openssl program.

use crate::{Folder, run};
use std::path::PathBuf;
use std::process::Command;

/// A CA and certificates for localhost, 127.0.0.1 and ::1.
#[derive(Debug)]
pub struct Certs {
    folder: Folder,
}

impl Default for Certs {
    fn default() -> Self {
        Certs::new()
    }
}

impl Certs {
    /// False, and a word about it, if openssl is missing.
    pub fn possible() -> bool {
        let there = Command::new("openssl").arg("version").output().is_ok();
        if !there {
            eprintln!("skipped: openssl is missing (package openssl)");
        }
        there
    }

    /// Makes a CA and a certificate that is valid for 30 days.
    pub fn new() -> Certs {
        let certs = Certs {
            folder: Folder::new(),
        };
        certs.folder.write("index.txt", "");
        certs.folder.write("serial", "01\n");
        certs.folder.write(
            "ca.cnf",
            "[ca]\ndefault_ca = x\n[x]\ndir = .\ndatabase = ./index.txt\nserial = ./serial\nnew_certs_dir = .\n\
             default_md = sha256\npolicy = p\nunique_subject = no\nx509_extensions = leaf\n[p]\ncommonName = supplied\n\
             [leaf]\nbasicConstraints = critical,CA:false\nsubjectAltName = DNS:localhost,IP:127.0.0.1,IP:::1\n",
        );
        certs.openssl(
            "req -x509 -nodes -days 365 -subj /CN=test-ca -keyout ca.key -out ca.pem",
            true,
        );
        certs.issue("good", &format!("-days {}", 30));
        certs
    }

    /// The certificates to trust.
    pub fn ca(&self) -> PathBuf {
        self.folder.file("ca.pem")
    }

    pub fn key(&self) -> PathBuf {
        self.folder.file("good.key")
    }

    pub fn certificate(&self) -> PathBuf {
        self.folder.file("good.pem")
    }

    /// A certificate and its key that ran out years ago.
    pub fn expired(&self) -> (PathBuf, PathBuf) {
        self.issue(
            "expired",
            "-startdate 20200101000000Z -enddate 20210101000000Z",
        );
        (
            self.folder.file("expired.pem"),
            self.folder.file("expired.key"),
        )
    }

    fn issue(&self, name: &str, validity: &str) {
        self.openssl(
            &format!("req -nodes -subj /CN=localhost -keyout {name}.key -out {name}.csr"),
            true,
        );
        let signed = format!("-cert ca.pem -keyfile ca.key -in {name}.csr -out {name}.pem");
        self.openssl(
            &format!("ca -batch -notext -config ca.cnf {signed} {validity}"),
            false,
        );
    }

    fn openssl(&self, arguments: &str, new_key: bool) {
        let mut command = Command::new("openssl");
        command
            .args(arguments.split(' '))
            .current_dir(self.folder.path());
        if new_key {
            command.args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]);
        }
        run(&mut command);
    }
}
