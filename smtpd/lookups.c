/* lookups.c - questions to router(8), with the answers of the last seconds at hand: one client tends to name
 * the same recipients again, and spammers to try them on many connections at once. */
#include "smtpd.h"
#include "base/table.h"

#define KEEP_MS	 5000
#define KEEP_MAX 2000 /* answers; then all are forgotten */

struct kept {
	mono_t until;
	struct arena arena;
	struct router_validate_reply reply;
};
static struct table *cache;

static void free_kept(void *p)
{
	struct kept *k = p;

	arena_release(&k->arena);
	free(k);
}

static void copy_reply(struct arena *a, const struct router_validate_reply *in,
		       struct router_validate_reply *out)
{
	*out = *in;
	out->dsn = span_dup(a, in->dsn);
	out->text = span_dup(a, in->text);
	out->rcpt = span_dup(a, in->rcpt);
	out->transport = span_dup(a, in->transport);
	out->nexthop = span_dup(a, in->nexthop);
}

#define UNKNOWN "User unknown in "

bool router_failed(const struct router_validate_reply *r)
{
	return r->code == 451 &&
	       !span_starts(r->text, SPAN(UNKNOWN)); /* unknown_..._reject_code may be 451, too */
}

static void keep(struct span key, const struct router_validate_reply *r)
{
	struct kept *k, *old;

	if (router_failed(r)) /* the next one may have more luck */
		return;
	if (table_count(cache) >= KEEP_MAX) {
		table_free(&cache, free_kept);
		cache = table_new();
	}
	k = xcalloc(1, sizeof(*k));
	arena_init(&k->arena);
	k->until = mono_after(loop_now(), KEEP_MS);
	copy_reply(&k->arena, r, &k->reply);
	if ((old = table_set(cache, key, k)) != NULL)
		free_kept(old);
}

static bool kept(struct span key, struct arena *a, struct router_validate_reply *out)
{
	struct kept *k = table_get(cache, key);

	if (k == NULL)
		return false;
	if (mono_diff_ms(k->until, loop_now()) > 0) {
		copy_reply(a, &k->reply, out);
		return true;
	}
	free_kept(table_del(cache, key));
	return false;
}

enum rc ask_router(struct span sender, struct span addr, bool class_only, struct arena *a,
		   struct router_validate_reply *out)
{
	struct router_validate q = { .sender = sender, .addr = addr, .skip_known = class_only };
	struct span key =
	    span_printf(a, "%d" SPAN_FMT " " SPAN_FMT, class_only, SPAN_ARG(sender), SPAN_ARG(addr));
	struct err e;

	if (cache == NULL)
		cache = table_new();
	if (kept(key, a, out))
		return RC_OK;
	if (service_request(conf.rewrite_service, true, IPC_ROUTER_VALIDATE, &q, out, a,
			    deadline_s(conf.ipc_timeout_s), &e) != RC_OK) {
		log_warning("%s: %s", conf.rewrite_service, e.text);
		return RC_AGAIN;
	}
	keep(key, out);
	return RC_OK;
}
