/* echo, echo_step, echo_cpu - say what they are told.
 *
 * status  "ok", "warning", "critical" or "unknown" (default ok)
 * message its text
 * file    instead of both: a file that begins with the status, the rest of its first line is the message; each line
 *         after it is "NAME VALUE UNIT", a metric. No file: unknown.
 * ret     this number instead of a status, known or not
 * wait_ms echo_step: waits so long on its timer first */
#include "fixture.h"

static int status_of(const char *word) {
  static const char *const words[] = { "ok", "warning", "critical", "unknown" };
  for (int i = 0; i < 4; i++)
    if (strncmp(word, words[i], strlen(words[i])) == 0) return i;
  return HD_UNKNOWN;
}

static void metric(const hd_ctx *c, char *line) {
  char *name = strtok(line, " "), *value = strtok(NULL, " "), *unit = strtok(NULL, " ");
  hd_metric m;
  if (name == NULL || value == NULL) return;
  memset(&m, 0, sizeof m);
  m.struct_size = sizeof m;
  m.name.ptr = name;
  m.name.len = strlen(name);
  m.unit.ptr = unit;
  m.unit.len = unit == NULL ? 0 : strlen(unit);
  m.value = strtod(value, NULL);
  m.warn = m.crit = m.min = m.max = __builtin_nan("");
  host->metric(c, &m);
}

static hd_ret run(void *instance, const hd_ctx *c) {
  const char *json = instance;
  char path[256], status[32], message[400];
  if (text(json, "file", path, sizeof path)) {
    char whole[4096], *rest;
    FILE *file = fopen(path, "re");
    size_t n;
    if (file == NULL) {
      say(c, "%s: %s", path, strerror(errno));
      return HD_UNKNOWN;
    }
    n = fread(whole, 1, sizeof whole - 1, file);
    fclose(file);
    whole[n] = '\0';
    rest = strchr(whole, '\n');
    if (rest != NULL) *rest++ = '\0';
    while (rest != NULL && *rest != '\0') {
      char *end = strchr(rest, '\n');
      if (end != NULL) *end++ = '\0';
      metric(c, rest);
      rest = end;
    }
    say(c, "%s", strchr(whole, ' ') ? strchr(whole, ' ') + 1 : "");
    return status_of(whole);
  }
  if (text(json, "message", message, sizeof message)) say(c, "%s", message);
  if (find(json, "ret") != NULL) return (hd_ret)number(json, "ret", 0);
  return text(json, "status", status, sizeof status) ? status_of(status) : HD_OK;
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
  host->phase(c, (hd_str)S("wait"));
  host->timer(c, host->now_ns() + (uint64_t)wait * 1000000);
  return HD_PENDING;
}

static hd_ret step(void *task, const hd_ctx *c, const hd_event *events, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (events[i].kind == HD_EV_TIMER) return run(((struct task *)task)->instance, c);
  return HD_PENDING;
}

static const hd_plugin plugins[] = {
  RUN_LANE("echo", HD_WL_BLOCK, create, run),
  STEP_LANE("echo_step", HD_WL_IO, create, start, step, free),
  RUN_LANE("echo_cpu", HD_WL_CPU, create, run),
};
EXPORT(plugins)
