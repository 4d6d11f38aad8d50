/* breach, breach_step - break their contract, each in one way.
 *
 * how     limit (one of open files), hard (one that only root can lift), alarm (in ten seconds), handler (of SIGUSR1), mask (of the thread), umask, cwd, threads (two
 *         more each time), nothing (a task that waits for nothing; breach_step), undefined (returns 42), destroy (an alarm, when the
 *         instance ends; breach), helper (a thread that wakes the task and ends, which is right; breach_step), none
 * at      start (or no word), step, wait (as step, but it goes on until its time is up), drop (at the end of its time): where
 *         breach_step does it
 * if_file they do so only while this file is there
 * status  what they return then, if it is anything else: 2 is CRITICAL */
#include "fixture.h"
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

static void *stay(void *nothing) {
  for (;;) pause();
  return nothing;
}

static hd_ret break_it(void *instance) {
  char how[32];
  struct rlimit few;
  sigset_t all;
  if (!wanted(instance)) return (hd_ret)number(instance, "status", 2);
  text(instance, "how", how, sizeof how);
  sigfillset(&all);
  getrlimit(RLIMIT_NOFILE, &few);
  few.rlim_cur = 20;
  if (strcmp(how, "hard") == 0) few.rlim_max = 20;
  if (strcmp(how, "limit") == 0 || strcmp(how, "hard") == 0) setrlimit(RLIMIT_NOFILE, &few);
  if (strcmp(how, "alarm") == 0) alarm(10);
  if (strcmp(how, "handler") == 0) signal(SIGUSR1, SIG_IGN);
  if (strcmp(how, "umask") == 0) umask(0777);
  if (strcmp(how, "cwd") == 0 && chdir("/proc") != 0) abort();
  if (strcmp(how, "mask") == 0) pthread_sigmask(SIG_BLOCK, &all, NULL);
  if (strcmp(how, "threads") == 0) {
    pthread_t thread;
    pthread_create(&thread, NULL, stay, NULL);
    pthread_create(&thread, NULL, stay, NULL);
  }
  if (strcmp(how, "undefined") == 0) return 42;
  return (hd_ret)number(instance, "status", 2);
}

static hd_ret run(void *instance, const hd_ctx *c) {
  say(c, "the target is bad");
  return break_it(instance);
}

static void destroy(void *instance) {
  char how[32];
  text(instance, "how", how, sizeof how);
  if (strcmp(how, "destroy") == 0) alarm(10);
  free(instance);
}

static int is_at(const char *instance, const char *call) {
  char at[32];
  return text(instance, "at", at, sizeof at) ? strcmp(at, call) == 0 : strcmp(call, "start") == 0;
}

static void *help(void *waker) {
  host->wake(waker);
  host->waker_free(waker);
  return NULL;
}

static hd_ret helped(const hd_ctx *c) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, help, host->waker(c)) != 0) return HD_E_RESOURCES;
  pthread_detach(thread);
  return HD_PENDING;
}

/* A task is its instance. */
static hd_ret start(void *instance, const hd_ctx *c, void **task) {
  char how[32];
  text(instance, "how", how, sizeof how);
  say(c, "the target is bad");
  *task = instance;
  if (strcmp(how, "helper") == 0) return helped(c);
  if (strcmp(how, "nothing") != 0) {
    if (is_at(instance, "start")) return break_it(instance);
    host->timer(c, host->now_ns() + 1000000);
  }
  return HD_PENDING;
}

/* One that breaks it later waits until its time is up. */
static hd_ret step(void *task, const hd_ctx *c, const hd_event *events, size_t n) {
  (void)events;
  (void)n;
  if (!is_at(task, "wait") && !is_at(task, "drop")) return break_it(task);
  if (is_at(task, "wait")) break_it(task);
  host->timer(c, host->now_ns() + UINT64_C(3600000000000));
  return HD_PENDING;
}

static void drop(void *task) {
  if (is_at(task, "drop")) break_it(task);
}

static const hd_plugin plugins[] = {
  RUN_LANE_TO("breach", HD_WL_BLOCK, create, run, destroy),
  STEP_LANE("breach_step", HD_WL_IO, create, start, step, drop),
};
EXPORT(plugins)
