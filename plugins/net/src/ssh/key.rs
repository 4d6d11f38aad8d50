//! The host's key, and the proof that the server has it: one exchange of keys by curve25519-sha256 (RFC 8731).

use super::wire::{put_mpint, put_string, string};
use ring::agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral};
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA512, RsaPublicKeyComponents,
    UnparsedPublicKey as Verifier,
};

/// Our half of an exchange.
pub struct Exchange {
    private: EphemeralPrivateKey,
    pub public: Vec<u8>,
}

/// What both sides have said so far; the signature is over all of it.
pub struct Said<'a> {
    pub client_version: &'a str,
    pub server_version: &'a str,
    pub client_offer: &'a [u8],
    pub server_offer: &'a [u8],
}

impl Exchange {
    pub fn begin() -> Result<Exchange, &'static str> {
        const NO_RANDOM: &str = "no random numbers";
        let private = EphemeralPrivateKey::generate(&X25519, &SystemRandom::new());
        let private = private.map_err(|_| NO_RANDOM)?;
        let public = private.compute_public_key().map_err(|_| NO_RANDOM)?;
        Ok(Exchange {
            private,
            public: public.as_ref().to_vec(),
        })
    }

    /// The fingerprint of the key whose owner has signed this exchange. The error says what is wrong with the answer.
    pub fn prove(self, said: &Said<'_>, reply: &[u8]) -> Result<String, &'static str> {
        const CUT: &str = "the answer to the key exchange is cut short";
        let mut rest = reply.get(1..).ok_or(CUT)?;
        let key = string(&mut rest).ok_or(CUT)?;
        let theirs = string(&mut rest).ok_or(CUT)?;
        let signature = string(&mut rest).ok_or(CUT)?;
        let mut hashed = Vec::new();
        for part in [
            said.client_version.as_bytes(),
            said.server_version.as_bytes(),
            said.client_offer,
            said.server_offer,
            key,
            &self.public,
            theirs,
        ] {
            put_string(&mut hashed, part);
        }
        let peer = UnparsedPublicKey::new(&X25519, theirs);
        let agreed = agree_ephemeral(self.private, &peer, |secret| put_mpint(&mut hashed, secret));
        agreed.map_err(|_| "the server's half of the key exchange is no key")?;
        let hash = digest(&SHA256, &hashed);
        match signed(key, hash.as_ref(), signature) {
            Some(true) => Ok(fingerprint(key)),
            Some(false) => Err("the server does not have the key that it shows"),
            None => Err("a key or a signature of a kind that was not asked for"),
        }
    }
}

/// None: not readable, or not of a kind that we offered.
fn signed(key: &[u8], hash: &[u8], signature: &[u8]) -> Option<bool> {
    let (mut key, mut signature) = (key, signature);
    let (kind, algorithm) = (string(&mut key)?, string(&mut signature)?);
    let proof = string(&mut signature)?;
    match (kind, algorithm) {
        (b"ssh-ed25519", b"ssh-ed25519") => {
            let verifier = Verifier::new(&ED25519, string(&mut key)?);
            Some(verifier.verify(hash, proof).is_ok())
        }
        (b"ecdsa-sha2-nistp256", b"ecdsa-sha2-nistp256") => {
            let _curve = string(&mut key)?;
            let mut numbers = proof;
            let (r, s) = (string(&mut numbers)?, string(&mut numbers)?);
            let mut fixed = [0; 64];
            for (number, half) in [r, s].into_iter().zip(fixed.chunks_exact_mut(32)) {
                let first = number.iter().position(|b| *b != 0).unwrap_or(number.len());
                let number = &number[first..];
                half.get_mut(32usize.checked_sub(number.len())?..)?
                    .copy_from_slice(number);
            }
            let verifier = Verifier::new(&ECDSA_P256_SHA256_FIXED, string(&mut key)?);
            Some(verifier.verify(hash, &fixed).is_ok())
        }
        (b"ssh-rsa", b"rsa-sha2-512") => {
            let (e, n) = (string(&mut key)?, string(&mut key)?);
            let bare = |n: &'_ [u8]| n.iter().position(|b| *b != 0);
            let key = RsaPublicKeyComponents {
                n: &n[bare(n)?..],
                e: &e[bare(e)?..],
            };
            Some(key.verify(&RSA_PKCS1_2048_8192_SHA512, hash, proof).is_ok())
        }
        _ => None,
    }
}

/// As OpenSSH prints it.
fn fingerprint(key: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let hash = digest(&SHA256, key);
    let mut text = String::from("SHA256:");
    for three in hash.as_ref().chunks(3) {
        let mut bits = 0u32;
        for (i, byte) in three.iter().enumerate() {
            bits |= u32::from(*byte) << (16 - 8 * i);
        }
        for i in 0..=three.len() {
            text.push(char::from(DIGITS[(bits >> (18 - 6 * i) & 63) as usize]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_in_base64() {
        // sha256 of nothing
        assert_eq!(
            fingerprint(b""),
            "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"
        );
    }

    #[test]
    fn answers_that_prove_nothing() {
        let said = Said {
            client_version: "SSH-2.0-a",
            server_version: "SSH-2.0-b",
            client_offer: b"x",
            server_offer: b"y",
        };
        let reply = |parts: [&[u8]; 3]| {
            let mut reply = vec![31];
            for part in parts {
                put_string(&mut reply, part);
            }
            reply
        };
        let prove = |reply: &[u8]| Exchange::begin().unwrap().prove(&said, reply).unwrap_err();
        let mut key = Vec::new();
        put_string(&mut key, b"ssh-ed25519");
        put_string(&mut key, &[7; 32]);
        let mut signature = Vec::new();
        put_string(&mut signature, b"ssh-ed25519");
        put_string(&mut signature, &[8; 64]);
        let theirs = Exchange::begin().unwrap().public;
        let whole = reply([&key, &theirs, &signature]);
        assert_eq!(
            prove(&whole),
            "the server does not have the key that it shows"
        );
        for end in 0..whole.len() {
            prove(&whole[..end]);
        }
        let other = reply([b"\0\0\0\x03dsa", &theirs, &signature]);
        assert_eq!(
            prove(&other),
            "a key or a signature of a kind that was not asked for"
        );
        let none = reply([&key, &[0; 32], &signature]);
        assert_eq!(
            prove(&none),
            "the server's half of the key exchange is no key"
        );
    }
}
