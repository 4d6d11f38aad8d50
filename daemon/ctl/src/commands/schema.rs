//! `schema`: what may stand in the configuration, as a JSON Schema for editors; healthd makes it.

use crate::args::SchemaArgs;
use crate::error::CtlError;
use crate::exit;
use crate::healthd::Helper;
use crate::plugin_file;
use crate::session::Session;
use healthd_catalog::RealFiles;
use healthd_core::config::{Refused, daemon_paths};
use serde::Deserialize;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// What `healthd --schema FOLDER` prints.
#[derive(Debug, Deserialize)]
pub struct Made {
    schema: serde_json::Value,
    pub plugins: u64,
    /// What a start would not use.
    pub refused: Vec<Refused>,
}

pub fn run(session: &mut Session, args: &SchemaArgs) -> Result<u8, CtlError> {
    let folder = match &args.plugins {
        Some(folder) => folder.clone(),
        None => plugin_dir(session, args.config.as_deref())?,
    };
    let made = make(&folder)?;
    for refused in &made.refused {
        let note = format!("left out: {}", refused.reason);
        session.screen.note("warning", &note);
    }
    // A schema of no plugin would call every plugin wrong.
    if made.plugins == 0 {
        return Err(CtlError::NoPlugins { folder });
    }
    let schema = &made.schema;
    session.screen.print(&format!("{schema:#}\n"))?;
    Ok(exit::OK)
}

pub fn make(folder: &Path) -> Result<Made, CtlError> {
    let helper = Helper::default();
    helper
        .run(&[OsStr::new("--schema"), folder.as_os_str()])?
        .answer()
}

/// Of the configuration that is meant, or of the one that is there; else where plugins are, as `plugins show` looks.
fn plugin_dir(session: &Session, meant: Option<&Path>) -> Result<PathBuf, CtlError> {
    let config = meant.unwrap_or(session.config());
    match (config.is_file(), meant) {
        (true, _) => Ok(daemon_paths(config, &RealFiles).plugin_dir),
        (false, Some(meant)) => Err(CtlError::NoConfig {
            file: meant.to_owned(),
        }),
        (false, None) => Ok(plugin_file::folder()),
    }
}
