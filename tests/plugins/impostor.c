/* Another plugin with something wrong in it: all is handed on to the real file, -DREAL="/path.so", except what -DHOW
 * spoils: c crashes in a run, u does not know, i fails in init, and the first two from the run on that -DAFTER says. */
#include "healthd_plugin.h"
#include <dlfcn.h>
#include <string.h>

#define S(literal) { literal, sizeof(literal) - 1 }

static const hd_plugin *real;
static const hd_host *host;
static hd_plugin spoilt;
static int *volatile nowhere;
static unsigned long runs;

static hd_ret init(const hd_host *h) {
  host = h;
  return HOW == 'i' ? HD_E_UNSUPPORTED : real->init(h);
}

static hd_ret start(void *instance, const hd_ctx *c, void **task) {
  if (__atomic_add_fetch(&runs, 1, __ATOMIC_RELAXED) > AFTER) {
    if (HOW == 'c') *nowhere = 1;
    if (HOW == 'u') {
      hd_str text = S("the impostor does not know");
      host->message(c, text);
      return HD_UNKNOWN;
    }
  }
  return real->start(instance, c, task);
}

const hd_plugin *hd_plugin_v1(uint32_t index) {
  const hd_plugin *(*entry)(uint32_t);
  void *library;
  if (index != 0) return NULL;
  library = dlopen(REAL, RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) return NULL;
  entry = (const hd_plugin *(*)(uint32_t))dlsym(library, "hd_plugin_v1");
  real = entry == NULL ? NULL : entry(0);
  if (real == NULL) return NULL;
  memcpy(&spoilt, real, sizeof spoilt);
  spoilt.init = init;
  spoilt.start = start;
  return &spoilt;
}
