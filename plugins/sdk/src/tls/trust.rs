//! Whom to trust: certificates of the machine or of a file, read anew when they change and shared by all checks.

use super::Roots;
use crate::certificate::Certificate;
use crate::fresh::{Fresh, read_whole};
use ring::digest;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, TrustAnchor};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Certificates that end a chain.
#[derive(Debug, Default)]
pub(super) struct Anchors {
    pub anchors: Vec<TrustAnchor<'static>>,
    /// When each of them ends, in seconds since 1970.
    ends: Vec<i64>,
    /// Hashes of all certificates, also of those that can be no anchor: each is trusted when a server shows it as its own.
    own: Vec<[u8; 32]>,
}

/// Where they come from.
pub(super) enum Source {
    /// Nobody is asked who he is.
    Anybody,
    Read(Arc<Fresh<Result<Arc<Anchors>, String>>>),
}

impl Source {
    /// May block. A file must be there and have certificates; a machine without any is told when it matters.
    pub fn new(roots: &Roots) -> Result<Source, String> {
        match roots {
            Roots::Insecure => Ok(Source::Anybody),
            Roots::System => Ok(Source::Read(shared(None)?)),
            Roots::File(path) => Ok(Source::Read(shared(Some(path))?)),
        }
    }

    /// As they are now; None: anybody. The error is a fault of this machine.
    pub fn now(&self) -> Result<Option<Arc<Anchors>>, String> {
        match self {
            Source::Anybody => Ok(None),
            Source::Read(fresh) => match &*fresh.get() {
                Ok(anchors) => Ok(Some(anchors.clone())),
                Err(why) => Err(why.clone()),
            },
        }
    }
}

impl Anchors {
    /// Adds a certificate, whatever it is good for.
    fn add(&mut self, der: &CertificateDer<'_>) {
        self.own.push(fingerprint(der));
        if let Ok(anchor) = webpki::anchor_from_trusted_cert(der) {
            self.anchors.push(anchor.to_owned());
            let end = Certificate::parse(der).map(|c| c.not_after);
            self.ends.push(end.unwrap_or(i64::MAX));
        }
    }

    fn is_empty(&self) -> bool {
        self.own.is_empty()
    }

    pub fn has(&self, der: &[u8]) -> bool {
        self.own.contains(&fingerprint(der))
    }

    /// When this anchor ends.
    pub fn end_of(&self, anchor: &TrustAnchor<'_>) -> i64 {
        let same = |a: &TrustAnchor<'_>| {
            a.subject == anchor.subject
                && a.subject_public_key_info == anchor.subject_public_key_info
        };
        // The same CA may be there twice, renewed: the later end counts.
        let ends = self.anchors.iter().zip(&self.ends);
        ends.filter(|(a, _)| same(a))
            .map(|(_, end)| *end)
            .max()
            .unwrap_or(i64::MAX)
    }
}

pub(super) fn fingerprint(der: &[u8]) -> [u8; 32] {
    let hash = digest::digest(&digest::SHA256, der);
    hash.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

type Shared = Arc<Fresh<Result<Arc<Anchors>, String>>>;

/// The machine's, or a file's; one for all who ask.
fn shared(file: Option<&PathBuf>) -> Result<Shared, String> {
    type Known = (Option<PathBuf>, Weak<Fresh<Result<Arc<Anchors>, String>>>);
    static SHARED: Mutex<Vec<Known>> = Mutex::new(Vec::new());
    let mut known = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    known.retain(|(_, roots)| roots.strong_count() > 0);
    let mut same = known.iter().filter(|(path, _)| path.as_ref() == file);
    if let Some(roots) = same.find_map(|(_, roots)| roots.upgrade()) {
        return Ok(roots);
    }
    let roots = Arc::new(match file {
        Some(path) => Fresh::new(vec![path.clone()], |paths| {
            of_file(&paths[0]).map(|a| Ok(Arc::new(a)))
        })?,
        None => Fresh::new(system_places(), |_| Ok(of_system().map(Arc::new)))?,
    });
    known.push((file.cloned(), Arc::downgrade(&roots)));
    Ok(roots)
}

/// What rustls-native-certs reads: a change of any is a reason to read again.
fn system_places() -> Vec<PathBuf> {
    let named = ["SSL_CERT_FILE", "SSL_CERT_DIR"].map(std::env::var_os);
    let named: Vec<PathBuf> = named.into_iter().flatten().map(PathBuf::from).collect();
    if !named.is_empty() {
        return named;
    }
    [
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/ssl/certs",
        "/etc/ssl/cert.pem",
        "/etc/ssl/ca-bundle.pem",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/pki/tls/cert.pem",
        "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    ]
    .map(PathBuf::from)
    .into()
}

fn of_system() -> Result<Anchors, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut anchors = Anchors::default();
    for certificate in &found.certs {
        anchors.add(certificate);
    }
    match (anchors.is_empty(), found.errors.first()) {
        (false, _) => Ok(anchors),
        (true, Some(e)) => Err(format!("the machine's CA certificates: {e}")),
        (true, None) => Err("this machine has no CA certificates (package ca-certificates)".into()),
    }
}

fn of_file(path: &Path) -> Result<Anchors, String> {
    let pem = read_whole(path)?;
    let mut anchors = Anchors::default();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|e| format!("{}: {e}", path.display()))?;
        if Certificate::parse(&certificate).is_none() {
            return Err(format!("{}: a certificate cannot be read", path.display()));
        }
        anchors.add(&certificate);
    }
    if anchors.is_empty() {
        return Err(format!("{}: no certificate in it", path.display()));
    }
    Ok(anchors)
}
