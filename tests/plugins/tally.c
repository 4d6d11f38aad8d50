/* tally, tally_step - counts its runs in counters that all workers share (hd.counter/1).
 *
 * `runs` is the plugin's own, `largest` an array of three whose middle keeps the highest run id, and `everybody` is
 * shared with every plugin. Says "RUNS EVERYBODY". */
#include "fixture.h"

static const hd_counter *counters(void) {
  hd_str id = S(HD_EXT_COUNTER);
  const hd_counter *table = host->extension(id);
  return table != NULL && HD_HAS(hd_counter, table, compare_exchange) ? table : NULL;
}

static hd_ret run(void *instance, const hd_ctx *c) {
  hd_str runs = S("runs"), largest = S("largest"), everybody = S("everybody"), bad = S("not a name");
  const hd_counter *t = counters();
  uint64_t h, own = 0, all = 0, expected;
  (void)instance;
  if (t == NULL) return HD_E_UNSUPPORTED;
  if (t->open(c, runs, 1, 0, &h) != 0 || t->add(h, 0, 1, &own) != 0) goto broken;
  if (t->get(h, 1, &expected) != -EINVAL || t->add(UINT64_MAX, 0, 1, NULL) != -EINVAL) goto broken;
  if (t->open(c, runs, 2, 0, &h) != -EEXIST || t->open(c, bad, 1, 0, &h) != -EINVAL) goto broken;
  if (t->open(c, largest, 3, 0, &h) != 0 || t->max(h, 1, c->run_id, NULL) != 0) goto broken;
  if (t->open(c, everybody, 1, HD_SHARED, &h) != 0) goto broken;
  /* As an addition, the long way round. */
  if (t->get(h, 0, &expected) != 0) goto broken;
  while (t->compare_exchange(h, 0, &expected, expected + 1) == -EAGAIN) {}
  if (t->get(h, 0, &all) != 0) goto broken;
  say(c, "%llu %llu", (unsigned long long)own + 1, (unsigned long long)all);
  return HD_OK;
broken:
  say(c, "the counters are not as promised: %s", strerror(errno));
  return HD_CRIT;
}

static hd_ret start(void *instance, const hd_ctx *c, void **task) {
  (void)task;
  return run(instance, c);
}
static hd_ret step(void *task, const hd_ctx *c, const hd_event *events, size_t n) {
  (void)task; (void)c; (void)events; (void)n;
  return HD_E_INTERNAL;
}
static void drop(void *task) { (void)task; }

static const hd_plugin plugins[] = {
  RUN_LANE("tally", HD_WL_BLOCK, create, run),
  STEP_LANE("tally_step", HD_WL_IO, create, start, step, drop),
};
EXPORT(plugins)
