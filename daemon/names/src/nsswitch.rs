//! The line `hosts:` of nsswitch.conf(5): what of it is ours to do, and for which names glibc has to be asked.
//!
//! | service | |
//! | --- | --- |
//! | `files`, `dns` | ours |
//! | `resolve` | as `dns` if resolv.conf names systemd-resolved's stub; left out while that does not run |
//! | `myhostname` | left out, but for this machine's own name, `_gateway` and `_outbound` |
//! | `mymachines` | left out while no container is registered |
//! | `mdns4_minimal` and its like | left out, but for names below `.local` |
//! | anything else (`ldap`, `nis`, `wins`, `libvirt` ...) | getaddrinfo, once what stands before it has found nothing |

/// Where a name is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Files,
    Dns,
    /// getaddrinfo(3), on a thread: it does the whole line.
    Threads,
}

/// One after the other until one knows the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub source: Source,
    /// The search ends here if there is no such name.
    pub ends_if_not_found: bool,
    /// The search ends here if nobody could tell.
    pub ends_if_failed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    name: String,
    not_found: bool,
    failed: bool,
    unavailable: bool,
    /// `[SUCCESS=continue]` or `merge`: glibc's business.
    goes_on: bool,
}

/// What decides beside the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    pub hostname: String,
    /// resolv.conf names 127.0.0.53 or 127.0.0.54.
    pub stub: bool,
    /// systemd-resolved runs.
    pub resolved: bool,
    /// A container is registered with systemd-machined.
    pub machines: bool,
    /// /etc/mdns.allow is there: more than `.local` is asked by multicast.
    pub mdns_allow: bool,
}

/// The services of the last `hosts:` line; without one, `files dns`.
pub fn parse(text: &str) -> Vec<Service> {
    let line = text
        .lines()
        .map(|l| l.split('#').next().unwrap_or_default().trim())
        .filter_map(|l| l.strip_prefix("hosts:"))
        .next_back();
    let mut services: Vec<Service> = Vec::new();
    let mut rest = line.unwrap_or("files dns").trim();
    while !rest.is_empty() {
        let (word, more) = match rest.strip_prefix('[') {
            Some(inner) => {
                let (actions, more) = inner.split_once(']').unwrap_or((inner, ""));
                if let Some(service) = services.last_mut() {
                    service.act(actions);
                }
                ("", more)
            }
            None => rest.split_at(rest.find([' ', '\t', '[']).unwrap_or(rest.len())),
        };
        if !word.is_empty() {
            services.push(Service {
                name: word.to_ascii_lowercase(),
                not_found: false,
                failed: false,
                unavailable: false,
                goes_on: false,
            });
        }
        rest = more.trim_start();
    }
    services
}

impl Service {
    pub fn is(&self, word: &str) -> bool {
        self.name.starts_with(word)
    }

    /// `NOTFOUND=return !UNAVAIL=return` and the like.
    fn act(&mut self, actions: &str) {
        let actions = actions.to_ascii_uppercase();
        for action in actions.split_ascii_whitespace() {
            let Some((status, action)) = action.split_once('=') else {
                continue;
            };
            let (status, not) = match status.strip_prefix('!') {
                Some(status) => (status, true),
                None => (status, false),
            };
            let means = |one: &str| (status == one) != not;
            let returns = action == "RETURN";
            if means("NOTFOUND") {
                self.not_found = returns;
            }
            if means("TRYAGAIN") {
                self.failed = returns;
            }
            if means("UNAVAIL") {
                self.unavailable = returns;
            }
            if means("SUCCESS") {
                self.goes_on = !returns;
            }
        }
    }
}

/// The way of one name. Empty: nobody is to be asked.
pub fn plan(services: &[Service], name: &str, machine: &Machine) -> Vec<Step> {
    let threads = |ends| Step {
        source: Source::Threads,
        ends_if_not_found: ends,
        ends_if_failed: ends,
    };
    if services.iter().any(|s| s.goes_on) {
        return vec![threads(true)];
    }
    let mut steps: Vec<Step> = Vec::new();
    for service in services {
        let source = match service.role(name, machine) {
            Role::Ours(source) => source,
            // It does all that follows as well.
            Role::Glibc => {
                steps.push(threads(true));
                break;
            }
            Role::NotFound if service.not_found => break,
            Role::Unavailable if service.unavailable => break,
            Role::NotFound | Role::Unavailable => continue,
        };
        let step = Step {
            source,
            ends_if_not_found: service.not_found,
            ends_if_failed: service.failed,
        };
        if !steps.iter().any(|s| s.source == source) {
            steps.push(step);
        }
    }
    steps
}

enum Role {
    Ours(Source),
    Glibc,
    NotFound,
    Unavailable,
}

impl Service {
    fn role(&self, name: &str, machine: &Machine) -> Role {
        match self.name.as_str() {
            "files" => Role::Ours(Source::Files),
            "dns" => Role::Ours(Source::Dns),
            "resolve" if !machine.resolved => Role::Unavailable,
            "resolve" if machine.stub => Role::Ours(Source::Dns),
            "myhostname" => {
                let own = machine.hostname.eq_ignore_ascii_case(name);
                match own || matches!(name, "_gateway" | "_outbound") {
                    true => Role::Glibc,
                    false => Role::NotFound,
                }
            }
            "mymachines" if !machine.machines => Role::NotFound,
            mdns if mdns.starts_with("mdns") => {
                let more = machine.mdns_allow && !mdns.ends_with("_minimal");
                match more || name == "local" || name.ends_with(".local") {
                    true => Role::Glibc,
                    false => Role::Unavailable,
                }
            }
            _ => Role::Glibc,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Source::{Dns, Files, Threads};

    fn sources(line: &str, name: &str, machine: &Machine) -> Vec<Source> {
        let steps = plan(&parse(line), name, machine);
        steps.into_iter().map(|s| s.source).collect()
    }

    #[test]
    fn lines_of_real_machines() {
        let plain = Machine::default();
        let fedora = "hosts: files myhostname mdns4_minimal [NOTFOUND=return] resolve [!UNAVAIL=return] dns\n";
        let debian =
            "passwd: files\nhosts:          files mdns4_minimal [NOTFOUND=return] dns # desktop\n";
        let arch = "hosts: mymachines resolve [!UNAVAIL=return] files myhostname dns";
        let stub = Machine {
            stub: true,
            resolved: true,
            hostname: "box".into(),
            ..Machine::default()
        };
        for (line, name, machine, wanted) in [
            ("", "a.test", &plain, vec![Files, Dns]),
            ("hosts: dns files", "a.test", &plain, vec![Dns, Files]),
            ("hosts: files", "a.test", &plain, vec![Files]),
            (debian, "a.test", &plain, vec![Files, Dns]),
            (debian, "printer.local", &plain, vec![Files, Threads]),
            (fedora, "a.test", &plain, vec![Files, Dns]),
            (fedora, "a.test", &stub, vec![Files, Dns]),
            (fedora, "box", &stub, vec![Files, Threads]),
            (arch, "a.test", &plain, vec![Files, Dns]),
            (arch, "a.test", &stub, vec![Dns, Files]),
            (
                "hosts: files dns ldap",
                "a.test",
                &plain,
                vec![Files, Dns, Threads],
            ),
            (
                "hosts: files[NOTFOUND=return]dns",
                "a.test",
                &plain,
                vec![Files, Dns],
            ),
            (
                "hosts: files [SUCCESS=merge] dns",
                "a.test",
                &plain,
                vec![Threads],
            ),
            ("hosts:", "a.test", &plain, vec![]),
        ] {
            assert_eq!(sources(line, name, machine), wanted, "{line} {name}");
        }
    }

    #[test]
    fn actions() {
        let step = |line: &str| plan(&parse(line), "a.test", &Machine::default())[0];
        let ends = |line| (step(line).ends_if_not_found, step(line).ends_if_failed);
        assert_eq!(ends("hosts: files dns"), (false, false));
        assert_eq!(ends("hosts: files [NOTFOUND=return] dns"), (true, false));
        assert_eq!(ends("hosts: dns [!UNAVAIL=return] files"), (true, true));
        assert_eq!(
            ends("hosts: dns [TRYAGAIN=return NOTFOUND=continue] files"),
            (false, true)
        );
    }

    #[test]
    fn a_resolved_that_is_not_the_stub_is_asked_by_glibc() {
        let machine = Machine {
            resolved: true,
            ..Machine::default()
        };
        let line = "hosts: files resolve [!UNAVAIL=return] dns";
        assert_eq!(sources(line, "a.test", &machine), [Files, Threads]);
        let machines = Machine {
            machines: true,
            ..Machine::default()
        };
        assert_eq!(
            sources("hosts: mymachines files dns", "a", &machines),
            [Threads]
        );
        let allow = Machine {
            mdns_allow: true,
            ..Machine::default()
        };
        assert_eq!(
            sources("hosts: files mdns dns", "a.test", &allow),
            [Files, Threads]
        );
        assert_eq!(
            sources("hosts: files mdns_minimal dns", "a.test", &allow),
            [Files, Dns]
        );
    }
}
