//! What dnf knows without the network: its cache (`-C`), which a timer or root keeps fresh.

use super::{Waiting, newest, run};
use crate::kernel::Kernel;
use healthd_plugin::Cx;
use std::time::SystemTime;

const CACHE: &str = "--setopt=cachedir=/var/cache/dnf";

pub async fn ask(cx: Cx<'_>) -> Result<Waiting, String> {
    // 100: there are updates.
    let all = run(cx, &["dnf", "-q", "-C", CACHE, "check-update"], &[0, 100]).await?;
    let security = ["dnf", "-q", "-C", CACHE, "--security", "check-update"];
    let security = run(cx, &security, &[0, 100]).await?;
    let names = |out: &[u8]| read(&String::from_utf8_lossy(out));
    Ok(Waiting {
        all: names(&all.out),
        security: names(&security.out),
    })
}

/// `bash.x86_64    5.2.26-1.fc40    updates`, up to what the updates make obsolete.
pub fn read(text: &str) -> Vec<String> {
    let lines = text
        .lines()
        .take_while(|line| !line.starts_with("Obsoleting"));
    let names = lines.filter_map(|line| {
        let mut words = line.split_whitespace();
        let (package, _version, _from) = (words.next()?, words.next()?, words.next()?);
        let (name, _) = package.rsplit_once('.')?;
        // A long name has a line of its own, or the rest on the next one: that begins with blanks.
        (!line.starts_with(' ') && words.next().is_none()).then(|| name.to_owned())
    });
    names.collect()
}

/// A repository whose index was fetched and is as before has its time renewed.
pub fn lists_changed(kernel: &Kernel) -> Option<SystemTime> {
    let repositories = kernel.names("var/cache/dnf").ok()?;
    let of = |name: &String| format!("var/cache/dnf/{name}/repodata/repomd.xml");
    let indexes: Vec<String> = repositories.iter().map(of).collect();
    newest(kernel, indexes.iter().map(String::as_str))
}
