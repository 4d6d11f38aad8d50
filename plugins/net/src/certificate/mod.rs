//! The `certificate` plugin: certificates and keys in files. Options, metrics and verdicts are in `CERTIFICATE.md`.
//!
//! Runs in: the run lane, since files may be on a file system that does not answer.

use crate::report::{Report, Unit};
use healthd_plugin::fresh::read_whole;
use healthd_plugin::options::Bad::Below;
use healthd_plugin::options::ReadPath;
use healthd_plugin::thresholds::{Lower, validity};
use healthd_plugin::tls::rustls::pki_types::pem::PemObject;
use healthd_plugin::tls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use healthd_plugin::tls::rustls::sign::CertifiedKey;
use healthd_plugin::tls::rustls::{self, InconsistentKeys, crypto::ring};
use healthd_plugin::tls::{Certificate, KeyKind};
use healthd_plugin::{BlockingCheck, Cx, Metric, Status, options};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

options! {
    /// Looks at certificates and private keys in PEM files.
    pub struct Options {
        /// Files of certificates: in each a certificate, and maybe its chain and its key.
        files: Vec<ReadPath> { min_items: 1, max_items: 64 },
        /// Their private keys, in the same order. Without them a key is only looked at if it is in the certificate's own file.
        keys: Vec<ReadPath> { max_items: 64 } = Vec::new(),
        /// Name that each certificate must be for.
        server_name: Option<String> { min_length: 1, max_length: 253 },
        /// Warn when a certificate is valid for fewer days than this.
        days_warn: f64 { min: 0, bad: Below } = 21.0,
        /// Critical when a certificate is valid for fewer days than this.
        days_crit: f64 { min: 0 } = 7.0,
        /// Check the days of all certificates of a file, not only of the first.
        chain: bool = true,
        /// Critical when an RSA key has fewer bits.
        key_bits_min: u32 = 2048,
        /// Warn when everybody may read a private key.
        key_private: bool = true,
    }
}

pub struct Certificates(Options);

impl BlockingCheck for Certificates {
    type Options = Options;

    fn create(o: Options, _: Cx<'_>) -> Result<Self, String> {
        if !o.keys.is_empty() && o.keys.len() != o.files.len() {
            return Err(format!(
                "keys: {} for {} files; each file needs its own, in the same order",
                o.keys.len(),
                o.files.len()
            ));
        }
        Ok(Certificates(o))
    }

    fn run(&self, cx: Cx<'_>) -> Status {
        let o = &self.0;
        let mut report = Report::new(cx);
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default().as_secs_f64();
        // The one that runs out first is told.
        let mut first: Option<(f64, String)> = None;
        for (i, file) in o.files.iter().enumerate() {
            if cx.is_cancelled() {
                return cx.unknown("cancelled");
            }
            match self.look(file, o.keys.get(i).map(|k| &**k), now, &mut report) {
                Ok(days) => {
                    if first.as_ref().is_none_or(|(least, _)| days < *least) {
                        first = Some((days, file.display().to_string()));
                    }
                }
                Err((status, text)) => report.add(status, text),
            }
        }
        let Some((days, file)) = first else {
            return report.end("");
        };
        let limits = self.days();
        cx.metric(limits.on(Metric::new("days", days).unit("d")));
        let several = match o.files.len() {
            1 => String::new(),
            n => format!(", the first of {n} to run out"),
        };
        report.end(&format!("{file}: {}{several}", validity(days)))
    }
}

type Failed = (Status, String);

impl Certificates {
    fn days(&self) -> Lower {
        Lower {
            warn: Some(self.0.days_warn),
            crit: Some(self.0.days_crit),
        }
    }

    /// How many days the first certificate of a file is left, or the one of its chain that has fewer, if those count.
    fn look(
        &self,
        file: &Path,
        key: Option<&Path>,
        now: f64,
        report: &mut Report<'_>,
    ) -> Result<f64, Failed> {
        let o = &self.0;
        let shown = file.display();
        let pem = read(file)?;
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&pem)
            .collect::<Result<_, _>>()
            .map_err(|_| critical(format!("{shown}: is no PEM file")))?;
        let parsed: Vec<Option<Certificate<'_>>> =
            chain.iter().map(|der| Certificate::parse(der)).collect();
        let Some(own) = parsed.first() else {
            return Err(critical(format!("{shown}: no certificate in it")));
        };
        let own = own
            .as_ref()
            .ok_or_else(|| critical(format!("{shown}: its certificate cannot be read")))?;
        let days = days_left(own.not_after, now);
        if let Some(limit) = self.below(days) {
            let below = Unit::Days.text(limit.1);
            let text = format!("{shown}: {}, below {below}", validity(days));
            report.add(limit.0, text);
        }
        if days_left(own.not_before, now) > 0.0 {
            report.add(Status::Critical, format!("{shown}: is not valid yet"));
        }
        let mut least = days;
        for other in parsed[1..].iter().flatten().filter(|_| o.chain) {
            let days = days_left(other.not_after, now);
            least = least.min(days);
            if let Some(limit) = self.below(days) {
                let name = other.name();
                let below = Unit::Days.text(limit.1);
                let left = validity(days);
                let text = format!("{shown}: {name} of its chain {left}, below {below}");
                report.add(limit.0, text);
            }
        }
        if let KeyKind::Rsa { bits } = own.key
            && bits < o.key_bits_min as usize
        {
            let least = o.key_bits_min;
            let text = format!(
                "{shown}: has an {}, at least {least} bits are wanted",
                own.key
            );
            report.add(Status::Critical, text);
        }
        if let Some(name) = o.server_name.as_deref().filter(|n| !is_for(own, n)) {
            report.add(Status::Critical, format!("{shown}: is not for {name}"));
        }
        match key {
            Some(key) => self.judge_key(&chain, file, key, &read(key)?, report),
            None if has_key(&pem) => self.judge_key(&chain, file, file, &pem, report),
            None => {}
        }
        Ok(least)
    }

    fn below(&self, days: f64) -> Option<(Status, f64)> {
        let limits = self.days();
        match limits.judge(days) {
            Status::Critical => Some((Status::Critical, self.0.days_crit)),
            Status::Warn => Some((Status::Warn, self.0.days_warn)),
            _ => None,
        }
    }

    /// Whether a key is that of the first certificate. What a key file holds is never told.
    fn judge_key(
        &self,
        chain: &[CertificateDer<'static>],
        file: &Path,
        key: &Path,
        pem: &[u8],
        report: &mut Report<'_>,
    ) {
        let (shown, file) = (key.display(), file.display());
        let mode = std::fs::metadata(key).map_or(0, |m| m.permissions().mode());
        if self.0.key_private && mode & 0o004 != 0 {
            let text = format!(
                "{shown}: everybody may read this key (mode {:03o})",
                mode & 0o777
            );
            report.add(Status::Warn, text);
        }
        let Ok(private) = PrivateKeyDer::from_pem_slice(pem) else {
            return match String::from_utf8_lossy(pem).contains("ENCRYPTED") {
                true => report.add(Status::Unknown, format!("{shown}: the key has a password")),
                false => report.add(Status::Critical, format!("{shown}: no private key in it")),
            };
        };
        let Ok(signer) = ring::default_provider()
            .key_provider
            .load_private_key(private)
        else {
            let text = "a key that cannot be compared here (RSA of 2048 bits and more, P-256, P-384 and Ed25519 can)";
            return report.add(Status::Unknown, format!("{shown}: {text}"));
        };
        match CertifiedKey::new(chain.to_vec(), signer).keys_match() {
            Ok(()) => {}
            Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {
                report.add(
                    Status::Unknown,
                    format!("{shown}: cannot be compared with {file}"),
                );
            }
            Err(_) => {
                report.add(
                    Status::Critical,
                    format!("{shown} is not the key of {file}"),
                );
            }
        }
    }
}

/// A file that is not there is what a server would find; one that we may not read is our own lack.
fn read(path: &Path) -> Result<Vec<u8>, Failed> {
    let shown = path.display();
    match std::fs::metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Err(critical(format!("{shown}: there is none")));
        }
        Ok(about) if !about.is_file() => {
            return Err((Status::Unknown, format!("{shown}: is no plain file")));
        }
        _ => {}
    }
    read_whole(path).map_err(|why| (Status::Unknown, why))
}

fn critical(text: String) -> Failed {
    (Status::Critical, text)
}

fn has_key(pem: &[u8]) -> bool {
    String::from_utf8_lossy(pem).contains("PRIVATE KEY-----")
}

fn is_for(certificate: &Certificate<'_>, name: &str) -> bool {
    match name.parse() {
        Ok(ip) => certificate.is_for_address(ip),
        Err(_) => certificate.is_for_name(name),
    }
}

/// Below zero once it has come.
fn days_left(at: i64, now: f64) -> f64 {
    (at as f64 - now) / 86_400.0
}

#[cfg(test)]
mod tests;
