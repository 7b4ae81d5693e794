/* cache.c - answers kept for their time to live; the least recently used go when there are too many. */
#include "resolver.h"
#include "base/list.h"
#include "base/table.h"

#define ENTRIES_MAX 20000
#define BYTES_MAX   (8 * 1024 * 1024)

struct entry {
	struct list link; /* most recently used first */
	struct span key, answer;
	uint16_t status;
	bool secure;
	mono_t until;
};
static struct table *by_key;
static struct list recent = { &recent, &recent };
static size_t bytes;

static void drop(struct entry *x)
{
	table_del(by_key, x->key);
	list_del(&x->link);
	bytes -= sizeof *x + x->key.n + x->answer.n;
	free(x);
}

bool cache_get(struct span key, struct cached *out)
{
	struct entry *x = by_key != NULL ? table_get(by_key, key) : NULL;
	if (x == NULL)
		return false;
	int64_t left_ms = mono_diff_ms(x->until, loop_now());
	if (left_ms <= 0) {
		drop(x);
		return false;
	}
	list_del(&x->link);
	list_add_head(&recent, &x->link);
	*out = (struct cached){ x->answer, x->status, x->secure, (uint32_t)(left_ms / 1000) };
	return true;
}

void cache_put(struct span key, const struct cached *c)
{
	if (by_key == NULL)
		by_key = table_new();
	struct entry *old = table_get(by_key, key);
	if (old != NULL)
		drop(old);
	struct entry *x = xmalloc(sizeof *x + key.n + c->answer.n);
	char *p = (char *)(x + 1);
	memcpy(p, key.p, key.n);
	if (c->answer.n > 0)
		memcpy(p + key.n, c->answer.p, c->answer.n);
	*x = (struct entry){ .key = span_make(p, key.n),
			     .answer = span_make(p + key.n, c->answer.n),
			     .status = c->status,
			     .secure = c->secure,
			     .until = mono_after(loop_now(), (int64_t)c->ttl_s * 1000) };
	table_set(by_key, x->key, x);
	list_add_head(&recent, &x->link);
	bytes += sizeof *x + key.n + c->answer.n;
	while ((bytes > BYTES_MAX || table_count(by_key) > ENTRIES_MAX) && recent.prev != &x->link)
		drop(LIST_ENTRY(recent.prev, struct entry, link));
}
