//! What INFO says.

use std::collections::BTreeMap;

pub struct Info(BTreeMap<String, String>);

impl Info {
    pub fn parse(text: &str) -> Info {
        let pairs = text
            .lines()
            .filter_map(|line| line.trim_end().split_once(':'));
        Info(pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect())
    }

    pub fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    pub fn number(&self, key: &str) -> Option<f64> {
        self.text(key)?.parse().ok().filter(|n: &f64| n.is_finite())
    }

    pub fn is_replica(&self) -> bool {
        self.text("role") == Some("slave")
    }

    /// Of a primary: how many bytes the last of its replicas that follow it has not confirmed; None without one.
    pub fn replicas(&self) -> (usize, Option<f64>) {
        let ours = self.number("master_repl_offset");
        let each = (0..).map_while(|n| self.text(&format!("slave{n}")));
        let online: Vec<&str> = each.filter(|line| line.contains("state=online")).collect();
        let offset = |line: &&str| {
            let field = line.split(',').find_map(|f| f.strip_prefix("offset="));
            field?.parse::<f64>().ok()
        };
        let least = online.iter().filter_map(offset).reduce(f64::min);
        (online.len(), ours.zip(least).map(|(a, b)| (a - b).max(0.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_primary() {
        let info = Info::parse(
            "# Replication\r\nrole:master\r\nmaster_repl_offset:100\r\nslave0:ip=::1,port=1,state=online,offset=90,lag=0\r\n\
             slave1:ip=a,port=2,state=wait_bgsave,offset=0,lag=0\r\nslave2:ip=b,port=3,state=online,offset=95,lag=1\r\n",
        );
        assert!(!info.is_replica());
        assert_eq!(info.replicas(), (2, Some(10.0)));
        assert_eq!(info.number("role"), None);
        assert_eq!(Info::parse("").replicas(), (0, None));
    }
}
