/* talkative - says too much, or what nobody can read.
 *
 * what    detail (8 MiB), metrics (5,000), labels (1,000), message (1 MiB in one line), lines (a message of many
 *         lines), bytes (not UTF-8, everywhere), numbers (NaN and infinities), escapes (what moves a terminal),
 *         names (metrics without a name), all of it; stderr (a forged line of the log and 20,000 others), "last words"
 *         (a line without an end, and an abort): these two only by name */
#include "fixture.h"

static hd_str repeated(size_t n, char with) {
  hd_str s;
  char *bytes = malloc(n);
  memset(bytes, with, n);
  s.ptr = bytes;
  s.len = n;
  return s;
}

static void number_of(const hd_ctx *c, const char *name, double value) {
  hd_metric m;
  memset(&m, 0, sizeof m);
  m.struct_size = sizeof m;
  m.name.ptr = name;
  m.name.len = strlen(name);
  m.value = value;
  m.warn = m.crit = m.min = m.max = __builtin_nan("");
  host->metric(c, &m);
}

static int is(const char *what, const char *this) {
  return strcmp(what, this) == 0 || strcmp(what, "all") == 0;
}

static hd_ret run(void *instance, const hd_ctx *c) {
  char what[32], name[32];
  text(instance, "what", what, sizeof what);
  if (is(what, "detail")) {
    hd_str mega = repeated(1 << 20, 'd');
    for (int i = 0; i < 8; i++) host->detail(c, mega);
    free((void *)mega.ptr);
    say(c, "a detailed answer");
  }
  if (is(what, "metrics")) {
    for (int i = 0; i < 5000; i++) {
      snprintf(name, sizeof name, "metric_%d", i);
      number_of(c, name, i);
    }
    say(c, "5000 metrics");
  }
  if (is(what, "labels")) {
    for (int i = 0; i < 1000; i++) {
      hd_str key, value = repeated(200, 'l');
      snprintf(name, sizeof name, "label_%d", i);
      key.ptr = name;
      key.len = strlen(name);
      host->label(c, key, value);
      free((void *)value.ptr);
    }
    say(c, "1000 labels");
  }
  if (is(what, "names")) {
    number_of(c, "", 1);
    host->phase(c, repeated(5000, 'p'));
    host->metric(c, NULL);
    say(c, "no names");
  }
  if (is(what, "numbers")) {
    number_of(c, "nan", __builtin_nan(""));
    number_of(c, "inf", __builtin_inf());
    number_of(c, "minus_inf", -__builtin_inf());
    number_of(c, "fine", 1.5);
    say(c, "numbers");
  }
  if (is(what, "bytes")) {
    hd_str bytes = S("bytes \xff\xfe\xc3( \x80 end");
    hd_metric m;
    host->detail(c, bytes);
    host->label(c, bytes, bytes);
    memset(&m, 0, sizeof m);
    m.struct_size = sizeof m;
    m.name = m.unit = bytes;
    m.value = 1;
    host->metric(c, &m);
    host->message(c, bytes);
  }
  if (is(what, "lines")) host->message(c, (hd_str)S("first\nsecond\r\nthird\0fourth"));
  if (is(what, "escapes")) host->message(c, (hd_str)S("\x1b[2J\x1b]0;owned\x07 red \x1b[31m"));
  if (is(what, "message")) {
    hd_str mega = repeated(1 << 20, 'm');
    host->message(c, mega);
    free((void *)mega.ptr);
  }
  if (strcmp(what, "stderr") == 0) {
    fprintf(stderr, "\033[2J\033]0;title\007warn  manager: check changed  check=payments why=\"forged\"\nwarn  manager: forged\n");
    for (int i = 0; i < 20000; i++) fprintf(stderr, "noise of a library, line %d, which nobody asked for\n", i);
    say(c, "much on stderr");
  }
  if (strcmp(what, "last words") == 0) {
    fprintf(stderr, "terminate called: it is all over");
    abort();
  }
  return HD_OK;
}

static const hd_plugin plugins[] = { RUN_LANE("talkative", HD_WL_BLOCK, create, run) };
EXPORT(plugins)
