/* threads - runs on a pool thread, threads_step - on the event loop; both note each call in the file $CALLS:
 * "CALL begin|end TID PID", so that a test can hold the header's table of threads against the host.
 *
 * destroy_gate   path of a unix socket: destroy stands there until the test opens it */
#include "fixture.h"
#include <fcntl.h>
#include <sys/syscall.h>

static void note(const char *call, const char *when) {
  const char *path = getenv("CALLS");
  char line[96];
  int fd, n;
  if (path == NULL) return;
  fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) return;
  n = snprintf(line, sizeof line, "%s %s %ld %d\n", call, when, (long)syscall(SYS_gettid), (int)getpid());
  if (write(fd, line, (size_t)n) < 0) abort();
  close(fd);
}

static hd_ret noted_init(const hd_host *h) {
  hd_ret ret;
  note("init", "begin");
  ret = init(h);
  note("init", "end");
  return ret;
}

static hd_ret noted_create(const hd_ctx *c, hd_str config, void **instance) {
  hd_ret ret;
  note("create", "begin");
  ret = create(c, config, instance);
  note("create", "end");
  return ret;
}

static void destroy(void *instance) {
  struct sockaddr_un to;
  char line[64];
  note("destroy", "begin");
  memset(&to, 0, sizeof to);
  to.sun_family = AF_UNIX;
  if (text(instance, "destroy_gate", to.sun_path, sizeof to.sun_path)) {
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int n = snprintf(line, sizeof line, "destroy 0 0 %d\n", (int)getpid());
    if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0 && send(fd, line, (size_t)n, MSG_NOSIGNAL) == n)
      while (read(fd, line, 1) < 0 && errno == EINTR) {}
    close(fd);
  }
  free(instance);
  note("destroy", "end");
}

static hd_ret run(void *instance, const hd_ctx *c) {
  (void)instance;
  note("run", "begin");
  say(c, "ran");
  note("run", "end");
  return HD_OK;
}

/* The chunk of a fan-out has a test of its own: see fan.c. */

static hd_ret start(void *instance, const hd_ctx *c, void **task) {
  note("start", "begin");
  *task = instance;
  host->timer(c, host->now_ns() + 1000000);
  note("start", "end");
  return HD_PENDING;
}

static hd_ret step(void *task, const hd_ctx *c, const hd_event *events, size_t n) {
  (void)task;
  (void)events;
  (void)n;
  note("step", "begin");
  say(c, "stepped");
  note("step", "end");
  return HD_OK;
}

static void drop(void *task) {
  (void)task;
  note("drop", "begin");
  note("drop", "end");
}

static const hd_plugin plugins[] = {
  { HD_MAGIC, sizeof(hd_plugin), HD_ABI_MINOR, 0, 0, HD_WL_BLOCK, 10000, 0, 0, S("threads"), S("1.0"),
    S("a fixture of the tests"), S(""), S("MIT OR Apache-2.0"), S("cc"), SCHEMA, noted_init, noted_create, destroy,
    run, NULL, NULL, NULL, NULL },
  { HD_MAGIC, sizeof(hd_plugin), HD_ABI_MINOR, 0, 0, HD_WL_IO, 10000, 0, 0, S("threads_step"), S("1.0"),
    S("a fixture of the tests"), S(""), S("MIT OR Apache-2.0"), S("cc"), SCHEMA, noted_init, noted_create, destroy,
    NULL, start, step, drop, NULL },
};
EXPORT(plugins)
