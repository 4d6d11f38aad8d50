/* breach, breach_step - break their contract, each in one way.
 *
 * how     limit (one of open files), hard (one that only root can lift), alarm (in ten seconds), handler (of SIGUSR1), mask (of the thread), umask, cwd, threads (two
 *         more each time), nothing (a task that waits for nothing; breach_step), undefined (returns 42), destroy (an alarm, when the
 *         instance ends; breach), none
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

static hd_ret start(void *instance, const hd_ctx *c, void **task) {
  char how[32];
  text(instance, "how", how, sizeof how);
  say(c, "the target is bad");
  if (strcmp(how, "nothing") != 0) return break_it(instance);
  *task = malloc(1);
  return HD_PENDING;
}

static hd_ret step(void *task, const hd_ctx *c, const hd_event *events, size_t n) {
  (void)task;
  (void)c;
  (void)events;
  (void)n;
  return HD_OK;
}

static const hd_plugin plugins[] = {
  RUN_LANE_TO("breach", HD_WL_BLOCK, create, run, destroy),
  STEP_LANE("breach_step", HD_WL_IO, create, start, step, free),
};
EXPORT(plugins)
