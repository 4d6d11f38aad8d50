//! `man`: the man page, made from the same definitions as `--help`.

use crate::args::Args;
use crate::columns;
use crate::error::CtlError;
use crate::exit;
use crate::session::Session;
use clap::CommandFactory;
use clap_mangen::Man;
use std::io;

pub fn run(session: &mut Session) -> Result<u8, CtlError> {
    session.screen.print(&page())?;
    Ok(exit::OK)
}

/// One page for all commands: what clap_mangen has is a page a command.
pub fn page() -> String {
    let mut command = Args::command().max_term_width(0);
    command.build();
    let mut page = Vec::new();
    let man = Man::new(command.clone())
        .title("HEALTHCTL")
        .section("1")
        .source(format!("healthd {}", env!("CARGO_PKG_VERSION")))
        .manual("healthd");
    type Section = fn(&Man, &mut dyn io::Write) -> io::Result<()>;
    let sections: [Section; 5] = [
        Man::render_title,
        Man::render_name_section,
        synopsis,
        Man::render_description_section,
        Man::render_options_section,
    ];
    for section in sections {
        section(&man, &mut page).expect("a Vec takes all");
    }
    let mut text = String::from_utf8(page).expect("roff of our own text");
    text.push_str(".SH COMMANDS\n");
    for sub in command
        .get_subcommands()
        .filter(|sub| !sub.is_hide_set() && sub.get_name() != "help")
    {
        describe(&mut text, sub, sub.get_name());
        for action in sub
            .get_subcommands()
            .filter(|action| action.get_name() != "help")
        {
            describe(
                &mut text,
                action,
                &format!("{} {}", sub.get_name(), action.get_name()),
            );
        }
    }
    text.push_str(END);
    without_repeats(&text)
}

/// clap_mangen would list the options here and leave out that commands have arguments.
fn synopsis(_: &Man, out: &mut dyn io::Write) -> io::Result<()> {
    out.write_all(
        b".SH SYNOPSIS\n\\fBhealthctl\\fR [\\fIoptions\\fR] \\fIcommand\\fR [\\fIarguments\\fR]\n",
    )
}

/// Each part that clap_mangen renders begins with the same two lines; the page needs them once.
fn without_repeats(page: &str) -> String {
    let is_preamble =
        |line: &&str| line.starts_with(".ie \\n(.g ") || line.starts_with(".el .ds Aq ");
    let preamble = page.lines().take_while(is_preamble);
    let rest = page.lines().filter(|line| !is_preamble(line));
    preamble
        .chain(rest)
        .map(|line| format!("{line}\n"))
        .collect()
}

fn describe(text: &mut String, command: &clap::Command, name: &str) {
    // The global options stand once, at the top of the page.
    let own = command.clone().mut_args(|arg| {
        let global = arg.is_global_set() || arg.get_id() == "help" || arg.get_id() == "version";
        arg.hide(global)
    });
    let has_options = own.get_arguments().any(|arg| !arg.is_hide_set());
    let usage = command.clone().render_usage().to_string();
    let usage = usage
        .trim_start_matches("Usage: ")
        .replace("[OPTIONS]", "[options]");
    text.push_str(&format!(".SS {}\n", roff(name)));
    for (i, line) in usage.lines().enumerate() {
        let break_before = if i == 0 { "" } else { ".br\n" };
        text.push_str(&format!("{break_before}.B {}\n", roff(line.trim())));
    }
    text.push_str(".PP\n");
    let about = command
        .get_long_about()
        .or(command.get_about())
        .map(ToString::to_string)
        .unwrap_or_default();
    text.push_str(&format!("{}.\n", roff(about.trim_end_matches('.'))));
    if let Some(alias) = command.get_visible_aliases().next() {
        text.push_str(&format!("Also \\fB{}\\fR.\n", roff(alias)));
    }
    if has_options {
        let mut options = Vec::new();
        Man::new(own)
            .render_options_section(&mut options)
            .expect("a Vec takes all");
        let options = String::from_utf8(options).expect("roff of our own text");
        // Within the section of this command, so without a heading of their own.
        let body = options.lines().filter(|line| !line.starts_with(".SH"));
        for line in body {
            text.push_str(line);
            text.push('\n');
        }
    }
    columns(text, name);
}

/// What the columns of its tables mean.
fn columns(text: &mut String, command: &str) {
    for (heading, columns) in columns::of(command) {
        text.push_str(&format!(".PP\n{}:\n", roff(heading)));
        for (title, meaning) in *columns {
            text.push_str(&format!(
                ".TP\n\\fB{}\\fR\n{}\n",
                roff(title),
                roff(meaning)
            ));
        }
    }
}

fn roff(text: &str) -> String {
    let text = text
        .replace('\\', "\\e")
        .replace('-', "\\-")
        .replace('\n', " ");
    // A line that starts so would be a request.
    if text.starts_with(['.', '\'']) {
        format!("\\&{text}")
    } else {
        text
    }
}

const END: &str = r#".SH "EXIT STATUS"
.TP
\fB0\fR
ok
.TP
\fB1\fR
warning
.TP
\fB2\fR
critical; also: the configuration is refused (reload, validate), the plugin is refused (plugins verify)
.TP
\fB3\fR
unknown, or healthd could not be asked, or the command line is wrong
.PP
status and show go by verdict, run and try by the status of the run.
Of several checks the worst counts: critical, then unknown, then warning, then ok.
A pending check counts as unknown, and so does a stale one that is not critical.
Paused and disabled checks are shown but do not count.
When no check matches, the code is 3, unless \-\-verdict or \-\-problems was given: then nothing is in that state, and it is 0.
list, workers and events say 3 when their answer comes from the maps.
.SH ENVIRONMENT
.TP
\fBHEALTHD_SOCKET\fR
the control socket, unless \-\-socket is given
.TP
\fBNO_COLOR\fR
when set and not empty, no colour, unless \-\-color is given
.SH FILES
.TP
\fI/run/healthd/control.sock\fR
the control socket. Anyone who may open it may read; root, the user of healthd and the members of its control_group may change things
.TP
\fI/run/healthd/state.map\fR, \fI/run/healthd/worker.*.map\fR, \fI/run/healthd/events.map\fR
what status, list, show, workers and events read when healthd does not answer
.TP
\fI/etc/healthd/healthd.toml\fR
the configuration that validate reads unless told otherwise
.SH EXAMPLES
.TP
What is wrong?
healthctl status \-\-problems
.TP
Run every HTTP check now, in the order of the configuration
healthctl run \-\-plugin http \-\-ordered
.TP
As a Nagios check
healthctl status 'web\-*' \-\-timeout 5s
.TP
The slowest checks
healthctl status \-\-json | jq 'sort_by(\-.latency_ms)[:5][] | .name'
.TP
Follow the changes, over restarts of healthd
healthctl watch \-\-reconnect
.TP
What happened in the last hour, and what happens from now on
healthctl events \-\-since 1h \-\-follow
.TP
Silence a rack during work on it
healthctl pause 'rack7\-*' \-\-reason 'new switch'
.SH "SEE ALSO"
healthd(8), systemctl(1), journalctl(1)
"#;
