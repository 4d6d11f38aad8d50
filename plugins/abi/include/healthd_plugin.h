/* healthd_plugin.h - the check-plugin ABI of healthd, major 1.
 * C99 and C++11; needs nothing but <stddef.h> and <stdint.h>.
 *
 * This file is the ABI. The Rust mirror (plugins/abi/src/lib.rs) is tested against it, never the other way round.
 *
 * What keeps it stable:
 *  - structs grow only at the end; every struct that crosses starts with struct_size, the sizeof of its writer
 *    (hd_plugin and hd_host have their magic before it; hd_str, hd_metric's strings and hd_event never grow)
 *  - no C enum, bool, long, bit-field, union, or by-value struct larger than hd_str crosses
 *  - nothing allocated on one side is freed on the other: strings are borrowed for the length of the call
 *  - nothing unwinds across: no C++ exception, Rust panic or longjmp leaves a plugin function
 *
 * Versioning: the major is in the entry symbol's name. Adding fields, advisory flags, events or extension ids is a
 * new minor, and old plugins keep working. Anything else is a new major with a new symbol.
 *
 * Walk-throughs in Rust and C: plugins/README.md. */
#ifndef HEALTHD_PLUGIN_H
#define HEALTHD_PLUGIN_H
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

#define HD_MAGIC       UINT64_C(0x4845414C54484431)          /* "HEALTHD1" */
#define HD_ABI_MINOR   2u         /* 1.1 added hd_plugin.chunk and the extension hd.fanout/1, 1.2 HD_F_SANDBOX */
#define HD_ENTRY       "hd_plugin_v1"
#define HD_EXPORT      __attribute__((visibility("default")))
/* Is member m of *p there? p may come from a side older than this header. */
#define HD_HAS(T, p, m) ((p)->struct_size >= offsetof(T, m) + sizeof((p)->m))

/* UTF-8, not NUL-terminated, borrowed: the writer's memory, valid for the length of the call. The reader checks it.
 * Empty is len 0, with any ptr, NULL included. */
typedef struct hd_str { const char *ptr; size_t len; } hd_str;

/* ---- what a plugin function returns ---------------------------------------------------------------------
 * 0..3: the outcome. HD_PENDING: a task exists and waits. Below 0: no judgement about the target was made; the host
 * reports `unknown` and the message the plugin gave. A value that is none of these counts as HD_E_INTERNAL. */
typedef int32_t hd_ret;
#define HD_OK 0
#define HD_WARN 1
#define HD_CRIT 2
#define HD_UNKNOWN 3
#define HD_PENDING 100           /* from start and step only */
#define HD_E_CONFIG      (-1)    /* create: the config is wrong; the message says how */
#define HD_E_PANIC       (-2)    /* the instance is poisoned: the host destroys it and creates it anew */
#define HD_E_CANCELLED   (-3)    /* the plugin saw `cancelled` and gave up */
#define HD_E_INTERNAL    (-4)
#define HD_E_UNSUPPORTED (-5)    /* this host or platform lacks something the plugin needs */
#define HD_E_RESOURCES   (-6)    /* this machine ran out of something (EMFILE, ENFILE, ENOMEM, ENOBUFS, EADDRNOTAVAIL,
                                    a sandbox's EPERM). Not the target's fault and not the plugin's: the host reports
                                    `unknown`, `self:resources`, and counts no attempt */

/* ---- one execution, or one create -----------------------------------------------------------------------
 * Owned by the host. Its address is stable from create/run/start until create/run returns, or until drop(task) has
 * returned (or start, if it made no task). */
typedef struct hd_ctx {
  uint32_t struct_size;
  uint32_t attempt;              /* 1..n within this run's retries; 0 in create */
  uint64_t check_id;
  uint64_t run_id;               /* one number a run, growing over the runs of all checks and over restarts; not by one */
  uint64_t deadline_ns;          /* CLOCK_MONOTONIC. Step lane: the host enforces it, nothing to do; see HD_EXT_GRACE */
  const uint32_t *cancelled;     /* relaxed atomic load; != 0: give up now. Never NULL */
  int32_t  cancel_fd;            /* run lane: readable once cancelled, poll() it beside your own fds; else -1 */
  uint32_t lane;
  hd_str   check_name;
  void    *host;                 /* opaque, the host's */
} hd_ctx;
#define HD_LANE_CREATE 0u
#define HD_LANE_RUN    1u
#define HD_LANE_STEP   2u
#define HD_LANE_CHUNK  3u        /* in chunk: of the result only `message` counts, and says why the chunk failed */

typedef struct hd_metric {       /* a NaN value, warn, crit, min or max is absent */
  uint32_t struct_size, kind;
  hd_str   name, unit;           /* unit: UCUM-like "s", "By", "%", "1", "d" */
  double   value, warn, crit, min, max;
} hd_metric;
#define HD_GAUGE   0u
#define HD_COUNTER 1u

#define HD_LOG_ERROR 1u          /* same order as Rust's log crate */
#define HD_LOG_WARN  2u
#define HD_LOG_INFO  3u
#define HD_LOG_DEBUG 4u
#define HD_LOG_TRACE 5u

/* ---- step lane: why the task is stepped -----------------------------------------------------------------
 * Spurious steps happen (n may be 0, an fd may not be ready): retry what you wait for, return HD_PENDING again. */
#define HD_IO_READ   1u
#define HD_IO_WRITE  2u
#define HD_EV_IO     1u          /* fd may be ready for `ready` (an error or hang-up sets both bits) */
#define HD_EV_TIMER  2u
#define HD_EV_WAKE   3u          /* somebody called wake() */
#define HD_EV_RESOLVED 4u        /* token as given to resolve; data = const hd_addrs*, valid during this step only */
#define HD_EV_EXT    5u          /* from an extension; token as given to it; data per extension, this step only */
typedef struct hd_event { uint32_t kind, ready; int32_t fd; uint32_t token; const void *data; } hd_event;

typedef struct hd_addrs {
  uint32_t struct_size;
  int32_t  error;                /* 0, or getaddrinfo's EAI_ code (see gai_strerror) */
  uint32_t n, stride;            /* the i-th address is a struct sockaddr at sockaddrs + i*stride, with port 0 */
  const void *sockaddrs;
  uint64_t deadline_ns;          /* when the run must be over now: it is moved by what the look-up waited for its turn */
  hd_str   reason;               /* why there is no address, in words; may be empty */
  uint32_t own;                  /* 1: this machine could not ask; nothing is known of the target (error is EAI_MEMORY) */
  uint32_t reserved;
} hd_addrs;

typedef struct hd_waker hd_waker;

/* ---- host services: a table that only grows at its end ------------------------------------------------- */
typedef struct hd_host {
  uint64_t magic; uint32_t struct_size; uint32_t abi_minor;
  hd_str   version;
  /* any thread */
  void     (*log)(const hd_ctx *c /* may be NULL */, uint32_t level, hd_str target, hd_str msg);
  int32_t  (*log_enabled)(uint32_t level, hd_str target);
  uint64_t (*now_ns)(void);                                        /* CLOCK_MONOTONIC */
  const void *(*extension)(hd_str id);                             /* HD_EXT_...; NULL when the host has it not */
  /* the result: only during create/run/start/step of this ctx, on the thread that runs it */
  void     (*message)(const hd_ctx *c, hd_str one_line);           /* the last one counts */
  void     (*detail)(const hd_ctx *c, hd_str more);                /* appended, capped by the host */
  void     (*metric)(const hd_ctx *c, const hd_metric *m);
  void     (*label)(const hd_ctx *c, hd_str key, hd_str value);
  void     (*phase)(const hd_ctx *c, hd_str name);                 /* "dns", "connect", "tls", "ttfb": a timeout names it */
  /* step lane: only during start/step, on the task's reactor thread (io_unwatch: in drop too) */
  /* Edge-triggered: if fd is ready for mask now, and each time it becomes so later, the task is stepped. One call with
   * HD_IO_READ|HD_IO_WRITE suffices for the fd's life; a narrower mask saves a step, and a second call replaces the
   * mask. Wait only after EAGAIN or EINPROGRESS, or right after this call. 0 or -errno. */
  int32_t  (*io_watch)(const hd_ctx *c, int32_t fd, uint32_t mask);
  void     (*io_unwatch)(const hd_ctx *c, int32_t fd);             /* before close(fd), or where fd outlives the task */
  void     (*timer)(const hd_ctx *c, uint64_t when_ns);            /* one a task; a new one replaces it; 0 clears */
  /* Starts a look-up (family: AF_UNSPEC, AF_INET, AF_INET6); HD_EV_RESOLVED comes with a later step. 0 or -errno. */
  int32_t  (*resolve)(const hd_ctx *c, hd_str host, uint32_t family, uint32_t token);
  hd_waker*(*waker)(const hd_ctx *c);                              /* outlives the task safely; free with waker_free */
  /* any thread */
  void     (*wake)(hd_waker *w);
  void     (*waker_free)(hd_waker *w);
} hd_host;

/* ---- the plugin ----------------------------------------------------------------------------------------- */
/* The workload picks the lane. IO and EXEC need start, step and drop; BLOCK and CPU need run. */
#define HD_WL_IO    1u           /* waits on the network: step lane, thousands of tasks on one thread */
#define HD_WL_BLOCK 2u           /* waits, but only in blocking calls: run lane, a pool thread */
#define HD_WL_CPU   3u           /* computes: run lane, in a worker for heavy work, limited to the cores */
#define HD_WL_EXEC  4u           /* mostly waits for children (HD_EXT_EXEC): step lane, in a worker for children */
/* flags: bits 0..31 are advisory (unknown ones are ignored), 32..63 must be understood (unknown: refused) */
#define HD_F_INSTANCE_MT   (UINT64_C(1) << 0) /* run() on one instance from several threads, or several tasks of it */
#define HD_F_PLUGIN_SERIAL (UINT64_C(1) << 1) /* the host must not run two instances at once in a process */
#define HD_F_NEEDS_NETRAW  (UINT64_C(1) << 2)
#define HD_F_NEEDS_EXEC    (UINT64_C(1) << 3)
/* Since 1.2. It can do with the sandbox of its workload, and so gets it: io, block and cpu start no process, write to no
 * file, send no signal, open no server, and read what the C library needs and the paths in the check's options (absolute
 * ones; with "x-path":"write" in the schema for writing too); cpu has no network. With HD_F_NEEDS_EXEC it may start
 * programs, and only the machine itself is out of reach. Without the flag its worker is as it always was. */
#define HD_F_SANDBOX       (UINT64_C(1) << 4)
#define HD_F_NEEDS_PROC    (UINT64_C(1) << 5) /* of other processes: exe, fd, environ, maps in /proc, which it else hides */
#define HD_F_NOTIFY        (UINT64_C(1) << 32) /* no check: a run delivers one message to people, see "hd.notice/1" */

/* Life of an instance: create -> any number of runs or tasks -> destroy. The host never destroys an instance whose
 * run has not returned or whose task is not dropped.
 *
 * Life of a task: start either returns a final status, then no task exists and *task is not read; or it sets *task
 * and returns HD_PENDING. Then step is called, any number of times, until it returns something else than HD_PENDING.
 * drop is called exactly once for each task: after a final status from step, at the deadline, on cancel, and after an
 * HD_E_ code. Should start return an HD_E_ code with *task set to non-NULL (the host sets it to NULL before the call),
 * a task exists and drop is called too. The instance and the ctx outlive drop(task).
 *
 * Threads: which thread calls what.
 *   init                a thread of its own: once a process and plugin, before any other call
 *   create, destroy     some pool thread: may block, and no run or step of that instance is under way
 *   run, chunk          some pool thread: may block
 *   start, step, drop   the event loop: one and the same thread for all tasks of a worker, so they must not block (1 ms a
 *                       step is the budget)
 * Threads that a plugin makes may stay for later calls; more of them with each call are a breach, which makes its runs
 * UNKNOWN: so are a limit, an alarm, a signal's handler or mask that a call leaves behind.
 *
 * A destroy that does not return within 30 s costs its worker its life, once its other runs are done. */
struct hd_chunk;                              /* see HD_EXT_FANOUT */

typedef struct hd_plugin {
  uint64_t magic; uint32_t struct_size; uint16_t abi_minor, abi_min_minor; /* the minor written to, the least needed */
  uint64_t flags;
  uint32_t workload, default_timeout_ms;
  uint32_t max_inflight, stack_kib;           /* a worker; 0 = the host's choice */
  hd_str   name, version, summary, vendor, license, build;
  hd_str   config_schema;                     /* JSON Schema 2020-12 of one check's config table */
  hd_ret (*init)(const hd_host *h);           /* once a process, before anything else; may be NULL. h lives for ever */
  hd_ret (*create)(const hd_ctx *c, hd_str config_json, void **instance);
  void   (*destroy)(void *instance);
  hd_ret (*run)(void *instance, const hd_ctx *c);
  hd_ret (*start)(void *instance, const hd_ctx *c, void **task);
  hd_ret (*step)(void *task, const hd_ctx *c, const hd_event *ev, size_t n);
  void   (*drop)(void *task);
  /* since 1.1, from here on */
  hd_ret (*chunk)(void *instance, const hd_ctx *c, const struct hd_chunk *chunk); /* or NULL: see HD_EXT_FANOUT */
} hd_plugin;

/* The one symbol a plugin exports. Returns the index-th plugin of this library and NULL past the last: static data,
 * valid and unchanged for ever, the same on each call. Must not call the host, start threads or block. */
HD_EXPORT const hd_plugin *hd_plugin_v1(uint32_t index);

/* ---- extension "hd.exec/1": child processes -------------------------------------------------------------
 * host->extension(HD_EXT_EXEC) returns const hd_exec*. A plugin never forks: workers have threads. The child gets its
 * own process group, default signals, and no fd but 0, 1 and 2. */
#define HD_EXT_EXEC "hd.exec/1"
#define HD_EXEC_TRUNC_OUT 1
#define HD_EXEC_TRUNC_ERR 2
#define HD_EXEC_LEAVE_CHILDREN 1u
#define HD_EXEC_TELL_DEADLINE 2u
#define HD_EXEC_ENDED    0u     /* by itself */
#define HD_EXEC_DEADLINE 1u     /* the host has ended it */
#define HD_EXEC_LIVES_ON 2u     /* neither SIGTERM nor SIGKILL has ended it: out and err are what it wrote until now */
typedef struct hd_exec_spec {
  uint32_t struct_size, argc;
  const hd_str *argv;            /* argv[0] is the program; without a '/' it is looked up in env's PATH */
  uint32_t envc, token;          /* token comes back in the event */
  const hd_str *env;             /* "K=V", the complete environment */
  hd_str   cwd;                  /* empty: "/" */
  hd_str   input;                /* stdin; empty: /dev/null. Copied by the host */
  uint32_t max_output, reserved; /* bytes kept of each stream, 0 = 64 KiB; the rest is read and dropped */
  uint64_t max_memory;           /* RLIMIT_AS, bytes; 0: no limit of its own. The three below likewise */
  uint64_t max_cpu_s, max_files, max_processes;
  /* added later, from here on: struct_size tells whether the other side has it */
  uint32_t kill_grace_ms;        /* between SIGTERM and SIGKILL to its group; 0: SIGKILL at once */
  uint32_t flags;                /* HD_EXEC_LEAVE_CHILDREN: what it started and left is not ended with it.
                                  * HD_EXEC_TELL_DEADLINE: at the deadline the host ends it, and only then comes the
                                  * event; the status is the time-out's, whatever step returns */
} hd_exec_spec;

typedef struct hd_exec_done {
  uint32_t struct_size;
  int32_t  exit_code;            /* -1 if a signal ended it */
  int32_t  term_signal;          /* 0 if it exited */
  int32_t  truncated;            /* HD_EXEC_TRUNC_... */
  uint64_t dropped;              /* bytes that were read and not kept */
  uint64_t cpu_ns;               /* user and system time of the child and those it waited for */
  hd_str   out, err;
  /* added later, from here on: struct_size tells whether the other side has it */
  uint32_t ended;                /* HD_EXEC_ENDED, HD_EXEC_DEADLINE, HD_EXEC_LIVES_ON */
  int32_t  signal_sent;          /* the last that the host sent it; 0: none */
  uint64_t ran_ns;
  uint32_t pid, open;            /* open: something that it started still holds its output, and was not waited for */
  hd_str   left;                 /* processes that it left in sessions of their own, for people; or why it lives on */
} hd_exec_done;

typedef struct hd_exec {
  uint32_t struct_size, version;
  /* Step lane only, one live child a task. 0 or -errno (ENOENT, EACCES, E2BIG, ...). Afterwards one step gets
   * HD_EV_EXT with the token and data = const hd_exec_done*. At the deadline, or when the task is dropped before
   * that, the host kills the child's whole group and reaps it. */
  int32_t (*spawn)(const hd_ctx *c, const hd_exec_spec *spec);
} hd_exec;

/* ---- extension "hd.fanout/1": one run on all cores -------------------------------------------------------
 * host->extension(HD_EXT_FANOUT) returns const hd_fanout*. For plugins of workload HD_WL_CPU whose descriptor has
 * `chunk`. A run (the parent) splits its work: so many items, in chunks of so many. The host calls `chunk` for each,
 * in this worker and in the other workers for heavy work, each of which has an instance of its own of the same check,
 * made by `create` from the same config. While the parent waits in `next` it works on chunks itself: so one worker
 * suffices, and `chunk` may be called on the parent's thread and instance, inside of `next`.
 *
 * A chunk may be begun twice (its worker died), and both beginnings see the same input. So it has no effect but its
 * output. It must not fan out itself. It looks at `cancelled`; its deadline is its parent's. It should take 5 to 500 ms:
 * runs of other checks wait for the end of the chunk that is under way, and go before the next one. */
#define HD_EXT_FANOUT "hd.fanout/1"
#define HD_FANOUT_ORDERED 1u     /* `next` tells of chunk 0, then 1, ...; without it, of each as it is done */
#define HD_FANOUT_MAX_CHUNKS 4096u            /* of one fan-out */
#define HD_FANOUT_MAX_OPENS  64u              /* fan-outs of one run, one after the other */
#define HD_FANOUT_MAX_OUTPUT (UINT64_C(1) << 28) /* bytes that one chunk may write */
#define HD_E_LOST        (-7)    /* in hd_fanout_done.code only: the chunk died twice with its worker */

typedef struct hd_chunk {        /* the host's, valid during the call */
  uint32_t struct_size, kind;    /* kind: as the parent gave it */
  uint32_t index, count;         /* the index-th of count chunks */
  uint64_t from, to;             /* its items: from <= i < to */
  int32_t  input;                /* the parent's input, or -1. All share its offset: pread or mmap it. Do not close it */
  int32_t  output;               /* an empty memfd of this chunk alone: write to it, or ftruncate and mmap it (and unmap
                                    it before the return). Do not close it. The host seals it, and only if chunk
                                    returned HD_OK the parent gets it */
} hd_chunk;

typedef struct hd_fanout_spec {
  uint32_t struct_size, flags;   /* HD_FANOUT_... */
  uint64_t items;                /* 0: there is nothing to do, and `next` says so at once */
  uint64_t chunk;                /* items in a chunk; 0: the host's choice, some 16 chunks a worker */
  int32_t  input;                /* -1, or a regular file or memfd that all chunks see. The host keeps a copy of the fd,
                                    and seals a memfd (EBUSY if it is still mapped writable) */
  uint32_t kind;                 /* the plugin's own */
} hd_fanout_spec;

typedef struct hd_fanout_done {  /* struct_size is set by the caller, the rest by the host */
  uint32_t struct_size, index;
  hd_ret   code;                 /* HD_OK, or why the chunk failed: what `chunk` returned, or HD_E_LOST */
  int32_t  output;               /* its output, sealed, or -1 if it wrote nothing. The host's: dup it to keep it */
  uint64_t size;                 /* bytes in output */
  uint64_t cpu_ns;               /* CPU time of the chunk */
  hd_str   message;              /* of a chunk that failed */
} hd_fanout_done;

typedef struct hd_fanout {
  uint32_t struct_size, version;
  /* All four: in `run` only, on its thread. */
  /* Begins. 0 or -errno: EBUSY (one is open), E2BIG (too many chunks), EDQUOT (too many fan-outs in this run), EINVAL,
   * ENOTSUP (the plugin has no `chunk`), EPERM (not in run), EMFILE and its like. */
  int32_t (*open)(const hd_ctx *c, const hd_fanout_spec *spec);
  /* Waits for a chunk, and works on chunks meanwhile. 1: *done tells of one, and holds until the next call here. 0: all
   * have been told. -ECANCELED: give up, the run is cancelled or at its deadline. -EBADF: none is open. */
  int32_t (*next)(const hd_ctx *c, hd_fanout_done *done);
  /* Ends it: chunks that are under way are cancelled. The end of the run does so too. */
  void    (*close)(const hd_ctx *c);
  /* So many workers for heavy work there are, this one included. */
  uint32_t (*workers)(const hd_ctx *c);
} hd_fanout;

/* ---- extension "hd.counter/1": numbers that all workers share --------------------------------------------
 * host->extension(HD_EXT_COUNTER) returns const hd_counter*. Cells of 64 bits in shared memory, 0 at first, known by
 * name. They outlive workers, reloads and the manager; a restart of the daemon makes all anew. A name is the plugin's
 * own unless HD_SHARED. Every operation is atomic and takes no lock that a killed worker could hold. */
#define HD_EXT_COUNTER "hd.counter/1"
#define HD_SHARED 1u             /* the name is one for all plugins, not this plugin's own */
typedef struct hd_counter {
  uint32_t struct_size, version;
  /* On the thread that runs c, create included. name: 1 to 60 bytes of printable ASCII without space, quote and
   * backslash. cells: 1 to 4096. *handle is valid for the life of the process, the same for each who names it. 0, or
   * -EINVAL (name, cells), -EEXIST (the name has another number of cells), -ENOSPC (no room for more), -EIO. */
  int32_t (*open)(const hd_ctx *c, hd_str name, uint32_t cells, uint32_t flags, uint64_t *handle);
  /* Any thread. 0, or -EINVAL for a cell that is not there. `before` may be NULL. */
  int32_t (*get)(uint64_t handle, uint32_t cell, uint64_t *value);
  int32_t (*set)(uint64_t handle, uint32_t cell, uint64_t value);
  int32_t (*add)(uint64_t handle, uint32_t cell, uint64_t n, uint64_t *before);     /* wraps: UINT64_MAX takes one off */
  int32_t (*max)(uint64_t handle, uint32_t cell, uint64_t value, uint64_t *before); /* the larger one stays */
  /* 0: *expected was there and `value` is now. -EAGAIN: *expected is what is there instead. */
  int32_t (*compare_exchange)(uint64_t handle, uint32_t cell, uint64_t *expected, uint64_t value);
} hd_counter;

/* ---- extension "hd.cache/1": the hit rates of a plugin's own caches ----------------------------------------
 * host->extension(HD_EXT_CACHE) returns const hd_cache*. A cache is the plugin's own business; told of here, `healthctl
 * objects` shows it. */
#define HD_EXT_CACHE "hd.cache/1"
typedef struct hd_cache_stats {  /* written by the plugin, atomically, whenever it likes; read by the host for ever */
  uint32_t struct_size, reserved;
  uint64_t hits, misses, evictions, entries;
} hd_cache_stats;
typedef struct hd_cache {
  uint32_t struct_size, version;
  /* On the thread that runs c, create included; once a cache. stats lives as long as the process. 0 or -errno. */
  int32_t (*show)(const hd_ctx *c, hd_str name, const hd_cache_stats *stats);
} hd_cache;

/* ---- extension "hd.map/1": maps and lists that the manager keeps for all workers -----------------------------
 * host->extension(HD_EXT_MAP) returns const hd_map*. They outlive workers, reloads and the manager, in memory and never
 * on a disk; a restart of the daemon forgets them. A map or list has at most 1024 items and 48 KiB, a key 256 bytes, a
 * value 16 KiB; names are those of hd.counter. What there is no room for is an error, and nothing else goes for it. */
#define HD_EXT_MAP "hd.map/1"
#define HD_MAP_GET      0u       /* -> one item; -ENOENT */
#define HD_MAP_SET      1u       /* -> version */
#define HD_MAP_APPEND   2u       /* to a list; -> version */
#define HD_MAP_SNAPSHOT 3u       /* -> all items of a map by key, or of a list in order; none there: none */
#define HD_MAP_DELETE   4u       /* a key; without key the whole map or list; -ENOENT */
#define HD_MAP_EXPECT   2u       /* flag of SET and DELETE: only if `expected` is its version, 0: only if it is not there */
typedef struct hd_map_ask {
  uint32_t struct_size, op;
  uint32_t flags, token;         /* HD_SHARED, HD_MAP_EXPECT; token comes back in the event */
  hd_str   map, key, value;
  uint64_t expected;
  uint64_t ttl_ns;               /* SET, APPEND: how long it stays; 0: for ever */
} hd_map_ask;

typedef struct hd_map_item { hd_str key, value; } hd_map_item;

typedef struct hd_map_reply {
  uint32_t struct_size;
  int32_t  error;                /* 0, or -errno: -ENOENT, -EAGAIN (another version: it is in items), -EEXIST (a list is no
                                    map), -ENOSPC, -EINVAL */
  uint64_t version;
  const hd_map_item *items;
  uint64_t n;
} hd_map_reply;

typedef struct hd_map {
  uint32_t struct_size, version;
  /* Step lane. 0 or -errno (-EAGAIN: this worker asks too often). Afterwards one step gets HD_EV_EXT with the token and
   * data = const hd_map_reply*. */
  int32_t (*ask)(const hd_ctx *c, const hd_map_ask *ask);
  /* Run lane and create: blocks until the answer, and calls reply with it on this thread before it returns 0; or -errno:
   * -ETIMEDOUT at the deadline, -ECANCELED, -EAGAIN. */
  int32_t (*ask_and_wait)(const hd_ctx *c, const hd_map_ask *ask,
                          void (*reply)(void *arg, const hd_map_reply *answer), void *arg);
} hd_map;

/* ---- extension "hd.state/1": what a check keeps over a restart ---------------------------------------------------
 * host->extension(HD_EXT_STATE) returns const hd_map*, whose asks take these operations as well. One value of at most
 * 16 KiB for each check, in a file of the daemon: where it stopped to read, its last counters. map and key of the ask are
 * empty, ttl_ns is 0, HD_MAP_EXPECT is allowed. A SET is in the file before it is answered: no death of a process loses it,
 * a power cut may lose the last second. It goes when the check leaves the configuration, or gets another plugin. */
#define HD_EXT_STATE "hd.state/1"
#define HD_STATE_GET    5u       /* -> one item; -ENOENT */
#define HD_STATE_SET    6u       /* -> version */
#define HD_STATE_DELETE 7u       /* -ENOENT */

/* ---- extension "hd.lock/1": locks over all workers ---------------------------------------------------------------
 * host->extension(HD_EXT_LOCK) returns const hd_lock*. A run asks for all the names it needs at once and gets all of
 * them or waits, first come first served; while it holds or waits it may not ask again (-EDEADLK), so nobody can wait in a
 * circle. A lock is a lease: it ends with unlock, with the run, or with the death of its worker. */
#define HD_EXT_LOCK "hd.lock/1"
typedef struct hd_lock_ask {
  uint32_t struct_size, n;
  const hd_str *names;           /* 1 to 16, as those of hd.counter */
  uint32_t flags, token;         /* HD_SHARED; token comes back in the event */
  uint64_t timeout_ns;           /* 0: only if they are free now */
} hd_lock_ask;

typedef struct hd_lock_done {
  uint32_t struct_size;
  int32_t  error;                /* 0: they are ours. -ETIMEDOUT, -EDEADLK, -EINVAL */
} hd_lock_done;

typedef struct hd_lock {
  uint32_t struct_size, version;
  /* Step lane. 0 or -errno. Afterwards one step gets HD_EV_EXT with the token and data = const hd_lock_done*. */
  int32_t (*ask)(const hd_ctx *c, const hd_lock_ask *ask);
  /* Run lane and create: blocks until they are ours, 0; or -errno, -ETIMEDOUT at the run's deadline too, -ECANCELED. */
  int32_t (*ask_and_wait)(const hd_ctx *c, const hd_lock_ask *ask);
  /* Either lane: gives back what the run holds, or waits for. */
  void    (*unlock)(const hd_ctx *c);
} hd_lock;

/* ---- extension "hd.grace/1": time that was not the target's ---------------------------------------------------
 * host->extension(HD_EXT_GRACE) returns const hd_grace*. A run that waited for something of our own (its turn under a rate
 * limit, a token, a lock) has less of its timeout left, and a timeout would then be no word about the target. So it may
 * have that time back. */
#define HD_EXT_GRACE "hd.grace/1"
typedef struct hd_grace {
  uint32_t struct_size, version;
  /* Step lane, in start and step. Moves the run's deadline by ns and writes where it is now to *deadline_ns, unless that
   * is NULL; ctx->deadline_ns stays as it was. 0, or -EDQUOT: all together would be more than the run's timeout, and
   * nothing has moved. */
  int32_t (*give_back)(const hd_ctx *c, uint64_t ns, uint64_t *deadline_ns);
} hd_grace;

/* ---- extension "hd.resolve/1": a look-up that is told by a time -------------------------------------------------
 * host->extension(HD_EXT_RESOLVE) returns const hd_resolve*. hd_host.resolve tells shortly before the run's deadline at the
 * latest that there is no answer, and whose fault that is. A plugin with a time limit of its own would give up before, and
 * would not know. */
#define HD_EXT_RESOLVE "hd.resolve/1"
typedef struct hd_resolve {
  uint32_t struct_size, version;
  /* As hd_host.resolve; HD_EV_RESOLVED comes shortly before by_ns (CLOCK_MONOTONIC) at the latest. */
  int32_t (*resolve_by)(const hd_ctx *c, hd_str host, uint32_t family, uint32_t token, uint64_t by_ns);
} hd_resolve;
/* ---- extension "hd.notice/1": the message that a run delivers ---------------------------------------------------
 * For plugins with HD_F_NOTIFY. host->extension(HD_EXT_NOTICE) returns const hd_notice*. Such a run delivers one message
 * and says what became of it: HD_OK, the receiver has accepted it, and the run's message is the receipt (a queue id, a
 * status line); HD_CRIT, the receiver does not have it, for certain (connection refused, 4xx); anything else, also a
 * timeout or a crash: it may have it. The host tries again with the same id, in the last two cases and for as long as
 * the message is true. A metric `retry_after` (s) says when not before. */
#define HD_EXT_NOTICE "hd.notice/1"
typedef struct hd_message {
  uint32_t struct_size, reserved;
  hd_str id;      /* of this message: the same for each try. Make it the receiver's key, so that it knows a second try */
  hd_str notice;  /* the same for a problem, what is said of it later, and its recovery; "0": it belongs to none */
  hd_str kind;    /* "problem", "worse", "update", "repeat", "recovery", "test", "alive" */
  hd_str json;    /* all of it, as an object: id, notice, kind, route, host, time, count, checks, ... */
} hd_message;
typedef struct hd_notice {
  uint32_t struct_size, version;
  /* Either lane, in a run. Fills *out up to out->struct_size; the strings are the host's until the run ends. 0, or
   * -ENOENT: this run delivers nothing. */
  int32_t (*get)(const hd_ctx *c, hd_message *out);
} hd_notice;

#ifdef __cplusplus
}
#endif
#endif
