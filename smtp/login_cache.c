/* login_cache.c - smtp_sasl_auth_cache_name: log-ins that a server refused with 535 are not tried again with the same
 * password, so that repeated mail does not lock an account. A table behind proxywrite(8), for all processes.
 *
 *   key "host;user"   value "TIME DSN DIGEST text of the reply" */
#include "client.h"
#include "log/log.h"

#include <openssl/evp.h>

#define ANSWER_WITHIN_S 100

static struct span table; /* without "proxy:"; n 0: none */
static int64_t life_s;

void login_cache_prepare(void)
{
	struct span name = span_str(settings_str("sasl_auth_cache_name"));
	life_s = settings_int("sasl_auth_cache_time");
	if (name.n == 0)
		return;
	if (!span_starts(name, SPAN("proxy:")))
		die("sasl_auth_cache_name: " SPAN_FMT " must begin with proxy:", SPAN_ARG(name));
	table = span_skip(name, strlen("proxy:"));
}

/* Both go to the writer: it has seen its own changes. */
static enum rc ask(uint16_t type, const void *q, struct span *value, struct arena *a)
{
	struct map_lookup_reply r;
	struct err e;
	enum rc rc = service_request(conf_str(service_conf(), "proxywrite_service_name"), true, type, q, &r,
				     a, deadline_s(ANSWER_WITHIN_S), &e);
	if (rc != RC_OK)
		log_warning("sasl_auth_cache_name: %s", e.text);
	else if (r.status != MAP_FOUND && r.status != MAP_MISS)
		log_warning("sasl_auth_cache_name: " SPAN_FMT ": %s" SPAN_FMT, SPAN_ARG(table),
			    r.status == MAP_REFUSED ? "not in proxy_write_maps" : "", SPAN_ARG(r.value));
	*value = r.value;
	return rc == RC_OK && r.status == MAP_FOUND ? RC_OK : RC_NOTFOUND;
}

static struct span key_of(const struct session *s, struct span user, struct arena *a)
{
	return span_printf(a, "%s;" SPAN_FMT, s->host, SPAN_ARG(user));
}

/* Of host, user and password: the table does not tell the password, and no digest fits two accounts. */
static struct span digest(struct span key, struct span password, struct arena *a)
{
	static const char hex[] = "0123456789abcdef";
	unsigned char sum[EVP_MAX_MD_SIZE];
	char text[2 * EVP_MAX_MD_SIZE];
	unsigned n = 0;
	EVP_MD_CTX *c = EVP_MD_CTX_new();
	bool ok = c != NULL && EVP_DigestInit_ex(c, EVP_sha256(), NULL) == 1 &&
		  EVP_DigestUpdate(c, key.p, key.n) == 1 && EVP_DigestUpdate(c, "", 1) == 1 &&
		  EVP_DigestUpdate(c, password.p, password.n) == 1 && EVP_DigestFinal_ex(c, sum, &n) == 1;
	EVP_MD_CTX_free(c);
	for (unsigned i = 0; ok && i < n; i++) {
		text[2 * i] = hex[sum[i] >> 4];
		text[2 * i + 1] = hex[sum[i] & 15];
	}
	return ok ? span_dup(a, span_make(text, 2 * n)) : SPAN("");
}

bool login_cache_failed(const struct session *s, struct span user, struct span password, struct arena *a,
			struct why *w)
{
	struct span key, rest, when, dsn, sum;
	char status[SMTP_DSN_MAX];
	uint64_t then;
	if (table.n == 0)
		return false;
	key = key_of(s, user, a);
	if (ask(IPC_MAP_LOOKUP, &(struct map_lookup){ .table = table, .key = key }, &rest, a) != RC_OK)
		return false;
	if (!span_next(&rest, ' ', &when) || !span_next(&rest, ' ', &dsn) || !span_next(&rest, ' ', &sum) ||
	    span_to_u64(when, INT64_MAX, &then) != RC_OK || span_cstr(dsn, status, sizeof status) != RC_OK ||
	    (int64_t)then + life_s < wall_now().us / 1000000 || !span_eq(sum, digest(key, password, a)))
		return false;
	why_set(w, status, "SASL [CACHED] authentication failed; server %s said: " SPAN_FMT, s->name_addr,
		SPAN_ARG(rest));
	return true;
}

void login_cache_note(const struct session *s, struct span user, struct span password, const char *dsn,
		      struct arena *a)
{
	struct span unused;
	if (table.n == 0 || s->reply.code != 535)
		return;
	struct span key = key_of(s, user, a), sum = digest(key, password, a);
	struct span value =
	    span_printf(a, "%lld %s " SPAN_FMT " " SPAN_FMT, (long long)(wall_now().us / 1000000), dsn,
			SPAN_ARG(sum), SPAN_ARG(session_said(s, a)));
	if (sum.n > 0)
		(void)ask(IPC_MAP_UPDATE, &(struct map_update){ .table = table, .key = key, .value = value },
			  &unused, a);
}
