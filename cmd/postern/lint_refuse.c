/* cmd/postern/lint_refuse.c - mistakes with which a daemon could not begin, or would answer everybody "451 4.3.5 Server configuration
 * error": a configuration that holds one is refused as a whole. Each is looked for where it would count, in main.cf as the services of
 * master.cf see it: what no service reads stays unjudged, and so does what stands behind "permit" or "reject". */
#include "lint.h"
#include "base/table.h"
#include "conf/ports.h"
#include "map/map.h"
#include "net/endpoint.h"
#include "smtp/restriction.h"
#include <unistd.h>

#define CLASSES_DEPTH_MAX 20 /* smtpd(8): restrictions within each other */

/* The same mistake of main.cf is seen by many services. */
static bool told_before(const struct lint *l, const char *param, struct span wrong)
{
	struct span key =
	    span_printf(l->a, "%s %d " SPAN_FMT, param, l->service != NULL && lint_is_own(l, param),
			SPAN_ARG(span_head(wrong, 500)));

	if (table_get(l->told, key) != NULL)
		return true;
	(void)table_set(l->told, key, l->told);
	return false;
}

static void refuse(const struct lint *l, const char *param, struct span wrong, const struct err *e)
{
	if (!told_before(l, param, wrong))
		lint_say(l, param, "%s", e->text);
}

/* ---- lists ---- */

enum kind {
	OTHER,
	PLAIN, /* words */
	WORDS, /* and files that hold some */
	TABLES,
	NAMES,	/* of domains or users, and tables */
	CLIENTS /* and networks */
};

static const struct {
	const char *name;
	enum kind kind;
} lists[] = {
	{ "authorized_flush_users", NAMES },
	{ "authorized_mailq_users", NAMES },
	{ "authorized_submit_users", NAMES },
	{ "canonical_classes", PLAIN },
	{ "debug_peer_list", CLIENTS },
	{ "export_environment", PLAIN },
	{ "fast_flush_domains", NAMES },
	{ "imapd_tls_chain_files", PLAIN },
	{ "import_environment", PLAIN },
	{ "lmtp_connection_cache_destinations", NAMES },
	{ "lmtp_sasl_mechanism_filter", NAMES },
	{ "lmtp_tls_chain_files", PLAIN },
	{ "lmtp_tls_per_site", TABLES },
	{ "local_header_rewrite_clients", WORDS },
	{ "masquerade_classes", PLAIN },
	{ "masquerade_domains", WORDS },
	{ "masquerade_exceptions", WORDS },
	{ "mydestination", NAMES },
	{ "mynetworks", CLIENTS },
	{ "parent_domain_matches_subdomains", PLAIN },
	{ "permit_mx_backup_networks", CLIENTS },
	{ "propagate_unmatched_extensions", PLAIN },
	{ "recipient_canonical_classes", PLAIN },
	{ "relay_clientcerts", TABLES },
	{ "relay_domains", NAMES },
	{ "resolver_nameservers", PLAIN },
	{ "sender_canonical_classes", PLAIN },
	{ "smtp_connection_cache_destinations", NAMES },
	{ "smtp_sasl_mechanism_filter", NAMES },
	{ "smtp_tls_chain_files", PLAIN },
	{ "smtp_tls_per_site", TABLES },
	{ "smtpd_authorized_verp_clients", CLIENTS },
	{ "smtpd_authorized_xclient_hosts", CLIENTS },
	{ "smtpd_authorized_xforward_hosts", CLIENTS },
	{ "smtpd_client_event_limit_exceptions", CLIENTS },
	{ "smtpd_command_filter", TABLES },
	{ "smtpd_discard_ehlo_keywords", WORDS },
	{ "smtpd_forbid_bare_newline_exclusions", CLIENTS },
	{ "smtpd_forbidden_commands", WORDS },
	{ "smtpd_log_access_permit_actions", NAMES },
	{ "smtpd_noop_commands", WORDS },
	{ "smtpd_sasl_exceptions_networks", CLIENTS },
	{ "smtpd_sasl_mechanism_filter", NAMES },
	{ "smtpd_tls_chain_files", PLAIN },
	{ "smtpd_tls_exclude_ciphers", PLAIN },
	{ "smtpd_tls_mandatory_exclude_ciphers", PLAIN },
	{ "virtual_alias_domains", NAMES },
	{ "virtual_mailbox_domains", NAMES },
};

static enum kind kind_of(struct span name)
{
	if (span_starts(name, SPAN("proxy_")) || span_is(name, "alias_database"))
		return OTHER;
	if (span_ends(name, SPAN("_maps")) || span_ends(name, SPAN("_checks")) ||
	    span_ends(name, SPAN("_status_filter")) || span_ends(name, SPAN("_reply_filter")))
		return TABLES;
	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		if (span_is(name, lists[i].name))
			return lists[i].kind;
	return OTHER;
}

/* Whether the service reads it: of main.cf itself (no service) what is not one program's alone. */
static bool reads(const struct lint *l, struct span name)
{
	static const struct {
		const char *prefix, *programs;
	} own[] = {
		{ "smtpd_", "smtpd lmtpd postscreen tlsmgr" },
		{ "smtp_", "smtp relay" },
		{ "lmtp_", "lmtp" },
		{ "imapd_", "imapd" },
	};

	for (size_t i = 0; i < ARRAY_LEN(own); i++)
		if (span_starts(name, span_str(own[i].prefix)))
			return l->service != NULL && lint_is_program(l, own[i].programs);
	return l->service == NULL || lint_is_own(l, arena_cstr(l->a, name));
}

static enum rc environment_check(const struct span *words, size_t n, struct err *e)
{
	struct span name, value, rest, first;

	for (size_t i = 0; i < n; i++) {
		(void)conf_environment_word(words[i], &name, &value);
		rest = name;
		if (!span_next_word(&rest, " \t\r\n", &first) || !span_eq(first, name))
			return err_set(e, RC_SYNTAX,
				       "bad word \"" SPAN_FMT
				       "\": NAME, NAME=value or { NAME = value } expected",
				       SPAN_ARG(span_head(words[i], 200)));
	}
	return RC_OK;
}

static void look_at_list(const struct lint *l, const struct param *p)
{
	enum kind kind = kind_of(span_str(p->name));
	struct span text, *words = NULL;
	struct err e = { 0 };
	enum rc rc = RC_OK;
	size_t n = 0;

	if (kind == OTHER || !lint_is_set(l, p->name) || !reads(l, span_str(p->name)) ||
	    (text = lint_value(l, p->name)).n == 0)
		return;
	if (kind == PLAIN || kind == WORDS)
		rc = conf_words(text, kind == WORDS, l->a, &words, &n, &e);
	else if (kind == TABLES)
		rc = maps_check(text, &e);
	else
		rc = match_list_check(text, kind == CLIENTS, &e);
	if (rc == RC_OK && span_ends(span_str(p->name), SPAN("_environment")))
		rc = environment_check(words, n, &e);
	if (rc != RC_OK)
		refuse(l, p->name, text, &e);
}

/* ---- restrictions ---- */

/* A restriction class: looked at once, wherever it is named. */
struct class
{
	enum { FRESH, OPEN, DONE } state;
	unsigned height; /* classes within each other, with it */
	bool guarded;
};

struct walk {
	const struct lint *l;
	struct table *classes;	/* name -> struct class */
	const char *param;	/* whose text it is: a list, or a class in it */
	unsigned depth, height; /* classes around it; within each other in it */
	bool guarded;		/* something keeps strangers from relaying */
};

static void wrong_rule(const struct walk *w, struct span wrong, const char *fmt, ...) PRINTF_LIKE(3, 4);
static void wrong_rule(const struct walk *w, struct span wrong, const char *fmt, ...)
{
	struct err e;
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(e.text, sizeof(e.text), fmt, ap);
	va_end(ap);
	refuse(w->l, w->param, wrong, &e);
}

static void look_at_policy_server(const struct walk *w, struct span arg)
{
	struct policy_settings set;
	struct endpoint to;
	struct span *v;
	struct err e;
	size_t n = 0;

	if (conf_words(arg, false, w->l->a, &v, &n, &e) != RC_OK || n == 0 ||
	    endpoint_parse(v[0], &to, &e) != RC_OK)
		wrong_rule(w, arg, "check_policy_service " SPAN_FMT ": %s", SPAN_ARG(arg),
			   n == 0 ? "no server" : e.text);
	for (size_t i = 1; i < n; i++)
		if (policy_attribute(v[i], &set) != RC_OK)
			wrong_rule(w, v[i], "check_policy_service " SPAN_FMT ": bad attribute " SPAN_FMT,
				   SPAN_ARG(v[0]), SPAN_ARG(v[i]));
}

static void look_at_argument(const struct walk *w, struct span name, enum restriction_arg kind,
			     struct span arg)
{
	uint8_t allowed[DNSBL_BYTES][32];
	ptrdiff_t eq = span_chr(arg, '=');
	uint64_t seconds;
	struct err e;

	switch (kind) {
	case ARG_TABLE:
		if (maps_check(arg, &e) != RC_OK)
			wrong_rule(w, arg, "%s", e.text);
		break;
	case ARG_DOMAIN:
		if (eq >= 0 && dnsbl_filter_parse(span_skip(arg, (size_t)eq + 1), allowed) != RC_OK)
			wrong_rule(w, arg, SPAN_FMT " " SPAN_FMT ": bad filter behind \"=\"", SPAN_ARG(name),
				   SPAN_ARG(arg));
		break;
	case ARG_SERVICE:
		look_at_policy_server(w, arg);
		break;
	case ARG_NUMBER:
		if (span_to_u64(arg, RESTRICTION_SLEEP_MAX_S, &seconds) != RC_OK)
			wrong_rule(w, arg, SPAN_FMT " " SPAN_FMT ": seconds expected, %d at most",
				   SPAN_ARG(name), SPAN_ARG(arg), RESTRICTION_SLEEP_MAX_S);
		break;
	case ARG_NONE:
		break;
	}
}

static void walk_list(struct walk *w);

static void too_deep(const struct walk *w, struct span name)
{
	wrong_rule(w, name,
		   "restriction classes are nested more than %d deep at " SPAN_FMT ": write some of them out",
		   CLASSES_DEPTH_MAX, SPAN_ARG(name));
}

static void walk_class_once(struct walk *w, struct span name, struct class *c)
{
	struct walk in = *w;

	in.param = arena_cstr(w->l->a, name);
	in.depth++;
	in.height = 0;
	in.guarded = false;
	c->state = OPEN;
	if (conf_raw(w->l->conf, in.param) != NULL)
		walk_list(&in);
	c->height = in.height + 1;
	c->guarded = in.guarded;
	c->state = DONE;
}

static void walk_class(struct walk *w, struct span name, struct class *c)
{
	if (c->state == OPEN) {
		wrong_rule(w, name,
			   "restriction class " SPAN_FMT " contains itself: take it out of what it leads to",
			   SPAN_ARG(name));
		return;
	}
	if (c->state == FRESH && w->depth < CLASSES_DEPTH_MAX)
		walk_class_once(w, name, c);
	if (c->state == FRESH || w->depth + c->height > CLASSES_DEPTH_MAX)
		too_deep(w, name);
	if (w->height < c->height)
		w->height = c->height;
	w->guarded |= c->guarded;
}

static void unknown(const struct walk *w, struct span name)
{
	struct span near = restriction_nearest(name);

	wrong_rule(w, name, "unknown restriction \"" SPAN_FMT "\"%s" SPAN_FMT "%s",
		   SPAN_ARG(span_head(name, 100)), near.n > 0 ? "; did you mean " : "", SPAN_ARG(near),
		   near.n > 0 ? "?" : "");
}

static bool is_guard(struct span name)
{
	static const char *const guards[] = {
		"reject_unauth_destination", "defer_unauth_destination", "reject", "defer",
		"defer_if_permit",	     "check_relay_domains"
	};

	for (size_t i = 0; i < ARRAY_LEN(guards); i++)
		if (span_is_ci(name, guards[i]))
			return true;
	return false;
}

/* One restriction; *i is left at its argument. False: nothing behind it is reached. */
static bool walk_rule(struct walk *w, const struct span *v, size_t n, size_t *i, bool warn, bool reached)
{
	struct span name = v[*i];
	enum restriction_arg kind;
	struct class *class;

	if (restriction_find(name, &kind)) {
		w->guarded |= !warn && is_guard(name);
		if (kind != ARG_NONE && *i + 1 < n)
			look_at_argument(w, name, kind, v[++*i]);
		else if (kind != ARG_NONE && kind != ARG_DOMAIN && reached)
			wrong_rule(w, name, SPAN_FMT " needs an argument", SPAN_ARG(name));
		return warn || !restriction_is_final(name);
	}
	if ((class = table_get(w->classes, name)) != NULL)
		walk_class(w, name, class);
	else if (span_chr(name, ':') > 0)
		look_at_argument(w, name, ARG_TABLE, name);
	else if (reached)
		unknown(w, name);
	return true;
}

static void walk_list(struct walk *w)
{
	struct span *v, text = lint_value(w->l, w->param);
	bool warn = false, reached = true;
	struct err e;
	size_t n;

	if (conf_words(text, false, w->l->a, &v, &n, &e) != RC_OK) {
		refuse(w->l, w->param, text, &e);
		w->guarded = true; /* one line for one mistake */
		return;
	}
	for (size_t i = 0; i < n; i++) {
		if (span_is_ci(v[i], "warn_if_reject")) {
			warn = true;
			continue;
		}
		reached &= walk_rule(w, v, n, &i, warn, reached);
		warn = false;
	}
}

static bool walk_stage(const struct lint *l, struct table *classes, const char *param)
{
	struct walk w = { .l = l, .classes = classes, .param = param };

	walk_list(&w);
	return w.guarded;
}

static void look_at_classes(const struct lint *l, struct table *classes)
{
	struct span *word;
	struct err e;
	size_t n = lint_words(l, "smtpd_restriction_classes", &word);
	struct class *class = arena_array(l->a, n + 1, sizeof(*class));

	for (size_t i = 0; i < n; i++) {
		class[i] = (struct class){ FRESH, 0, false };
		(void)table_set(classes, word[i], &class[i]);
		if (conf_raw(l->conf, arena_cstr(l->a, word[i])) == NULL) {
			(void)err_set(&e, RC_SYNTAX, "restriction class " SPAN_FMT " needs a definition",
				      SPAN_ARG(word[i]));
			refuse(l, "smtpd_restriction_classes", word[i], &e);
		}
	}
}

static void look_at_restrictions(const struct lint *l)
{
	static const char *const stages[] = { "smtpd_client_restrictions",	"smtpd_helo_restrictions",
					      "smtpd_sender_restrictions",	"smtpd_data_restrictions",
					      "smtpd_end_of_data_restrictions", "smtpd_etrn_restrictions" };
	struct lint told = *l;
	struct table *classes = table_new();
	bool relay, recipient;
	struct err e;

	look_at_classes(l, classes);
	for (size_t i = 0; i < ARRAY_LEN(stages); i++)
		(void)walk_stage(l, classes, stages[i]);
	relay = walk_stage(l, classes, "smtpd_relay_restrictions");
	recipient = walk_stage(l, classes, "smtpd_recipient_restrictions");
	table_free(&classes, NULL);
	if (relay || recipient || lint_is_program(l, "lmtpd"))
		return;
	(void)err_set(
	    &e, RC_SYNTAX,
	    "nothing keeps strangers from relaying, and smtpd refuses to work so: end the list with "
	    "reject_unauth_destination");
	if (l->start)
		told.refused = NULL;
	refuse(&told,
	       lint_is_own(l, "smtpd_recipient_restrictions") ? "smtpd_recipient_restrictions"
							      : "smtpd_relay_restrictions",
	       SPAN("relay"), &e);
}

/* ---- single values ---- */

static enum rc is_endpoint(struct span v, struct err *e)
{
	struct endpoint to;

	return endpoint_parse(v, &to, e);
}

static enum rc is_sasl_path(struct span v, struct err *e)
{
	return span_starts(v, SPAN("inet:")) ? is_endpoint(v, e) : RC_OK;
}

static enum rc is_port(struct span v, struct err *e)
{
	uint16_t port;

	return port_parse(v, &port) ? RC_OK
				    : err_set(e, RC_SYNTAX, "unknown port \"" SPAN_FMT "\"", SPAN_ARG(v));
}

static enum rc is_address(struct span v, int family, struct err *e)
{
	struct inet_addr addr;

	if (inet_addr_parse(v, &addr) == RC_OK && addr.family == family)
		return RC_OK;
	return err_set(e, RC_SYNTAX, "an IPv%c address expected, not \"" SPAN_FMT "\"",
		       family == AF_INET ? '4' : '6', SPAN_ARG(v));
}

static enum rc is_ipv4(struct span v, struct err *e)
{
	return is_address(v, AF_INET, e);
}

static enum rc is_ipv6(struct span v, struct err *e)
{
	return is_address(v, AF_INET6, e);
}

static enum rc is_proxied(struct span v, struct err *e)
{
	return span_starts(v, SPAN("proxy:")) ? maps_check(v, e)
					      : err_set(e, RC_SYNTAX, "must begin with \"proxy:\"");
}

static enum rc is_tls_config(struct span v, struct err *e)
{
	char path[4096];

	if (span_is(v, "default") || span_is(v, "none"))
		return RC_OK;
	if (v.p[0] != '/' || span_cstr(v, path, sizeof(path)) != RC_OK)
		return err_set(e, RC_SYNTAX, "\"default\", \"none\" or a path expected, not \"" SPAN_FMT "\"",
			       SPAN_ARG(v));
	return access(path, R_OK) == 0 ? RC_OK : err_sys(e, "%s", path);
}

static enum rc is_level(struct span v, struct err *e)
{
	return span_is_ci(v, "dane-only") ? err_set(e, RC_SYNTAX, "level dane-only is not supported") : RC_OK;
}

static enum rc is_path(struct span v, struct err *e)
{
	return v.p[0] == '/'
		   ? RC_OK
		   : err_set(e, RC_SYNTAX, "an absolute path expected, not \"" SPAN_FMT "\"", SPAN_ARG(v));
}

/* Of everybody, looked at in main.cf. */
static const char *const paths[] = { "command_directory", "daemon_directory", "data_directory",
				     "queue_directory" };

static void look_at_paths(const struct lint *l)
{
	struct err e = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		struct span v = lint_value(l, paths[i]);

		if (v.n > 0 && is_path(v, &e) != RC_OK)
			refuse(l, paths[i], v, &e);
	}
}

static const struct {
	const char *name, *programs;
	enum rc (*check)(struct span v, struct err *e);
} values[] = {
	{ "lmtp_bind_address", "lmtp", is_ipv4 },
	{ "lmtp_bind_address6", "lmtp", is_ipv6 },
	{ "lmtp_sasl_auth_cache_name", "lmtp", is_proxied },
	{ "lmtp_tcp_port", "lmtp", is_port },
	{ "lmtp_tls_security_level", "lmtp", is_level },
	{ "smtp_bind_address", "smtp relay", is_ipv4 },
	{ "smtp_bind_address6", "smtp relay", is_ipv6 },
	{ "smtp_sasl_auth_cache_name", "smtp relay", is_proxied },
	{ "smtp_tcp_port", "smtp relay", is_port },
	{ "smtp_tls_security_level", "smtp relay", is_level },
	{ "smtpd_proxy_filter", "smtpd", is_endpoint },
	{ "smtpd_sasl_path", "smtpd", is_sasl_path },
	{ "tls_config_file", "smtpd smtp relay lmtp imapd pop3d", is_tls_config },
};

static void look_at_values(const struct lint *l)
{
	struct err e = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(values); i++) {
		struct span v = lint_value(l, values[i].name);

		if (v.n > 0 && lint_is_program(l, values[i].programs) && values[i].check(v, &e) != RC_OK)
			refuse(l, values[i].name, v, &e);
	}
}

void lint_refuse(const struct lint *l)
{
	for (const struct param *p = conf_params; p->name != NULL; p++)
		look_at_list(l, p);
	if (l->service == NULL) {
		look_at_paths(l);
		return;
	}
	look_at_values(l);
	if (lint_is_program(l, "smtpd lmtpd postscreen"))
		look_at_restrictions(l);
}
