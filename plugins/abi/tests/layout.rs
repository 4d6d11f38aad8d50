//! Holds the Rust mirror to the C header: compiles C that prints every size, offset and constant, and compares.

use healthd_abi::*;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Lists the members once; both sides are made from that list. A member that only one side has does not compile.
macro_rules! layout {
    ($( $c:ident = $rust:ident { $($field:ident),+ } )+) => {
        fn rust_layout() -> Vec<(String, i128)> {
            let mut v = Vec::new();
            $(
                v.push((concat!("sizeof ", stringify!($c)).to_string(), size_of::<$rust>() as i128));
                $( v.push((
                    concat!(stringify!($c), ".", stringify!($field)).to_string(),
                    std::mem::offset_of!($rust, $field) as i128,
                )); )+
                // Names every member, so that one missing from the list above does not compile.
                #[allow(unused, reason = "it only has to compile")]
                fn $c(x: &$rust) { let $rust { $($field: _),+ } = x; }
            )+
            v
        }
        fn c_layout(src: &mut String) {
            $(
                writeln!(src, "P(\"sizeof {0}\", sizeof({0}));", stringify!($c)).unwrap();
                $( writeln!(src, "P(\"{0}.{1}\", offsetof({0}, {1}));", stringify!($c), stringify!($field)).unwrap(); )+
            )+
        }
    };
}

layout! {
    hd_str = HdStr { ptr, len }
    hd_ctx = HdCtx {
        struct_size, attempt, check_id, run_id, deadline_ns, cancelled, cancel_fd, lane, check_name, host
    }
    hd_metric = HdMetric { struct_size, kind, name, unit, value, warn, crit, min, max }
    hd_event = HdEvent { kind, ready, fd, token, data }
    hd_addrs = HdAddrs { struct_size, error, n, stride, sockaddrs, deadline_ns, reason, own, reserved }
    hd_host = HdHost {
        magic, struct_size, abi_minor, version, log, log_enabled, now_ns, extension, message, detail, metric, label,
        phase, io_watch, io_unwatch, timer, resolve, waker, wake, waker_free
    }
    hd_plugin = HdPlugin {
        magic, struct_size, abi_minor, abi_min_minor, flags, workload, default_timeout_ms, max_inflight, stack_kib,
        name, version, summary, vendor, license, build, config_schema, init, create, destroy, run, start, step, drop, chunk
    }
    hd_exec_spec = HdExecSpec {
        struct_size, argc, argv, envc, token, env, cwd, input, max_output, reserved, max_memory, max_cpu_s, max_files,
        max_processes, kill_grace_ms, flags
    }
    hd_exec_done = HdExecDone { struct_size, exit_code, term_signal, truncated, dropped, cpu_ns, out, err, ended, signal_sent,
        ran_ns, pid, open, left }
    hd_exec = HdExec { struct_size, version, spawn }
    hd_map_ask = HdMapAsk { struct_size, op, flags, token, map, key, value, expected, ttl_ns }
    hd_map_item = HdMapItem { key, value }
    hd_map_reply = HdMapReply { struct_size, error, version, items, n }
    hd_map = HdMap { struct_size, version, ask, ask_and_wait }
    hd_lock_ask = HdLockAsk { struct_size, n, names, flags, token, timeout_ns }
    hd_lock_done = HdLockDone { struct_size, error }
    hd_lock = HdLock { struct_size, version, ask, ask_and_wait, unlock }
    hd_grace = HdGrace { struct_size, version, give_back }
    hd_resolve = HdResolve { struct_size, version, resolve_by }
    hd_message = HdMessage { struct_size, reserved, id, notice, kind, json }
    hd_notice = HdNotice { struct_size, version, get }
    hd_chunk = HdChunk { struct_size, kind, index, count, from, to, input, output }
    hd_fanout_spec = HdFanoutSpec { struct_size, flags, items, chunk, input, kind }
    hd_fanout_done = HdFanoutDone { struct_size, index, code, output, size, cpu_ns, message }
    hd_fanout = HdFanout { struct_size, version, open, next, close, workers }
    hd_cache_stats = HdCacheStats { struct_size, reserved, hits, misses, evictions, entries }
    hd_cache = HdCache { struct_size, version, show }
    hd_counter = HdCounter { struct_size, version, open, get, set, add, max, compare_exchange }
}

macro_rules! constants {
    ($($c:literal = $rust:ident)+) => {
        const CONSTANTS: &[(&str, i128)] = &[ $( ($c, $rust as i128) ),+ ];
    };
}

constants! {
    "HD_MAGIC" = MAGIC  "HD_ABI_MINOR" = ABI_MINOR
    "HD_OK" = OK  "HD_WARN" = WARN  "HD_CRIT" = CRIT  "HD_UNKNOWN" = UNKNOWN  "HD_PENDING" = PENDING
    "HD_E_CONFIG" = E_CONFIG  "HD_E_PANIC" = E_PANIC  "HD_E_CANCELLED" = E_CANCELLED  "HD_E_INTERNAL" = E_INTERNAL
    "HD_E_UNSUPPORTED" = E_UNSUPPORTED  "HD_E_RESOURCES" = E_RESOURCES
    "HD_E_LOST" = E_LOST
    "HD_LANE_CREATE" = LANE_CREATE  "HD_LANE_RUN" = LANE_RUN  "HD_LANE_STEP" = LANE_STEP
    "HD_LANE_CHUNK" = LANE_CHUNK
    "HD_GAUGE" = GAUGE  "HD_COUNTER" = COUNTER
    "HD_LOG_ERROR" = LOG_ERROR  "HD_LOG_WARN" = LOG_WARN  "HD_LOG_INFO" = LOG_INFO  "HD_LOG_DEBUG" = LOG_DEBUG
    "HD_LOG_TRACE" = LOG_TRACE
    "HD_IO_READ" = IO_READ  "HD_IO_WRITE" = IO_WRITE
    "HD_EV_IO" = EV_IO  "HD_EV_TIMER" = EV_TIMER  "HD_EV_WAKE" = EV_WAKE  "HD_EV_RESOLVED" = EV_RESOLVED
    "HD_EV_EXT" = EV_EXT
    "HD_WL_IO" = WL_IO  "HD_WL_BLOCK" = WL_BLOCK  "HD_WL_CPU" = WL_CPU  "HD_WL_EXEC" = WL_EXEC
    "HD_F_INSTANCE_MT" = F_INSTANCE_MT  "HD_F_PLUGIN_SERIAL" = F_PLUGIN_SERIAL
    "HD_F_NEEDS_NETRAW" = F_NEEDS_NETRAW  "HD_F_NEEDS_EXEC" = F_NEEDS_EXEC
    "HD_F_SANDBOX" = F_SANDBOX  "HD_F_NEEDS_PROC" = F_NEEDS_PROC
    "HD_F_NOTIFY" = F_NOTIFY
    "HD_SHARED" = SHARED
    "HD_MAP_GET" = MAP_GET  "HD_MAP_SET" = MAP_SET  "HD_MAP_APPEND" = MAP_APPEND
    "HD_MAP_SNAPSHOT" = MAP_SNAPSHOT  "HD_MAP_DELETE" = MAP_DELETE  "HD_MAP_EXPECT" = MAP_EXPECT
    "HD_STATE_GET" = STATE_GET  "HD_STATE_SET" = STATE_SET  "HD_STATE_DELETE" = STATE_DELETE
    "HD_EXEC_TRUNC_OUT" = EXEC_TRUNC_OUT  "HD_EXEC_TRUNC_ERR" = EXEC_TRUNC_ERR
        "HD_EXEC_LEAVE_CHILDREN" = EXEC_LEAVE_CHILDREN  "HD_EXEC_TELL_DEADLINE" = EXEC_TELL_DEADLINE
        "HD_EXEC_ENDED" = EXEC_ENDED  "HD_EXEC_DEADLINE" = EXEC_DEADLINE  "HD_EXEC_LIVES_ON" = EXEC_LIVES_ON
    "HD_FANOUT_ORDERED" = FANOUT_ORDERED  "HD_FANOUT_MAX_CHUNKS" = FANOUT_MAX_CHUNKS
    "HD_FANOUT_MAX_OPENS" = FANOUT_MAX_OPENS  "HD_FANOUT_MAX_OUTPUT" = FANOUT_MAX_OUTPUT
}

const NAMES: &[(&str, &str)] = &[
    ("HD_ENTRY", "hd_plugin_v1"),
    ("HD_EXT_EXEC", EXT_EXEC),
    ("HD_EXT_FANOUT", EXT_FANOUT),
    ("HD_EXT_COUNTER", EXT_COUNTER),
    ("HD_EXT_CACHE", EXT_CACHE),
    ("HD_EXT_MAP", EXT_MAP),
    ("HD_EXT_STATE", EXT_STATE),
    ("HD_EXT_LOCK", EXT_LOCK),
    ("HD_EXT_GRACE", EXT_GRACE),
    ("HD_EXT_RESOLVE", EXT_RESOLVE),
    ("HD_EXT_NOTICE", EXT_NOTICE),
];

fn header_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("include")
}

/// Compiles `source` with `compiler` and returns the program's path.
fn compile(compiler: &str, standard: &str, file: &str, source: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (input, output) = (dir.join(file), dir.join(file.replace('.', "_")));
    std::fs::write(&input, source).unwrap();
    let done = Command::new(compiler)
        .args([standard, "-pedantic", "-Wall", "-Wextra", "-Werror", "-I"])
        .arg(header_dir())
        .arg("-o")
        .args([&output, &input])
        .output()
        .unwrap_or_else(|e| panic!("{compiler} is needed for this test: {e}"));
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    output
}

#[test]
fn mirror_matches_header() {
    let mut src = String::from(
        "#include \"healthd_plugin.h\"\n#include <stdio.h>\n#define P(n, v) printf(\"%s=%lld\\n\", n, (long long)(v))\n\
         int main(void) {\n",
    );
    c_layout(&mut src);
    for (name, _) in CONSTANTS {
        writeln!(src, "P(\"{name}\", {name});").unwrap();
    }
    for name in NAMES {
        writeln!(src, "puts({});", name.0).unwrap();
    }
    src.push_str("return 0;\n}\n");
    let program = compile("gcc", "-std=c99", "layout.c", &src);
    let out = Command::new(program).output().unwrap();
    let out = String::from_utf8(out.stdout).unwrap();

    assert_eq!(ENTRY.to_str(), Ok("hd_plugin_v1"));
    let mut expected: Vec<String> = rust_layout()
        .iter()
        .map(|(n, v)| format!("{n}={v}"))
        .collect();
    expected.extend(CONSTANTS.iter().map(|(n, v)| format!("{n}={v}")));
    expected.extend(NAMES.iter().map(|(_, name)| name.to_string()));
    assert_eq!(out.lines().collect::<Vec<_>>(), expected);
}

/// Whoever adds a constant to the header must add it to the mirror and to the list above.
#[test]
fn every_constant_of_the_header_is_compared() {
    let header = std::fs::read_to_string(header_dir().join("healthd_plugin.h")).unwrap();
    let known = |name: &str| {
        ["HD_EXPORT", "HD_HAS"].contains(&name)
            || NAMES.iter().any(|(n, _)| *n == name)
            || CONSTANTS.iter().any(|(n, _)| *n == name)
    };
    let missing: Vec<_> = header
        .lines()
        .filter_map(|l| l.strip_prefix("#define HD_"))
        .map(|rest| format!("HD_{}", rest.split([' ', '(']).next().unwrap_or_default()))
        .filter(|name| !known(name))
        .collect();
    assert!(missing.is_empty(), "not compared: {missing:?}");
}

#[test]
fn header_compiles_as_cpp11() {
    compile(
        "g++",
        "-std=c++11",
        "layout.cpp",
        "#include \"healthd_plugin.h\"\nint main() { return 0; }\n",
    );
}

/// The numbers 1.0 was drafted with: a change here breaks every plugin that exists.
#[test]
#[cfg(target_arch = "x86_64")]
fn sizes_of_version_1_0() {
    assert_eq!(size_of::<HdCtx>(), 72);
    assert_eq!(size_of::<HdMetric>(), 80);
    assert_eq!(size_of::<HdEvent>(), 24);
    assert_eq!(size_of::<HdHost>(), 160);
    assert_eq!(PLUGIN_SIZE_1_0, 208);
    assert_eq!(EXEC_SPEC_SIZE_1_0, 104);
    assert_eq!(std::mem::offset_of!(HdExecDone, ended), 64);
    assert_eq!(size_of::<HdExec>(), 16);
    assert_eq!(size_of::<HdCounter>(), 56);
    assert_eq!(size_of::<HdCacheStats>(), 40);
    assert_eq!(size_of::<HdCache>(), 16);
    assert_eq!(size_of::<HdMapAsk>(), 80);
    assert_eq!(size_of::<HdMapReply>(), 32);
    assert_eq!(size_of::<HdMap>(), 24);
    assert_eq!(size_of::<HdLockAsk>(), 32);
    assert_eq!(size_of::<HdLockDone>(), 8);
    assert_eq!(size_of::<HdLock>(), 32);
    assert_eq!(size_of::<HdGrace>(), 16);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn sizes_of_version_1_1() {
    assert_eq!(size_of::<HdPlugin>(), 216);
    assert_eq!(size_of::<HdChunk>(), 40);
    assert_eq!(size_of::<HdFanoutSpec>(), 32);
    assert_eq!(size_of::<HdFanoutDone>(), 48);
    assert_eq!(size_of::<HdFanout>(), 40);
}
