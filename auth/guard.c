/* auth/guard.c - delays against guessing: after each failure the next answer to the same address comes later
 * (1, 2, 4 ... penalty_max_s seconds), until it was quiet for a while. On loopback, where a webmail speaks
 * for many, the user counts and not the address. */
#include "auth.h"
#include "base/table.h"
#include "net/addr.h"

#define FORGET_S    300
#define ENTRIES_MAX 50000

struct entry {
	unsigned failures;
	mono_t last;
};
static struct table *entries;

/* Of IPv6 the network counts: whoever has one address of a /64 has all. */
static void network_of(const char *rip, char out[INET_TEXT_MAX])
{
	struct inet_addr a;

	snprintf(out, INET_TEXT_MAX, "%s", rip);
	if (inet_addr_parse(span_str(rip), &a) != RC_OK)
		return;
	if (a.family == AF_INET6)
		memset(a.b + 8, 0, 8);
	a.scope = 0;
	inet_addr_text(&a, out);
}

static struct span key_of(const char *rip, const char *user, char *out, size_t size)
{
	bool local = strncmp(rip, "127.", 4) == 0 || strcmp(rip, "::1") == 0 || !*rip;
	char net[INET_TEXT_MAX];
	int n;

	network_of(rip, net);
	n = local ? snprintf(out, size, "u %s", user ? user : "") : snprintf(out, size, "a %s", net);

	return span_make(out, n < 0 ? 0 : (size_t)n < size ? (size_t)n : size - 1);
}

static struct entry *live_entry(struct span key)
{
	struct entry *en = entries ? table_get(entries, key) : NULL;

	if (en && mono_diff_ms(loop_now(), en->last) > FORGET_S * 1000) {
		table_del(entries, key);
		free(en);
		return NULL;
	}
	return en;
}

void guard_wait(const char *rip, const char *user)
{
	char text[KEEPER_NAME_MAX + 8];
	struct entry *en = live_entry(key_of(rip, user, text, sizeof(text)));
	int64_t s;

	if (!en || en->failures == 0)
		return;
	s = en->failures > 8 ? auth_conf.penalty_max_s : (int64_t)1 << (en->failures - 1);
	task_sleep_ms(1000 * (s < auth_conf.penalty_max_s ? s : auth_conf.penalty_max_s));
}

void guard_count(const char *rip, const char *user, bool failed)
{
	char text[KEEPER_NAME_MAX + 8];
	struct span key = key_of(rip, user, text, sizeof(text));
	struct entry *en = live_entry(key);

	if (!failed) {
		if (en) {
			table_del(entries, key);
			free(en);
		}
		return;
	}
	if (!entries)
		entries = table_new();
	if (!en) {
		if (table_count(entries) >=
		    ENTRIES_MAX) /* a flood of addresses: start over rather than grow */
			table_free(&entries, free);
		if (!entries)
			entries = table_new();
		en = xcalloc(1, sizeof(*en));
		table_set(entries, key, en);
	}
	en->failures++;
	en->last = loop_now();
}
