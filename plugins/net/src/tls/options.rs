//! The options of a TLS check. `TLS.md` shows them in use.

use crate::options::Family;
use healthd_plugin::options;
use healthd_plugin::options::Bad::{Above, Below};
use healthd_plugin::options::ReadPath;
use healthd_plugin::tls::{Dialect, Pin, Version};
use std::time::Duration;

options! {
    /// Looks at the certificates and the protocol of a TLS server, and checks them.
    pub struct Options {
        /// Host name or address.
        host: String { min_length: 1, max_length: 253 },
        /// TCP port, as 443.
        port: u16 { min: 1 } = 443,
        /// The protocol that is spoken in plain before TLS begins. Without it TLS begins at once.
        starttls: Option<Dialect>,
        /// Name the certificate must be for, instead of `host`; also sent as SNI.
        server_name: Option<String> { min_length: 1 },
        /// Address family to use for a host name.
        family: Family = Family::Any,
        /// PEM file of the CA certificates to trust, instead of the machine's. Read anew when it changes.
        ca_file: Option<ReadPath>,
        /// PEM file of a client certificate, with its chain, for a server that wants one; it may have the key too.
        cert_file: Option<ReadPath>,
        /// PEM file of the key of `cert_file`.
        key_file: Option<ReadPath>,
        /// Oldest version of TLS to offer.
        tls_min: Version = Version::Tls12,
        /// Newest version of TLS to offer.
        tls_max: Version = Version::Tls13,
        /// Verify neither who signed the certificate nor for whom it is: only days, keys, protocol and fingerprint.
        insecure: bool = false,
        /// Warn when a certificate is valid for fewer days than this.
        days_warn: f64 { min: 0, bad: Below } = 21.0,
        /// Critical when a certificate is valid for fewer days than this.
        days_crit: f64 { min: 0 } = 7.0,
        /// Check the days of all certificates that the server shows, not only of its own.
        chain: bool = true,
        /// Critical when an RSA key of the chain has fewer bits.
        key_bits_min: u32 = 2048,
        /// TLS versions that are good. Versions below 1.2 are never.
        protocols: Vec<Version> { min_items: 1 } = vec![Version::Tls12, Version::Tls13],
        /// SHA-256 of the server's own certificate, in hexadecimal digits; it must be one of these.
        fingerprints: Option<Vec<String>> { min_items: 1 },
        /// The server's own certificate must be one of these: "sha256//" and the hash of its public key in base64, as for
        /// curl's pinnedpubkey, or "sha256:" and its fingerprint in hexadecimal.
        pins: Vec<Pin> = Vec::new(),
        /// Text that must stand in the issuer's name of the server's own certificate.
        issuer: Option<String> { min_length: 1 },
        /// Warn when connecting and shaking hands takes longer.
        latency_warn: Option<Duration> { bad: Above },
        /// Critical when connecting and shaking hands takes longer.
        latency_crit: Option<Duration>,
    }
}
