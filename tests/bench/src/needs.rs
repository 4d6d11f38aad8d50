//! What `needs` costs the manager in the outage that it is for: everything behind one uplink fails while the uplink's own
//! check hangs. The same checks without `needs` are the measure.

use crate::Options;
use crate::daemon::Daemon;
use crate::figures::median;
use healthd_core::wire::maps::NO_STATUS;
use healthd_test_support::procs;
use std::net::TcpListener;
use std::time::Duration;

/// The uplink's time-out; the checks behind it have their first run within 5 s.
const HANGS_S: u64 = 7;
const WAVE: Duration = Duration::from_secs(12);

pub fn needs(options: &Options) -> Result<(), String> {
    let listen = || TcpListener::bind("127.0.0.1:0").map_err(|e| e.to_string());
    let port = |l: &TcpListener| l.local_addr().map(|a| a.port()).map_err(|e| e.to_string());
    // It takes connections and never answers; the other is closed at once.
    let hole = listen()?;
    let hole_port = port(&hole)?;
    let refused = port(&listen()?)?;
    let config = |needs: &str| {
        format!(
            "[[check]]\nname = \"uplink\"\nplugin = \"http\"\ninterval = \"1h\"\ntimeout = \"{HANGS_S}s\"\nattempts = 1\n\
             config = {{ url = \"http://127.0.0.1:{}/\" }}\n\
             [[check]]\nname = \"behind/{{item}}\"\nplugin = \"tcp\"\ninterval = \"1h\"\nretry_interval = \"1h\"\n{needs}\
             for_each = \"0..{}\"\nconfig = {{ host = \"127.0.0.1\", port = {refused} }}\n",
            hole_port, options.checks
        )
    };
    println!(
        "needs: {} checks that are refused, behind an uplink that hangs for {HANGS_S} s; CPU of the manager for the first wave",
        options.checks
    );
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        without.push(wave(&config(""), options.checks, "refused")?);
        with.push(wave(
            &config("needs = \"uplink\"\n"),
            options.checks,
            "self:uplink",
        )?);
    }
    let (with, without) = (median(&with), median(&without));
    println!("  without `needs`       {without:8.0} ms");
    println!("  with `needs`          {with:8.0} ms");
    println!(
        "  ratio                 {:8.2}     (at most 1.2 wanted)",
        with / without
    );
    Ok(())
}

/// The manager's CPU time until every check has its first result.
fn wave(config: &str, checks: usize, said: &str) -> Result<f64, String> {
    // All of them within the first wave.
    let daemon = Daemon::start_with("needs", "start_spread = \"5s\"\n", config, &[])?;
    let manager = procs::tree(daemon.pid())
        .into_iter()
        .find(|pid| procs::role(*pid).as_deref() == Some("manager"))
        .ok_or("there is no manager")?;
    std::thread::sleep(WAVE);
    let cpu = procs::own_cpu_ms(manager);
    let state = daemon.state()?;
    let told = state.checks.iter().filter(|(_, c)| {
        c.name.starts_with("behind/") && c.status != NO_STATUS && c.message.contains(said)
    });
    let told = told.count();
    if told != checks {
        return Err(format!(
            "{told} of {checks} checks say `{said}` after {WAVE:?}"
        ));
    }
    Ok(cpu)
}
