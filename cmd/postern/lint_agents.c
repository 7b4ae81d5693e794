/* cmd/postern/lint_agents.c - local(8), virtual(8), pipe(8) and spawn(8): mistakes with which they could not begin, or would keep all mail
 * waiting. local and virtual stand in every master.cf; of one that no mail goes to nothing is said. */
#include "lint.h"
#include "asuser/attributes.h"
#include "store/store.h"
#include <inttypes.h>
#include <unistd.h>

/* Mail for the domains of `domains` goes to this service by `transport`. */
static bool is_used(const struct lint *l, const char *transport, const char *domains)
{
	struct span value = lint_value(l, transport);
	ptrdiff_t colon = span_chr(value, ':');

	return span_eq(colon < 0 ? value : span_head(value, (size_t)colon), l->service->name) &&
	       lint_value(l, domains).n > 0;
}

static bool number(const struct lint *l, const char *name, uint64_t *n)
{
	return span_to_u64(lint_value(l, name), INT64_MAX, n) == RC_OK;
}

static void look_at_limit(const struct lint *l, const char *name)
{
	uint64_t mailbox, message;

	if (!number(l, name, &mailbox) || !number(l, "message_size_limit", &message) ||
	    store_limit_takes(mailbox, message))
		return;
	if (message == 0)
		lint_say(l, name,
			 "%" PRIu64
			 ", while message_size_limit is 0, which is no limit: 0 here, too, or a limit there",
			 mailbox);
	else
		lint_say(l, name,
			 "%" PRIu64 " is less than message_size_limit: %" PRIu64
			 " or more, or 0 for no limit",
			 mailbox, message);
}

static void look_at_default_privs(const struct lint *l)
{
	const char *name = arena_cstr(l->a, lint_value(l, "default_privs"));
	uint32_t uid, gid;
	struct err e;

	if (account_may_work(l->conf, name, "", geteuid() != 0, &uid, &gid, &e) != RC_OK)
		lint_say(l, "default_privs", "%s: %s: the name of a user without rights expected, as nobody",
			 name, e.text);
}

/* static:VALUE of virtual_uid_maps and its kin. */
static void look_at_ids(const struct lint *l, const char *name, const char *what, uint64_t least)
{
	struct span *word;
	size_t n = lint_words(l, name, &word);
	uint32_t id;

	for (size_t i = 0; i < n; i++)
		if (span_starts(word[i], SPAN("static:")) &&
		    account_id_parse(span_skip(word[i], strlen("static:")), least, &id) != RC_OK)
			lint_say(l, name, "bad %s in " SPAN_FMT ": a number expected, %" PRIu64 " or more",
				 what, SPAN_ARG(span_head(word[i], 200)), least);
}

static void look_at_local(const struct lint *l)
{
	if (!is_used(l, "local_transport", "mydestination"))
		return;
	look_at_limit(l, "mailbox_size_limit");
	look_at_default_privs(l);
}

static void look_at_virtual(const struct lint *l)
{
	struct span base = lint_value(l, "virtual_mailbox_base");
	uint64_t least = 1;

	if (!is_used(l, "virtual_transport", "virtual_mailbox_domains"))
		return;
	look_at_limit(l, "virtual_mailbox_limit");
	if (base.n > 0 && base.p[0] != '/')
		lint_say(l, "virtual_mailbox_base", SPAN_FMT ": an absolute path expected", SPAN_ARG(base));
	(void)number(l, "virtual_minimum_uid", &least);
	look_at_ids(l, "virtual_uid_maps", "uid", least > 1 ? least : 1);
	look_at_ids(l, "virtual_gid_maps", "gid", 1);
}

static enum rc parse_command(const struct lint *l, struct attributes *t, struct err *e)
{
	size_t first = mastercf_arguments(l->service);

	return attributes_parse(l->service->argv + first, l->service->argc - first,
				lint_is_program(l, "spawn"), l->a, t, e);
}

static enum rc account_of(const struct lint *l, const struct attributes *t, struct err *e)
{
	uint32_t uid, gid;

	return attributes_account(l->conf, t, geteuid() != 0, &uid, &gid, e);
}

static void look_at_command(const struct lint *l)
{
	struct attributes t;
	struct err e;
	enum rc rc = parse_command(l, &t, &e);

	if (rc == RC_OK && (rc = account_of(l, &t, &e)) == RC_NOTFOUND)
		return; /* lint_commands() */
	if (rc != RC_OK)
		lint_say_service(l, "%s", e.text);
}

void lint_agents(const struct lint *l)
{
	if (lint_is_program(l, "local"))
		look_at_local(l);
	else if (lint_is_program(l, "virtual"))
		look_at_virtual(l);
	else if (lint_is_program(l, "pipe spawn"))
		look_at_command(l);
}

/* ---- what is missing on this host ---- */

/* The master.cf that everybody has names commands of other packages: those that mail is sent to by the configuration count. */
static bool is_wanted(const struct lint *l)
{
	for (const struct param *p = conf_params; p->name != NULL; p++) {
		struct span name = span_str(p->name), value, word;

		if (!span_ends(name, SPAN("_transport")) && !span_is(name, "content_filter"))
			continue;
		value = lint_value(l, p->name);
		if (span_next(&value, ':', &word) && span_eq(word, l->service->name))
			return true;
	}
	return lint_is_program(l, "spawn");
}

void lint_commands(const struct lint *l)
{
	struct attributes t;
	struct err e;

	if (lint_is_program(l, "pipe spawn") && is_wanted(l) && parse_command(l, &t, &e) == RC_OK &&
	    account_of(l, &t, &e) == RC_NOTFOUND)
		lint_say_service(l, "%s: make the account, or name another", e.text);
}
