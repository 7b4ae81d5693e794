/* map/mod_ldap.c - ldap: questions to directories (ldap_table(5)): a search, and further searches for the
 * members that an entry names by DN or URL. */
#include "log/log.h"
#include "map/dbpool.h"
#include "map/dbquery.h"
#include <ldap.h>
#include <sasl/sasl.h>

#define TEXT_MAX       65536
#define ATTRIBUTES_MAX 200
#define SEARCHES_MAX   100000 /* of one look-up: groups that name each other in many ways */

/* What the values of an attribute are for; the first that fits counts. */
enum role { ROLE_NONE, ROLE_TERMINAL, ROLE_LEAF, ROLE_PLAIN, ROLE_SPECIAL };

struct attribute {
	const char *name;
	enum role role;
};

struct ldap_table {
	struct dbconf *conf;
	struct db_query query;
	struct dbpool *pool;
	struct attribute attribute[ATTRIBUTES_MAX];
	size_t attributes;
	char *names[ATTRIBUTES_MAX + 1]; /* the same, for the library */
	const char *format;
	int scope;
	bool dynamic_base;
};

struct ldap_job {
	const struct ldap_table *t;
	struct db_answer answer;
	LDAP *ld;
	mono_t end;
	int64_t depth, searches;
	char note[200]; /* for the log */
};

/* ---- quoting: RFC 4515 section 3, RFC 4514 section 2.4 ---- */
static void put_hex(struct buf *out, char c)
{
	(void)buf_printf(out, "\\%02X", (unsigned)(unsigned char)c);
}

static enum rc quote_filter(void *arg, char quote, struct span value, struct buf *out, struct err *e)
{
	(void)arg, (void)quote, (void)e;
	for (size_t i = 0; i < value.n; i++)
		if (memchr("*()\\\0", value.p[i], 5))
			put_hex(out, value.p[i]);
		else
			(void)buf_putc(out, value.p[i]);
	return RC_OK;
}

static enum rc quote_dn(void *arg, char quote, struct span value, struct buf *out, struct err *e)
{
	(void)arg, (void)quote, (void)e;
	for (size_t i = 0; i < value.n; i++) {
		bool at_end = i == 0 || i + 1 == value.n;
		if (memchr(",+\"\\<>;=#\0", value.p[i], 10) || (at_end && value.p[i] == ' '))
			put_hex(out, value.p[i]);
		else
			(void)buf_putc(out, value.p[i]);
	}
	return RC_OK;
}

/* ---- connections ---- */
static enum rc set_option(LDAP *ld, int option, const void *value, const char *what, struct err *e)
{
	int r = ldap_set_option(ld, option, value);

	return r == LDAP_OPT_SUCCESS ? RC_OK : err_set(e, RC_AGAIN, "%s: unusable (%d)", what, r);
}

static enum rc set_tls(LDAP *ld, const struct dbconf *c, struct err *e)
{
	static const struct {
		enum db_param p;
		int option;
		const char *name;
	} texts[] = {
		{ DBP_TLS_CA_CERT_DIR, LDAP_OPT_X_TLS_CACERTDIR, "tls_ca_cert_dir" },
		{ DBP_TLS_CA_CERT_FILE, LDAP_OPT_X_TLS_CACERTFILE, "tls_ca_cert_file" },
		{ DBP_TLS_CERT, LDAP_OPT_X_TLS_CERTFILE, "tls_cert" },
		{ DBP_TLS_KEY, LDAP_OPT_X_TLS_KEYFILE, "tls_key" },
		{ DBP_TLS_CIPHER_SUITE, LDAP_OPT_X_TLS_CIPHER_SUITE, "tls_cipher_suite" },
	};
	int require = c->number[DBP_TLS_REQUIRE_CERT] ? LDAP_OPT_X_TLS_DEMAND : LDAP_OPT_X_TLS_NEVER,
	    fresh = 0;
	enum rc rc = RC_OK;

	/* The random number generator of today's TLS libraries needs no file; who has one is asked nothing. */
	if (c->text[DBP_TLS_RANDOM_FILE][0])
		(void)ldap_set_option(ld, LDAP_OPT_X_TLS_RANDOM_FILE, c->text[DBP_TLS_RANDOM_FILE]);
	for (size_t i = 0; i < ARRAY_LEN(texts) && rc == RC_OK; i++)
		if (c->text[texts[i].p][0])
			rc = set_option(ld, texts[i].option, c->text[texts[i].p], texts[i].name, e);
	if (rc == RC_OK)
		rc = set_option(ld, LDAP_OPT_X_TLS_REQUIRE_CERT, &require, "tls_require_cert", e);
	if (rc == RC_OK)
		rc = set_option(ld, LDAP_OPT_X_TLS_NEWCTX, &fresh, "TLS", e);
	return rc;
}

static bool uses_tls(const struct dbconf *c)
{
	return c->number[DBP_START_TLS] ||
	       span_find_ci(span_str(c->text[DBP_SERVER_HOST]), SPAN("ldaps:")) >= 0;
}

static enum rc set_options(LDAP *ld, const struct dbconf *c, int timeout_s, struct err *e)
{
	struct timeval limit = { .tv_sec = timeout_s };
	int version = (int)c->number[DBP_VERSION], deref = (int)c->number[DBP_DEREFERENCE];
	const void *chase = c->number[DBP_CHASE_REFERRALS] ? LDAP_OPT_ON : LDAP_OPT_OFF;
	enum rc rc = set_option(ld, LDAP_OPT_PROTOCOL_VERSION, &version, "version", e);

	if (rc == RC_OK)
		rc = set_option(ld, LDAP_OPT_NETWORK_TIMEOUT, &limit, "timeout", e);
	if (rc == RC_OK)
		rc = set_option(ld, LDAP_OPT_TIMEOUT, &limit, "timeout", e);
	if (rc == RC_OK)
		rc = set_option(ld, LDAP_OPT_DEREF, &deref, "dereference", e);
	if (rc == RC_OK)
		rc = set_option(ld, LDAP_OPT_REFERRALS, chase, "chase_referrals", e);
	return rc == RC_OK && uses_tls(c) ? set_tls(ld, c, e) : rc;
}

static int bind_simple(LDAP *ld, const struct dbconf *c)
{
	const char *dn = c->text[DBP_BIND_DN], *pw = c->text[DBP_BIND_PW];
	struct berval secret = { .bv_len = strlen(pw), .bv_val = (char *)(uintptr_t)pw };

	return ldap_sasl_bind_s(ld, dn, LDAP_SASL_SIMPLE, &secret, NULL, NULL, NULL);
}

static int answer_sasl(LDAP *ld, unsigned flags, void *arg, void *questions)
{
	const struct dbconf *c = arg;
	sasl_interact_t *q = questions;

	(void)ld, (void)flags;
	for (; q->id != SASL_CB_LIST_END; q++) {
		const char *answer = "";
		switch (q->id) {
		case SASL_CB_GETREALM:
			answer = c->text[DBP_SASL_REALM];
			break;
		case SASL_CB_AUTHNAME:
			answer = c->text[DBP_BIND_DN];
			break;
		case SASL_CB_USER:
			answer = c->text[DBP_SASL_AUTHZ_ID];
			break;
		case SASL_CB_PASS:
			answer = c->text[DBP_BIND_PW];
			break;
		default:
			break;
		}
		q->result = answer;
		q->len = (unsigned)strlen(answer);
	}
	return LDAP_SUCCESS;
}

static int bind_sasl(LDAP *ld, struct dbconf *c)
{
	char properties[64];

	if (c->number[DBP_SASL_MINSSF]) {
		snprintf(properties, sizeof properties, "minssf=%d", (int)c->number[DBP_SASL_MINSSF]);
		if (ldap_set_option(ld, LDAP_OPT_X_SASL_SECPROPS, properties) != LDAP_OPT_SUCCESS)
			return LDAP_PARAM_ERROR;
	}
	return ldap_sasl_interactive_bind_s(ld, c->text[DBP_BIND_DN][0] ? c->text[DBP_BIND_DN] : NULL,
					    c->text[DBP_SASL_MECHS][0] ? c->text[DBP_SASL_MECHS] : NULL, NULL,
					    NULL, LDAP_SASL_QUIET, answer_sasl, c);
}

static int bind_as(LDAP *ld, const struct dbconf *c)
{
	struct span how = span_str(c->text[DBP_BIND]);

	if (span_is_ci(how, "sasl"))
		return bind_sasl(ld, (struct dbconf *)(uintptr_t)c);
	if (span_is_ci(how, "no") || span_is_ci(how, "none"))
		return LDAP_SUCCESS;
	return bind_simple(ld, c);
}

/* A server that a referral leads to is told the same name and password. */
static int rebind(LDAP *ld, const char *url, ber_tag_t request, ber_int_t id, void *conf)
{
	(void)url, (void)request, (void)id;
	return bind_as(ld, conf);
}

static void disconnect(void *conn)
{
	ldap_unbind_ext(conn, NULL, NULL);
}

static enum rc failed(LDAP *ld, const char *what, int r, struct err *e)
{
	char *more = NULL;
	enum rc rc = r == LDAP_SERVER_DOWN || r == LDAP_UNAVAILABLE || r == LDAP_CONNECT_ERROR ? RC_EOF
		     : r == LDAP_TIMEOUT						       ? RC_TIMEOUT
											       : RC_AGAIN;

	ldap_get_option(ld, LDAP_OPT_DIAGNOSTIC_MESSAGE, &more);
	rc = err_set(e, rc, "%s: %d (%s)%s%s", what, r, ldap_err2string(r), more && *more ? ": " : "",
		     more ? more : "");
	if (more)
		ldap_memfree(more);
	return rc;
}

/* "host", "host:port" and URLs, separated by blanks or commas, as a list of URLs. */
static const char *urls(const struct dbconf *c, struct arena *a)
{
	struct span hosts = span_str(c->text[DBP_SERVER_HOST]), word;
	const char *list = "";

	while (span_next_word(&hosts, ", \t\r\n", &word)) {
		bool url = span_find(word, SPAN("://")) >= 0, port = span_chr(word, ':') >= 0;
		const char *one = url	 ? arena_cstr(a, word)
				  : port ? arena_printf(a, "ldap://" SPAN_FMT, SPAN_ARG(word))
					 : arena_printf(a, "ldap://" SPAN_FMT ":%d", SPAN_ARG(word),
							(int)c->number[DBP_SERVER_PORT]);
		list = arena_printf(a, "%s%s%s", list, *list ? " " : "", one);
	}
	return list;
}

static void *connect_host(const struct dbconf *c, const char *host, int timeout_s, struct err *e)
{
	int wait_s = (int)c->number[DBP_TIMEOUT] < timeout_s ? (int)c->number[DBP_TIMEOUT] : timeout_s, r;
	struct arena a;
	LDAP *ld = NULL;

	(void)host; /* the library tries all of the list in order */
	arena_init(&a);
	r = ldap_initialize(&ld, urls(c, &a));
	arena_release(&a);
	if (r != LDAP_SUCCESS)
		return (void)err_set(e, RC_AGAIN, "%s", ldap_err2string(r)), NULL;
	if (set_options(ld, c, wait_s, e) != RC_OK)
		goto no;
	ldap_set_rebind_proc(ld, rebind, (void *)(uintptr_t)c);
	if (c->number[DBP_START_TLS] && (r = ldap_start_tls_s(ld, NULL, NULL)) != LDAP_SUCCESS) {
		(void)failed(ld, "STARTTLS", r, e);
		goto no;
	}
	if ((r = bind_as(ld, c)) == LDAP_SUCCESS)
		return ld;
	(void)failed(ld, "bind", r, e);
no:
	ldap_unbind_ext(ld, NULL, NULL);
	return NULL;
}

/* ---- entries ---- */
static enum rc search(struct ldap_job *j, const char *base, int scope, const char *filter, char **attributes,
		      bool top, struct err *e);

/* "mail;lang-en" is `mail`, unless the table names it with its option. */
static enum role role_of(const struct ldap_table *t, const char *name)
{
	struct span whole = span_str(name), bare = whole;
	ptrdiff_t semi = span_chr(whole, ';');

	if (semi >= 0)
		bare = span_head(whole, (size_t)semi);
	for (size_t i = 0; i < t->attributes; i++)
		if (span_is_ci(whole, t->attribute[i].name))
			return t->attribute[i].role;
	for (size_t i = 0; i < t->attributes; i++)
		if (span_is_ci(bare, t->attribute[i].name))
			return t->attribute[i].role;
	return ROLE_NONE;
}

static bool has_role(struct ldap_job *j, LDAPMessage *entry, enum role role)
{
	BerElement *ber = NULL;
	bool found = false;

	for (char *name = ldap_first_attribute(j->ld, entry, &ber); name;
	     name = ldap_next_attribute(j->ld, entry, ber)) {
		struct berval **v =
		    role_of(j->t, name) == role ? ldap_get_values_len(j->ld, entry, name) : NULL;
		found |= v && ldap_count_values_len(v) > 0;
		if (v)
			ldap_value_free_len(v);
		ldap_memfree(name);
	}
	if (ber)
		ber_free(ber, 0);
	return found;
}

/* The attributes to ask of a URL: those that it and the table name. The library reads names up to NULL. */
static size_t common_attributes(const struct ldap_table *t, char **wanted, char **out)
{
	size_t n = 0;

	if (!wanted || !wanted[0]) {
		memcpy(out, t->names, (t->attributes + 1) * sizeof *out);
		return t->attributes;
	}
	for (size_t i = 0; wanted[i] && n < ATTRIBUTES_MAX; i++)
		if (span_is(span_str(wanted[i]), "*")) {
			memcpy(out, t->names, (t->attributes + 1) * sizeof *out);
			return t->attributes;
		} else if (role_of(t, wanted[i]) != ROLE_NONE) {
			out[n++] = wanted[i];
		}
	out[n] = NULL;
	return n;
}

static enum rc follow_url(struct ldap_job *j, const char *text, struct err *e)
{
	char *attributes[ATTRIBUTES_MAX + 1];
	LDAPURLDesc *url = NULL;
	enum rc rc = RC_OK;
	int r = ldap_url_parse(text, &url);

	if (r != LDAP_URL_SUCCESS)
		return err_set(e, RC_DENIED, "malformed URL %.200s", text);
	if (common_attributes(j->t, url->lud_attrs, attributes))
		rc = search(j, url->lud_dn ? url->lud_dn : "",
			    url->lud_scope == LDAP_SCOPE_DEFAULT ? LDAP_SCOPE_BASE : url->lud_scope,
			    url->lud_filter ? url->lud_filter : "(objectClass=*)", attributes, false, e);
	ldap_free_urldesc(url);
	return rc;
}

static enum rc follow(struct ldap_job *j, struct span value, struct err *e)
{
	struct arena a;
	const char *text;
	enum rc rc;

	if (++j->depth >= j->t->conf->number[DBP_RECURSION_LIMIT]) /* the first entry counts, too */
		return err_set(e, RC_LIMIT, "more nesting than recursion_limit (%d) allows",
			       (int)j->t->conf->number[DBP_RECURSION_LIMIT]);
	arena_init(&a);
	text = arena_cstr(&a, value);
	if (ldap_is_ldap_url(text))
		rc = follow_url(j, text, e);
	else
		rc = search(j, text, LDAP_SCOPE_BASE, "(objectClass=*)", (char **)(uintptr_t)j->t->names,
			    false, e);
	arena_release(&a);
	j->depth--;
	return rc;
}

static enum rc take_values(struct ldap_job *j, LDAPMessage *entry, const char *name, bool special,
			   struct err *e)
{
	struct berval **v = ldap_get_values_len(j->ld, entry, name);
	enum rc rc = RC_OK;

	for (size_t i = 0; v && v[i] && rc == RC_OK; i++) {
		struct span value = span_make(v[i]->bv_val, v[i]->bv_len);
		if (span_chr(value, '\0') >= 0)
			snprintf(j->note, sizeof j->note, "%.100s: a value with a NUL byte left out", name);
		else
			rc = special ? follow(j, value, e) : db_answer_add(&j->answer, value, e);
	}
	if (v)
		ldap_value_free_len(v);
	return rc;
}

static enum rc take_entry(struct ldap_job *j, LDAPMessage *entry, struct err *e)
{
	bool terminal = has_role(j, entry, ROLE_TERMINAL), group = has_role(j, entry, ROLE_SPECIAL);
	BerElement *ber = NULL;
	enum rc rc = RC_OK;

	for (char *name = ldap_first_attribute(j->ld, entry, &ber); name;
	     name = ldap_next_attribute(j->ld, entry, ber)) {
		enum role role = role_of(j->t, name);
		bool use = terminal
			       ? role == ROLE_TERMINAL
			       : role == ROLE_PLAIN || role == ROLE_SPECIAL || (role == ROLE_LEAF && !group);
		if (use && rc == RC_OK)
			rc = take_values(j, entry, name, role == ROLE_SPECIAL, e);
		ldap_memfree(name);
	}
	if (ber)
		ber_free(ber, 0);
	return rc;
}

static enum rc judge(struct ldap_job *j, int r, const char *base, bool top, struct err *e)
{
	switch (r) {
	case LDAP_SUCCESS:
		return RC_OK;
	case LDAP_NO_SUCH_OBJECT: /* also what a directory says that hides the entry from us */
		if (top && !j->t->dynamic_base) {
			(void)failed(j->ld, "search_base", r, e);
			return RC_DENIED;
		}
		if (!top)
			snprintf(j->note, sizeof j->note, "DN %.150s is not there, left out", base);
		return RC_OK;
	case LDAP_SIZELIMIT_EXCEEDED:
		return err_set(e, RC_LIMIT, "more entries than size_limit allows");
	case LDAP_INVALID_DN_SYNTAX:
	case LDAP_FILTER_ERROR:
	case LDAP_INSUFFICIENT_ACCESS:
		(void)failed(j->ld, "search", r, e);
		return RC_DENIED;
	default:
		return failed(j->ld, "search", r, e);
	}
}

static enum rc search(struct ldap_job *j, const char *base, int scope, const char *filter, char **attributes,
		      bool top, struct err *e)
{
	struct timeval limit = { .tv_sec = j->t->conf->number[DBP_TIMEOUT] };
	LDAPMessage *answer = NULL;
	enum rc rc;

	if (++j->searches > SEARCHES_MAX || mono_diff_ms(j->end, mono_now()) <= 0)
		return err_set(e, RC_LIMIT, "the members of members are too many to find in time");
	int r = ldap_search_ext_s(j->ld, base, scope, filter, attributes, 0, NULL, NULL, &limit,
				  (int)j->t->conf->number[DBP_SIZE_LIMIT], &answer);
	rc = judge(j, r, base, top, e);
	for (LDAPMessage *m = rc == RC_OK && answer ? ldap_first_entry(j->ld, answer) : NULL;
	     m && rc == RC_OK; m = ldap_next_entry(j->ld, m))
		rc = take_entry(j, m, e);
	if (answer)
		ldap_msgfree(answer);
	return rc;
}

static enum rc ldap_run(void *conn, void *job, int timeout_s, struct err *e)
{
	struct ldap_job *j = job;
	const struct dbconf *c = j->t->conf;
	struct buf base, filter;
	enum rc rc = RC_OK;

	j->ld = conn;
	j->depth = j->searches = j->answer.count = 0;
	j->end = mono_after(mono_now(), (int64_t)timeout_s * 1000);
	buf_reset(&j->answer.text);
	buf_init(&base, TEXT_MAX);
	buf_init(&filter, TEXT_MAX);
	if (j->t->dynamic_base)
		rc = db_expand_query(&j->t->query, c->text[DBP_SEARCH_BASE], j->answer.key, quote_dn, NULL,
				     &base, e);
	else
		(void)buf_puts(&base, c->text[DBP_SEARCH_BASE]);
	if (rc == RC_OK)
		rc = db_expand_query(&j->t->query, c->text[DBP_QUERY_FILTER], j->answer.key, quote_filter,
				     NULL, &filter, e);
	if (rc == RC_OK)
		rc = search(j, buf_cstr(&base), j->t->scope, buf_cstr(&filter),
			    (char **)(uintptr_t)j->t->names, true, e);
	buf_release(&base);
	buf_release(&filter);
	return rc == RC_OK && !j->answer.count ? RC_NOTFOUND : rc;
}

static const struct db_client client = { "ldap", connect_host, disconnect, ldap_run };

/* ---- the type ---- */
static enum rc add_attributes(struct ldap_table *t, enum db_param p, enum role role, struct err *e)
{
	struct span list = span_str(t->conf->text[p]), word;

	while (span_next_word(&list, ", \t\r\n", &word)) {
		if (t->attributes == ATTRIBUTES_MAX)
			return dbconf_bad(t->conf, p, e, "more than %d attributes", ATTRIBUTES_MAX);
		char *name = arena_cstr(&t->conf->arena, word);
		t->names[t->attributes] = name;
		t->attribute[t->attributes++] = (struct attribute){ name, role };
	}
	return RC_OK;
}

static enum rc read_attributes(struct ldap_table *t, struct err *e)
{
	enum rc rc = add_attributes(t, DBP_TERMINAL_RESULT_ATTRIBUTE, ROLE_TERMINAL, e);

	if (rc == RC_OK)
		rc = add_attributes(t, DBP_LEAF_RESULT_ATTRIBUTE, ROLE_LEAF, e);
	if (rc == RC_OK)
		rc = add_attributes(t, DBP_RESULT_ATTRIBUTE, ROLE_PLAIN, e);
	if (rc == RC_OK)
		rc = add_attributes(t, DBP_SPECIAL_RESULT_ATTRIBUTE, ROLE_SPECIAL, e);
	if (rc == RC_OK && !t->attributes)
		rc = dbconf_bad(t->conf, DBP_RESULT_ATTRIBUTE, e,
				"no attribute is named here or as leaf, terminal or special");
	return rc;
}

/* Which of `words` a parameter is; -1: none. */
static int choice(const struct dbconf *c, enum db_param p, const char *words)
{
	struct span rest = span_str(words), word;

	for (int i = 0; span_next_word(&rest, " ", &word); i++)
		if (span_eq_ci(word, span_str(c->text[p])))
			return i;
	return -1;
}

/* Of what has a harmless default the default is taken, with a warning. */
static enum rc read_choices(struct ldap_table *t, struct err *e)
{
	static const int scopes[] = { LDAP_SCOPE_SUBTREE, LDAP_SCOPE_BASE, LDAP_SCOPE_ONELEVEL };
	struct dbconf *c = t->conf;
	int scope = choice(c, DBP_SCOPE, "sub base one");

	if (scope < 0)
		log_warning("%s line %u: scope: \"%s\" is none of sub, base, one; sub is used", c->source,
			    c->line[DBP_SCOPE], c->text[DBP_SCOPE]);
	t->scope = scopes[scope < 0 || (size_t)scope >= ARRAY_LEN(scopes) ? 0 : scope];
	if (c->number[DBP_VERSION] > 3) {
		log_warning("%s line %u: version: neither 2 nor 3; 3 is used", c->source,
			    c->line[DBP_VERSION]);
		c->number[DBP_VERSION] = 3;
	}
	if (choice(c, DBP_BIND, "yes no none simple sasl") < 0)
		return dbconf_bad(c, DBP_BIND, e, "\"%s\" is none of: yes no none simple sasl",
				  c->text[DBP_BIND]);
	if (c->number[DBP_VERSION] == 2 && (uses_tls(c) || span_is_ci(span_str(c->text[DBP_BIND]), "sasl")))
		return dbconf_bad(c, DBP_VERSION, e, "must be 3 for TLS and SASL");
	if (c->number[DBP_DEREFERENCE] > 3)
		return dbconf_bad(c, DBP_DEREFERENCE, e, "must be 0, 1, 2 or 3");
	return RC_OK;
}

static enum rc read_templates(struct ldap_table *t, struct err *e)
{
	const struct dbconf *c = t->conf;
	bool old = !dbconf_set(c, DBP_RESULT_FORMAT) && dbconf_set(c, DBP_RESULT_FILTER), dynamic = false;
	enum db_param format = old ? DBP_RESULT_FILTER : DBP_RESULT_FORMAT;
	enum rc rc;

	t->format = c->text[format][0] ? c->text[format] : "%s";
	rc = db_query_template(&t->query, DBP_SEARCH_BASE, c->text[DBP_SEARCH_BASE], true, &t->dynamic_base,
			       e);
	if (rc == RC_OK)
		rc = db_query_template(&t->query, DBP_QUERY_FILTER, c->text[DBP_QUERY_FILTER], true, &dynamic,
				       e);
	if (rc == RC_OK)
		rc = db_query_template(&t->query, format, t->format, false, NULL, e);
	if (rc == RC_OK && !dynamic && !t->dynamic_base)
		log_warning("%s: query_filter \"%s\" is the same for every key", c->source,
			    c->text[DBP_QUERY_FILTER]);
	return rc;
}

static void close_ldap(struct map *m)
{
	struct ldap_table *t = m->state;

	if (!t)
		return;
	dbpool_close(&t->pool);
	db_query_release(&t->query);
	dbconf_drop(&t->conf);
	free(t);
	m->state = NULL;
}

/* What the library reads once in a process (ldap.conf, its own TLS and SASL parts) is read now, before a
 * sandbox. */
static void start_library(const struct dbconf *c)
{
	static bool done;
	int level = (int)c->number[DBP_DEBUGLEVEL];
	LDAP *ld = NULL;

	if (level)
		ldap_set_option(NULL, LDAP_OPT_DEBUG_LEVEL, &level);
	if (done)
		return;
	done = true;
	(void)sasl_client_init(NULL);
	if (ldap_initialize(&ld, "ldap://localhost") == LDAP_SUCCESS)
		ldap_unbind_ext(ld, NULL, NULL);
}

static void warn_of_cache(const struct dbconf *c)
{
	static const enum db_param gone[] = { DBP_CACHE, DBP_CACHE_EXPIRY, DBP_CACHE_SIZE };

	for (size_t i = 0; i < ARRAY_LEN(gone); i++)
		if (dbconf_set(c, gone[i])) {
			log_warning("%s line %u: cache settings have no effect", c->source, c->line[gone[i]]);
			return;
		}
}

/* The servers are one to the pool: the library goes through the list. */
static struct span one_word(struct dbconf *c)
{
	struct span list = span_str(c->text[DBP_SERVER_HOST]), word, all = SPAN_NONE;

	while (span_next_word(&list, ", \t\r\n", &word))
		all = span_printf(&c->arena, SPAN_FMT "%s" SPAN_FMT, SPAN_ARG(all), all.n ? "|" : "",
				  SPAN_ARG(word));
	return all;
}

static enum rc open_ldap(struct map *m, struct err *e)
{
	struct ldap_table *t = xcalloc(1, sizeof *t);
	enum rc rc = dbconf_open(m, DB_LDAP, &t->conf, e);

	m->state = t;
	if (rc == RC_OK && !dbconf_set(t->conf, DBP_SEARCH_BASE))
		rc = dbconf_bad(t->conf, DBP_SEARCH_BASE, e, "must be set");
	if (rc == RC_OK && !dbconf_set(t->conf, DBP_SIZE_LIMIT))
		t->conf->number[DBP_SIZE_LIMIT] = t->conf->number[DBP_EXPANSION_LIMIT];
	if (rc == RC_OK)
		rc = db_query_init(&t->query, t->conf, e);
	if (rc == RC_OK)
		rc = read_choices(t, e);
	if (rc == RC_OK)
		rc = read_attributes(t, e);
	if (rc == RC_OK)
		rc = read_templates(t, e);
	if (rc == RC_OK) {
		warn_of_cache(t->conf);
		start_library(t->conf);
		rc = dbpool_open(&client, t->conf, one_word(t->conf), NULL, DB_CONNECTIONS_MAX, &t->pool, e);
	}
	if (rc != RC_OK)
		close_ldap(m);
	return rc;
}

static enum rc lookup(struct map *m, unsigned flags, struct span key, struct arena *a, struct span *value,
		      struct err *e)
{
	struct ldap_table *t = m->state;
	struct ldap_job j = { .t = t,
			      .answer = { .q = &t->query,
					  .format = t->format,
					  .key = key,
					  .max = t->conf->number[DBP_EXPANSION_LIMIT] } };
	enum rc rc = dbpool_lookup(t->pool, &j, &j.answer, m->name, a, value, e);

	(void)flags;
	if (j.note[0])
		log_warning("%s: %s", m->name, j.note);
	return rc;
}

static bool changed(const struct map *m)
{
	const struct ldap_table *t = m->state;
	return t && map_file_changed(&t->conf->file);
}

static void paths(const struct map *m, void (*add)(void *arg, const char *path), void *arg)
{
	const struct ldap_table *t = m->state;

	add(arg, "/etc/ldap");
	if (t)
		dbconf_paths(t->conf, add, arg);
}

static const struct map_driver ldap = {
	.name = "ldap",
	.flags = MD_REMOTE | MD_SERVER,
	.open = open_ldap,
	.lookup = lookup,
	.close = close_ldap,
	.changed = changed,
	.paths = paths,
};
static const struct map_driver *const drivers[] = { &ldap, NULL };
extern const struct map_module map_module;
const struct map_module map_module = { MAP_MODULE_ABI, drivers, NULL };
