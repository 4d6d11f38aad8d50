/* version, version_step - says which build it is; -DVERSION and -DVARIANT make others of it.
 *
 * sway    a folder: what the first letter of the file there that is named like the build's version says is done
 *         in each run, c crashes, u does not know, b is critical, p fails itself, e ends its process, x calls
 *         exit(), k kills its process; so a test can turn one build bad while it serves
 * gate    path of a unix socket: waits there until the test opens it (version only)
 *
 * VARIANT is such a letter too: that build does so from its first run. o: it is good. */
#include "fixture.h"
#include <signal.h>

#ifndef VERSION
#define VERSION "1.0"
#endif
#ifndef VARIANT
#define VARIANT 'o'
#endif

static int *volatile nowhere;

static int mood(const char *json) {
  char folder[200], path[256];
  FILE *file;
  int said = VARIANT;
  if (!text(json, "sway", folder, sizeof folder)) return said;
  snprintf(path, sizeof path, "%s/%s", folder, VERSION);
  file = fopen(path, "r");
  if (file != NULL) {
    said = fgetc(file);
    fclose(file);
  }
  return said;
}

static hd_ret act(const char *json, const hd_ctx *c) {
  switch (mood(json)) {
  case 'c': *nowhere = 1; break;
  case 'e': _exit(3);
  case 'x': exit(3);
  case 'k': kill(getpid(), SIGKILL); break;
  case 'u': say(c, "version %s does not know", VERSION); return HD_UNKNOWN;
  case 'b': say(c, "version %s says it is bad", VERSION); return HD_CRIT;
  case 'p': say(c, "version %s fails", VERSION); return HD_E_INTERNAL;
  }
  say(c, "version %s", VERSION);
  return HD_OK;
}

static hd_ret run(void *instance, const hd_ctx *c) {
  if (find(instance, "gate") != NULL) {
    char said;
    int fd = enter_gate(c, instance, SOCK_CLOEXEC);
    if (fd >= 0) {
      ssize_t n = read(fd, &said, 1);
      (void)n;
      close(fd);
    }
  }
  return act(instance, c);
}

static void drop(void *task) { (void)task; }

static hd_ret start(void *instance, const hd_ctx *c, void **task) {
  (void)task;
  return act(instance, c);
}

static hd_ret step(void *task, const hd_ctx *c, const hd_event *events, size_t n) {
  (void)task;
  (void)c;
  (void)events;
  (void)n;
  return HD_OK;
}

static const hd_plugin plugins[] = {
  { HD_MAGIC, sizeof(hd_plugin), HD_ABI_MINOR, 0, HD_F_INSTANCE_MT, HD_WL_BLOCK, 10000, 0, 0, S("version"),
    S(VERSION), S("a fixture of the tests"), S(""), S("MIT OR Apache-2.0"), S("cc"), SCHEMA, init, create, free,
    run, NULL, NULL, NULL, NULL },
  { HD_MAGIC, sizeof(hd_plugin), HD_ABI_MINOR, 0, HD_F_INSTANCE_MT, HD_WL_IO, 10000, 0, 0, S("version_step"),
    S(VERSION), S("a fixture of the tests"), S(""), S("MIT OR Apache-2.0"), S("cc"), SCHEMA, init, create, free,
    NULL, start, step, drop, NULL },
};
EXPORT(plugins)
