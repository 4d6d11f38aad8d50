/* notifier - no check: delivers messages as the first letter of the file `mood` says: c crashes, h hangs, s spins,
 *            l leaks 8 MiB and refuses, r refuses, anything else takes it. */
#define FLAGS (HD_F_INSTANCE_MT | HD_F_NOTIFY)
#include "fixture.h"
#include <signal.h>

static hd_ret run(void *instance, const hd_ctx *c) {
  char path[256];
  int mood = 0;
  volatile unsigned long turns = 0;
  FILE *file = text(instance, "mood", path, sizeof path) ? fopen(path, "r") : NULL;
  if (file != NULL) {
    mood = fgetc(file);
    fclose(file);
  }
  switch (mood) {
  case 'c':
    raise(SIGSEGV);
    break;
  case 'h':
    for (;;) pause();
  case 's':
    for (;;) turns++;
  case 'l': {
    char *lost = malloc(8 << 20);
    if (lost != NULL) memset(lost, 1, 8 << 20);
    say(c, "leaked");
    return HD_CRIT;
  }
  case 'r':
    say(c, "not now");
    return HD_CRIT;
  default:
    break;
  }
  say(c, "taken");
  return HD_OK;
}

static const hd_plugin plugins[] = { RUN_LANE("notifier", HD_WL_BLOCK, create, run) };

EXPORT(plugins)
