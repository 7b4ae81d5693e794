/* sessions.c - TLS sessions of the mail clients (smtp_tls_session_cache_database): what one process made, another may
 * resume. They exist in memory only: whoever has a session can read what is sent over the next ones. */
#include "tlsmgr.h"
#include "base/list.h"
#include "base/table.h"

#include <openssl/crypto.h>

#define SESSIONS_MAX 5000 /* the oldest makes room */
#define LIFE_MAX_S   8640000

struct session {
	struct list link; /* oldest first */
	char name[200];
	mono_t until;
	size_t n;
	char bytes[];
};
static struct list all = { &all, &all };
static struct table *by_name;

static void drop(struct session *s)
{
	table_del(by_name, span_str(s->name));
	list_del(&s->link);
	OPENSSL_cleanse(s->bytes, s->n);
	free(s);
}

static void keep(const char *name, struct span bytes, int64_t life_s)
{
	if (bytes.n == 0 || life_s <= 0)
		return;
	if (table_count(by_name) >= SESSIONS_MAX)
		drop(LIST_ENTRY(list_first(&all), struct session, link));
	struct session *s = xcalloc(1, sizeof *s + bytes.n);
	snprintf(s->name, sizeof s->name, "%s", name);
	s->until = mono_after(mono_now(), (life_s > LIFE_MAX_S ? LIFE_MAX_S : life_s) * 1000);
	s->n = bytes.n;
	memcpy(s->bytes, bytes.p, bytes.n);
	list_add_tail(&all, &s->link);
	table_set(by_name, span_str(s->name), s);
}

struct span sessions_do(const char *program, const struct tls_session *q)
{
	char name[200];
	if (by_name == NULL)
		by_name = table_new();
	int n = snprintf(name, sizeof name, "%s/" SPAN_FMT, program, SPAN_ARG(q->key));
	if (n < 0 || (size_t)n >= sizeof name || memchr(q->key.p, '\0', q->key.n) != NULL)
		return SPAN("");
	struct session *s = table_get(by_name, span_make(name, (size_t)n));
	if (s != NULL && (q->op != TLS_SESSION_FIND || mono_diff_ms(s->until, mono_now()) <= 0)) {
		drop(s);
		s = NULL;
	}
	if (q->op == TLS_SESSION_KEEP)
		keep(name, q->session, q->life_s);
	return q->op == TLS_SESSION_FIND && s != NULL ? span_make(s->bytes, s->n) : SPAN("");
}
