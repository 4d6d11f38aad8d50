//! The client's own certificate, for servers that ask who comes.

use super::provider;
use crate::fresh::{Fresh, read_whole};
use rustls::client::ResolvesClientCert;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, SignatureScheme};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// A certificate, its chain and its key.
pub(super) type Identity = Arc<CertifiedKey>;

/// Both files, read anew when they change; one for all who name them. A pair of which only one has been renewed does
/// not fit, and the one before stays in force.
pub(super) fn shared(certificate: &Path, key: &Path) -> Result<Arc<Fresh<Identity>>, String> {
    type Known = (Vec<PathBuf>, Weak<Fresh<Identity>>);
    static SHARED: Mutex<Vec<Known>> = Mutex::new(Vec::new());
    let paths = vec![certificate.to_owned(), key.to_owned()];
    let mut known = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    known.retain(|(_, pair)| pair.strong_count() > 0);
    let mut same = known.iter().filter(|(p, _)| *p == paths);
    if let Some(pair) = same.find_map(|(_, pair)| pair.upgrade()) {
        return Ok(pair);
    }
    let pair = Arc::new(Fresh::new(paths.clone(), |paths| {
        read(&paths[0], &paths[1])
    })?);
    known.push((paths, Arc::downgrade(&pair)));
    Ok(pair)
}

fn read(certificate: &Path, key: &Path) -> Result<Identity, String> {
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(&read_whole(certificate)?)
            .collect::<Result<_, _>>()
            .map_err(|e| format!("{}: {e}", certificate.display()))?;
    if chain.is_empty() {
        return Err(format!("{}: no certificate in it", certificate.display()));
    }
    // Never what the file holds: it is a secret.
    let private = PrivateKeyDer::from_pem_slice(&read_whole(key)?).map_err(|_| {
        format!(
            "{}: no private key in it that can be read (PEM, without a password)",
            key.display()
        )
    })?;
    let signer = provider().key_provider.load_private_key(private);
    let signer = signer.map_err(|_| {
        format!(
            "{}: a key of a kind that cannot be used (RSA of 2048 bits and more, P-256, P-384 and Ed25519 can)",
            key.display()
        )
    })?;
    let pair = CertifiedKey::new(chain, signer);
    match pair.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {
            Ok(Arc::new(pair))
        }
        Err(_) => Err(format!(
            "{} is not the key of {}",
            key.display(),
            certificate.display()
        )),
    }
}

/// Answers a server that asks for a certificate, and knows that it did.
#[derive(Debug)]
pub(super) struct Asked {
    identity: Option<Identity>,
    in_vain: AtomicBool,
}

impl Asked {
    pub fn new(identity: Option<Arc<Identity>>) -> Asked {
        Asked {
            identity: identity.map(|i| (*i).clone()),
            in_vain: AtomicBool::new(false),
        }
    }

    /// The server asked, and got none.
    pub fn in_vain(&self) -> bool {
        self.in_vain.load(Relaxed)
    }
}

impl ResolvesClientCert for Asked {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let fits = |i: &&Identity| i.key.choose_scheme(schemes).is_some();
        let found = self.identity.as_ref().filter(fits);
        self.in_vain.store(found.is_none(), Relaxed);
        found.cloned()
    }

    /// Else rustls would not ask, and nobody would know that the server did.
    fn has_certs(&self) -> bool {
        true
    }
}
