/* header_addr.c - addresses in the header of mail with the local rewriting context: made complete, mapped.
 * Addresses that are complete are not asked about unless a table could change them: most messages cost no
 * question. */
#include "cleanup.h"

#define ADDRS_PER_ASK 500
#define BYTES_PER_ASK (48 * 1024)

/* One address to ask about and where it stands in its field. */
struct place {
	size_t field;
	struct span at;	  /* part of the field's text */
	struct span addr; /* what it says */
	bool put;	  /* also when the address stays the same */
	struct span now;
};

struct places {
	struct place *v;
	size_t n, cap;
};

/* "user"@x and a..b@x: quotes that are not needed go, those that are come. */
static bool quotes_wrong(struct span local)
{
	return local.n == 0 || local.p[0] == '"' || local.p[0] == '.' || local.p[local.n - 1] == '.' ||
	       span_find(local, SPAN("..")) >= 0;
}

static bool needs_asking(struct span addr)
{
	struct address parts = address_split(addr);

	if (addr.n == 0 || addr.n > ENV_ADDR_MAX)
		return false;
	if (settings.header_rewrite || parts.domain.n == 0 || addr.p[0] == '@' || quotes_wrong(parts.local))
		return true;
	if (parts.domain.p[0] == '[')
		return false;
	/* user@host gets $mydomain when append_dot_mydomain says so; final dots and the like are put right */
	return span_chr(parts.domain, '.') < 0 || parts.domain.p[parts.domain.n - 1] == '.' ||
	       span_chr(parts.local, '%') >= 0 || span_chr(parts.local, '!') >= 0 ||
	       span_chr(parts.local, '@') >= 0;
}

/* Where a mailbox stands in its field: the route in front of it belongs to it. */
static struct span extent(const struct mailbox *m)
{
	if (m->route.n == 0)
		return m->raw;
	return span_make(m->route.p, (size_t)(m->raw.p - m->route.p) + m->raw.n);
}

static void collect(struct job *j, const struct out_field *f, size_t index, struct places *out)
{
	ptrdiff_t colon = span_chr(f->text, ':');
	struct mailbox *box;
	size_t n;

	if (colon < 0)
		return;
	(void)address_list_parse(span_skip(f->text, (size_t)colon + 1), &j->a, (size_t)settings.token_limit,
				 &box, &n);
	for (size_t i = 0; i < n; i++) {
		struct span addr, at = extent(&box[i]);

		if (box[i].group_start || box[i].group_end || box[i].malformed ||
		    (box[i].local.n == 0 && box[i].domain.n == 0))
			continue;
		addr = mailbox_address(&j->a, &box[i]);
		if (!needs_asking(box[i].route.n > 0 ? at : addr))
			continue;
		if (at.p < f->text.p || at.p + at.n > f->text.p + f->text.n)
			continue; /* not where it was read from: leave it */
		if (out->n == out->cap)
			out->v = arena_grow(&j->a, out->v, out->n, &out->cap, sizeof(*out->v));
		out->v[out->n++] = (struct place){ index, at, addr, box[i].route.n > 0, addr };
	}
}

static bool ask(struct job *j, unsigned role, struct place *v, size_t n)
{
	struct addr_item *item = arena_array(&j->a, n, sizeof(*item));
	struct router_rewrite q = { .local = (j->env.flags & ENVF_LOCAL) != 0,
				    .role = (uint16_t)role,
				    .addrs = { item, n } };
	struct router_rewrite_reply r;
	struct err e;
	enum rc rc;

	for (size_t i = 0; i < n; i++)
		item[i].addr = v[i].addr;
	rc = service_request(conf_str(service_conf(), "rewrite_service_name"), true, IPC_ROUTER_REWRITE, &q,
			     &r, &j->a, deadline_s(100), &e);
	if (rc != RC_OK || r.code != 0 || r.addrs.n != n) {
		if (rc != RC_OK)
			log_warning("%s: address rewriting: %s", j->qid.s, e.text);
		job_refuse(j, 451, "4.3.0", "Error: queue file write error");
		return false;
	}
	for (size_t i = 0; i < n; i++)
		v[i].now = ((const struct addr_item *)r.addrs.v)[i].addr;
	return true;
}

static void put_back(struct job *j, struct out_field *v, const struct places *pl)
{
	for (size_t i = 0; i < pl->n;) {
		struct out_field *f = &v[pl->v[i].field];
		struct span rest = f->text;
		struct buf b;
		bool changed = false;

		buf_init(&b, 16 << 20);
		for (; i < pl->n && &v[pl->v[i].field] == f; i++) {
			const struct place *p = &pl->v[i];

			if (!p->put && span_eq(p->addr, p->now))
				continue;
			changed = true;
			(void)buf_append(&b, span_make(rest.p, (size_t)(p->at.p - rest.p)));
			(void)buf_append(&b, p->now);
			rest = span_skip(rest, (size_t)(p->at.p + p->at.n - rest.p));
		}
		(void)buf_append(&b, rest);
		if (changed && buf_ok(&b)) {
			f->text = header_fold_list(&j->a, buf_span(&b));
			j->header_changed = true;
		}
		buf_release(&b);
	}
}

static void rewrite_role(struct job *j, struct out_field *v, size_t n, unsigned flag, unsigned role)
{
	struct places pl = { 0 };

	for (size_t i = 0; i < n; i++)
		if (v[i].kind->flags & flag)
			collect(j, &v[i], i, &pl);
	for (size_t from = 0; from < pl.n;) {
		size_t k = from, bytes = 0;

		for (; k < pl.n && k - from < ADDRS_PER_ASK && bytes < BYTES_PER_ASK; k++)
			bytes += pl.v[k].at.n + 8;
		if (!ask(j, role, pl.v + from, k - from))
			return;
		from = k;
	}
	put_back(j, v, &pl);
}

void header_rewrite_addresses(struct job *j, struct out_field *v, size_t n)
{
	rewrite_role(j, v, n, HF_SENDER, ROLE_HDR_SENDER);
	if (!job_refused(j))
		rewrite_role(j, v, n, HF_RCPT, ROLE_HDR_RCPT);
}
