/* leak, leak_step, leak_cpu - take and never give back, but for what is borrowed.
 *
 * kb       memory, touched, a run
 * fds      descriptors, a run
 * threads  threads that never end, a run
 * burn_ms  CPU time, a run
 * wait_ms  leak_step: waits so long on its timer first
 * slowly   true: takes it page by page, so that it lasts
 * borrow_kb  memory, 4 MiB in 10 ms, that is given back at the end of the run
 * gate     when it has taken all it waits there (leak, leak_cpu)
 * late_ms  CPU time, behind the gate
 * if_file  only while that file is there */
#include "fixture.h"
#include <fcntl.h>
#include <pthread.h>
#include <time.h>

static void *stay(void *nothing) {
  for (;;) pause();
  return nothing;
}

static void take(const char *json) {
  long kb = number(json, "kb", 0), fds = number(json, "fds", 0), threads = number(json, "threads", 0);
  pthread_t thread;
  struct timespec moment = { 0, 10000000 };
  for (long i = 0; i < kb / 64; i++) {
    char *block = malloc(64 << 10);
    if (block == NULL) return;
    memset(block, 1, 64 << 10);
    if (number(json, "slowly", 0) && i % 64 == 0) nanosleep(&moment, NULL);
  }
  for (long i = 0; i < fds; i++)
    if (open("/dev/null", O_RDONLY | O_CLOEXEC) < 0) return;
  for (long i = 0; i < threads; i++)
    if (pthread_create(&thread, NULL, stay, NULL) != 0) return;
}

static void borrow(const char *json) {
  size_t size = (size_t)number(json, "borrow_kb", 0) << 10;
  struct timespec moment = { 0, 10000000 };
  char *block = malloc(size);
  for (size_t i = 0; block != NULL && i < size; i += 4096) {
    block[i] = 1;
    if (i % (4 << 20) == 0) nanosleep(&moment, NULL);
  }
  free(block);
}

static uint64_t used_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void burn(const char *json, const char *key) {
  uint64_t until = used_ns() + (uint64_t)number(json, key, 0) * 1000000;
  while (used_ns() < until) {}
}

static hd_ret run(void *instance, const hd_ctx *c) {
  const char *json = instance;
  char path[128];
  if (!wanted(json)) return HD_OK;
  burn(json, "burn_ms");
  take(json);
  borrow(json);
  say(c, "took it");
  if (text(json, "gate", path, sizeof path)) {
    char said;
    int fd = enter_gate(c, json, SOCK_CLOEXEC);
    if (fd < 0) return HD_UNKNOWN;
    while (read(fd, &said, 1) < 0 && errno == EINTR) {}
    close(fd);
    burn(json, "late_ms");
  }
  return HD_OK;
}

struct task { void *instance; };

static hd_ret start(void *instance, const hd_ctx *c, void **task) {
  long wait = number(instance, "wait_ms", 0);
  struct task *t;
  if (wait == 0) return run(instance, c);
  t = malloc(sizeof *t);
  if (t == NULL) return HD_E_RESOURCES;
  t->instance = instance;
  *task = t;
  host->timer(c, host->now_ns() + (uint64_t)wait * 1000000);
  return HD_PENDING;
}

static hd_ret step(void *task, const hd_ctx *c, const hd_event *events, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (events[i].kind == HD_EV_TIMER) return run(((struct task *)task)->instance, c);
  return HD_PENDING;
}

static const hd_plugin plugins[] = {
  RUN_LANE("leak", HD_WL_BLOCK, create, run),
  STEP_LANE("leak_step", HD_WL_IO, create, start, step, free),
  RUN_LANE("leak_cpu", HD_WL_CPU, create, run),
};
EXPORT(plugins)
