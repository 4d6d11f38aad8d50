//! Names to addresses, by getaddrinfo(3): it alone knows every service of nsswitch.conf. It blocks, so call it where
//! blocking is allowed.

use std::ffi::{CStr, CString};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why there is no address.
#[derive(Debug)]
pub struct NoAddress {
    /// EAI_...
    pub code: i32,
    /// Of EAI_SYSTEM.
    pub errno: i32,
    pub text: String,
}

impl NoAddress {
    fn of(code: i32) -> NoAddress {
        let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
        // SAFETY: gai_strerror takes any number and returns a static string.
        let text = unsafe { libc::gai_strerror(code) };
        // SAFETY: static and NUL-terminated.
        let text = unsafe { CStr::from_ptr(text) };
        NoAddress {
            code,
            errno,
            text: text.to_string_lossy().to_lowercase(),
        }
    }
}

/// `family`: AF_UNSPEC, AF_INET or AF_INET6. Addresses that this machine cannot reach are not left out: without a network
/// `localhost` has one all the same.
pub fn lookup(host: &str, family: i32) -> Result<Vec<IpAddr>, NoAddress> {
    let host = CString::new(host).map_err(|_| NoAddress::of(libc::EAI_NONAME))?;
    // SAFETY: all-zero is a valid addrinfo: no flags, no pointers.
    let mut hints: libc::addrinfo = unsafe { std::mem::zeroed() };
    hints.ai_family = family;
    hints.ai_socktype = libc::SOCK_STREAM;
    let mut list = std::ptr::null_mut();
    // SAFETY: the name is NUL-terminated, the hints are complete, `list` is written when it returns 0.
    let code = unsafe { libc::getaddrinfo(host.as_ptr(), std::ptr::null(), &hints, &mut list) };
    if code != 0 {
        return Err(NoAddress::of(code));
    }
    let mut addrs = Vec::new();
    let mut next = list;
    // SAFETY: each node of the list is valid until freeaddrinfo below.
    while let Some(node) = unsafe { next.as_ref() } {
        // SAFETY: a node of this family holds an address of this family.
        addrs.extend(unsafe { address(node) });
        next = node.ai_next;
    }
    // SAFETY: the list that getaddrinfo made, freed once.
    unsafe { libc::freeaddrinfo(list) };
    Ok(addrs)
}

/// # Safety
/// `node.ai_addr` is NULL or an address of the family that the node names.
unsafe fn address(node: &libc::addrinfo) -> Option<IpAddr> {
    if node.ai_addr.is_null() {
        return None;
    }
    match node.ai_family {
        libc::AF_INET => {
            // SAFETY: the caller's promise.
            let a = unsafe { node.ai_addr.cast::<libc::sockaddr_in>().read_unaligned() };
            Some(IpAddr::V4(Ipv4Addr::from(a.sin_addr.s_addr.to_ne_bytes())))
        }
        libc::AF_INET6 => {
            // SAFETY: the caller's promise.
            let a = unsafe { node.ai_addr.cast::<libc::sockaddr_in6>().read_unaligned() };
            Some(IpAddr::V6(Ipv6Addr::from(a.sin6_addr.s6_addr)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn localhost_is_loopback() {
        let addrs = super::lookup("localhost", libc::AF_UNSPEC).expect("in /etc/hosts");
        assert!(addrs.iter().all(std::net::IpAddr::is_loopback) && !addrs.is_empty());
        let e = super::lookup("no.such.name.invalid", libc::AF_UNSPEC).expect_err("nobody has it");
        assert!(e.code != 0 && !e.text.is_empty());
    }
}
