//! The keys, signatures and ciphers of SNMP's version 3 (the user-based security model: RFC 3414, 3826, 7860). Pure.

use super::options::{AuthProtocol, PrivProtocol};
use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use aes::{Aes128, Aes192, Aes256};
use des::Des;
use hmac::digest::Digest;
use hmac::digest::common::BlockSizeUser;
use hmac::{Mac, SimpleHmac};
use md5::Md5;
use sha1::Sha1;
use sha2::{Sha224, Sha256, Sha384, Sha512};

/// So much of the repeated password makes a key.
const PASSWORD_BYTES: usize = 1 << 20;
const DES_BLOCK: usize = 8;
const AES_BLOCK: usize = 16;
/// Encrypts one block in its place.
type Encrypt = Box<dyn Fn(&mut [u8; AES_BLOCK])>;

/// Both numbers of an agent's clock: how often it began, and the seconds since then.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AgentTime {
    pub boots: i32,
    pub seconds: i32,
}

impl AuthProtocol {
    fn hash(self, parts: &[&[u8]]) -> Vec<u8> {
        fn of<D: Digest>(parts: &[&[u8]]) -> Vec<u8> {
            let mut digest = D::new();
            parts.iter().for_each(|part| digest.update(part));
            digest.finalize().to_vec()
        }
        match self {
            AuthProtocol::Md5 => of::<Md5>(parts),
            AuthProtocol::Sha => of::<Sha1>(parts),
            AuthProtocol::Sha224 => of::<Sha224>(parts),
            AuthProtocol::Sha256 => of::<Sha256>(parts),
            AuthProtocol::Sha384 => of::<Sha384>(parts),
            AuthProtocol::Sha512 => of::<Sha512>(parts),
        }
    }

    /// So long is a signature in a message.
    pub fn signature_bytes(self) -> usize {
        match self {
            AuthProtocol::Md5 | AuthProtocol::Sha => 12,
            AuthProtocol::Sha224 => 16,
            AuthProtocol::Sha256 => 24,
            AuthProtocol::Sha384 => 32,
            AuthProtocol::Sha512 => 48,
        }
    }

    pub fn sign(self, key: &[u8], message: &[u8]) -> Vec<u8> {
        fn of<D: Digest + BlockSizeUser>(key: &[u8], message: &[u8]) -> Vec<u8> {
            let mut mac =
                SimpleHmac::<D>::new_from_slice(key).expect("keys of any length are taken");
            mac.update(message);
            mac.finalize().into_bytes().to_vec()
        }
        let mut whole = match self {
            AuthProtocol::Md5 => of::<Md5>(key, message),
            AuthProtocol::Sha => of::<Sha1>(key, message),
            AuthProtocol::Sha224 => of::<Sha224>(key, message),
            AuthProtocol::Sha256 => of::<Sha256>(key, message),
            AuthProtocol::Sha384 => of::<Sha384>(key, message),
            AuthProtocol::Sha512 => of::<Sha512>(key, message),
        };
        whole.truncate(self.signature_bytes());
        whole
    }

    /// The key of a password at one agent. It takes some milliseconds: a megabyte is hashed.
    pub fn key(self, password: &[u8], engine: &[u8]) -> Vec<u8> {
        if password.is_empty() {
            return Vec::new();
        }
        let block = password.repeat(4096 / password.len() + 1);
        let (times, rest) = (PASSWORD_BYTES / block.len(), PASSWORD_BYTES % block.len());
        let mut parts = vec![block.as_slice(); times];
        parts.push(&block[..rest]);
        let key = self.hash(&parts);
        self.hash(&[&key, engine, &key])
    }

    /// The key of a cipher, which may be longer than a hash.
    pub fn cipher_key(self, password: &[u8], engine: &[u8], cipher: PrivProtocol) -> Vec<u8> {
        let mut key = self.key(password, engine);
        let mut last = key.clone();
        while key.len() < cipher.key_bytes() {
            last = match cipher {
                // As Cisco does it, after draft-reeder-snmpv3-usm-3desede.
                PrivProtocol::Aes192c | PrivProtocol::Aes256c => self.key(&last, engine),
                // As net-snmp and most others do it, after draft-blumenthal-aes-usm.
                _ => self.hash(&[&key]),
            };
            key.extend_from_slice(&last);
        }
        key.truncate(cipher.key_bytes());
        key
    }
}

impl PrivProtocol {
    fn key_bytes(self) -> usize {
        match self {
            PrivProtocol::Des | PrivProtocol::Aes => 16,
            PrivProtocol::Aes192 | PrivProtocol::Aes192c => 24,
            PrivProtocol::Aes256 | PrivProtocol::Aes256c => 32,
        }
    }

    pub fn encrypt(self, key: &[u8], time: AgentTime, salt: [u8; 8], plain: &[u8]) -> Vec<u8> {
        let mut data = plain.to_vec();
        if self == PrivProtocol::Des {
            data.resize(plain.len().next_multiple_of(DES_BLOCK), 0);
            let cipher = des_cipher(key);
            let mut before = des_begin(key, salt);
            for block in data.chunks_exact_mut(DES_BLOCK) {
                xor(block, &before);
                cipher.encrypt_block(block.try_into().expect("a block"));
                before.copy_from_slice(block);
            }
            return data;
        }
        let cipher = self.aes(key);
        let mut before = aes_begin(time, salt);
        for block in data.chunks_mut(AES_BLOCK) {
            cipher(&mut before);
            xor(block, &before);
            before[..block.len()].copy_from_slice(block);
        }
        data
    }

    /// `None`: no text of this cipher. With a wrong key it is garbage.
    pub fn decrypt(
        self,
        key: &[u8],
        time: AgentTime,
        salt: &[u8],
        secret: &[u8],
    ) -> Option<Vec<u8>> {
        let salt: [u8; 8] = salt.try_into().ok()?;
        let mut data = secret.to_vec();
        if self == PrivProtocol::Des {
            if !data.len().is_multiple_of(DES_BLOCK) {
                return None;
            }
            let cipher = des_cipher(key);
            let mut before = des_begin(key, salt);
            for block in data.chunks_exact_mut(DES_BLOCK) {
                let next: [u8; DES_BLOCK] = (&*block).try_into().expect("a block");
                cipher.decrypt_block((&mut *block).try_into().expect("a block"));
                xor(block, &before);
                before = next;
            }
            return Some(data);
        }
        let cipher = self.aes(key);
        let mut before = aes_begin(time, salt);
        for block in data.chunks_mut(AES_BLOCK) {
            let mut next = before;
            next[..block.len()].copy_from_slice(block);
            cipher(&mut before);
            xor(block, &before);
            before = next;
        }
        Some(data)
    }

    fn aes(self, key: &[u8]) -> Encrypt {
        macro_rules! of {
            ($cipher:ty) => {{
                let cipher = <$cipher>::new_from_slice(key).expect("a key of its length");
                Box::new(move |block| cipher.encrypt_block(block.into()))
            }};
        }
        match self.key_bytes() {
            16 => of!(Aes128),
            24 => of!(Aes192),
            _ => of!(Aes256),
        }
    }
}

/// Of a key of DES the second half begins the chain.
fn des_cipher(key: &[u8]) -> Des {
    Des::new_from_slice(&key[..DES_BLOCK]).expect("a key of eight bytes")
}

fn des_begin(key: &[u8], salt: [u8; 8]) -> [u8; DES_BLOCK] {
    let mut begin = salt;
    xor(&mut begin, &key[DES_BLOCK..]);
    begin
}

fn aes_begin(time: AgentTime, salt: [u8; 8]) -> [u8; AES_BLOCK] {
    let mut begin = [0; AES_BLOCK];
    begin[..4].copy_from_slice(&time.boots.to_be_bytes());
    begin[4..8].copy_from_slice(&time.seconds.to_be_bytes());
    begin[8..].copy_from_slice(&salt);
    begin
}

fn xor(block: &mut [u8], with: &[u8]) {
    block.iter_mut().zip(with).for_each(|(a, b)| *a ^= b);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Those of RFC 3414, A.3.
    #[test]
    fn keys_of_a_password() {
        let engine = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
        let hex = |bytes: Vec<u8>| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let key = |protocol: AuthProtocol| hex(protocol.key(b"maplesyrup", &engine));
        assert_eq!(key(AuthProtocol::Md5), "526f5eed9fcce26f8964c2930787d82b");
        assert_eq!(
            key(AuthProtocol::Sha),
            "6695febc9288e36282235fc7151f128497b38f3f"
        );
        assert!(AuthProtocol::Md5.key(b"", &engine).is_empty());
    }

    #[test]
    fn each_cipher_there_and_back() {
        let time = AgentTime {
            boots: 3,
            seconds: 70_000,
        };
        let salt = *b"saltsalt";
        for cipher in [
            PrivProtocol::Des,
            PrivProtocol::Aes,
            PrivProtocol::Aes192,
            PrivProtocol::Aes256,
            PrivProtocol::Aes192c,
            PrivProtocol::Aes256c,
        ] {
            let key = AuthProtocol::Md5.cipher_key(b"password", b"engine", cipher);
            assert_eq!(key.len(), cipher.key_bytes());
            for length in [0, 1, 8, 15, 16, 17, 100] {
                let plain: Vec<u8> = (0..length).collect();
                let secret = cipher.encrypt(&key, time, salt, &plain);
                let again = cipher.decrypt(&key, time, &salt, &secret).unwrap();
                assert!(again.starts_with(&plain), "{cipher:?} {length}");
                assert!(length < 8 || secret != plain);
            }
            assert_eq!(cipher.decrypt(&key, time, b"short", b"12345678"), None);
        }
        let key = AuthProtocol::Sha.cipher_key(b"password", b"engine", PrivProtocol::Des);
        assert_eq!(PrivProtocol::Des.decrypt(&key, time, &salt, b"123"), None);
    }
}
