//! What the plugin directory holds, as the config needs to know it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a plugin's checks do most of the time; it decides which workers run them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Waits on sockets, never blocks: the step lane of an io worker.
    Io,
    /// Blocks in a library: a thread of an io worker.
    Block,
    /// Computes: a process of its own.
    Cpu,
    /// Starts programs.
    Exec,
    /// Is no check: it delivers a message to people.
    Notify,
}

impl Class {
    pub fn name(self) -> &'static str {
        match self {
            Self::Io => "io",
            Self::Block => "block",
            Self::Cpu => "cpu",
            Self::Exec => "exec",
            Self::Notify => "notify",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PluginInfo {
    pub name: String,
    pub version: String,
    pub summary: String,
    pub file: PathBuf,
    pub class: Class,
    pub default_timeout: Duration,
    /// The JSON Schema of one check's `config`. Of all that is known of plugins it is the largest, and many hold it.
    pub schema: Arc<serde_json::Value>,
}

/// A file in the plugin directory that no worker will load.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    pub file: PathBuf,
    /// The plugin's name, where it could be read.
    pub name: Option<String>,
    pub reason: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Catalog {
    pub plugins: Vec<PluginInfo>,
    pub refused: Vec<Refused>,
}

impl Catalog {
    pub fn plugin(&self, name: &str) -> Option<&PluginInfo> {
        self.plugins.iter().find(|p| p.name == name)
    }

    /// The refused file that stands for `name`: by the name read from it or, where none could be
    /// read, by its file name (`http.so`, `libhttp.so`, `libhealthd_http.so`).
    pub fn refused(&self, name: &str) -> Option<&Refused> {
        self.refused.iter().find(|r| match &r.name {
            Some(theirs) => theirs == name,
            None => r
                .file
                .file_stem()
                .and_then(|s| s.to_str())
                .is_some_and(|s| stands_for(s, name)),
        })
    }
}

fn stands_for(stem: &str, name: &str) -> bool {
    let plain = |s: &str| s.replace('-', "_");
    let mut stem = stem;
    loop {
        if plain(stem) == plain(name) {
            return true;
        }
        match ["lib", "healthd_", "healthd-", "plugin_", "plugin-"]
            .iter()
            .find_map(|lead| stem.strip_prefix(lead))
        {
            Some(rest) => stem = rest,
            None => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_file_stands_for_the_name_in_it_or_on_it() {
        let refused = |file: &str, name: Option<&str>| Refused {
            file: file.into(),
            name: name.map(str::to_owned),
            reason: String::new(),
        };
        let catalog = Catalog {
            plugins: Vec::new(),
            refused: vec![
                refused("/p/libhealthd_http.so", None),
                refused("/p/disk-space.so", None),
                refused("/p/a.so", Some("web")),
            ],
        };
        assert!(catalog.refused("http").is_some());
        assert!(catalog.refused("disk_space").is_some());
        assert!(catalog.refused("web").is_some());
        assert!(catalog.refused("a").is_none());
        assert!(catalog.refused("tcp").is_none());
        assert!(catalog.refused("").is_none());
    }
}
