//! Which full names a name may mean: the search list and `ndots` of resolv.conf.

use crate::name::Host;
use crate::resolv_conf::Settings;

/// In the order in which they are asked; at least one.
pub fn candidates(host: &Host, settings: &Settings) -> Vec<String> {
    if host.absolute {
        return vec![host.name.clone()];
    }
    let dots = host.name.bytes().filter(|b| *b == b'.').count();
    let itself = std::iter::once(host.name.clone());
    let searched = settings.search.iter().map(|domain| match domain.as_str() {
        "" => host.name.clone(),
        domain => format!("{}.{domain}", host.name),
    });
    let all: Vec<String> = match dots >= settings.ndots {
        true => itself.chain(searched).collect(),
        false => searched.chain(itself).collect(),
    };
    let mut names: Vec<String> = Vec::with_capacity(all.len());
    for name in all {
        if name.len() <= 253 && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_in_which_names_are_asked() {
        let settings = Settings {
            search: vec!["corp.test".into(), String::new(), "b.test".into()],
            ndots: 2,
            ..Settings::default()
        };
        let names = |text| candidates(&crate::name::parse(text).expect("a name"), &settings);
        assert_eq!(names("db."), ["db"]);
        assert_eq!(names("db"), ["db.corp.test", "db", "db.b.test"]);
        assert_eq!(names("a.db"), ["a.db.corp.test", "a.db", "a.db.b.test"]);
        assert_eq!(
            names("x.a.db"),
            ["x.a.db", "x.a.db.corp.test", "x.a.db.b.test"]
        );
        let long = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(58));
        assert_eq!(names(&long), [long.as_str()]);
    }
}
