//! What a registry says of a domain (RFC 9083), as far as it is kept for the next runs.

use healthd_plugin::serde_json::{Value, json};
use healthd_plugin::{cut, rfc3339_seconds};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// False: the registry does not know it.
    pub is_registered: bool,
    /// Seconds since 1970.
    pub expires: Option<i64>,
    /// In lower case.
    pub statuses: Vec<String>,
    pub registrar: Option<String>,
    /// In lower case, sorted.
    pub nameservers: Vec<String>,
}

/// More of them nobody has.
const MOST: usize = 32;

impl Answer {
    /// `name` in ASCII: the answer must be about it.
    pub fn parse(json: &Value, name: &str) -> Result<Answer, String> {
        if json["objectClassName"] != "domain" {
            return Err("its answer is about no domain".into());
        }
        let told = json["ldhName"].as_str().unwrap_or_default();
        if !told.trim_end_matches('.').eq_ignore_ascii_case(name) {
            return Err(format!("its answer is about {:?}", plain(told)));
        }
        let events = json["events"].as_array().into_iter().flatten();
        let mut end = events.filter(|e| e["eventAction"] == "expiration");
        let expires = match end
            .next()
            .map(|e| e["eventDate"].as_str().unwrap_or_default())
        {
            None => None,
            Some(date) => {
                Some(rfc3339_seconds(date).ok_or_else(|| format!("{:?} is no date", plain(date)))?)
            }
        };
        let texts = |list: &Value, key: Option<&str>| -> Vec<String> {
            let items = list.as_array().into_iter().flatten();
            let texts = items.filter_map(|v| key.map_or(v, |k| &v[k]).as_str());
            let texts = texts.map(|t| plain(t.trim_end_matches('.')).to_ascii_lowercase());
            texts.take(MOST).collect()
        };
        let mut nameservers = texts(&json["nameservers"], Some("ldhName"));
        nameservers.sort();
        Ok(Answer {
            is_registered: true,
            expires,
            statuses: texts(&json["status"], None),
            registrar: registrar(&json["entities"]),
            nameservers,
        })
    }

    pub fn to_json(&self) -> Value {
        json!({
            "registered": self.is_registered, "expires": self.expires, "statuses": self.statuses,
            "registrar": self.registrar, "nameservers": self.nameservers,
        })
    }

    pub fn from_json(v: &Value) -> Option<Answer> {
        let texts = |list: &Value| -> Vec<String> {
            let items = list.as_array().into_iter().flatten();
            items
                .filter_map(|t| t.as_str().map(str::to_owned))
                .collect()
        };
        Some(Answer {
            is_registered: v["registered"].as_bool()?,
            expires: v["expires"].as_i64(),
            statuses: texts(&v["statuses"]),
            registrar: v["registrar"].as_str().map(str::to_owned),
            nameservers: texts(&v["nameservers"]),
        })
    }
}

/// `["vcard", [["version", {}, "text", "4.0"], ["fn", {}, "text", "Example Registrar"]]]` of who is the registrar.
fn registrar(entities: &Value) -> Option<String> {
    let mut all = entities.as_array().into_iter().flatten();
    let whose = all.find(|e| {
        let roles = e["roles"].as_array().into_iter().flatten();
        roles.into_iter().any(|r| r == "registrar")
    })?;
    let mut lines = whose["vcardArray"][1].as_array()?.iter();
    let line = lines.find(|line| line[0] == "fn")?;
    line[3].as_str().map(plain)
}

fn plain(text: &str) -> String {
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    cut(&text, 253).to_owned()
}

/// The servers for a name, by IANA's list (RFC 9224): those of the longest ending that it has.
pub fn servers(list: &Value, name: &str) -> Vec<String> {
    let services = list["services"].as_array().into_iter().flatten();
    let mut best: (usize, Vec<String>) = (0, Vec::new());
    for service in services {
        let endings = service[0].as_array().into_iter().flatten();
        for ending in endings.filter_map(Value::as_str) {
            let before = name.strip_suffix(&ending.to_ascii_lowercase());
            let fits = before.is_some_and(|b| b.is_empty() || b.ends_with('.'));
            if fits && ending.len() > best.0 {
                let urls = service[1].as_array().into_iter().flatten();
                let urls = urls.filter_map(|u| u.as_str().map(str::to_owned));
                best = (ending.len(), urls.collect());
            }
        }
    }
    best.1
}
