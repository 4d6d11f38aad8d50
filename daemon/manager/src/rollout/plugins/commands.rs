//! `plugins reload` and `plugins rollback`, and the way back to what served before.

use super::versions::unwanted_files;
use crate::control::Asker;
use crate::director::Manager;
use crate::rollout::coming::Force;
use crate::rollout::work::{Unwanted, Work};
use healthd_catalog::{PluginFile, Scan, Standing};
use healthd_core::config::did_you_mean;
use healthd_core::wire::control::{ControlError, ErrorCode};

impl Manager {
    /// A client does not want what serves. Err: there is nothing to go back to.
    pub fn ask_rollback(
        &mut self,
        client: Option<Asker>,
        plugin: &str,
        uid: u32,
    ) -> Result<(), ControlError> {
        let serving = self.serving();
        let Some(file) = serving.iter().find(|f| f.has(plugin)) else {
            return Err(self.no_such_plugin(plugin));
        };
        if self.rollout.versions.previous_of(plugin).is_none() {
            return Err(ControlError {
                code: ErrorCode::Failed,
                message: format!("there is no version of `{plugin}` to go back to"),
                help: "one is kept when a new build of a plugin takes over; a restart forgets it"
                    .into(),
                diagnostics: Vec::new(),
            });
        }
        let unwanted = Unwanted {
            path: file.path.clone(),
            hash: file.hash,
            why: format!("rolled back by uid {uid}"),
        };
        self.enqueue(Work::Rollback {
            client,
            files: vec![unwanted],
        });
        Ok(())
    }

    fn no_such_plugin(&self, name: &str) -> ControlError {
        let known = self
            .rollout
            .scan
            .catalog
            .plugins
            .iter()
            .map(|p| p.name.as_str());
        ControlError {
            code: ErrorCode::NoSuchPlugin,
            message: format!("no plugin `{name}`"),
            help: match did_you_mean(name, known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "`healthctl plugins` names them all".into(),
            },
            diagnostics: Vec::new(),
        }
    }

    /// A client asked for this plugin by its name: what stands in the way of its file?
    pub(in crate::rollout) fn in_the_way(&self, scan: &Scan, name: &str) -> Option<ControlError> {
        let failed = |message: String| ControlError {
            code: ErrorCode::Failed,
            message,
            help: "what was in use before stays in use".into(),
            diagnostics: Vec::new(),
        };
        match scan.find(name) {
            Some((file, _)) => match &file.standing {
                Standing::Refused(why) => Some(failed(why.clone())),
                Standing::Deleted => {
                    Some(failed(format!("{}: it is deleted", file.path.display())))
                }
                Standing::Fresh | Standing::RolledBack(_) | Standing::Waits => None,
            },
            None => Some(match scan.catalog.refused(name) {
                Some(refused) => failed(refused.reason.clone()),
                None => self.no_such_plugin(name),
            }),
        }
    }

    /// The bytes from before, by another generation; what they are needed for needs no new look at any file.
    pub(in crate::rollout) fn roll_back(&mut self, work: Work, begun_ns: u64) {
        let Work::Rollback {
            files: unwanted, ..
        } = &work
        else {
            return;
        };
        let serving = self.serving();
        let mut back: Vec<PluginFile> = Vec::new();
        let mut gone: Vec<PluginFile> = Vec::new();
        for (file, told) in unwanted_files(&serving, unwanted) {
            let standing = Standing::RolledBack(format!(
                "{:08x} was taken back: {}",
                file.hash >> 32,
                told.why
            ));
            self.rollout.versions.reject(file, standing.clone());
            let before = self.rollout.versions.previous.iter().map(|p| {
                let mut p = p.clone().only(|n| file.has(n));
                p.standing = standing.clone();
                p
            });
            back.extend(before.filter(|p| !p.plugins.is_empty()));
            gone.push(file.clone());
        }
        if back.is_empty() {
            return self.work_failed(work, "it is not in use any more".into());
        }
        let is_gone = |f: &PluginFile| gone.iter().any(|g| g.path == f.path && g.hash == f.hash);
        let mut files: Vec<PluginFile> = self.rollout.scan.files.clone();
        files.retain(|f| !is_gone(f));
        files.extend(back);
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let scan = Scan::with(files, self.rollout.scan.catalog.refused.clone());
        self.prepare(Force::Plugins, scan, work, begun_ns);
    }
}
