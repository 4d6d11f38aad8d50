//! nagios4 with more services than it can serve: so many as it does.

use super::turns::Figures;
use crate::daemon::temp_dir;
use crate::peers::installed;
use crate::runs::wait;
use healthd_test_support::procs;
use nix::sys::signal::{SIGKILL, kill as send_signal};
use nix::unistd::Pid;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// Each is due each second.
const SERVICES: usize = 5_000;

/// Checks a second by nagios4 that run this program. None: it is not installed.
pub fn by_nagios(argv: &[String], seconds: f64) -> Result<Figures, String> {
    let Some(program) = installed("nagios4") else {
        return Ok(None);
    };
    let dir = temp_dir("nagios")?;
    let rate = rate(&program, &dir, argv, seconds);
    let _ = fs::remove_dir_all(&dir);
    Ok(Some(vec![rate?]))
}

/// Its workers go on for a while without it.
struct Nagios(Child);

impl Drop for Nagios {
    fn drop(&mut self) {
        for pid in procs::tree(self.0.id()) {
            let _ = send_signal(Pid::from_raw(pid as i32), SIGKILL);
        }
        let _ = self.0.wait();
    }
}

fn rate(program: &Path, dir: &Path, argv: &[String], seconds: f64) -> Result<f64, String> {
    let text = |e: std::io::Error| format!("nagios4: {e}");
    fs::create_dir(dir.join("results")).map_err(text)?;
    fs::write(dir.join("objects.cfg"), objects(argv)).map_err(text)?;
    fs::write(dir.join("nagios.cfg"), config(dir)).map_err(text)?;
    let log = fs::File::create(dir.join("said")).map_err(text)?;
    let child = Command::new(program)
        .arg(dir.join("nagios.cfg"))
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(Stdio::null())
        .spawn()
        .map_err(text)?;
    let mut nagios = Nagios(child);
    // A line each result; long ones, for they are written by the page.
    let done = || {
        let lines = fs::read(dir.join("perfdata")).unwrap_or_default();
        lines.iter().filter(|b| **b == b'\n').count()
    };
    wait(5.0);
    let (before, begun) = (done(), Instant::now());
    wait(seconds);
    let (done, took) = (done() - before, begun.elapsed().as_secs_f64());
    let ended = nagios.0.try_wait().map_err(text)?;
    match (ended, done) {
        (None, 1..) => Ok(done as f64 / took),
        _ => {
            let said = fs::read_to_string(dir.join("said")).unwrap_or_default();
            let errors: Vec<&str> = said.lines().filter(|l| l.starts_with("Error")).collect();
            Err(format!("nagios4 does nothing: {}", errors.join("; ")))
        }
    }
}

fn config(dir: &Path) -> String {
    let d = dir.display();
    format!(
        "cfg_file={d}/objects.cfg\nlog_file={d}/log\nobject_cache_file={d}/objects.cache\nprecached_object_file={d}/objects.pre\n\
         status_file={d}/status\nstatus_update_interval=60\nnagios_user=root\nnagios_group=root\nlock_file={d}/lock\n\
         temp_file={d}/temp\ntemp_path={d}\ncheck_result_path={d}/results\ncommand_file={d}/command\nquery_socket={d}/query\n\
         check_external_commands=0\nretain_state_information=0\nuse_syslog=0\nenable_notifications=0\nenable_flap_detection=0\n\
         interval_length=1\nservice_inter_check_delay_method=n\nmax_concurrent_checks=0\ncheck_for_updates=0\n\
         process_performance_data=1\nservice_perfdata_file={d}/perfdata\nservice_perfdata_file_template={}\n\
         service_perfdata_file_mode=w\nservice_perfdata_process_empty_results=1\n",
        "-".repeat(200)
    )
}

fn objects(argv: &[String]) -> String {
    let mut text = format!(
        "define command {{\n command_name it\n command_line {}\n}}\n\
         define host {{\n host_name here\n address 127.0.0.1\n max_check_attempts 1\n active_checks_enabled 0\n}}\n\
         define timeperiod {{\n timeperiod_name always\n alias always\n}}\n\
         define contact {{\n contact_name nobody\n host_notification_commands it\n service_notification_commands it\n \
         host_notification_period always\n service_notification_period always\n}}\n",
        argv.join(" ")
    );
    for n in 0..SERVICES {
        text += &format!(
            "define service {{\n host_name here\n service_description s{n}\n check_command it\n check_interval 1\n\
             retry_interval 1\n max_check_attempts 1\n}}\n"
        );
    }
    text
}
