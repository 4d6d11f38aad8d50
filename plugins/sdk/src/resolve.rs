//! Names to addresses, through the host's resolver: nsswitch.conf, the hosts file, resolv.conf, a cache. It waits for no
//! other look-up, and says in words why there is no address.

use crate::cx::Cx;
use crate::host::host;
use crate::hostname::to_ascii;
use crate::task::{Head, Mail};
use crate::text::own_fault;
use healthd_abi::HdAddrs;
use std::ffi::CStr;
use std::future::poll_fn;
use std::io;
use std::mem::offset_of;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::task::Poll;

/// Which addresses to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Family {
    #[default]
    Any,
    Ipv4,
    Ipv6,
}

impl Family {
    pub fn allows(self, ip: IpAddr) -> bool {
        match self {
            Family::Any => true,
            Family::Ipv4 => ip.is_ipv4(),
            Family::Ipv6 => ip.is_ipv6(),
        }
    }
}

/// A resolver's answer, out of the host's memory.
pub(crate) struct Answer {
    error: i32,
    addresses: Vec<IpAddr>,
    reason: String,
    /// The host could not ask.
    own: bool,
    /// Where the deadline is now; 0: where it was.
    pub(crate) deadline_ns: u64,
}

impl Answer {
    /// # Safety
    /// `raw` is NULL or an `hd_addrs` of the host, valid for this call.
    pub(crate) unsafe fn from_abi(raw: *const HdAddrs) -> Answer {
        let mut answer = Answer {
            error: libc::EAI_FAIL,
            addresses: Vec::new(),
            reason: String::new(),
            own: false,
            deadline_ns: 0,
        };
        if raw.is_null() {
            return answer;
        }
        let mut known = std::mem::MaybeUninit::<HdAddrs>::zeroed();
        // SAFETY: its first field is the size that the host wrote; a host of an older header wrote less, but that.
        let size = (unsafe { raw.cast::<u32>().read() } as usize).min(size_of::<HdAddrs>());
        // SAFETY: so much is readable, as the size says, and so much is writable.
        unsafe { std::ptr::copy_nonoverlapping(raw.cast::<u8>(), known.as_mut_ptr().cast(), size) };
        // SAFETY: all zeroes, and what of it was copied is plain data too.
        let raw = unsafe { known.assume_init() };
        if size < offset_of!(HdAddrs, deadline_ns) {
            return answer;
        }
        let mut addresses = Vec::with_capacity(raw.n as usize);
        for i in 0..raw.n as usize {
            // SAFETY: by contract the i-th address lies `stride` bytes after the one before.
            let one = unsafe { raw.sockaddrs.cast::<u8>().add(i * raw.stride as usize) };
            // SAFETY: `stride` bytes at `one` hold a sockaddr of its family.
            addresses.extend(unsafe { ip_of(one, raw.stride as usize) });
        }
        // SAFETY: empty (all zeroes), or by contract readable during this call.
        let reason = unsafe { raw.reason.as_bytes() };
        answer.error = raw.error;
        answer.addresses = addresses;
        answer.reason = String::from_utf8_lossy(reason).into_owned();
        answer.own = raw.own != 0;
        answer.deadline_ns = raw.deadline_ns;
        answer
    }

    fn into_result(self) -> io::Result<Vec<IpAddr>> {
        if self.error == 0 && !self.addresses.is_empty() {
            return Ok(self.addresses);
        }
        if self.own {
            return Err(own_fault(self.reason));
        }
        if !self.reason.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, self.reason));
        }
        Err(match self.error {
            0 => io::Error::new(io::ErrorKind::NotFound, "no address of this family"),
            libc::EAI_MEMORY => io::Error::from_raw_os_error(libc::ENOMEM),
            code => {
                // SAFETY: gai_strerror takes any number and returns a static string.
                let text = unsafe { libc::gai_strerror(code) };
                // SAFETY: static and NUL-terminated.
                let text = unsafe { CStr::from_ptr(text) };
                io::Error::new(io::ErrorKind::NotFound, text.to_string_lossy())
            }
        })
    }
}

/// # Safety
/// `at` holds a socket address in `room` bytes.
unsafe fn ip_of(at: *const u8, room: usize) -> Option<IpAddr> {
    if room < size_of::<libc::sockaddr_in>() {
        return None;
    }
    // SAFETY: room for a sockaddr_in was checked; unaligned, because nobody promised more.
    let v4 = unsafe { at.cast::<libc::sockaddr_in>().read_unaligned() };
    if i32::from(v4.sin_family) == libc::AF_INET {
        return Some(Ipv4Addr::from_bits(u32::from_be(v4.sin_addr.s_addr)).into());
    }
    if i32::from(v4.sin_family) == libc::AF_INET6 && room >= size_of::<libc::sockaddr_in6>() {
        // SAFETY: room was checked.
        let v6 = unsafe { at.cast::<libc::sockaddr_in6>().read_unaligned() };
        return Some(Ipv6Addr::from(v6.sin6_addr.s6_addr).into());
    }
    None
}

/// A look-up that a time limit around it waits for: the host tells by then.
struct UnderWay<'a> {
    head: &'a Head,
    token: u32,
}

impl<'a> UnderWay<'a> {
    fn new(head: &'a Head, token: u32, by: u64) -> Self {
        head.told_by.borrow_mut().push((token, by));
        UnderWay { head, token }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut list = self.head.told_by.borrow_mut();
        list.retain(|(token, _)| *token != self.token);
    }
}

impl<'a> Cx<'a> {
    /// Step lane: the addresses of `name`, at least one. A literal address needs no resolver and no step. An error that is
    /// this machine's (no name server answers, no descriptor) is an [`own_fault`](crate::own_fault): [`Cx::fail`] makes no
    /// alarm of it. So is silence, told before a [`timeout`](Cx::timeout) around it is up. What the look-up waited for its
    /// turn is given back: the deadline moves.
    pub async fn resolve(self, name: &str, family: Family) -> io::Result<Vec<IpAddr>> {
        if let Ok(ip) = name.parse::<IpAddr>() {
            return if family.allows(ip) {
                Ok(vec![ip])
            } else {
                Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!("{ip} is not of the wanted address family"),
                ))
            };
        }
        let name =
            &*to_ascii(name).map_err(|why| io::Error::new(io::ErrorKind::InvalidInput, why))?;
        let head = self.head()?;
        let token = head.new_token();
        let wanted = match family {
            Family::Any => libc::AF_UNSPEC,
            Family::Ipv4 => libc::AF_INET,
            Family::Ipv6 => libc::AF_INET6,
        };
        let by = head.limited_to.get();
        let told_by = match by {
            0 => host().resolve(self.raw(), name, wanted as u32, token)?,
            _ => host().resolve_by(self.raw(), name, wanted as u32, token, by)?,
        };
        let _under_way = told_by.then(|| UnderWay::new(head, token, by));
        let mut addresses = poll_fn(|task| match head.take_mail(token) {
            Some(Mail::Addresses(answer)) => {
                if answer.deadline_ns != 0 {
                    head.moved_to.set(answer.deadline_ns);
                }
                Poll::Ready(answer.into_result())
            }
            _ => {
                head.park(task);
                Poll::Pending
            }
        })
        .await?;
        addresses.retain(|ip| family.allows(*ip));
        if addresses.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "no address of this family",
            ));
        }
        Ok(addresses)
    }
}
