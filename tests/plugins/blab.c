/* blab, blab_step - tell their secrets in every way that the ABI has.
 *
 * password  as it is, percent-encoded, and in base64 as Basic has it: in message, detail (in two pieces), labels,
 *           metrics, phases and the log, and on standard error
 * url       the same
 * user      what stands before the password in Basic
 * refuse    true: create fails, and says why with the password
 * sees      name of a variable of the environment: create fails, and says what it holds */
#include "fixture.h"

static void encode64(const char *in, char *out) {
  static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  size_t n = strlen(in), at = 0;
  for (size_t i = 0; i < n; i += 3) {
    unsigned long v = (unsigned char)in[i];
    v = v << 8 | (i + 1 < n ? (unsigned char)in[i + 1] : 0);
    v = v << 8 | (i + 2 < n ? (unsigned char)in[i + 2] : 0);
    out[at++] = letters[v >> 18];
    out[at++] = letters[v >> 12 & 63];
    out[at++] = i + 1 < n ? letters[v >> 6 & 63] : '=';
    out[at++] = i + 2 < n ? letters[v & 63] : '=';
  }
  out[at] = '\0';
}

static void encode_percent(const char *in, char *out) {
  size_t at = 0;
  for (; *in != '\0'; in++) at += (size_t)sprintf(out + at, "%%%02X", (unsigned char)*in);
  out[at] = '\0';
}

static hd_str str(const char *text) {
  hd_str s;
  s.ptr = text;
  s.len = strlen(text);
  return s;
}

static void tell(const hd_ctx *c, const char *secret) {
  hd_metric m;
  char half[512];
  size_t n = strlen(secret) / 2;
  memset(&m, 0, sizeof m);
  m.struct_size = sizeof m;
  m.name = m.unit = str(secret);
  m.value = 1;
  host->metric(c, &m);
  host->label(c, str(secret), str(secret));
  host->phase(c, str(secret));
  memcpy(half, secret, n);
  half[n] = '\0';
  host->detail(c, str(half));
  host->detail(c, str(secret + n));
  host->detail(c, (hd_str)S(" "));
  host->log(c, HD_LOG_WARN, (hd_str)S("blab"), str(secret));
  host->log(NULL, HD_LOG_WARN, (hd_str)S("blab"), str(secret));
  fprintf(stderr, "blab's library says %s\n", secret);
  say(c, "the secret is %s", secret);
}

static void tell_all(const hd_ctx *c, const char *json) {
  char secret[256], url[256], user[64], pair[400], coded[1200];
  text(json, "password", secret, sizeof secret);
  if (text(json, "url", url, sizeof url)) tell(c, url);
  text(json, "user", user, sizeof user);
  snprintf(pair, sizeof pair, "%s:%s", user, secret);
  encode64(pair, coded);
  tell(c, coded);
  encode_percent(secret, coded);
  tell(c, coded);
  tell(c, secret);
}

static hd_ret create_or_refuse(const hd_ctx *c, hd_str config, void **instance) {
  char sees[64];
  hd_ret made = create(c, config, instance);
  if (made == HD_OK && text(*instance, "sees", sees, sizeof sees)) {
    const char *held = getenv(sees);
    say(c, "%s holds %s", sees, held == NULL ? "nothing" : held);
    free(*instance);
    return HD_E_CONFIG;
  }
  if (made != HD_OK || !number(*instance, "refuse", 0)) return made;
  tell_all(c, *instance);
  free(*instance);
  return HD_E_CONFIG;
}

static hd_ret run(void *instance, const hd_ctx *c) {
  tell_all(c, instance);
  return HD_CRIT;
}

static hd_ret start(void *instance, const hd_ctx *c, void **task) {
  tell_all(c, instance);
  *task = NULL;
  return HD_WARN;
}

static hd_ret step(void *task, const hd_ctx *c, const hd_event *events, size_t n) {
  (void)task;
  (void)c;
  (void)events;
  (void)n;
  return HD_OK;
}

static const hd_plugin plugins[] = {
  RUN_LANE("blab", HD_WL_BLOCK, create_or_refuse, run),
  STEP_LANE("blab_step", HD_WL_IO, create_or_refuse, start, step, free),
};
EXPORT(plugins)
