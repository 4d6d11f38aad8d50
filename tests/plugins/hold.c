/* hold, hold_cpu, hold_step - connect to a gate and stay in the run until the test opens it.
 *
 * gate    path of the unix socket that the test listens on
 * deaf    true: does not look whether it was cancelled (run lane)
 *
 * What the gate says is the status: a digit, or nothing (it was closed) for ok. */
#include "fixture.h"

static hd_ret status_of(char said) {
  return said >= '0' && said <= '3' ? said - '0' : HD_OK;
}

static hd_ret run(void *instance, const hd_ctx *c) {
  struct pollfd fds[2];
  char said = '0';
  int fd = enter_gate(c, instance, SOCK_CLOEXEC);
  if (fd < 0) {
    say(c, "no gate: %s", strerror(errno));
    return HD_UNKNOWN;
  }
  fds[0].fd = fd;
  fds[0].events = POLLIN;
  fds[1].fd = number(instance, "deaf", 0) ? -1 : c->cancel_fd;
  fds[1].events = POLLIN;
  for (;;) {
    fds[0].revents = fds[1].revents = 0;
    if (poll(fds, 2, -1) < 0) continue;
    if (fds[0].revents != 0) {
      ssize_t n = read(fd, &said, 1);
      close(fd);
      say(c, "the gate was %s", n == 1 ? "opened" : "closed");
      return status_of(said);
    }
    if (fds[1].revents != 0) {
      close(fd);
      return HD_E_CANCELLED;
    }
  }
}

struct task { int fd; const hd_ctx *c; };

static void drop(void *task) {
  struct task *t = task;
  host->io_unwatch(t->c, t->fd);
  close(t->fd);
  free(t);
}

static hd_ret start(void *instance, const hd_ctx *c, void **task) {
  struct task *t = malloc(sizeof *t);
  if (t == NULL) return HD_E_RESOURCES;
  host->phase(c, (hd_str)S("gate"));
  t->c = c;
  t->fd = enter_gate(c, instance, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (t->fd < 0) {
    say(c, "no gate: %s", strerror(errno));
    free(t);
    return HD_UNKNOWN;
  }
  host->io_watch(c, t->fd, HD_IO_READ);
  *task = t;
  return HD_PENDING;
}

static hd_ret step(void *task, const hd_ctx *c, const hd_event *events, size_t n) {
  struct task *t = task;
  char said = '0';
  ssize_t got = read(t->fd, &said, 1);
  (void)events;
  (void)n;
  if (got < 0) return HD_PENDING;
  say(c, "the gate was %s", got == 1 ? "opened" : "closed");
  return status_of(said);
}

static const hd_plugin plugins[] = {
  RUN_LANE("hold", HD_WL_BLOCK, create, run),
  RUN_LANE("hold_cpu", HD_WL_CPU, create, run),
  STEP_LANE("hold_step", HD_WL_IO, create, start, step, drop),
};
EXPORT(plugins)
