/* recipients.c - who gets the message: canonical and virtual alias mapping by the router, copies (always_bcc
 * and its tables), duplicates taken out. */
#include "cleanup.h"

#define ASK_RCPTS  1000
#define ASK_BYTES  (64 * 1024)
#define OF_ONE_MAX 1000000 /* results of one recipient */

struct rcpt_list {
	struct job *j;
	struct env_rcpt *v;
	size_t n, cap;
	struct table *seen;
};

/* An address that the router would give back unchanged as long as no table is set. */
static bool is_plain(struct span addr)
{
	struct address p = address_split(addr);

	if (p.local.n == 0 || p.domain.n == 0 || p.domain.p[0] == '.' || p.domain.p[p.domain.n - 1] == '.' ||
	    span_chr(p.domain, '.') < 0 || p.local.p[0] == '.' || p.local.p[p.local.n - 1] == '.' ||
	    span_find(p.local, SPAN("..")) >= 0)
		return false;
	for (size_t i = 0; i < p.local.n; i++)
		if (!ascii_isalnum(p.local.p[i]) && strchr("+-_.=", p.local.p[i]) == NULL)
			return false;
	for (size_t i = 0; i < p.domain.n; i++)
		if (!ascii_isalnum(p.domain.p[i]) && p.domain.p[i] != '-' && p.domain.p[i] != '.')
			return false;
	return true;
}

static bool all_plain(const struct job *j)
{
	if (j->env.sender.n > 0 && !is_plain(j->env.sender))
		return false;
	for (size_t i = 0; i < j->env.rcpts.n; i++)
		if (!is_plain(envelope_rcpt(&j->env, i)->addr))
			return false;
	return true;
}

/* Duplicates are told without regard to case, as by all who look addresses up in tables. */
static struct span lower_case(struct arena *a, struct span s)
{
	char *p = arena_alloc(a, s.n + 1);

	for (size_t i = 0; i < s.n; i++)
		p[i] = ascii_lower(s.p[i]);
	return span_make(p, s.n);
}

/* Same address (and, unless enable_original_recipient is off, same original): once is enough. */
static void add_rcpt(struct rcpt_list *l, struct env_rcpt r)
{
	struct arena *a = &l->j->a;
	struct span lower = lower_case(a, r.addr);
	struct span key = settings.original_recipient
			      ? span_printf(a, SPAN_FMT "\n" SPAN_FMT "\n" SPAN_FMT "\n%u", SPAN_ARG(lower),
					    SPAN_ARG(r.orig), SPAN_ARG(r.orcpt), r.notify)
			      : lower;

	if (l->n == ENV_RCPT_MAX) {
		job_refuse(l->j, 452, "4.5.3", "Error: too many recipients");
		return;
	}
	if (table_get(l->seen, key) != NULL)
		return;
	if (settings.duplicate_limit == 0 || table_count(l->seen) < (size_t)settings.duplicate_limit)
		table_set(l->seen, key, l);
	if (l->n == l->cap)
		l->v = arena_grow(a, l->v, l->n, &l->cap, sizeof(*l->v));
	r.state = RCPT_TODO;
	r.notify &= (uint16_t)~NOTIFY_ALIAS;
	l->v[l->n++] = r;
}

static void add_expanded(struct rcpt_list *l, struct span addr, const struct env_rcpt *from)
{
	struct env_rcpt r = *from;

	/* Kept whatever enable_original_recipient says: that is for duplicates and for X-Original-To:, while logs and
	 * verify(8) need the name that was asked for. */
	if (r.orig.n == 0 && !span_eq(addr, from->addr))
		r.orig = from->addr;
	else if (span_eq(addr, r.orig))
		r.orig = SPAN_NONE;
	r.addr = addr;
	add_rcpt(l, r);
}

static void add_alias(struct job *j, struct env_rcpt alias)
{
	if (j->aliases == j->alias_cap)
		j->alias = arena_grow(&j->a, j->alias, j->aliases, &j->alias_cap, sizeof(*j->alias));
	j->alias[j->aliases++] = alias;
}

/* Those of a message that "postsuper -r" brought back. */
static void set_aliases_aside(struct job *j)
{
	struct env_rcpt *v = j->env.rcpts.v;
	size_t n = 0;

	for (size_t i = 0; i < j->env.rcpts.n; i++)
		if (v[i].notify & NOTIFY_ALIAS)
			add_alias(j, v[i]);
		else
			v[n++] = v[i];
	j->env.rcpts.n = n;
}

/* The sender gets to know that `addr` stood for others; they are asked for no success (RFC 3461 section 5.2.7). */
static void note_alias(struct job *j, struct span addr, struct env_rcpt *from)
{
	struct env_rcpt alias = { .addr = addr,
				  .orig = from->orig,
				  .orcpt = from->orcpt,
				  .notify = NOTIFY_SUCCESS | NOTIFY_ALIAS,
				  .state = RCPT_DONE };

	if (alias.orig.n == 0 && !span_eq(addr, from->addr))
		alias.orig = from->addr;
	if (from->notify & NOTIFY_SUCCESS)
		add_alias(j, alias);
	from->notify = notify_expanded(from->notify);
}

static void router_failed(struct job *j, enum rc rc, const struct err *e, struct span text)
{
	if (rc != RC_OK)
		log_warning("%s: address expansion: %s", j->qid.s, e->text);
	else
		log_warning("%s: address expansion: " SPAN_FMT, j->qid.s, SPAN_ARG(text));
	if (span_starts(text, SPAN("4.6.0 "))) /* an alias leads too far; anything else is trouble of ours */
		job_refuse(j, 451, "4.6.0", "Alias expansion error");
	else
		job_refuse(j, 451, "4.3.0", "Error: queue file write error");
}

/* Where the answers are: at recipient `from`, of which `skip` results are there. */
struct progress {
	size_t from;
	uint32_t skip, sum;
};

/* As many recipients as a question has room for. */
static size_t how_many(const struct job *j, size_t from)
{
	size_t k = from, bytes = 0;

	for (; k < j->env.rcpts.n && k - from < ASK_RCPTS && bytes < ASK_BYTES; k++)
		bytes += envelope_rcpt(&j->env, k)->addr.n + 8;
	return k - from;
}

static void take_results(struct rcpt_list *l, const struct router_expand_reply *r, size_t from, size_t n)
{
	for (size_t i = 0; i < r->rcpts.n; i++) {
		const struct expanded_item *x = (const struct expanded_item *)r->rcpts.v + i;

		if (x->from >= n || x->addr.n == 0)
			continue;
		if (x->alias)
			note_alias(l->j, x->addr, envelope_rcpt(&l->j->env, from + x->from));
		else
			add_expanded(l, x->addr, envelope_rcpt(&l->j->env, from + x->from));
	}
}

/* Whether the next question begins behind this one, so that there is an end to them. */
static bool leads_on(const struct router_expand_reply *r, const struct progress *p, size_t n)
{
	if (r->done > 0)
		return r->done <= n && r->skip <= OF_ONE_MAX;
	return r->rcpts.n > 0 && r->skip == p->skip + r->rcpts.n && r->skip <= OF_ONE_MAX;
}

/* One question, and what it brings; the sender goes along each time and its answer is the same. */
static void ask(struct rcpt_list *l, struct progress *p, struct span sender)
{
	struct job *j = l->j;
	size_t n = how_many(j, p->from);
	struct addr_item *item = arena_array(&j->a, n + 1, sizeof(*item));
	struct router_expand q = { .sender = sender,
				   .no_mappings = (j->env.flags & ENVF_NO_CANONICAL) != 0,
				   .local = (j->env.flags & ENVF_LOCAL) != 0,
				   .rcpts = { item, n },
				   .skip = p->skip,
				   .sum = p->sum };
	struct router_expand_reply r;
	struct err e;
	enum rc rc;

	for (size_t i = 0; i < n; i++)
		item[i].addr = envelope_rcpt(&j->env, p->from + i)->addr;
	rc = service_request(conf_str(service_conf(), "rewrite_service_name"), true, IPC_ROUTER_EXPAND, &q,
			     &r, &j->a, deadline_s(100), &e);
	if (rc == RC_OK && r.code == 0 && !leads_on(&r, p, n))
		rc = err_set(&e, RC_SYNTAX, "an answer that leads no further");
	if (rc != RC_OK || r.code != 0) {
		router_failed(j, rc, &e, rc == RC_OK ? r.text : SPAN_NONE);
		return;
	}
	j->env.sender = r.sender;
	take_results(l, &r, p->from, n);
	*p = (struct progress){ p->from + r.done, r.skip, r.sum };
}

static void expand(struct rcpt_list *l)
{
	struct job *j = l->j;
	struct span sender = j->env.sender;
	struct progress p = { 0 };

	if (!settings.mappings && all_plain(j)) {
		for (size_t i = 0; i < j->env.rcpts.n; i++)
			add_expanded(l, envelope_rcpt(&j->env, i)->addr, envelope_rcpt(&j->env, i));
		return;
	}
	while (p.from < j->env.rcpts.n && !job_refused(j))
		ask(l, &p, sender);
}

/* ---- copies ---- */

static void add_copy(struct job *j, struct span addr)
{
	if (addr.n == 0 || addr.n > ENV_ADDR_MAX)
		return;
	if (j->add_rcpts == j->add_cap)
		j->add_rcpt = arena_grow(&j->a, j->add_rcpt, j->add_rcpts, &j->add_cap, sizeof(*j->add_rcpt));
	j->add_rcpt[j->add_rcpts++] = addr;
}

static void copy_by_table(struct job *j, struct maps *m, const char *name, struct span addr)
{
	struct span value, ext, word;
	struct err e;
	enum rc rc;

	if (addr.n == 0 || job_refused(j))
		return;
	rc = own_domains_have(settings.own, address_split(addr).domain, &e);
	if (rc == RC_OK || rc == RC_NOTFOUND)
		rc = maps_find_addr(m, address_unquote(&j->a, addr),
				    MAPS_FIND_FULL | MAPS_FIND_NOEXT | MAPS_FIND_LOCALPART_EXT |
					MAPS_FIND_LOCALPART | MAPS_FIND_AT_DOMAIN,
				    settings.extensions, rc == RC_OK, false, &j->a, &value, &ext, &e);
	if (rc == RC_OK)
		while (span_next_word(&value, ", \t", &word))
			add_copy(j, word);
	else if (rc != RC_NOTFOUND) {
		log_warning("%s: %s lookup failed: %s", j->qid.s, name, e.text);
		job_refuse(j, 451, "4.3.0", "Error: queue file write error");
	}
}

/* Tables of copies know addresses as canonical mapping leaves them, before virtual aliases. In place. */
static bool canonical(struct job *j, unsigned role, struct addr_item *item, size_t n)
{
	struct router_rewrite q = { .local = (j->env.flags & ENVF_LOCAL) != 0,
				    .role = j->env.flags & ENVF_NO_CANONICAL ? 0 : (uint16_t)role,
				    .addrs = { item, n } };
	struct router_rewrite_reply r;
	struct err e;
	enum rc rc = service_request(conf_str(service_conf(), "rewrite_service_name"), true,
				     IPC_ROUTER_REWRITE, &q, &r, &j->a, deadline_s(100), &e);

	if (rc != RC_OK || r.code != 0 || r.addrs.n != n) {
		router_failed(j, rc, &e, rc == RC_OK ? r.text : SPAN_NONE);
		return false;
	}
	memcpy(item, r.addrs.v, n * sizeof(*item));
	return true;
}

static void copies_of_sender(struct job *j)
{
	struct addr_item sender = { .addr = j->env.sender };

	if (!maps_empty(settings.sender_bcc) && sender.addr.n > 0 &&
	    canonical(j, ROLE_ENV_SENDER, &sender, 1))
		copy_by_table(j, settings.sender_bcc, "sender_bcc_maps", sender.addr);
}

static void copies_of_rcpts(struct job *j)
{
	struct addr_item item[100];

	if (maps_empty(settings.recipient_bcc))
		return;
	for (size_t from = 0, n; from < j->env.rcpts.n && !job_refused(j); from += n) {
		for (n = 0; n < ARRAY_LEN(item) && from + n < j->env.rcpts.n; n++)
			item[n].addr = envelope_rcpt(&j->env, from + n)->addr;
		if (!canonical(j, ROLE_ENV_RCPT, item, n))
			return;
		for (size_t i = 0; i < n; i++)
			copy_by_table(j, settings.recipient_bcc, "recipient_bcc_maps", item[i].addr);
	}
}

/* Recipients so far plus the copies, as one list; copies want no reports (RFC 3461 NOTIFY=NEVER). */
static void append_copies(struct job *j)
{
	size_t n = j->env.rcpts.n + j->add_rcpts;
	struct env_rcpt *v;

	if (j->add_rcpts == 0)
		return;
	v = arena_array(&j->a, n, sizeof(*v));
	if (j->env.rcpts.n > 0)
		memcpy(v, j->env.rcpts.v, j->env.rcpts.n * sizeof(*v));
	for (size_t i = 0; i < j->add_rcpts; i++)
		v[j->env.rcpts.n + i] = (struct env_rcpt){ .addr = j->add_rcpt[i], .notify = NOTIFY_NEVER };
	j->env.rcpts = (struct ipc_list){ v, n };
	j->add_rcpts = 0;
}

static void find_copies(struct job *j)
{
	/* no_address_mappings stands in front of a filter or behind it, and the copies are made on the other side */
	if (!j->external || (j->env.flags & (ENVF_PROBE | ENVF_VERIFY_ONLY | ENVF_NO_CANONICAL)))
		return;
	if (settings.always_bcc[0] != '\0')
		add_copy(j, span_str(settings.always_bcc));
	copies_of_sender(j);
	copies_of_rcpts(j);
	append_copies(j);
}

static void run(struct job *j)
{
	struct rcpt_list l = { .j = j, .seen = table_new() };

	expand(&l);
	table_free(&l.seen, NULL);
	j->env.rcpts = (struct ipc_list){ l.v, l.n };
}

/* Mail in the name of MAILER-DAEMON is what it says: notices, which nobody is told of when they fail. */
static void name_null_sender(struct job *j)
{
	struct address sender = address_split(j->env.sender);

	if (span_is_ci(sender.local, "MAILER-DAEMON") && span_is_ci(sender.domain, settings.myorigin))
		j->env.sender = SPAN_NONE;
}

void job_expand(struct job *j)
{
	if (job_resubmitted(j))
		set_aliases_aside(j);
	if (j->env.rcpts.n > 0)
		j->recip_log = envelope_rcpt(&j->env, 0)->addr;
	find_copies(j);
	if (!job_refused(j))
		run(j);
	name_null_sender(j);
	if (!job_refused(j) && j->env.rcpts.n == 0)
		job_refuse(j, 550, "5.1.0", "Error: no recipients specified");
}

/* One recipient instead of all (header_checks(5), access(5)); the log goes on to name the first of them. */
static void redirect(struct job *j)
{
	struct env_rcpt *r = arena_array(&j->a, 1, sizeof(*r));

	*r = (struct env_rcpt){ .addr = j->env.redirect };
	if (j->env.rcpts.n > 0) {
		const struct env_rcpt *first = envelope_rcpt(&j->env, 0);

		r->orig = first->orig.n > 0 ? first->orig : first->addr;
	}
	j->env.rcpts = (struct ipc_list){ r, 1 };
}

static void late_recipients(struct job *j)
{
	if (j->redirect.n > 0)
		j->env.redirect = j->redirect;
	if (j->env.redirect.n > 0)
		redirect(j);
	else if (j->add_rcpts == 0)
		return;
	append_copies(j);
	run(j);
}

/* Behind the recipients, as far as there is room: they are none. */
static void append_aliases(struct job *j)
{
	size_t n = j->env.rcpts.n, more = j->aliases < ENV_RCPT_MAX - n ? j->aliases : ENV_RCPT_MAX - n;
	struct env_rcpt *v;

	if (more == 0)
		return;
	v = arena_array(&j->a, n + more, sizeof(*v));
	if (n > 0)
		memcpy(v, j->env.rcpts.v, n * sizeof(*v));
	memcpy(v + n, j->alias, more * sizeof(*v));
	j->env.rcpts = (struct ipc_list){ v, n + more };
}

void job_late_recipients(struct job *j)
{
	late_recipients(j);
	append_aliases(j);
}
