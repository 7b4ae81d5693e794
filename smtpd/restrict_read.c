/* restrict_read.c - lists of restrictions as rules: those of parameters, read in prepare(), and the names in results of access tables,
 * read when they come. */
#include "restrict.h"
#include "base/table.h"

#define TEXT_RULES_MAX 1000 /* restrictions with arguments in results of tables */

static struct arena forever;
static struct table *classes; /* name -> struct rule_list; NULL: there are none */

static const struct restriction class_rule = { "(class)", run_class, 0 };
static const struct restriction unknown_rule = { "(unknown)", run_unknown_name, 0 };
static enum outcome run_nothing(struct session *s, struct check *c, const struct rule *r)
{
	(void)s, (void)c, (void)r;
	return DUNNO;
}

/* A DNS list without a name: as in Postfix, nothing is asked. */
static const struct restriction empty_rule = { "(none)", run_nothing, 0 };
static const struct restriction implicit_table = { "(table)", run_access, -1 };

static const struct restriction *find(struct span name)
{
	for (const struct restriction *r = restrictions; r->name != NULL; r++)
		if (span_is_ci(name, r->name))
			return r;
	return NULL;
}

enum restriction_arg arg_of(const struct restriction *r)
{
	enum restriction_arg arg = ARG_NONE;

	if (r == &implicit_table)
		return ARG_TABLE;
	(void)restriction_find(span_str(r->name), &arg); /* not there: one of the two others above */
	return arg;
}

static struct rule_list *class_of(struct span name)
{
	return classes != NULL ? table_get(classes, name) : NULL;
}

static struct rule_list *new_list(void)
{
	struct rule_list *l = arena_alloc(&forever, sizeof(*l));

	*l = (struct rule_list){ 0 };
	return l;
}

static struct rule *add(struct rule_list *l)
{
	if (l->n == l->cap)
		l->rule = arena_grow(&forever, l->rule, l->n, &l->cap, sizeof(*l->rule));
	l->rule[l->n] = (struct rule){ 0 };
	return &l->rule[l->n++];
}

/* Answers 451: mail can come later, when the list is repaired. */
static void make_unusable(struct rule_list *l, const char *param, const char *why)
{
	log_warning("%s: %s", param, why);
	add(l)->def = &unknown_rule;
}

static void read_list(struct rule_list *l, const char *param, struct span text);

/* A class is a parameter of its own, whose name the table of parameters does not know. */
static void read_class(struct rule_list *l, struct span name)
{
	const char *param = arena_cstr(&forever, name), *raw = conf_raw(service_conf(), param);
	struct span text;
	struct err e;

	if (raw == NULL)
		make_unusable(l, "smtpd_restriction_classes",
			      arena_printf(&forever, "restriction class %s needs a definition", param));
	else if (conf_expand(service_conf(), span_str(raw), &forever, &text, &e) != RC_OK)
		make_unusable(l, param, e.text);
	else
		read_list(l, param, text);
}

void rules_read_classes(void)
{
	struct span names = span_str(conf_str(service_conf(), "smtpd_restriction_classes")), rest = names,
		    word;

	while (span_next_word(&rest, ", \t\r\n", &word)) { /* all of them first: they may name each other */
		if (classes == NULL)
			classes = table_new();
		if (class_of(word) == NULL)
			(void)table_set(classes, word, new_list());
	}
	for (rest = names; span_next_word(&rest, ", \t\r\n", &word);)
		if (class_of(word)->n == 0)
			read_class(class_of(word), word);
}

/* "search_order = cert_fingerprint, pubkey_fingerprint" */
static bool read_order(struct span word, struct rule *r)
{
	struct span name, key;
	int shift = 0;

	if (!span_next(&word, '=', &name) || !span_is(span_trim(name), "search_order"))
		return false;
	r->number = 0;
	while (span_next_word(&word, ", \t\r\n", &key)) {
		int64_t which = span_is_ci(key, "cert_fingerprint")	? CCERT_CERT
				: span_is_ci(key, "pubkey_fingerprint") ? CCERT_KEY
									: 0;

		if (which == 0 || shift > 2)
			return false;
		r->number |= which << shift;
		shift += 2;
	}
	return shift > 0;
}

/* check_ccert_access { type:table, { search_order = ... } }: what is left of the argument is the table. */
static bool take_order(const char *param, struct rule *r)
{
	struct span *v;
	size_t n = 0;
	struct err e;

	if (conf_words(r->arg, false, &forever, &v, &n, &e) != RC_OK || n < 2)
		return true;
	r->arg = v[0];
	for (size_t i = 1; i < n; i++)
		if (!read_order(v[i], r)) {
			log_warning("%s: %s: bad attribute \"" SPAN_FMT "\"", param, r->def->name,
				    SPAN_ARG(v[i]));
			return false;
		}
	return true;
}

static void open_table(const char *param, struct rule *r)
{
	struct err e;

	if (strcmp(r->def->name, "check_ccert_access") == 0 && !take_order(param, r)) {
		r->def = &unknown_rule;
		return;
	}

	/* A table that cannot be opened answers "cannot say", which is a 451. */
	if (maps_open(param, r->arg, MAP_FOLD_KEY | MAP_PARTIAL, &r->maps, &e) != RC_OK) {
		log_warning("%s", e.text);
		r->def = &unknown_rule;
	}
}

static void take_argument(const char *param, struct rule *r, const struct span *v, size_t n, size_t *i)
{
	enum restriction_arg arg = arg_of(r->def);
	uint64_t number = 0;

	if (arg == ARG_NONE)
		return;
	if (*i + 1 >= n) {
		log_warning("%s: restriction %s needs an argument", param, r->def->name);
		r->def = arg == ARG_DOMAIN ? &empty_rule : &unknown_rule;
		return;
	}
	r->arg = span_dup(&forever, v[++*i]);
	switch (arg) {
	case ARG_TABLE:
		open_table(param, r);
		break;
	case ARG_DOMAIN:
		r->state = dnsbl_read(r->arg);
		break;
	case ARG_SERVICE:
		r->state = policy_read(r->arg);
		break;
	case ARG_NUMBER:
		if (span_to_u64(r->arg, RESTRICTION_SLEEP_MAX_S, &number) != RC_OK) {
			log_warning("%s: %s: bad number \"" SPAN_FMT "\"", param, r->def->name,
				    SPAN_ARG(r->arg));
			r->def = &unknown_rule;
		}
		r->number = (int64_t)number;
		break;
	case ARG_NONE:
		break;
	}
}

/* reject_maps_rbl, the older name: reject_rbl_client for each of maps_rbl_domains. */
static struct rule_list *read_maps_rbl(void)
{
	struct span rest = span_str(conf_str(service_conf(), "maps_rbl_domains")), domain, text = SPAN_NONE;

	while (span_next_word(&rest, ", \t\n", &domain))
		text = span_printf(&forever, SPAN_FMT " reject_rbl_client " SPAN_FMT, SPAN_ARG(text),
				   SPAN_ARG(domain));
	return rules_read("maps_rbl_domains", text);
}

static void read_name(const char *param, struct rule *r, struct span word)
{
	r->arg = span_dup(&forever, word);
	if ((r->def = find(word)) != NULL)
		return;
	if (span_is_ci(word, "reject_maps_rbl")) {
		r->def = &class_rule;
		r->list = read_maps_rbl();
	} else if ((r->list = class_of(word)) != NULL) {
		r->def = &class_rule;
	} else if (span_chr(word, ':') > 0) {
		r->def = &implicit_table;
		open_table(param, r);
	} else {
		log_warning("%s: unknown smtpd restriction: \"" SPAN_FMT "\"", param, SPAN_ARG(word));
		r->def = &unknown_rule;
	}
}

static void read_list(struct rule_list *l, const char *param, struct span text)
{
	struct span *v;
	size_t n;
	struct err e;
	bool warn = false;

	if (conf_words(text, false, &forever, &v, &n, &e) != RC_OK) {
		make_unusable(l, param, e.text);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		struct rule *r;

		if (span_is_ci(v[i], "warn_if_reject")) {
			warn = true;
			continue;
		}
		r = add(l);
		r->warn = warn;
		warn = false;
		read_name(param, r, v[i]);
		if (r->def != &implicit_table)
			take_argument(param, r, v, n, &i);
	}
}

struct rule_list *rules_read(const char *param, struct span text)
{
	struct rule_list *l = new_list();

	read_list(l, param, text);
	return l;
}

static bool is_guard(const struct rule *r)
{
	static const char *const guards[] = {
		"reject_unauth_destination", "defer_unauth_destination", "reject", "defer",
		"defer_if_permit",	     "check_relay_domains"
	};

	for (size_t k = 0; k < ARRAY_LEN(guards) && !r->warn; k++)
		if (strcmp(r->def->name, guards[k]) == 0)
			return true;
	return false;
}

/* Each list is judged once. What is nested too deeply would not be run either. */
static bool judge(struct rule_list *l, unsigned depth)
{
	if (l->judged || depth > DEPTH_MAX)
		return l->guards;
	l->judged = true; /* one that leads to itself says no more */
	for (size_t i = 0; i < l->n && !l->guards; i++)
		l->guards =
		    (l->rule[i].list != NULL && judge(l->rule[i].list, depth + 1)) || is_guard(&l->rule[i]);
	return l->guards;
}

bool rules_guard(struct rule_list *l)
{
	return judge(l, 1);
}

/* ---- in results ---- */

/* What a result names with an argument is read once and kept: tables hold few such texts. */
static const struct rule *rule_of_text(const struct restriction *def, struct span arg)
{
	static struct table *known;
	struct span key = span_printf(&forever, "%s " SPAN_FMT, def->name, SPAN_ARG(span_head(arg, 250)));
	struct rule *r;

	if (known == NULL)
		known = table_new();
	if ((r = table_get(known, key)) != NULL)
		return r;
	if (arg_of(def) == ARG_TABLE ||
	    table_count(known) >= TEXT_RULES_MAX) /* no table is opened in the sandbox */
		return NULL;
	struct span v[2] = { span_str(def->name), span_dup(&forever, arg) };
	size_t i = 0;

	r = arena_alloc(&forever, sizeof(*r));
	*r = (struct rule){ .def = def };
	take_argument("access table", r, v, 2, &i);
	table_set(known, key, r);
	return r;
}

enum rc rule_from_result(struct span word, struct span *rest, const char *table, struct rule *out)
{
	const struct restriction *def = find(word);
	const struct rule *known;
	struct span arg;

	*out = (struct rule){ .def = def, .arg = word };
	if (def == NULL && (out->list = class_of(word)) != NULL) {
		out->def = &class_rule;
		return RC_OK;
	}
	if (def == NULL) {
		log_warning("unknown smtpd restriction: \"" SPAN_FMT "\"", SPAN_ARG(word));
		return RC_SYNTAX;
	}
	if (arg_of(def) == ARG_NONE)
		return RC_OK;
	if (span_next_word(rest, ", \t", &arg) && (known = rule_of_text(def, arg)) != NULL) {
		*out = *known;
		return RC_OK;
	}
	log_warning("access table %s: " SPAN_FMT
		    " cannot be used in a result: name a restriction class instead",
		    table, SPAN_ARG(word));
	return RC_SYNTAX;
}
