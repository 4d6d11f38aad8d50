/* Files that must be refused, or that hurt whoever loads them. -DVARIANT picks one:
 *
 * MAGIC        another magic               MINOR       needs a later minor
 * SIZE         an older, shorter descriptor FLAG       a must-understand flag nobody knows
 * HALF_STEP    start without step and drop NO_LANE     neither lane
 * LATER_MAJOR  only hd_plugin_v2           NO_SYMBOL   no plugin at all
 * BAD_NAME     a name with a space         BAD_SCHEMA  a config_schema that is no JSON
 * CTOR_CRASH   the constructor crashes     CTOR_HANG   it hangs
 * CTOR_EXIT    it exits                    INIT_CRASH  init crashes: fine in a probe, deadly in a worker
 * INIT_FAIL    init says no                FINE        none of it: a good plugin, in a file of its own
 * OLD          a good plugin of ABI 1.0: its descriptor ends before `chunk`
 * CTOR_KILL    the constructor kills its parent, and exits with 9 where that is refused
 * CTOR_LEAVES  the constructor leaves a program behind, in a session of its own: sleep with a number that VERSION is
 * CTOR_LEFT    the same, and then it crashes */
#include "fixture.h"
#include <signal.h>

enum { MAGIC, MINOR, SIZE, FLAG, HALF_STEP, NO_LANE, LATER_MAJOR, NO_SYMBOL, BAD_NAME, BAD_SCHEMA, CTOR_CRASH,
       CTOR_HANG, CTOR_EXIT, INIT_CRASH, INIT_FAIL, FINE, OLD, CTOR_KILL, CTOR_LEAVES,
       CTOR_LEFT };

#ifndef NAME
#define NAME "wrong"
#endif
#ifndef VERSION
#define VERSION "1.0"
#endif

static UNUSED hd_ret run(void *instance, const hd_ctx *c) {
  (void)instance;
  say(c, "version " VERSION);
  return HD_OK;
}

static UNUSED hd_ret start(void *instance, const hd_ctx *c, void **task) {
  (void)instance;
  (void)c;
  (void)task;
  return HD_OK;
}

static UNUSED hd_ret bad_init(const hd_host *h) {
  init(h);
  if (VARIANT == INIT_FAIL) return HD_E_UNSUPPORTED;
  if (VARIANT == INIT_CRASH) {
    /* A crash as a whole process has it, handlers or not. */
    signal(SIGSEGV, SIG_DFL);
    raise(SIGSEGV);
  }
  return HD_OK;
}

static int *volatile nowhere;

__attribute__((constructor)) static void constructor(void) {
  if (VARIANT == CTOR_CRASH) *nowhere = 1;
  if (VARIANT == CTOR_EXIT) _exit(7);
  if (VARIANT == CTOR_LEAVES || VARIANT == CTOR_LEFT) leave_behind(1, "sleep", VERSION);
  if (VARIANT == CTOR_LEFT) abort();
  if (VARIANT == CTOR_KILL) _exit(kill(getppid(), SIGKILL) == 0 ? 0 : 9);
  if (VARIANT == CTOR_HANG)
    for (;;) pause();
}

static UNUSED const hd_plugin plugin = {
  VARIANT == MAGIC ? 0x4242424242424242ull : HD_MAGIC,
  VARIANT == SIZE ? offsetof(hd_plugin, chunk) - 8 : VARIANT == OLD ? offsetof(hd_plugin, chunk) : sizeof(hd_plugin),
  VARIANT == MINOR ? 9 : HD_ABI_MINOR, VARIANT == MINOR ? 9 : 0,
  HD_F_INSTANCE_MT | (VARIANT == FLAG ? UINT64_C(1) << 40 : 0),
  VARIANT == HALF_STEP ? HD_WL_IO : HD_WL_BLOCK, 10000, 0, 0,
#if VARIANT_IS_BAD_NAME
  S("two words"),
#else
  S(NAME),
#endif
  S(VERSION), S("a fixture of the tests"), S(""), S("MIT OR Apache-2.0"), S("cc"),
#if VARIANT_IS_BAD_SCHEMA
  S("{\"type\":"),
#else
  SCHEMA,
#endif
  bad_init, create, free,
  VARIANT == NO_LANE || VARIANT == HALF_STEP ? NULL : run,
  VARIANT == HALF_STEP ? start : NULL, NULL, NULL,
  /* Behind the end of the old one lies something else. */
  VARIANT == OLD ? (hd_ret (*)(void *, const hd_ctx *, const struct hd_chunk *))8 : NULL
};

#if !VARIANT_IS_NO_SYMBOL
#if VARIANT_IS_LATER_MAJOR
HD_EXPORT const hd_plugin *hd_plugin_v2(uint32_t index);
const hd_plugin *hd_plugin_v2(uint32_t index) { return index == 0 ? &plugin : NULL; }
#else
const hd_plugin *hd_plugin_v1(uint32_t index) { return index == 0 ? &plugin : NULL; }
#endif
#endif
