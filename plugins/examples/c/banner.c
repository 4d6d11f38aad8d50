/* banner.c - an example plugin in C: connects to 127.0.0.1:PORT and expects the server to say something.
 *
 * Build:  cc -std=c99 -O2 -fPIC -shared -fvisibility=hidden -Wall -Wextra -Werror \
 *            -I plugins/abi/include -o libhealthd_banner.so plugins/examples/c/banner.c
 * Try:    healthctl try ./libhealthd_banner.so port=22
 *
 * It runs in the step lane: start and step never block, and the host calls step when the socket is ready. */
#define _GNU_SOURCE
#include "healthd_plugin.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define S(literal) { literal, sizeof(literal) - 1 }

static const hd_host *host;

struct instance { uint16_t port; };
struct task { int fd; int connected; struct instance *instance; const hd_ctx *ctx; };

static hd_str str(const char *text) {
  hd_str s;
  s.ptr = text;
  s.len = strlen(text);
  return s;
}

/* "phase: what errno says", and who is to blame for it. */
static hd_ret fail(const hd_ctx *c, const char *phase, int error) {
  char line[128];
  snprintf(line, sizeof line, "%s: %s", phase, strerror(error));
  host->message(c, str(line));
  switch (error) {
  case EMFILE: case ENFILE: case ENOMEM: case ENOBUFS: case EADDRNOTAVAIL: case EPERM:
    return HD_E_RESOURCES;       /* this machine's lack, not the server's fault */
  default:
    return HD_CRIT;
  }
}

static hd_ret init(const hd_host *h) {
  if (h->magic != HD_MAGIC || !HD_HAS(hd_host, h, waker_free)) return HD_E_UNSUPPORTED;
  host = h;
  return HD_OK;
}

/* The config is a JSON object that the host has checked against our schema, so this much parsing is enough. */
static hd_ret create(const hd_ctx *c, hd_str config, void **instance) {
  char json[256];
  const char *at;
  long port = 0;
  struct instance *i;
  if (config.len < sizeof json) {
    if (config.len > 0) memcpy(json, config.ptr, config.len);
    json[config.len] = '\0';
    at = strstr(json, "\"port\"");
    if (at != NULL && (at = strchr(at, ':')) != NULL) port = strtol(at + 1, NULL, 10);
  }
  if (port < 1 || port > 65535) {
    host->message(c, str("port: must be 1 to 65535"));
    return HD_E_CONFIG;
  }
  i = malloc(sizeof *i);
  if (i == NULL) return HD_E_RESOURCES;
  i->port = (uint16_t)port;
  *instance = i;
  return HD_OK;
}

/* Goes as far as it can without waiting. Called again on each event, also on spurious ones. */
static hd_ret advance(struct task *t) {
  char banner[256], line[300];
  ssize_t n;
  if (!t->connected) {
    struct sockaddr_in to;
    memset(&to, 0, sizeof to);
    to.sin_family = AF_INET;
    to.sin_port = htons(t->instance->port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    /* A second connect on the same socket tells how the first one went. */
    if (connect(t->fd, (struct sockaddr *)&to, sizeof to) != 0 && errno != EISCONN) {
      if (errno == EINPROGRESS || errno == EALREADY) return HD_PENDING;
      return fail(t->ctx, "connect", errno);
    }
    t->connected = 1;
    host->phase(t->ctx, str("banner"));
  }
  n = recv(t->fd, banner, sizeof banner, 0);
  if (n < 0) return errno == EAGAIN || errno == EINTR ? HD_PENDING : fail(t->ctx, "banner", errno);
  if (n == 0) {
    host->message(t->ctx, str("banner: connection closed"));
    return HD_CRIT;
  }
  n = (ssize_t)(memchr(banner, '\n', (size_t)n) ? (char *)memchr(banner, '\n', (size_t)n) - banner : n);
  for (ssize_t k = 0; k < n; k++)
    if (banner[k] < ' ' || banner[k] > '~') banner[k] = '.';   /* messages are UTF-8, a server's bytes may not be */
  snprintf(line, sizeof line, "%.*s", (int)n, banner);
  host->message(t->ctx, str(line));
  return HD_OK;
}

static void drop(void *task) {
  struct task *t = task;
  host->io_unwatch(t->ctx, t->fd);   /* before close */
  close(t->fd);
  free(t);
}

static hd_ret start(void *instance, const hd_ctx *c, void **task) {
  struct task *t = malloc(sizeof *t);
  int32_t error;
  hd_ret r;
  if (t == NULL) return HD_E_RESOURCES;
  t->instance = instance;
  t->ctx = c;                        /* valid until drop has returned */
  t->connected = 0;
  host->phase(c, str("connect"));
  t->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (t->fd < 0) {
    error = errno;
    free(t);
    return fail(c, "socket", error);
  }
  error = -host->io_watch(c, t->fd, HD_IO_READ | HD_IO_WRITE);
  if (error != 0) {
    close(t->fd);
    free(t);
    return fail(c, "watch", error);
  }
  r = advance(t);
  if (r == HD_PENDING) *task = t;
  else drop(t);                      /* a final status from start leaves no task */
  return r;
}

static hd_ret step(void *task, const hd_ctx *c, const hd_event *events, size_t n) {
  (void)c; (void)events; (void)n;
  return advance(task);
}

static const hd_plugin plugin = {
  HD_MAGIC, sizeof(hd_plugin), HD_ABI_MINOR, 0,
  HD_F_INSTANCE_MT,
  HD_WL_IO, 5000,
  0, 0,
  S("banner"), S("1.0"), S("expects a local server to say something"), S(""), S("MIT OR Apache-2.0"), S("cc"),
  S("{\"type\":\"object\",\"properties\":{\"port\":{\"description\":\"Port on 127.0.0.1.\",\"type\":\"integer\","
    "\"minimum\":1,\"maximum\":65535}},\"required\":[\"port\"],\"additionalProperties\":false}"),
  init, create, free, NULL, start, step, drop, NULL
};

const hd_plugin *hd_plugin_v1(uint32_t index) { return index == 0 ? &plugin : NULL; }
