/* solo, solo_step - says CRITICAL if another run holds the same file at this moment.
 *
 * file    whose lock says that a run is under way; the kernel takes it from the dead
 * gate    path of a unix socket: stays until the test opens it; else for a fraction of a millisecond */
#include "fixture.h"
#include <fcntl.h>
#include <sys/file.h>
#include <time.h>

static int take(const hd_ctx *c, void *instance) {
  char file[256];
  int fd;
  if (!text(instance, "file", file, sizeof file)) {
    say(c, "no file");
    return -1;
  }
  fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0) return fd;
  say(c, "two at once: %s: %s", file, strerror(errno));
  if (fd >= 0) close(fd);
  return -1;
}

static hd_ret run(void *instance, const hd_ctx *c) {
  struct timespec moment = {0, 200000};
  int fd = take(c, instance);
  if (fd < 0) return HD_CRIT;
  nanosleep(&moment, NULL);
  close(fd);
  say(c, "alone");
  return HD_OK;
}

struct task { int lock, gate; const hd_ctx *c; };

static void drop(void *task) {
  struct task *t = task;
  host->io_unwatch(t->c, t->gate);
  close(t->gate);
  close(t->lock);
  free(t);
}

static hd_ret start(void *instance, const hd_ctx *c, void **task) {
  struct task *t;
  int lock = take(c, instance), gate;
  if (lock < 0) return HD_CRIT;
  gate = enter_gate(c, instance, SOCK_CLOEXEC | SOCK_NONBLOCK);
  t = malloc(sizeof *t);
  if (gate < 0 || t == NULL) {
    say(c, "no gate: %s", strerror(errno));
    close(lock);
    return HD_UNKNOWN;
  }
  t->lock = lock;
  t->gate = gate;
  t->c = c;
  host->io_watch(c, gate, HD_IO_READ);
  *task = t;
  return HD_PENDING;
}

static hd_ret step(void *task, const hd_ctx *c, const hd_event *events, size_t n) {
  struct task *t = task;
  char said;
  (void)events;
  (void)n;
  if (read(t->gate, &said, 1) < 0) return HD_PENDING;
  say(c, "alone");
  return HD_OK;
}

static const hd_plugin plugins[] = {
  RUN_LANE("solo", HD_WL_BLOCK, create, run),
  STEP_LANE("solo_step", HD_WL_IO, create, start, step, drop),
};
EXPORT(plugins)
