//! Reply lines as a real healthd would send them.
#![allow(dead_code, reason = "each test program uses its own part")]

pub const OK: &str = r#"{"type":"check","name":"web/frontpage","plugin":"http","verdict":"ok","status":"ok","message":"HTTP 200, 5120 bytes","since":"2026-11-19T08:12:00.000Z","last_run":"2026-11-22T09:59:52.104Z","next_run":"2026-11-22T10:00:02.104Z","latency_ms":12.37,"attempt":1,"attempts":3,"stale":false,"worker":0,"metrics":[{"name":"time","value":0.01237,"unit":"s","warn":0.5,"crit":2.0,"min":0.0,"max":null}],"index":0}"#;
pub const SOFT: &str = r#"{"type":"check","name":"web/login","plugin":"http","verdict":"ok","status":"critical","message":"connect: connection refused","since":"2026-11-21T10:00:00.000Z","last_run":"2026-11-22T09:59:58.000Z","next_run":"2026-11-22T10:00:08.000Z","latency_ms":0.41,"attempt":1,"attempts":3,"stale":false,"worker":1,"metrics":[],"index":1}"#;
pub const CRITICAL: &str = r#"{"type":"check","name":"db/primary","plugin":"postgres","verdict":"critical","status":"critical","message":"timeout after 5s in phase connect to 10.20.30.40:5432, the third time in a row since the fail-over began","since":"2026-11-22T09:54:57.000Z","last_run":"2026-11-22T09:59:51.000Z","next_run":"2026-11-22T10:00:51.000Z","latency_ms":5003.2,"attempt":3,"attempts":3,"stale":false,"worker":0,"metrics":[],"index":2}"#;
pub const PAUSED: &str = r#"{"type":"check","name":"disk","plugin":"exec","verdict":"warning","status":"warning","message":"DISK WARNING - free space: / 812 MB (4%)","since":"2026-11-22T07:48:10.000Z","last_run":"2026-11-22T09:00:00.000Z","next_run":null,"latency_ms":31.0,"attempt":3,"attempts":3,"stale":false,"worker":3,"metrics":[],"paused":true,"index":3}"#;
pub const PENDING: &str = r#"{"type":"check","name":"new","plugin":"tcp","verdict":"pending","status":null,"message":null,"since":null,"last_run":null,"next_run":"2026-11-22T10:00:01.000Z","latency_ms":null,"attempt":0,"attempts":3,"stale":false,"worker":null,"metrics":null,"index":4}"#;
/// A hostile server's words, in the message of an honest plugin.
pub const HOSTILE: &str = r#"{"type":"check","name":"evil","plugin":"tcp","verdict":"unknown","status":"unknown","message":"\u001b]0;owned\u0007\u001b[2J\u009b31m got\r\nall ok\u202e","since":"2026-11-22T09:00:00.000Z","last_run":"2026-11-22T09:59:59.000Z","next_run":"2026-11-22T10:00:09.000Z","latency_ms":1.0,"attempt":3,"attempts":3,"stale":true,"worker":0,"metrics":[],"index":5}"#;
pub const ALL: [&str; 6] = [OK, SOFT, CRITICAL, PAUSED, PENDING, HOSTILE];

pub const DETAIL: &str = r#"{"type":"detail","name":"web/frontpage","plugin":"http","verdict":"ok","status":"ok","message":"HTTP 200, 5120 bytes","since":"2026-11-19T08:12:00.000Z","last_run":"2026-11-22T09:59:52.104Z","next_run":"2026-11-22T10:00:02.104Z","latency_ms":12.37,"attempt":1,"attempts":3,"stale":false,"worker":0,"metrics":[{"name":"time","value":0.01237,"unit":"s","warn":0.5,"crit":2.0,"min":0.0,"max":null},{"name":"bytes","value":5120.0,"unit":"B","warn":null,"crit":null,"min":0.0,"max":null,"counter":true}],"index":0,"interval_ms":10000,"timeout_ms":5000,"retry_interval_ms":2500,"labels":{"team":"web","tier":"1"},"config":{"expect":{"status":[200,204]},"headers":{"authorization":"***"},"url":"https://www.example.org/"},"source":"/etc/healthd/checks.d/web.toml:4","detail":"first line\n\tsecond \u001b[31mline\n","phases":[{"name":"dns","at_ns":0},{"name":"connect","at_ns":1200000},{"name":"tls","at_ns":2500000},{"name":"ttfb","at_ns":8000000}],"run_labels":{"server":"nginx"},"cpu_ms":0.08,"queue_ms":0.3,"runs":26040,"skipped":2,"pause_reason":"","held_until":null}"#;

pub const WHY: &str = r#"{"type":"why","name":"web/frontpage","steps":[{"at":"2026-11-22T09:59:52.100Z","what":"due","text":"every 10s"},{"at":"2026-11-22T09:59:52.101Z","what":"dispatched","text":"to worker 0 (pid 4711), its home"},{"at":"2026-11-22T09:59:52.104Z","what":"started","text":"4 ms after it was due"},{"at":"2026-11-22T09:59:52.116Z","what":"finished","text":"ok: HTTP 200, 5120 bytes"},{"at":null,"what":"evaluated","text":"ok as before"}],"next":"runs again at 10:00:02"}"#;

pub const WORKERS: [&str; 3] = [
    r#"{"type":"worker","slot":0,"class":"io","pid":4711,"generation":1,"state":"ready","threads":2,"in_flight":3,"dispatched":10450,"finished":10445,"lost":2,"late":1,"heartbeat_age_ms":12,"rss_kb":5324,"restarts":1,"lost_worker_died":2,"lost_replaced":0,"lost_cancelled":0}"#,
    r#"{"type":"worker","slot":1,"class":"io","pid":4712,"generation":1,"state":"ready","threads":1,"in_flight":0,"dispatched":10390,"finished":10390,"lost":0,"late":0,"heartbeat_age_ms":3,"rss_kb":5100,"restarts":0,"lost_worker_died":0,"lost_replaced":0,"lost_cancelled":0}"#,
    r#"{"type":"worker","slot":2,"class":"exec","pid":null,"generation":1,"state":"dead","threads":null,"in_flight":0,"dispatched":7,"finished":7,"lost":0,"late":0,"heartbeat_age_ms":null,"rss_kb":null,"restarts":4,"lost_worker_died":0,"lost_replaced":0,"lost_cancelled":0}"#,
];

pub const PLUGINS: [&str; 2] = [
    r#"{"type":"plugin","name":"http","file":"/usr/lib/healthd/plugins/libhttp.so","version":"0.1.0","summary":"HTTP and HTTPS requests","class":"io","state":"loaded","reason":"","checks":2,"abi":"1.0","hash":"9f86d081884c7d65"}"#,
    r#"{"type":"plugin","name":"old","file":"/usr/lib/healthd/plugins/old.so","version":"","summary":"","class":"","state":"refused","reason":"ABI 0, this healthd has 1","checks":1,"abi":"0","hash":""}"#,
];

pub const OBJECTS: [&str; 8] = [
    r#"{"type":"object","kind":"counter","name":"rate:api.example.org","plugin":"http","size":1,"values":[90061000000000]}"#,
    r#"{"type":"object","kind":"array","name":"latency","size":64,"values":[1,0,7,12,3,0,0,0,0,0,0,0,0,0,0,1]}"#,
    r#"{"type":"object","kind":"map","name":"oauth2","plugin":"http","size":3,"bytes":4120}"#,
    r#"{"type":"object","kind":"lock","name":"tape","plugin":"backup","holders":[{"check":"backup/mon","worker":3,"since":"2026-11-22T09:59:50.000Z"}],"waiters":[{"check":"backup/tue","worker":3,"since":"2026-11-22T09:59:58.000Z"}]}"#,
    r#"{"type":"object","kind":"group","name":"db","most":1,"holders":[{"check":"db/dump","worker":0,"since":"2026-11-22T09:59:00.000Z"}],"waiters":[{"check":"a","worker":null,"since":null},{"check":"b","worker":null,"since":null},{"check":"c","worker":null,"since":null},{"check":"d","worker":null,"since":null}]}"#,
    r#"{"type":"object","kind":"block","name":"raid/{item}","most":2,"holders":[{"check":"raid/md0","worker":3,"since":"2026-11-22T09:59:59.000Z"}]}"#,
    r#"{"type":"object","kind":"group","name":"tape","most":1}"#,
    r#"{"type":"object","kind":"cache","name":"oauth2","plugin":"http","size":1,"worker":0,"hits":999,"misses":1,"evictions":0}"#,
];

pub const EVENTS: [&str; 9] = [
    r#"{"type":"event","seq":1040,"time":"2026-11-22T08:00:00.000Z","kind":"gap","missed":12}"#,
    r#"{"type":"event","seq":1041,"time":"2026-11-22T08:00:00.000Z","kind":"started","message":"healthd 0.1.0","pid":4701}"#,
    r#"{"type":"event","seq":1042,"time":"2026-11-22T08:00:00.104Z","kind":"worker-ready","slot":1,"pid":4712,"for_ms":94}"#,
    r#"{"type":"event","seq":1043,"time":"2026-11-22T09:54:57.012Z","kind":"flipped","check":"db/primary","from":"ok","to":"critical","message":"timeout after 5s in phase connect to 10.20.30.40:5432, the third time","slot":0,"pid":4711,"cause":"timeout"}"#,
    r#"{"type":"event","seq":1044,"time":"2026-11-22T09:55:01.300Z","kind":"worker-died","check":"db/sizes","message":"SIGSEGV in libhealthd_sqlite.so+0x1a2b3 read_page","slot":1,"pid":4712,"cause":"SIGSEGV"}"#,
    r#"{"type":"event","seq":1045,"time":"2026-11-22T09:55:01.301Z","kind":"held","check":"db/sizes","message":"its run has killed a worker","for_ms":1000}"#,
    r#"{"type":"event","seq":1046,"time":"2026-11-22T09:56:00.000Z","kind":"paused","check":"rack7/switch-with-a-name-that-does-not-end","message":"new switch\u001b[2J"}"#,
    r#"{"type":"event","seq":1047,"time":"2026-11-22T09:57:00.000Z","kind":"clock","message":"it was set, or the machine slept","step_ms":-3600000}"#,
    r#"{"type":"event","seq":1048,"time":"2026-11-22T09:58:00.000Z","kind":"plugin","plugin":"http","to":"loaded","message":"http 0.1.0 (1f2e3d4c) -> http 0.1.1 (5b6a7988)"}"#,
];

pub const VERSION: &str = r#"{"type":"version","version":"0.1.0","protocol":1,"abi":"1.0","supervisor_pid":4700,"manager_pid":4701,"started":"2026-11-19T08:11:00.000Z","checks":6,"generation":1}"#;
pub const RELOADED: &str = r#"{"type":"reloaded","added":2,"changed":1,"removed":0,"unchanged":40,"new_generation":3,"took_ms":48,"warnings":["the check `disk` has a timeout above its interval"]}"#;
