//! The judgement of a server's certificates: recorded, so that a check can say what it saw.

use super::pin::Pin;
use super::provider;
use super::stream::{Seen, Shown};
use super::trust::Anchors;
use super::words;
use crate::certificate::{Certificate, KeyKind};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, SignatureScheme};
use std::cell::RefCell;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use webpki::{EndEntityCert, KeyUsage, RawPublicKeyEntity, VerifiedPath};

/// Why a chain is refused.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    pub why: String,
    /// It may be fine: this SDK cannot judge it.
    pub cannot: bool,
}

impl Refused {
    fn new(why: impl Into<String>) -> Refused {
        Refused {
            why: why.into(),
            cannot: false,
        }
    }

    pub fn into_io(self) -> io::Error {
        let kind = match self.cannot {
            true => io::ErrorKind::Unsupported,
            false => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, self.why)
    }
}

/// Of keys that TLS allows and rustls has no name for: RSA-PSS keys (RFC 8446, 4.2.3) and Brainpool curves (RFC 8734).
const UNNAMED: [u16; 6] = [0x0809, 0x080a, 0x080b, 0x081a, 0x081b, 0x081c];

/// By what a chain is judged.
pub(super) struct Judge {
    /// None: anybody is fine.
    pub anchors: Option<Arc<Anchors>>,
    pub any_name: bool,
    pub pins: Vec<Pin>,
}

impl Judge {
    pub fn anybody() -> Judge {
        Judge {
            anchors: None,
            any_name: true,
            pins: Vec::new(),
        }
    }

    /// What is to be said of a chain, or why it is refused.
    pub fn chain(
        &self,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
    ) -> Result<Seen, Refused> {
        let Some((own, others)) = chain.split_first() else {
            return Err(Refused::new("the server shows no certificate"));
        };
        let seen = match &self.anchors {
            None => unverified(own),
            Some(anchors) if anchors.has(own) => self.itself(own, name)?,
            Some(anchors) => self.path(anchors, own, others, name)?,
        };
        match self.pins.is_empty() || self.pins.iter().any(|p| p.fits(own)) {
            true => Ok(seen),
            false => Err(Refused::new("certificate is none of the pinned ones")),
        }
    }

    /// A certificate that is trusted by itself: given as its own CA, whatever it says of that.
    fn itself(&self, own: &CertificateDer<'_>, name: &ServerName<'_>) -> Result<Seen, Refused> {
        let Some(certificate) = Certificate::parse(own) else {
            return Err(Refused::new("bad certificate: it cannot be read"));
        };
        let now = now();
        if now > certificate.not_after {
            return Err(Refused::new("certificate has expired"));
        }
        if now < certificate.not_before {
            return Err(Refused::new("certificate is not valid yet"));
        }
        if !certificate.is_for_servers() {
            return Err(Refused::new(words::NOT_FOR_SERVERS));
        }
        let is_for = match name {
            ServerName::DnsName(name) => certificate.is_for_name(name.as_ref()),
            ServerName::IpAddress(ip) => certificate.is_for_address((*ip).into()),
            _ => false,
        };
        match is_for || self.any_name {
            true => Ok(Seen {
                ends: Some(Shown::own(&certificate)),
                unverified: None,
            }),
            false => Err(Refused::new(words::not_for(name))),
        }
    }

    /// By a path to one of the anchors.
    fn path(
        &self,
        anchors: &Anchors,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
    ) -> Result<Seen, Refused> {
        let refused = |e: webpki::Error| words::refused(&e, own, others, name);
        let end_entity = EndEntityCert::try_from(own).map_err(refused)?;
        let now = now();
        // Of several paths the one that lasts longest: a client needs but one.
        let best: RefCell<Option<Shown>> = RefCell::new(None);
        let expired_root = RefCell::new(None);
        let look = |path: &VerifiedPath<'_>| {
            let shown = Shown::of_path(anchors, own, path);
            let ends = shown.not_after;
            let mut best = best.borrow_mut();
            if ends < now {
                // webpki does not look at the dates of roots; OpenSSL does, and with it most clients.
                expired_root.replace(Some(shown.whose));
                return Err(webpki::Error::UnknownIssuer);
            }
            let leaf_ends = Certificate::parse(own).map_or(ends, |c| c.not_after);
            if best.as_ref().is_none_or(|b| b.not_after < ends) {
                *best = Some(shown);
            }
            // No path outlives the server's own certificate: then there is nothing more to look for.
            match ends >= leaf_ends {
                true => Ok(()),
                false => Err(webpki::Error::UnknownIssuer),
            }
        };
        let algorithms = provider().signature_verification_algorithms.all;
        let found = end_entity.verify_for_usage(
            algorithms,
            &anchors.anchors,
            others,
            UnixTime::now(),
            KeyUsage::server_auth(),
            None,
            Some(&look),
        );
        let found = found.map(|_| ());
        let ends = match (best.take(), found, expired_root.take()) {
            (Some(shown), ..) => shown,
            (None, _, Some(whose)) => {
                return Err(Refused::new(format!("{whose} has expired")));
            }
            (None, Err(e), None) => return Err(refused(e)),
            (None, Ok(()), None) => return Err(Refused::new("certificate has no path to a root")),
        };
        if !self.any_name {
            end_entity
                .verify_is_valid_for_subject_name(name)
                .map_err(refused)?;
        }
        Ok(Seen {
            ends: Some(ends),
            unverified: None,
        })
    }
}

/// `insecure`: what there is to say of a certificate that nobody vouches for.
fn unverified(own: &CertificateDer<'_>) -> Seen {
    let Some(c) = Certificate::parse(own) else {
        return Seen {
            ends: None,
            unverified: Some("a certificate that cannot be read".into()),
        };
    };
    let mut said = vec![match c.is_self_issued() {
        true => format!("`{}`, self-signed", c.name()),
        false => format!("`{}` by `{}`", c.name(), c.issuer_name()),
    }];
    if c.version < 3 {
        said.push(format!("X.509 version {}", c.version));
    }
    match c.key {
        KeyKind::Rsa { bits } if bits >= 2048 => {}
        KeyKind::Ec {
            curve: "P-256" | "P-384",
        }
        | KeyKind::Ed25519 => {}
        odd => said.push(odd.to_string()),
    }
    if now() < c.not_before {
        said.push("not valid yet".into());
    }
    Seen {
        ends: Some(Shown::own(&c)),
        unverified: Some(said.join(", ")),
    }
}

pub(super) fn now() -> i64 {
    UnixTime::now().as_secs().try_into().unwrap_or(i64::MAX)
}

/// rustls' view of a [`Judge`], which keeps what it saw.
pub(super) struct Verifier {
    judge: Option<Judge>,
    seen: Mutex<Option<Result<Seen, Refused>>>,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Verifier")
    }
}

impl Verifier {
    pub fn new(judge: Judge) -> Verifier {
        Verifier {
            judge: Some(judge),
            seen: Mutex::default(),
        }
    }

    /// Stands in a configuration that is not used as it is, and refuses everybody.
    pub fn nobody() -> Verifier {
        Verifier {
            judge: None,
            seen: Mutex::default(),
        }
    }

    pub fn seen(&self) -> Seen {
        match self.take() {
            Some(Ok(seen)) => seen,
            _ => Seen::default(),
        }
    }

    pub fn refused(&self) -> Option<Refused> {
        self.take()?.err()
    }

    fn take(&self) -> Option<Result<Seen, Refused>> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.clone()
    }

    fn is_insecure(&self) -> bool {
        self.judge.as_ref().is_some_and(|j| j.anchors.is_none())
    }

    /// The server must hold the key of the certificate it shows. With `insecure` that proves nothing of who it is, and
    /// keys that ring cannot use are fine there.
    fn signature(
        &self,
        verified: Result<HandshakeSignatureValid, rustls::Error>,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if verified.is_ok() || self.is_insecure() {
            return Ok(HandshakeSignatureValid::assertion());
        }
        let parsed = Certificate::parse(certificate);
        // What webpki refuses to read, like X.509 version 1, may have a good key.
        if let Some(c) = &parsed
            && EndEntityCert::try_from(certificate).is_err()
            && is_signed(c.public_key_info, message, signature)
        {
            return Ok(HandshakeSignatureValid::assertion());
        }
        if let Some(c) = parsed
            && !words::can_verify(c.key)
        {
            let refused = words::cannot_verify(c.key);
            *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(Err(refused));
        }
        verified
    }
}

/// Whether the holder of this public key made the signature.
fn is_signed(key: &[u8], message: &[u8], signature: &DigitallySignedStruct) -> bool {
    let key = SubjectPublicKeyInfoDer::from(key);
    let Ok(key) = RawPublicKeyEntity::try_from(&key) else {
        return false;
    };
    let provider = provider();
    let known = provider.signature_verification_algorithms.mapping;
    let mut fit = known.iter().filter(|(s, _)| *s == signature.scheme);
    fit.any(|(_, algorithms)| {
        algorithms.iter().any(|a| {
            key.verify_signature(*a, message, signature.signature())
                .is_ok()
        })
    })
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(judge) = &self.judge else {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        };
        let chain: Vec<CertificateDer<'_>> = std::iter::once(own).chain(others).cloned().collect();
        let judged = judge.chain(&chain, name);
        let good = judged.is_ok();
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(judged);
        match good {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &provider().signature_verification_algorithms;
        let verified = verify_tls12_signature(message, certificate, signature, algorithms);
        self.signature(verified, message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &provider().signature_verification_algorithms;
        let verified = verify_tls13_signature(message, certificate, signature, algorithms);
        self.signature(verified, message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let mut schemes = provider()
            .signature_verification_algorithms
            .supported_schemes();
        if self.is_insecure() {
            schemes.extend([
                SignatureScheme::ECDSA_NISTP521_SHA512,
                SignatureScheme::ED448,
                SignatureScheme::RSA_PKCS1_SHA1,
                SignatureScheme::ECDSA_SHA1_Legacy,
            ]);
            schemes.extend(UNNAMED.map(SignatureScheme::Unknown));
        }
        schemes
    }
}
