/* The names here are shared by all four plugins.
 *
 * keep, keep_step - one operation on a shared map (hd.map/1); says "ERROR VERSION N LAST", LAST being the last value.
 *   op      0 get, 1 set, 2 append, 3 snapshot, 4 delete
 *   map, key, value; expect: the version that must be there; ttl_ms; flood: ask so often, and say how often it was let
 *
 * locker, locker_step - takes locks (hd.lock/1) and says how long it took, in microseconds: "held 120" or "ETIMEDOUT 50012".
 *   names   "a,b": all at once; or random: so many of ten names, other ones each run
 *   timeout_ms; dir: where a file a name is locked, so that the kernel says whether we are alone
 *   hold_us: how long it holds them (run lane); gate: until the test opens it (step lane)
 *   again   asks while it holds, and must be refused */
#include "fixture.h"
#include <fcntl.h>
#include <sys/file.h>
#include <time.h>

static const void *extension(const char *id) {
  hd_str name;
  name.ptr = id;
  name.len = strlen(id);
  return host->extension(name);
}

/* ---- maps ---- */

static hd_str option(const char *instance, const char *key, char *into, size_t cap) {
  hd_str s;
  text(instance, key, into, cap);
  s.ptr = into;
  s.len = strlen(into);
  return s;
}

struct texts { char map[64], key[512], value[4096]; };

static hd_map_ask map_ask(const char *instance, struct texts *t) {
  hd_map_ask ask;
  memset(&ask, 0, sizeof ask);
  ask.struct_size = sizeof ask;
  ask.op = (uint32_t)number(instance, "op", 0);
  ask.map = option(instance, "map", t->map, sizeof t->map);
  ask.key = option(instance, "key", t->key, sizeof t->key);
  ask.value = option(instance, "value", t->value, sizeof t->value);
  ask.ttl_ns = (uint64_t)number(instance, "ttl_ms", 0) * 1000000u;
  ask.flags = HD_SHARED;
  if (find(instance, "expect") != NULL) {
    ask.flags |= HD_MAP_EXPECT;
    ask.expected = (uint64_t)number(instance, "expect", 0);
  }
  return ask;
}

static void tell(void *c, const hd_map_reply *r) {
  const hd_str none = {"", 0};
  const hd_str last = r->n == 0 ? none : r->items[r->n - 1].value;
  say(c, "%d %llu %llu %.*s", (int)r->error, (unsigned long long)r->version, (unsigned long long)r->n, (int)last.len,
      last.ptr == NULL ? "" : last.ptr);
}

static hd_ret keep(void *instance, const hd_ctx *c) {
  const hd_map *maps = extension(HD_EXT_MAP);
  struct texts t;
  hd_map_ask ask = map_ask(instance, &t);
  long flood = number(instance, "flood", 1), let = 0, i;
  int r = 0;
  if (maps == NULL) return HD_E_UNSUPPORTED;
  if (maps->ask(c, &ask) == 0) {
    say(c, "the step lane's function works in the run lane");
    return HD_CRIT;
  }
  for (i = 0; i < flood; i++) {
    r = maps->ask_and_wait(c, &ask, tell, (void *)c);
    if (r == 0) let++;
  }
  if (flood > 1) say(c, "let %ld of %ld, the last said %d", let, flood, r);
  else if (r != 0) say(c, "not asked: %d", r);
  return HD_OK;
}

static hd_ret keep_start(void *instance, const hd_ctx *c, void **task) {
  const hd_map *maps = extension(HD_EXT_MAP);
  struct texts t;
  hd_map_ask ask = map_ask(instance, &t);
  int r;
  if (maps == NULL) return HD_E_UNSUPPORTED;
  ask.token = 77;
  if ((r = maps->ask(c, &ask)) != 0) {
    say(c, "not asked: %d", r);
    return HD_UNKNOWN;
  }
  *task = malloc(1);
  return HD_PENDING;
}

static hd_ret keep_step(void *task, const hd_ctx *c, const hd_event *ev, size_t n) {
  (void)task;
  if (n == 0 || ev->kind != HD_EV_EXT) return HD_PENDING;
  if (ev->token != 77) {
    say(c, "another's token");
    return HD_CRIT;
  }
  tell((void *)c, ev->data);
  return HD_OK;
}

/* ---- locks ---- */

#define MOST 10
struct held { int n, fds[MOST]; char names[MOST][32]; };

static void choose(const char *instance, const hd_ctx *c, struct held *h) {
  char all[256], *word, *rest = all;
  long some = number(instance, "random", 0);
  h->n = 0;
  if (some > 0) {
    unsigned int seed = (unsigned int)(c->run_id * 2654435761u) ^ (unsigned int)c->check_id;
    while (h->n < some && h->n < MOST) {
      snprintf(h->names[h->n], 32, "n%d", rand_r(&seed) % 10);
      h->n++;
    }
    return;
  }
  text(instance, "names", all, sizeof all);
  while ((word = strtok_r(rest, ",", &rest)) != NULL && h->n < MOST) snprintf(h->names[h->n++], 32, "%s", word);
}

static hd_lock_ask lock_ask(const char *instance, const struct held *h, hd_str *names) {
  hd_lock_ask ask;
  int i;
  memset(&ask, 0, sizeof ask);
  ask.struct_size = sizeof ask;
  ask.n = (uint32_t)h->n;
  for (i = 0; i < h->n; i++) {
    names[i].ptr = h->names[i];
    names[i].len = strlen(h->names[i]);
  }
  ask.names = names;
  ask.flags = HD_SHARED;
  ask.timeout_ns = (uint64_t)number(instance, "timeout_ms", 60000) * 1000000u;
  return ask;
}

/* True: nobody else has any of the files. A name that was drawn twice is one file. */
static int alone(const char *instance, const hd_ctx *c, struct held *h) {
  char dir[200], path[256];
  int i, j;
  text(instance, "dir", dir, sizeof dir);
  for (i = 0; i < h->n; i++) {
    h->fds[i] = -1;
    for (j = 0; j < i; j++)
      if (strcmp(h->names[i], h->names[j]) == 0) break;
    if (j < i) continue;
    snprintf(path, sizeof path, "%s/%s", dir, h->names[i]);
    h->fds[i] = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (h->fds[i] < 0 || flock(h->fds[i], LOCK_EX | LOCK_NB) != 0) {
      say(c, "two at once: %s: %s", path, strerror(errno));
      h->n = i + 1;
      return 0;
    }
  }
  return 1;
}

static void let_go(struct held *h) {
  int i;
  for (i = 0; i < h->n; i++)
    if (h->fds[i] >= 0) close(h->fds[i]);
  h->n = 0;
}

static hd_ret locker(void *instance, const hd_ctx *c) {
  const hd_lock *locks = extension(HD_EXT_LOCK);
  struct timespec moment = {0, 0};
  struct held h;
  hd_str names[MOST];
  hd_lock_ask ask;
  uint64_t begun, took;
  int r;
  if (locks == NULL) return HD_E_UNSUPPORTED;
  choose(instance, c, &h);
  ask = lock_ask(instance, &h, names);
  begun = host->now_ns();
  r = locks->ask_and_wait(c, &ask);
  took = (host->now_ns() - begun) / 1000;
  if (r != 0) {
    say(c, "%s %llu", r == -ETIMEDOUT ? "ETIMEDOUT" : strerror(-r), (unsigned long long)took);
    return r == -ETIMEDOUT ? HD_OK : HD_UNKNOWN;
  }
  if (!alone(instance, c, &h)) {
    let_go(&h);
    return HD_CRIT;
  }
  if (number(instance, "again", 0) && (r = locks->ask_and_wait(c, &ask)) != -EDEADLK) {
    say(c, "it may ask while it holds: %d", r);
    return HD_CRIT;
  }
  moment.tv_nsec = number(instance, "hold_us", 0) * 1000;
  nanosleep(&moment, NULL);
  let_go(&h);
  if (number(instance, "keep", 0) == 0) locks->unlock(c);
  say(c, "held %llu", (unsigned long long)took);
  return HD_OK;
}

struct task { struct held h; const char *instance; const hd_ctx *c; int gate; uint64_t begun; };

static void drop(void *task) {
  struct task *t = task;
  if (t->gate >= 0) {
    host->io_unwatch(t->c, t->gate);
    close(t->gate);
  }
  let_go(&t->h);
  free(t);
}

static hd_ret start(void *instance, const hd_ctx *c, void **task) {
  const hd_lock *locks = extension(HD_EXT_LOCK);
  struct task *t = calloc(1, sizeof *t);
  hd_str names[MOST];
  hd_lock_ask ask;
  struct held h;
  int r;
  if (locks == NULL || t == NULL) return HD_E_UNSUPPORTED;
  choose(instance, c, &h);
  t->h = h;
  ask = lock_ask(instance, &t->h, names);
  ask.token = 5;
  t->begun = host->now_ns();
  if ((r = locks->ask(c, &ask)) != 0) {
    say(c, "not asked: %s", strerror(-r));
    free(t);
    return HD_UNKNOWN;
  }
  t->h.n = 0;
  t->instance = instance;
  t->c = c;
  t->gate = -1;
  *task = t;
  return HD_PENDING;
}

static hd_ret step(void *task, const hd_ctx *c, const hd_event *ev, size_t n) {
  struct task *t = task;
  char said;
  if (t->gate < 0) {
    const hd_lock_done *done;
    uint64_t took = (host->now_ns() - t->begun) / 1000;
    if (n == 0 || ev->kind != HD_EV_EXT || ev->token != 5) return HD_PENDING;
    done = ev->data;
    if (done->error != 0) {
      say(c, "%s %llu", done->error == -ETIMEDOUT ? "ETIMEDOUT" : strerror(-done->error), (unsigned long long)took);
      return HD_OK;
    }
    choose(t->instance, c, &t->h);
    if (!alone(t->instance, c, &t->h)) return HD_CRIT;
    say(c, "held %llu", (unsigned long long)took);
    t->gate = enter_gate(c, t->instance, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (t->gate < 0) return HD_UNKNOWN;
    host->io_watch(c, t->gate, HD_IO_READ);
    return HD_PENDING;
  }
  return read(t->gate, &said, 1) < 0 ? HD_PENDING : HD_OK;
}

static const hd_plugin plugins[] = {
  RUN_LANE("keep", HD_WL_BLOCK, create, keep),
  STEP_LANE("keep_step", HD_WL_IO, create, keep_start, keep_step, free),
  RUN_LANE("locker", HD_WL_BLOCK, create, locker),
  STEP_LANE("locker_step", HD_WL_IO, create, start, step, drop),
};
EXPORT(plugins)
