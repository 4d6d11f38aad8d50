/* What the fixtures share: options out of the JSON of the config, and descriptors in one line.
 * The host hands the config over in one canonical form, so this much parsing is enough. */
#ifndef FIXTURE_H
#define FIXTURE_H
#define _GNU_SOURCE
#include "healthd_plugin.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))
#define S(literal) { literal, sizeof(literal) - 1 }
#ifndef SCHEMA
#define SCHEMA S("{\"type\":\"object\"}")
#endif
#ifndef FLAGS
#define FLAGS HD_F_INSTANCE_MT
#endif

static const hd_host *host;

static hd_ret init(const hd_host *h) {
  if (h->magic != HD_MAGIC) return HD_E_UNSUPPORTED;
  host = h;
  return HD_OK;
}

/* An instance is a copy of its options. */
static UNUSED hd_ret create(const hd_ctx *c, hd_str config, void **instance) {
  char *copy = malloc(config.len + 1);
  (void)c;
  if (copy == NULL) return HD_E_RESOURCES;
  memcpy(copy, config.ptr, config.len);
  copy[config.len] = '\0';
  *instance = copy;
  return HD_OK;
}

static const char *find(const char *json, const char *key) {
  char quoted[64];
  const char *at;
  snprintf(quoted, sizeof quoted, "\"%s\":", key);
  at = strstr(json, quoted);
  return at == NULL ? NULL : at + strlen(quoted);
}

static UNUSED long number(const char *json, const char *key, long otherwise) {
  const char *at = find(json, key);
  if (at == NULL) return otherwise;
  if (*at == 't') return 1;
  if (*at == 'f') return 0;
  return strtol(at, NULL, 10);
}

/* Into `out`; false if it is not there. Of the escapes only those a path or a sentence has. */
static UNUSED int text(const char *json, const char *key, char *out, size_t cap) {
  const char *at = find(json, key);
  size_t n = 0;
  out[0] = '\0';
  if (at == NULL || *at++ != '"') return 0;
  for (; *at != '"' && *at != '\0' && n + 1 < cap; at++) {
    if (*at == '\\' && *++at == 'n') out[n++] = '\n';
    else out[n++] = *at;
  }
  out[n] = '\0';
  return 1;
}

/* With `if_file`: only while that file is there. */
static UNUSED int wanted(const char *json) {
  char path[256];
  return !text(json, "if_file", path, sizeof path) || access(path, F_OK) == 0;
}

static UNUSED void say(const hd_ctx *c, const char *format, ...) {
  char line[512];
  hd_str message;
  va_list args;
  va_start(args, format);
  vsnprintf(line, sizeof line, format, args);
  va_end(args);
  message.ptr = line;
  message.len = strlen(line);
  host->message(c, message);
}

/* Tells the gate that we are here: "NAME RUN ATTEMPT PID\n". The fd, or -1 with errno. */
static UNUSED int enter_gate(const hd_ctx *c, const char *json, int flags) {
  struct sockaddr_un to;
  char line[256];
  int fd;
  memset(&to, 0, sizeof to);
  to.sun_family = AF_UNIX;
  if (!text(json, "gate", to.sun_path, sizeof to.sun_path)) {
    errno = EINVAL;
    return -1;
  }
  fd = socket(AF_UNIX, SOCK_STREAM | flags, 0);
  if (fd < 0) return -1;
  if (connect(fd, (struct sockaddr *)&to, sizeof to) != 0) {
    close(fd);
    return -1;
  }
  snprintf(line, sizeof line, "%.*s %llu %u %d\n", (int)c->check_name.len, c->check_name.ptr,
           (unsigned long long)c->run_id, c->attempt, (int)getpid());
  if (send(fd, line, strlen(line), MSG_NOSIGNAL) < 0) {
    close(fd);
    return -1;
  }
  return fd;
}

/* Starts a program and comes back when it runs. Apart: in a session of its own, and without the parent that started it. */
static UNUSED void leave_behind(int apart, const char *program, const char *argument) {
  int begun[2];
  char none;
  if (pipe2(begun, O_CLOEXEC) != 0) abort();
  if (fork() == 0) {
    if (apart && (setsid() < 0 || fork() != 0)) _exit(0);
    execlp(program, program, argument, (char *)0);
    _exit(127);
  }
  close(begun[1]);
  while (read(begun[0], &none, 1) < 0 && errno == EINTR) {}
  close(begun[0]);
}

#define RUN_LANE(NAME, WORKLOAD, CREATE, RUN) RUN_LANE_TO(NAME, WORKLOAD, CREATE, RUN, free)
#define RUN_LANE_TO(NAME, WORKLOAD, CREATE, RUN, DESTROY)                                                         \
  { HD_MAGIC, sizeof(hd_plugin), HD_ABI_MINOR, 0, FLAGS, WORKLOAD, 10000, 0, 0, S(NAME), S("1.0"),     \
    S("a fixture of the tests"), S(""), S("MIT OR Apache-2.0"), S("cc"), SCHEMA, init, CREATE, DESTROY, RUN, NULL,   \
    NULL, NULL, NULL }
#define STEP_LANE(NAME, WORKLOAD, CREATE, START, STEP, DROP)                                                      \
  { HD_MAGIC, sizeof(hd_plugin), HD_ABI_MINOR, 0, FLAGS, WORKLOAD, 10000, 0, 0, S(NAME), S("1.0"),     \
    S("a fixture of the tests"), S(""), S("MIT OR Apache-2.0"), S("cc"), SCHEMA, init, CREATE, free, NULL, START, \
    STEP, DROP, NULL }
#define EXPORT(ARRAY)                                                                                             \
  const hd_plugin *hd_plugin_v1(uint32_t index) {                                                                 \
    return index < sizeof(ARRAY) / sizeof(ARRAY[0]) ? &ARRAY[index] : NULL;                                       \
  }
#endif
