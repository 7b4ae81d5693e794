/* router/expand.c - canonical mapping of the envelope and virtual alias expansion (virtual(5)), for all
 * recipients of a message at once. */
#include "router.h"
#include "base/codec.h"
#include "base/table.h"
#include "log/log.h"
#include "service/service.h"

#define ANSWER_BYTES (120 * 1024) /* of a record */
#define ITEM_BYTES   16		  /* of an item, beside its address */

struct expansion {
	struct arena *a;
	const struct view *v;
	struct expanded_item *out;
	size_t n, cap;
	size_t bytes;	    /* that these take in the answer */
	struct table *seen; /* address + origin: each goes out once */
	uint32_t from;	    /* index of the original recipient */
	size_t of_one;	    /* results of the original recipient at hand */
	int64_t visits;	    /* look-ups spent on it: bounds fans and loops of aliases together */
	struct err e;
	const char *problem; /* NULL, or why the whole message has to wait */
	bool too_far;	     /* it is that aliases lead too far */
};

static void emit(struct expansion *x, struct span addr)
{
	struct span key = span_printf(x->a, "%u " SPAN_FMT, x->from, SPAN_ARG(addr));

	if (table_set(x->seen, key, x))
		return;
	if ((int64_t)++x->of_one > x->v->expansion_limit) {
		x->problem = "virtual alias expansion limit exceeded";
		x->too_far = true;
		return;
	}
	if (x->n == x->cap)
		x->out = arena_grow(x->a, x->out, x->n, &x->cap, sizeof(*x->out));
	x->out[x->n++] = (struct expanded_item){ .addr = addr, .from = x->from };
}

static void emit_alias(struct expansion *x, struct span addr)
{
	if (x->n == x->cap)
		x->out = arena_grow(x->a, x->out, x->n, &x->cap, sizeof(*x->out));
	x->out[x->n++] = (struct expanded_item){ .addr = addr, .from = x->from, .alias = true };
}

/* RC_OK with the right-hand side in *value; an address that maps to itself is final and counts as not found.
 */
static enum rc find_alias(struct expansion *x, struct span addr, struct span *value, struct span *ext)
{
	struct span domain = address_split(addr).domain;
	enum rc rc = own_has(&x->v->own, domain, &x->e);
	bool ours = rc == RC_OK;

	if (rc == RC_AGAIN)
		return rc;
	return maps_find_addr(x->v->valias, address_unquote(x->a, addr),
			      MAPS_FIND_FULL | MAPS_FIND_NOEXT | MAPS_FIND_LOCALPART_EXT |
				  MAPS_FIND_LOCALPART | MAPS_FIND_AT_DOMAIN,
			      x->v->extensions, ours, false, x->a, value, ext, &x->e);
}

/* `ext` holds its delimiter. */
static struct span with_extension(struct expansion *x, struct span addr, struct span ext)
{
	return ext.n && x->v->ext_virtual ? router_add_extension(addr, ext, x->a) : addr;
}

/* Depth first with a stack of its own: an alias file decides how deep it gets, not the machine stack. */
struct pending {
	struct span addr;
	int64_t depth;
};

static void push_targets(struct expansion *x, struct span value, struct span ext, const struct pending *of,
			 struct pending **stack, size_t *n, size_t *cap, bool *self)
{
	struct mailbox *box;
	size_t boxes;

	(void)address_list_parse(value, x->a, (size_t)x->v->expansion_limit + 1, &box,
				 &boxes); /* what is malformed is left out, as Postfix does */
	for (size_t i = boxes; i-- > 0;) {
		struct span to;

		if (!box[i].local.n && !box[i].domain.n)
			continue;
		if (value.n && box[i].local.n == 0 && box[i].domain.n) /* "@other.domain": same user there */
			to = span_printf(x->a, SPAN_FMT "@" SPAN_FMT, SPAN_ARG(address_split(of->addr).local),
					 SPAN_ARG(box[i].domain));
		else
			to = with_extension(x, rewrite_address(true, mailbox_address(x->a, &box[i]), x->a),
					    ext);
		if (span_eq_ci(to, of->addr)) {
			*self = true;
			continue;
		}
		if (*n == *cap)
			*stack = arena_grow(x->a, *stack, *n, cap, sizeof(**stack));
		(*stack)[(*n)++] = (struct pending){ to, of->depth + 1 };
	}
}

static void expand_one(struct expansion *x, struct span addr)
{
	struct pending *stack = NULL;
	size_t n = 0, cap = 0;

	stack = arena_grow(x->a, stack, 0, &cap, sizeof(*stack));
	stack[n++] = (struct pending){ addr, 0 };
	while (n > 0 && !x->problem) {
		struct pending p = stack[--n];
		struct span value, ext;
		bool self = false;
		enum rc rc;

		if (p.depth > x->v->recursion_limit || ++x->visits > 20 * x->v->expansion_limit ||
		    (int64_t)p.addr.n > x->v->address_length_limit) {
			x->problem = "virtual alias recursion limit exceeded or loop";
			x->too_far = true;
			return;
		}
		rc = maps_empty(x->v->valias) ? RC_NOTFOUND : find_alias(x, p.addr, &value, &ext);
		if (rc == RC_AGAIN) {
			x->problem = "virtual_alias_maps look-up failed";
		} else if (rc != RC_OK) {
			emit(x, p.addr);
		} else {
			push_targets(x, value, ext, &p, &stack, &n, &cap, &self);
			if (p.depth == 0 && n > 0)
				emit_alias(x, addr);
			if (self)
				emit(x, p.addr);
		}
	}
}

static void expand_rcpt(struct expansion *x, struct span addr, bool no_mappings)
{
	addr = addr.n ? addr : span_str(x->v->empty_address_recipient);
	addr = rewrite_address(true, addr, x->a);
	x->of_one = 0;
	x->visits = 0;
	if (no_mappings)
		emit(x, addr);
	else if (rewrite_mapped(x->v, ROLE_ENV_RCPT, addr, x->a, &addr, &x->e) == RC_AGAIN)
		x->problem = "canonical_maps look-up failed";
	else
		expand_one(x, addr);
}

static uint32_t add_to_sum(uint32_t sum, const struct expanded_item *item)
{
	return crc32c(crc32c(sum, item->addr), item->alias ? SPAN("*") : SPAN(" "));
}

/* Of the results of a recipient, those from `first` on: takes out the `skip` that an answer before this one held. */
static void drop_said(struct expansion *x, size_t first, uint32_t skip, uint32_t sum)
{
	uint32_t now = 0;

	if (skip == 0)
		return;
	for (size_t i = 0; i < skip && first + i < x->n; i++)
		now = add_to_sum(now, &x->out[first + i]);
	if (skip > x->n - first || now != sum) {
		x->problem = "virtual_alias_maps changed between two answers";
		return;
	}
	x->n -= skip;
	memmove(x->out + first, x->out + first + skip, (x->n - first) * sizeof(*x->out));
}

/* Leaves those for which there is room. */
static void fit(struct expansion *x, size_t first, struct router_expand_reply *r)
{
	for (size_t i = first; i < x->n; i++) {
		x->bytes += x->out[i].addr.n + ITEM_BYTES;
		if (x->bytes > ANSWER_BYTES) {
			x->n = i;
			return;
		}
		r->skip++;
		r->sum = add_to_sum(r->sum, &x->out[i]);
	}
	r->done++;
	r->skip = r->sum = 0;
}

void answer_expand(struct ipc_call *call, const void *request)
{
	const struct router_expand *q = request;
	struct arena *a = ipc_call_arena(call);
	struct expansion x = { .a = a, .v = view_of_call(call), .seen = table_new() };
	struct router_expand_reply r = { .skip = q->skip, .sum = q->sum };

	r.sender = rewrite_address(true, q->sender, a);
	if (!q->no_mappings && rewrite_mapped(x.v, ROLE_ENV_SENDER, r.sender, a, &r.sender, &x.e) == RC_AGAIN)
		x.problem = "sender_canonical_maps look-up failed";
	for (x.from = 0; x.from < q->rcpts.n && x.from == r.done && !x.problem; x.from++) {
		size_t first = x.n;

		expand_rcpt(&x, ((const struct addr_item *)q->rcpts.v)[x.from].addr, q->no_mappings);
		if (!x.problem)
			drop_said(&x, first, r.skip, r.sum);
		if (!x.problem)
			fit(&x, first, &r);
	}
	if (x.problem) {
		log_warning("%s%s%s", x.problem, x.e.text[0] ? ": " : "", x.e.text);
		x.n = 0;
		r.code = 451;
		r.text = span_printf(a, "%s %s", x.too_far ? "4.6.0" : "4.3.0", x.problem);
	}
	r.rcpts = (struct ipc_list){ x.out, x.n };
	table_free(&x.seen, NULL);
	ipc_reply(call, &r);
}
