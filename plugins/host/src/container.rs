//! `container`: do the containers of Docker or podman run, and are they well?
//!
//! Runs in: the step lane. Asks the daemon over its socket; a daemon that does not answer says nothing about containers.

mod api;
#[cfg(test)]
mod tests;

use crate::glob;
use crate::report::{Report, time_text};
use api::{Api, Trouble};
use healthd_plugin::options::Bad::Above;
use healthd_plugin::options::{Size, size_text};
use healthd_plugin::serde_json::Value;
use healthd_plugin::thresholds::Upper;
use healthd_plugin::{Check, Cx, Delta, Kept, Metric, Status, Width, options, rfc3339_seconds};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

options! {
    /// Containers of Docker or podman: state, health, restarts, memory, the image's age.
    pub struct Options {
        /// Where the daemon listens. Without it: Docker's usual socket, or podman's.
        socket: Option<String> { pattern: "^/" },
        /// Containers by name, or patterns of names (`shop-*`). Without any: all.
        names: Vec<String> = Vec::new(),
        /// Only containers with all of these labels: "team=web", or "team" for any value.
        labels: Vec<String> = Vec::new(),
        /// The states that are fine: anything else is critical.
        states: Vec<State> { min_items: 1 } = vec![State::Running],
        /// Check the health that the container's own check has found.
        health: bool = true,
        /// Warning if it was restarted more often since the last run.
        restarts_warn: Option<u64> { bad: Above } = Some(0),
        /// Critical, likewise.
        restarts_crit: Option<u64>,
        /// Warning if it uses more memory.
        memory_warn: Option<Size> { bad: Above },
        /// Critical, likewise.
        memory_crit: Option<Size>,
        /// Warning if its image is older.
        image_age_warn: Option<Duration> { bad: Above },
        /// Critical, likewise.
        image_age_crit: Option<Duration>,
    }
}

options! {
    #[derive(Clone, Copy, PartialEq, Debug)]
    pub enum State {
        Created = "created", Running = "running", Paused = "paused", Restarting = "restarting",
        Exited = "exited", Dead = "dead",
    }
}

const SOCKETS: [&str; 2] = ["/run/docker.sock", "/run/podman/podman.sock"];
/// More containers are not looked at one by one.
const MOST: usize = 200;

pub struct Container {
    options: Options,
    /// By the container's id: one of the same name may be another one.
    restarts: Kept<BTreeMap<String, Delta>>,
}

impl Check for Container {
    type Options = Options;

    fn create(o: Options, _: Cx<'_>) -> Result<Self, String> {
        let odd = |t: &&String| t.is_empty() || t.contains(['/', '\0']);
        if let Some(name) = o.names.iter().find(odd) {
            return Err(format!("names: {name:?} is no name of a container"));
        }
        Ok(Container {
            options: o,
            restarts: Kept::default(),
        })
    }

    async fn check(&self, cx: Cx<'_>) -> Status {
        let mut report = Report::new(cx);
        // A daemon that is silent says nothing about containers: a little before the deadline it is unknown.
        let time = cx.remaining().mul_f64(0.95);
        match cx.timeout(time, self.ask(cx, &mut report)).await {
            Ok(Ok(())) => report.end(),
            Ok(Err(Trouble(why))) => cx.unknown(format_args!("container: {why}")),
            Err(_) => cx.unknown(format_args!(
                "container: no answer within {}",
                time_text(time.as_secs_f64())
            )),
        }
    }
}

/// Of the list: what it takes to choose.
struct Listed {
    id: String,
    name: String,
}

impl Container {
    async fn ask(&self, cx: Cx<'_>, report: &mut Report<'_>) -> Result<(), Trouble> {
        let o = &self.options;
        cx.phase("connect");
        let usual = SOCKETS.iter().find(|s| Path::new(s).exists());
        let socket = o.socket.as_deref().or(usual.copied()).unwrap_or(SOCKETS[0]);
        let mut api = Api::connect(cx, Path::new(socket)).await?;
        cx.phase("list");
        let all = api.get("/containers/json?all=true").await?;
        let all = all.as_ref().and_then(Value::as_array);
        let all = all.ok_or_else(|| Trouble("it has no list of containers".into()))?;
        let listed: Vec<Listed> = all.iter().filter_map(|c| self.chosen(c)).collect();
        for wanted in &o.names {
            if !listed.iter().any(|c| glob::matches(wanted, &c.name)) {
                let what = if glob::is_pattern(wanted) {
                    "matches"
                } else {
                    "is called"
                };
                report.add(Status::Critical, format!("no container {what} {wanted}"));
            }
        }
        if listed.len() > MOST {
            let n = listed.len();
            return Err(Trouble(format!(
                "{n} containers match; at most {MOST} are looked at"
            )));
        }
        cx.phase("inspect");
        let (mut running, mut finished) = (0, 0);
        for container in &listed {
            // It may have gone since the list was made.
            let Some(seen) = api
                .get(&format!("/containers/{}/json", container.id))
                .await?
            else {
                continue;
            };
            let word = seen["State"]["Status"].as_str().unwrap_or_default();
            running += u32::from(word == "running");
            if self.is_done(&container.name, &seen) {
                finished += 1;
                continue;
            }
            let show = |metric: &str| match listed.len() {
                1 => metric.to_owned(),
                _ => format!("{metric}:{}", container.name),
            };
            self.judge_state(&container.name, &seen, report);
            self.judge_restarts(cx, container, &seen, &show, report);
            if word == "running" {
                self.judge_memory(cx, &mut api, container, &show, report)
                    .await?;
            }
            self.judge_image(cx, &mut api, container, &seen, &show, report)
                .await?;
        }
        self.restarts
            .with(|all| all.retain(|id, _| listed.iter().any(|c| c.id == *id)));
        cx.metric(Metric::new("running", running.into()).min(0.0));
        if listed.len() != 1 || finished > 0 {
            let finished = match finished {
                0 => String::new(),
                n => format!(", {n} finished"),
            };
            let n = listed.len();
            report.say(format!("{running} of {n} containers run{finished}"));
        }
        Ok(())
    }

    fn chosen(&self, container: &Value) -> Option<Listed> {
        let name = container["Names"].get(0).and_then(Value::as_str)?;
        let name = name.strip_prefix('/').unwrap_or(name);
        // It comes back in a path.
        let id = container["Id"].as_str()?;
        let id = id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric())
            .then_some(id)?;
        let o = &self.options;
        let named = o.names.is_empty() || o.names.iter().any(|p| glob::matches(p, name));
        let labels = &container["Labels"];
        let labelled = o.labels.iter().all(|wanted| match wanted.split_once('=') {
            Some((key, value)) => labels[key].as_str() == Some(value),
            None => !labels[wanted].is_null(),
        });
        (named && labelled).then(|| Listed {
            id: id.to_owned(),
            name: name.to_owned(),
        })
    }

    /// One that has done its work and was not to be started again. Who is named must run.
    fn is_done(&self, name: &str, seen: &Value) -> bool {
        let policy = seen["HostConfig"]["RestartPolicy"]["Name"].as_str();
        let named = self.options.names.iter().any(|n| n == name);
        let state = &seen["State"];
        !named
            && state["Status"] == "exited"
            && state["ExitCode"] == 0
            && matches!(policy, None | Some("" | "no" | "on-failure"))
    }

    fn judge_state(&self, name: &str, seen: &Value, report: &mut Report<'_>) {
        let o = &self.options;
        let state = &seen["State"];
        let word = state["Status"].as_str().unwrap_or("in no state");
        let fine = o.states.iter().any(|s| state_word(*s) == word);
        let mut text = format!("{name} is {word}");
        if matches!(word, "exited" | "dead" | "restarting") {
            text += &format!(", its exit code was {}", state["ExitCode"]);
        }
        let since = match word {
            "running" | "paused" => age(&state["StartedAt"]),
            "exited" | "dead" => age(&state["FinishedAt"]),
            _ => None,
        };
        if let Some(age) = since {
            text += &format!(", for {}", time_text(age));
        }
        report.add(if fine { Status::Ok } else { Status::Critical }, text);
        if state["OOMKilled"] == true {
            let status = if word == "running" {
                Status::Warn
            } else {
                Status::Critical
            };
            report.add(status, format!("{name} ran out of memory (OOM killer)"));
        }
        // Docker has Health, old podmen have Healthcheck; without a check of its own it is empty, or "none".
        let health = [&state["Health"], &state["Healthcheck"]];
        let health = health.iter().find_map(|h| h["Status"].as_str());
        if o.health && word == "running" && health == Some("unhealthy") {
            let log = state["Health"]["Log"].as_array();
            let said = log
                .and_then(|l| l.last()?["Output"].as_str())
                .unwrap_or_default();
            let said: String = said
                .trim()
                .chars()
                .filter(|c| !c.is_control())
                .take(80)
                .collect();
            let said = if said.is_empty() {
                said
            } else {
                format!(": {said}")
            };
            report.add(Status::Critical, format!("{name} is unhealthy{said}"));
        }
    }

    fn judge_restarts(
        &self,
        cx: Cx<'_>,
        container: &Listed,
        seen: &Value,
        show: &dyn Fn(&str) -> String,
        report: &mut Report<'_>,
    ) {
        let Some(restarts) = seen["RestartCount"].as_u64() else {
            return;
        };
        let growth = self.restarts.with(|all| {
            let delta = all.entry(container.id.clone()).or_default();
            delta.next(Width::Bits64, restarts, cx.now_ns())
        });
        let count = |n: Option<u64>| n.map(|n| n as f64);
        let limits = Upper {
            warn: count(self.options.restarts_warn),
            crit: count(self.options.restarts_crit),
        };
        if let Some(n) = growth.count() {
            let n = n as f64;
            cx.metric(limits.on(Metric::new(&show("restarts"), n).min(0.0)));
            let text = format!(
                "{} was restarted {n} times since the last run",
                container.name
            );
            if limits.judge(n) != Status::Ok {
                report.add(limits.judge(n), text);
            }
        }
    }

    async fn judge_memory(
        &self,
        cx: Cx<'_>,
        api: &mut Api<'_>,
        container: &Listed,
        show: &dyn Fn(&str) -> String,
        report: &mut Report<'_>,
    ) -> Result<(), Trouble> {
        let limits = Upper {
            warn: self.options.memory_warn.map(|s| s.0 as f64),
            crit: self.options.memory_crit.map(|s| s.0 as f64),
        };
        // Docker measures for a second before it answers: only for who wants to know.
        if limits == Upper::default() {
            return Ok(());
        }
        let path = format!(
            "/containers/{}/stats?stream=false&one-shot=true",
            container.id
        );
        let stats = api.get(&path).await?.unwrap_or_default();
        let memory = &stats["memory_stats"];
        let name = &container.name;
        let Some(usage) = memory["usage"].as_f64().filter(|n| *n > 0.0) else {
            report.add(
                Status::Unknown,
                format!("{name}: its memory is not counted"),
            );
            return Ok(());
        };
        // Of files that nobody uses any more; `docker stats` takes it off too.
        let inactive = ["total_inactive_file", "inactive_file"];
        let inactive = inactive
            .iter()
            .find_map(|key| memory["stats"][key].as_f64());
        let bytes = (usage - inactive.unwrap_or(0.0)).max(0.0);
        cx.metric(limits.on(Metric::new(&show("memory"), bytes).unit("By").min(0.0)));
        if limits.judge(bytes) != Status::Ok {
            report.add(
                limits.judge(bytes),
                format!("{name} uses {}", size_text(bytes)),
            );
        }
        Ok(())
    }

    async fn judge_image(
        &self,
        cx: Cx<'_>,
        api: &mut Api<'_>,
        container: &Listed,
        seen: &Value,
        show: &dyn Fn(&str) -> String,
        report: &mut Report<'_>,
    ) -> Result<(), Trouble> {
        let o = &self.options;
        let limits = Upper::of_durations(o.image_age_warn, o.image_age_crit);
        if limits == Upper::default() {
            return Ok(());
        }
        let id = seen["Image"].as_str().unwrap_or_default();
        let is_id = !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b':');
        let image = match is_id {
            true => api.get(&format!("/images/{id}/json")).await?,
            false => None,
        };
        let name = &container.name;
        match image.as_ref().and_then(|i| age(&i["Created"])) {
            Some(age) => {
                cx.metric(limits.on(Metric::new(&show("image_age"), age).unit("s").min(0.0)));
                if limits.judge(age) != Status::Ok {
                    let text = format!("the image of {name} is {} old", time_text(age));
                    report.add(limits.judge(age), text);
                }
            }
            None => report.add(
                Status::Unknown,
                format!("{name}: the age of its image is not known"),
            ),
        }
        Ok(())
    }
}

/// Seconds since a time as RFC 3339 writes it; None if there is none, which is the year 1 here.
fn age(time: &Value) -> Option<f64> {
    let at = rfc3339_seconds(time.as_str()?)?;
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .ok()?;
    Some((now.as_secs_f64() - at as f64).max(0.0))
}

fn state_word(state: State) -> &'static str {
    match state {
        State::Created => "created",
        State::Running => "running",
        State::Paused => "paused",
        State::Restarting => "restarting",
        State::Exited => "exited",
        State::Dead => "dead",
    }
}
