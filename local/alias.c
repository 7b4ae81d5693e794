/* local/alias.c - aliases(5). An alias that holds its own name means the mailbox there. */
#include "local.h"
#include "log/log.h"
#include "mime/address.h"
#include "service/service.h"

#define SHOWN_MAX 200 /* of what is not understood */

static bool holds(const struct place *p, struct span name)
{
	return p->alias.n > 0 && span_eq_ci(p->alias, name);
}

static bool in_chain(const struct place *p, struct span name)
{
	for (; p != NULL; p = p->up)
		if (holds(p, name))
			return true;
	return false;
}

static void later(struct local *l, const struct place *p, const struct err *e)
{
	struct outcome o;

	log_warning("%s", e->text);
	outcome_set(&o, DS_DEFERRED, "4.3.0", l->a, "alias database unavailable");
	local_report(l, p, &o);
}

/* owner-NAME takes the place of the sender, so that what cannot be delivered is told to whoever keeps the
 * list; never that of the null sender, whose mail must not be answered (RFC 5321 4.5.5). */
static enum rc find_owner(struct local *l, const struct place *p, struct span name, struct place *q,
			  struct err *e)
{
	struct span value, key = span_printf(l->a, "owner-" SPAN_FMT, SPAN_ARG(name));
	struct dest_list list = { .n = 0 };
	struct span full = SPAN_NONE;
	bool ours;
	enum rc rc;

	if (p->sender.n == 0 || span_starts_ci(name, SPAN("owner-")))
		return RC_OK;
	rc = maps_lookup(local_conf.aliases, key, l->a, &value, e);
	if (rc == RC_NOTFOUND) {
		if (conf_bool(service_conf(), "reset_owner_alias")) {
			q->sender = l->m->env.sender;
			q->owned = false;
		}
		return RC_OK;
	}
	if (rc != RC_OK)
		return rc;
	q->owned = true;
	q->sender =
	    span_printf(l->a, SPAN_FMT "@" SPAN_FMT, SPAN_ARG(address_quote(l->a, key)), SPAN_ARG(p->domain));
	if (conf_bool(service_conf(), "expand_owner_alias") &&
	    dest_list_parse(value, l->a, 1, &list) == RC_OK && list.n == 1 &&
	    list.v[0].kind == DEST_ADDRESS &&
	    (rc = local_resolve(l, p, list.v[0].text, &full, &ours, e)) == RC_OK)
		q->sender = full;
	return rc;
}

/* propagate_unmatched_extensions: user+ext -> result+ext@domain. */
static void append_extension(struct local *l, struct span ext, struct dest *d)
{
	struct address ad = address_split(d->text);

	if (d->kind != DEST_ADDRESS || ext.n == 0 ||
	    span_chr(ad.local, local_conf.extensions.delimiters[0]) >= 0)
		return;
	struct span local =
	    span_printf(l->a, SPAN_FMT "%c" SPAN_FMT, SPAN_ARG(address_unquote(l->a, ad.local)),
			local_conf.extensions.delimiters[0], SPAN_ARG(ext));
	local = address_quote(l->a, local);
	d->text = ad.domain.n ? span_printf(l->a, SPAN_FMT "@" SPAN_FMT, SPAN_ARG(local), SPAN_ARG(ad.domain))
			      : local;
}

/* What is wrong in one place must not keep the mail from the others; a list of which nothing is left waits until
 * somebody has put it right. False: that one. */
static bool usable(struct local *l, const struct place *p, struct span name, const struct dest_list *list)
{
	struct outcome o;

	if (list->n > 0 && list->bad == 0)
		return true;
	if (list->n > 0) {
		log_warning("alias " SPAN_FMT ": %u addresses are not understood", SPAN_ARG(name), list->bad);
		outcome_set(&o, DS_BOUNCED, "5.1.3", l->a, "bad recipient address syntax: " SPAN_FMT,
			    SPAN_ARG(span_head(list->first_bad, SHOWN_MAX)));
	} else {
		log_warning("no recipient in alias lookup result for " SPAN_FMT, SPAN_ARG(name));
		if (list->bad > 0)
			outcome_set(&o, DS_DEFERRED, "4.3.5", l->a, "mail system configuration error");
		else
			outcome_set(&o, DS_DEFERRED, "4.3.0", l->a, "alias database unavailable");
	}
	local_report(l, p, &o);
	return list->n > 0;
}

static void expand(struct local *l, const struct place *p, struct span name, struct span value, bool whole)
{
	struct place *q = local_place(l, p);
	struct dest_list list = { .n = 0 };
	struct account *owner = NULL;
	struct err e = { .text = "" };
	struct outcome o;
	uid_t uid;
	enum rc rc = find_owner(l, p, name, q, &e);

	q->alias = name;
	q->from = FROM_ALIAS;
	q->as = NULL;
	if (whole)
		q->ext_left = SPAN_NONE;
	if (rc == RC_OK && local_alias_owner(&uid))
		rc = account_by_uid(uid, l->a, &owner, &e);
	if (rc != RC_OK) {
		later(l, p, &e);
		return;
	}
	q->as = owner;
	if (dest_list_parse(value, l->a, LOCAL_ITEMS_MAX, &list) != RC_OK) {
		(void)err_set(&e, RC_LIMIT, "alias " SPAN_FMT " holds too many destinations", SPAN_ARG(name));
		later(l, p, &e);
		return;
	}
	if (agent_probe(l->m)) { /* who is behind it is not asked */
		outcome_set(&o, DS_SENT, "2.0.0", l->a, "aliased to " SPAN_FMT, SPAN_ARG(value));
		local_report(l, p, &o);
	} else if (usable(l, p, name, &list)) {
		local_expanded(l, q);
		local_add_all(l, q, &list);
	}
}

void local_add_all(struct local *l, const struct place *p, struct dest_list *list)
{
	for (size_t i = 0; i < list->n; i++) {
		if ((local_conf.propagate & p->from) != 0)
			append_extension(l, p->ext_left, &list->v[i]);
		local_add(l, p, &list->v[i]);
	}
}

bool local_alias_loop(struct local *l, const struct place *p)
{
	const struct place *q = p->up;
	struct span name = p->user;
	struct outcome o;

	if (q == NULL || holds(q, name))
		return false; /* an alias that holds its own name */
	while (q != NULL && !holds(q, name)) {
		p = q;
		q = q->up;
	}
	if (q == NULL)
		return false;
	log_warning("alias database loop for " SPAN_FMT, SPAN_ARG(p->user));
	outcome_set(&o, DS_BOUNCED, "5.4.6", l->a, "alias database loop for " SPAN_FMT, SPAN_ARG(p->user));
	local_report(l, p, &o);
	return true;
}

bool local_alias(struct local *l, const struct place *p)
{
	struct span names[2] = { p->local, p->user }, value;
	struct err e = { .text = "" };

	for (int i = 0; i < (p->user.n != p->local.n ? 2 : 1); i++) {
		if (in_chain(p, names[i]))
			continue;
		enum rc rc = maps_lookup(local_conf.aliases, names[i], l->a, &value, &e);
		if (rc == RC_NOTFOUND)
			continue;
		if (rc != RC_OK)
			later(l, p, &e);
		else
			expand(l, p, names[i], value, i == 0);
		return true;
	}
	return false;
}
