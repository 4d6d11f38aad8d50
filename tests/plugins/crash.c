/* crash, crash_step, crash_cpu, crash_exec - hurt the process that they run in.
 *
 * how     segv, abort, bus, ill, fpe, stack, kill, exit, _exit, fork (the child runs on as if it were the worker),
 *         fork_stay (the child waits for ever with every fd it inherited), stall, spin, rubbish (half a frame to the
 *         manager), huge (a frame that says it is huge), fork_segv, fork_exit (the child ends like that, and is
 *         waited for), group and group_term (its process group gets SIGKILL or SIGTERM), parent (SIGTERM to its parent),
 *         parent_kill (SIGKILL), leave (two programs stay, one of them in a session of its own), leave_abort, leave_stall,
 *         threads (it makes 10,000, one after the other, which end in each way that a thread can)
 * when    run (default), create, destroy or step (crash_step, after its first wait)
 * where   here (default), or on a thread that it makes and waits for: thread; own (which gives signal handlers a stack
 *         of its own), bare (which takes from them what stack they have)
 * if_file only while that file is there; else ok
 * ms      stall: so long; spin: so long of its thread's own time */
#include "fixture.h"
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

static volatile int sink;

static __attribute__((noinline)) int deeper(volatile char *above) {
  volatile char here[4096];
  if (sink == -1) return 0;        /* never: but the compiler cannot know */
  here[0] = above[0];
  here[4095] = 1;
  sink += here[4095];
  return deeper(here) + here[0];
}

static long long my_time(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* Every packet socket of this process: one of them leads to the manager. */
static void to_the_manager(const void *bytes, size_t n) {
  for (int fd = 3; fd < 256; fd++) {
    int type = 0;
    socklen_t len = sizeof type;
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_SEQPACKET)
      send(fd, bytes, n, MSG_NOSIGNAL | MSG_DONTWAIT);
  }
}

static char room[64 << 10];

static void *end(void *how) {
  stack_t handlers = { .ss_sp = room, .ss_size = sizeof room };
  if (strcmp(how, "cancel") == 0)
    for (;;) pause();
  if (strcmp(how, "own") == 0) sigaltstack(&handlers, NULL);
  if (strcmp(how, "return") != 0) pthread_exit(NULL);
  return NULL;
}

static void threads(void) {
  static char *ways[] = { "return", "exit", "cancel", "own" };
  pthread_t thread;
  for (int n = 0; n < 10000; n++) {
    char *way = ways[n % 4];
    if (pthread_create(&thread, NULL, end, way) != 0) abort();
    if (strcmp(way, "cancel") == 0) pthread_cancel(thread);
    pthread_join(thread, NULL);
  }
}

static __attribute__((noinline)) void hurt(const char *json) {
  char how[32];
  text(json, "how", how, sizeof how);
  if (strncmp(how, "leave", 5) == 0) {
    leave_behind(0, "sleep", "1000");
    leave_behind(1, "sleep", "1000");
    if (how[5] == 0) return;
    memmove(how, how + 6, strlen(how + 6) + 1);
  }
  if (strcmp(how, "segv") == 0) {
    *(volatile int *)(uintptr_t)sink = 1;
  } else if (strcmp(how, "abort") == 0) {
    abort();
  } else if (strcmp(how, "bus") == 0) {
    /* A page behind the end of a file. */
    int fd = memfd_create("short", 0);
    volatile char *page = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    sink = page[0];
  } else if (strcmp(how, "ill") == 0) {
    __builtin_trap();
  } else if (strcmp(how, "fpe") == 0) {
    /* The compiler need not emit a division that traps, and not every processor traps on one. */
    raise(SIGFPE);
  } else if (strcmp(how, "stack") == 0) {
    volatile char top = 1;
    sink = deeper(&top);
  } else if (strcmp(how, "threads") == 0) {
    threads();
  } else if (strcmp(how, "kill") == 0) {
    kill(getpid(), SIGKILL);
  } else if (strcmp(how, "group") == 0) {
    kill(0, SIGKILL);
  } else if (strcmp(how, "group_term") == 0) {
    kill(0, SIGTERM);
  } else if (strcmp(how, "parent") == 0) {
    kill(getppid(), SIGTERM);
  } else if (strcmp(how, "parent_kill") == 0) {
    kill(getppid(), SIGKILL);
  } else if (strcmp(how, "exit") == 0) {
    exit(0);
  } else if (strcmp(how, "_exit") == 0) {
    _exit(0);
  } else if (strcmp(how, "fork") == 0) {
    fork();
  } else if (strcmp(how, "fork_stay") == 0) {
    if (fork() == 0)
      for (;;) pause();
  } else if (strcmp(how, "fork_segv") == 0 || strcmp(how, "fork_exit") == 0) {
    pid_t child = fork();
    if (child == 0) {
      if (how[5] == 'e') exit(7);
      *(volatile int *)(uintptr_t)sink = 1;
    }
    /* Its worker may collect it first. */
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR) {}
  } else if (strcmp(how, "stall") == 0) {
    long ms = number(json, "ms", 3000);
    struct timespec time = { ms / 1000, ms % 1000 * 1000000 };
    while (nanosleep(&time, &time) != 0) {}
  } else if (strcmp(how, "spin") == 0) {
    long long until = my_time() + number(json, "ms", 3000) * 1000000LL;
    while (my_time() < until) {}
  } else if (strcmp(how, "rubbish") == 0) {
    /* A tag that exists, a length, and less than that. */
    static const unsigned char half[] = { 66, 200, 0, 0, 0, 1, 2, 3 };
    to_the_manager(half, sizeof half);
  } else if (strcmp(how, "huge") == 0) {
    static const unsigned char huge[] = { 66, 255, 255, 255, 255 };
    to_the_manager(huge, sizeof huge);
  }
}

static int when(const char *json, const char *moment) {
  char chosen[32];
  if (!text(json, "when", chosen, sizeof chosen)) strcpy(chosen, "run");
  return strcmp(chosen, moment) == 0 && wanted(json);
}

static void *hurt_on_thread(void *json) {
  stack_t handlers = { .ss_sp = room, .ss_size = sizeof room };
  char where[32];
  text(json, "where", where, sizeof where);
  if (strcmp(where, "bare") == 0) handlers.ss_flags = SS_DISABLE;
  if (strcmp(where, "thread") != 0) sigaltstack(&handlers, NULL);
  hurt(json);
  return NULL;
}

static void hurt_somewhere(char *json) {
  char where[32];
  pthread_t thread;
  if (!text(json, "where", where, sizeof where) || strcmp(where, "here") == 0) hurt(json);
  else if (pthread_create(&thread, NULL, hurt_on_thread, json) == 0) pthread_join(thread, NULL);
}

static hd_ret create_or_not(const hd_ctx *c, hd_str config, void **instance) {
  hd_ret r = create(c, config, instance);
  if (r == HD_OK && when(*instance, "create")) hurt_somewhere(*instance);
  return r;
}

static void destroy(void *instance) {
  if (when(instance, "destroy")) hurt_somewhere(instance);
  free(instance);
}

static hd_ret run(void *instance, const hd_ctx *c) {
  if (when(instance, "run")) {
    hurt_somewhere(instance);
    say(c, "still alive");
  }
  return HD_OK;
}

struct task { void *instance; };

static hd_ret start(void *instance, const hd_ctx *c, void **task) {
  struct task *t;
  if (!when(instance, "step")) return run(instance, c);
  t = malloc(sizeof *t);
  if (t == NULL) return HD_E_RESOURCES;
  t->instance = instance;
  *task = t;
  host->phase(c, (hd_str)S("wait"));
  host->timer(c, host->now_ns() + 1000000);
  return HD_PENDING;
}

static hd_ret step(void *task, const hd_ctx *c, const hd_event *events, size_t n) {
  (void)events;
  if (n == 0) return HD_PENDING;
  hurt_somewhere(((struct task *)task)->instance);
  say(c, "still alive");
  return HD_OK;
}

static hd_plugin plugins[] = {
  RUN_LANE("crash", HD_WL_BLOCK, create_or_not, run),
  STEP_LANE("crash_step", HD_WL_IO, create_or_not, start, step, free),
  RUN_LANE("crash_cpu", HD_WL_CPU, create_or_not, run),
  STEP_LANE("crash_exec", HD_WL_EXEC, create_or_not, start, step, free),
};

const hd_plugin *hd_plugin_v1(uint32_t index) {
  if (index >= 4) return NULL;
  plugins[index].destroy = destroy;
  return &plugins[index];
}
