//! resolv.conf(5), with `LOCALDOMAIN` and `RES_OPTIONS` of the environment, as values. Reads no file.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};

/// How names are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// At least one.
    pub servers: Vec<SocketAddr>,
    pub search: Vec<String>,
    pub ndots: usize,
    /// How long an answer is waited for, in seconds; None: nothing was said.
    pub timeout_s: Option<u64>,
    pub attempts: usize,
    pub rotate: bool,
    pub edns0: bool,
    pub use_vc: bool,
    pub single_request: bool,
    pub no_aaaa: bool,
    pub trust_ad: bool,
}

/// What beside the file decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    pub localdomain: Option<String>,
    pub res_options: Option<String>,
    /// This machine's name; what stands behind its first dot is searched where nothing else is said.
    pub hostname: String,
}

/// glibc asks three; a machine with more means them.
const MOST_SERVERS: usize = 8;
const MOST_SEARCHED: usize = 32;

impl Default for Settings {
    fn default() -> Self {
        Settings {
            servers: vec![(Ipv4Addr::LOCALHOST, 53).into()],
            search: Vec::new(),
            ndots: 1,
            timeout_s: None,
            attempts: 2,
            rotate: false,
            edns0: false,
            use_vc: false,
            single_request: false,
            no_aaaa: false,
            trust_ad: false,
        }
    }
}

/// What cannot be read is passed over, as glibc does. `index` gives the number of an interface.
pub fn parse(
    text: &str,
    environment: &Environment,
    index: impl Fn(&str) -> Option<u32>,
) -> Settings {
    let mut settings = Settings::default();
    let mut servers = Vec::new();
    let mut search = None;
    for line in text.lines() {
        let line = line.trim();
        if line.starts_with(['#', ';']) {
            continue;
        }
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("nameserver") => {
                let server = words.next().and_then(|word| server(word, &index));
                servers.extend(server.filter(|_| servers.len() < MOST_SERVERS));
            }
            Some("domain") => search = words.next().map(|word| vec![domain(word)]),
            Some("search") => search = Some(domains(words)),
            Some("options") => words.for_each(|word| option(&mut settings, word)),
            _ => {}
        }
    }
    if let Some(list) = &environment.localdomain {
        search = Some(domains(list.split_ascii_whitespace()));
    }
    for word in environment
        .res_options
        .iter()
        .flat_map(|o| o.split_ascii_whitespace())
    {
        option(&mut settings, word);
    }
    if !servers.is_empty() {
        settings.servers = servers;
    }
    settings.search = search.unwrap_or_else(|| {
        let behind = environment
            .hostname
            .split_once('.')
            .map(|(_, behind)| domain(behind));
        behind.filter(|d| !d.is_empty()).into_iter().collect()
    });
    settings
}

fn server(word: &str, index: impl Fn(&str) -> Option<u32>) -> Option<SocketAddr> {
    const PORT: u16 = 53;
    if let Some((address, interface)) = word.split_once('%') {
        let scope = interface.parse().ok().or_else(|| index(interface))?;
        let address = address.parse().ok()?;
        return Some(SocketAddrV6::new(address, PORT, 0, scope).into());
    }
    let address = crate::name::literal(word)?;
    // "Any address" means this machine.
    let address = match address {
        IpAddr::V4(any) if any.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        other => other,
    };
    Some((address, PORT).into())
}

fn domain(word: &str) -> String {
    word.trim_end_matches('.').to_ascii_lowercase()
}

fn domains<'a>(words: impl Iterator<Item = &'a str>) -> Vec<String> {
    words.take(MOST_SEARCHED).map(domain).collect()
}

fn option(settings: &mut Settings, word: &str) {
    let (name, value) = word.split_once(':').unwrap_or((word, ""));
    let number = || value.parse::<u64>().ok();
    match name {
        "ndots" => settings.ndots = number().map_or(settings.ndots, |n| n.min(15) as usize),
        "timeout" => settings.timeout_s = number().map(|n| n.clamp(1, 30)).or(settings.timeout_s),
        "attempts" => {
            settings.attempts = number().map_or(settings.attempts, |n| n.clamp(1, 5) as usize)
        }
        "rotate" => settings.rotate = true,
        "edns0" => settings.edns0 = true,
        "use-vc" | "usevc" => settings.use_vc = true,
        "single-request" | "single-request-reopen" => settings.single_request = true,
        "no-aaaa" => settings.no_aaaa = true,
        "trust-ad" => settings.trust_ad = true,
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Settings {
        parse(text, &Environment::default(), |name| {
            (name == "eth0").then_some(7)
        })
    }

    #[test]
    fn a_usual_file() {
        let s = read(
            "# by hand\n; old\nnameserver 192.0.2.1\nnameserver 2001:db8::53 # second\n  nameserver fe80::1%eth0\n\
             nameserver fe80::2%9\nnameserver fe80::3%none\nnameserver nonsense\nsearch Corp.Test. b.test\n\
             options ndots:2 timeout:3 attempts:4 rotate edns0 use-vc single-request no-aaaa trust-ad unknown:1\n",
        );
        let servers: Vec<String> = s.servers.iter().map(ToString::to_string).collect();
        assert_eq!(
            servers,
            [
                "192.0.2.1:53",
                "[2001:db8::53]:53",
                "[fe80::1%7]:53",
                "[fe80::2%9]:53"
            ]
        );
        assert_eq!(s.search, ["corp.test", "b.test"]);
        assert_eq!((s.ndots, s.timeout_s, s.attempts), (2, Some(3), 4));
        assert!(s.rotate && s.edns0 && s.use_vc && s.single_request && s.no_aaaa && s.trust_ad);
    }

    #[test]
    fn bounds_and_what_is_missing() {
        assert_eq!(read(""), Settings::default());
        assert_eq!(
            read("nameserver 0.0.0.0\n").servers,
            Settings::default().servers
        );
        let s = read("options ndots:99 timeout:0 attempts:0 timeout:x\n");
        assert_eq!((s.ndots, s.timeout_s, s.attempts), (15, Some(1), 1));
        assert_eq!(read(&"nameserver 192.0.2.1\n".repeat(20)).servers.len(), 8);
        assert_eq!(
            read(&format!("search{}\n", " a.test".repeat(99)))
                .search
                .len(),
            32
        );
        // The last of the two counts.
        assert_eq!(
            read("search a.test b.test\ndomain c.test\n").search,
            ["c.test"]
        );
        assert_eq!(read("domain c.test\nsearch a.test\n").search, ["a.test"]);
    }

    #[test]
    fn the_environment_and_the_name_of_the_machine() {
        let environment = Environment {
            localdomain: Some("env.test other.test".into()),
            res_options: Some("ndots:3 attempts:1".into()),
            hostname: "box.home.test".into(),
        };
        let s = parse("search a.test\noptions ndots:2\n", &environment, |_| None);
        assert_eq!(s.search, ["env.test", "other.test"]);
        assert_eq!((s.ndots, s.attempts), (3, 1));
        let named = Environment {
            hostname: "box.home.test".into(),
            ..Environment::default()
        };
        assert_eq!(parse("", &named, |_| None).search, ["home.test"]);
        assert_eq!(parse("search .\n", &named, |_| None).search, [""]);
    }
}
