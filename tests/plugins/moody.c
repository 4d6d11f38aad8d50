/* moody - its init does what the first letter of the file $MOOD says: h hangs, f fails, k is killed from outside
 *         (SIGKILL), anything else is well.
 * narrow - wants one run at a time, and ends each at once, unless it has
 *   gate  path of a unix socket: waits there until the test opens it */
#include "fixture.h"
#include <signal.h>

static hd_ret moody_init(const hd_host *h) {
  const char *path = getenv("MOOD");
  FILE *file = path == NULL ? NULL : fopen(path, "r");
  int mood = file == NULL ? 0 : fgetc(file);
  if (file != NULL) fclose(file);
  if (mood == 'h')
    for (;;) pause();
  if (mood == 'f') return HD_E_INTERNAL;
  if (mood == 'k') kill(getpid(), SIGKILL);
  return init(h);
}

static hd_ret run(void *instance, const hd_ctx *c) {
  (void)instance;
  say(c, "well");
  return HD_OK;
}

struct task { int fd; const hd_ctx *c; };

static void drop(void *task) {
  struct task *t = task;
  host->io_unwatch(t->c, t->fd);
  close(t->fd);
  free(t);
}

static hd_ret start(void *instance, const hd_ctx *c, void **task) {
  struct task *t;
  /* Beside a final status this means nothing. */
  *task = (void *)instance;
  if (find(instance, "gate") == NULL) {
    say(c, "at once");
    return HD_OK;
  }
  t = malloc(sizeof *t);
  if (t == NULL) return HD_E_RESOURCES;
  t->c = c;
  t->fd = enter_gate(c, instance, SOCK_CLOEXEC | SOCK_NONBLOCK);
  host->io_watch(c, t->fd, HD_IO_READ);
  *task = t;
  return HD_PENDING;
}

static hd_ret step(void *task, const hd_ctx *c, const hd_event *events, size_t n) {
  char said;
  (void)events;
  (void)n;
  if (read(((struct task *)task)->fd, &said, 1) < 0) return HD_PENDING;
  say(c, "the gate was opened");
  return HD_OK;
}

static hd_plugin plugins[] = {
  RUN_LANE("moody", HD_WL_BLOCK, create, run),
  STEP_LANE("narrow", HD_WL_IO, create, start, step, drop),
};

const hd_plugin *hd_plugin_v1(uint32_t index) {
  plugins[0].init = moody_init;
  plugins[1].max_inflight = 1;
  return index < 2 ? &plugins[index] : NULL;
}
