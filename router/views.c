/* router/views.c - the settings by which a question is answered: those of the service that asks. Tables that cleanup(8) and
 * smtpd(8) could have for themselves are here, so that one process holds each of them; "-o virtual_alias_maps=..." in master.cf
 * has to count for its service all the same. Who asks is told by master (ipc/ipc.h), never by the question: a service can
 * name neither tables nor another service. */
#include "router.h"
#include "base/table.h"
#include "conf/mastercf.h"
#include "log/log.h"
#include "service/service.h"

/* Whose settings may differ from main.cf's. */
static const char *const askers[] = { "cleanup", "smtpd", "lmtpd" };

/* All that a view is made of. Services that agree on these share one. */
static const char *const view_params[] = {
	"canonical_maps", "sender_canonical_maps", "recipient_canonical_maps", "virtual_alias_maps",
	"local_recipient_maps", "virtual_mailbox_maps", "relay_recipient_maps", "mydestination",
	/* up to here: with tables in them */
	"canonical_classes", "sender_canonical_classes", "recipient_canonical_classes", "masquerade_classes",
	"masquerade_domains", "masquerade_exceptions", "propagate_unmatched_extensions",
	"recipient_delimiter", "owner_request_special", "empty_address_recipient",
	"virtual_alias_recursion_limit", "virtual_alias_expansion_limit",
	"virtual_alias_address_length_limit", "myorigin", "inet_interfaces", "proxy_interfaces",
	"unknown_local_recipient_reject_code", "unknown_virtual_alias_reject_code",
	"unknown_virtual_mailbox_reject_code", "unknown_relay_recipient_reject_code"
};
#define VIEW_TABLES 8

static struct arena views_arena;
static struct table *by_service;  /* "smtpd 127.0.0.1:10025" -> struct view */
static struct table *by_settings; /* settings_of() -> struct view */
static struct view *plain;	  /* main.cf's */

/* ---- one view ---- */

static enum rc open_maps(const struct view *v, const char *param, struct maps **out, struct err *e)
{
	return maps_open(param, span_str(conf_str(v->conf, param)), MAP_FOLD_KEY | MAP_PARTIAL, out, e);
}

static enum rc open_tables(struct view *v, struct err *e)
{
	const struct {
		const char *param;
		struct maps **maps;
	} table[] = { { "canonical_maps", &v->canonical },
		      { "sender_canonical_maps", &v->sender_canonical },
		      { "recipient_canonical_maps", &v->rcpt_canonical },
		      { "virtual_alias_maps", &v->valias },
		      { "local_recipient_maps", &v->local_rcpt },
		      { "virtual_mailbox_maps", &v->vmailbox },
		      { "relay_recipient_maps", &v->relay_rcpt } };
	enum rc rc = RC_OK;

	for (size_t i = 0; rc == RC_OK && i < ARRAY_LEN(table); i++)
		rc = open_maps(v, table[i].param, table[i].maps, e);
	return rc;
}

/* "envelope_sender, header_sender ..." as ROLE_ bits. */
static enum rc roles_of(const struct view *v, const char *param, unsigned *roles, struct err *e)
{
	static const struct {
		const char *word;
		unsigned role;
	} known[] = { { "envelope_sender", ROLE_ENV_SENDER },
		      { "envelope_recipient", ROLE_ENV_RCPT },
		      { "header_sender", ROLE_HDR_SENDER },
		      { "header_recipient", ROLE_HDR_RCPT } };
	enum rc rc = RC_OK;
	bool has;

	*roles = 0;
	for (size_t i = 0; rc == RC_OK && i < ARRAY_LEN(known); i++)
		if ((rc = list_has(v->conf, param, known[i].word, &has, e)) == RC_OK && has)
			*roles |= known[i].role;
	return rc;
}

static enum rc read_words(struct view *v, struct err *e)
{
	const struct {
		const char *param;
		unsigned *roles;
	} class[] = { { "canonical_classes", &v->canonical_roles },
		      { "sender_canonical_classes", &v->sender_canonical_roles },
		      { "recipient_canonical_classes", &v->rcpt_canonical_roles },
		      { "masquerade_classes", &v->masquerade_roles } };
	const struct {
		const char *param;
		struct span **words;
		size_t *n;
	} list[] = { { "masquerade_domains", &v->masq_domain, &v->masq_domains },
		     { "masquerade_exceptions", &v->masq_exception, &v->masq_exceptions } };
	enum rc rc;

	for (size_t i = 0; i < ARRAY_LEN(class); i++)
		if ((rc = roles_of(v, class[i].param, class[i].roles, e)) != RC_OK)
			return rc;
	for (size_t i = 0; i < ARRAY_LEN(list); i++)
		if (conf_words(span_str(conf_str(v->conf, list[i].param)), true, &views_arena, list[i].words,
			       list[i].n, e) != RC_OK)
			return err_prefix(e, "%s", list[i].param);
	if ((rc = list_has(v->conf, "propagate_unmatched_extensions", "canonical", &v->ext_canonical, e)) !=
	    RC_OK)
		return rc;
	return list_has(v->conf, "propagate_unmatched_extensions", "virtual", &v->ext_virtual, e);
}

static void read_values(struct view *v)
{
	const struct conf *c = v->conf;

	v->extensions = address_extensions_of(c);
	v->empty_address_recipient = conf_str(c, "empty_address_recipient");
	v->recursion_limit = conf_int(c, "virtual_alias_recursion_limit");
	v->expansion_limit = conf_int(c, "virtual_alias_expansion_limit");
	v->address_length_limit = conf_int(c, "virtual_alias_address_length_limit");
	v->unknown_local_code = (uint16_t)conf_int(c, "unknown_local_recipient_reject_code");
	v->unknown_valias_code = (uint16_t)conf_int(c, "unknown_virtual_alias_reject_code");
	v->unknown_vmailbox_code = (uint16_t)conf_int(c, "unknown_virtual_mailbox_reject_code");
	v->unknown_relay_code = (uint16_t)conf_int(c, "unknown_relay_recipient_reject_code");
}

static enum rc view_read(struct view *v, struct err *e)
{
	enum rc rc;

	read_values(v);
	if ((rc = read_words(v, e)) != RC_OK || (rc = own_read(v->conf, &v->own, e)) != RC_OK)
		return rc;
	return open_tables(v, e);
}

/* ---- those of master.cf ---- */

/* Everything that makes a difference, as one text. */
static struct span settings_of(const struct conf *c)
{
	struct span s = SPAN_NONE;

	for (size_t i = 0; i < ARRAY_LEN(view_params); i++)
		s = span_printf(&views_arena, SPAN_FMT "%s\n", SPAN_ARG(s), conf_str(c, view_params[i]));
	return s;
}

static struct conf *load(const struct master_entry *en)
{
	struct span name, value;
	struct conf *c;
	struct err e;

	if (conf_load(conf_dir(service_conf()), &c, &e) != RC_OK)
		die("%s", e.text);
	if (en)
		conf_override(c, SPAN("service_name"), en->name);
	for (size_t pos = 1; en && mastercf_next_setting(en, &pos, &name, &value);)
		conf_override(c, name, value);
	return c;
}

/* What cannot be read of one service keeps the others from nothing: its questions are answered "later". */
static struct view *view_for(const struct master_entry *en)
{
	struct conf *c = load(en);
	struct span key = settings_of(c);
	struct view *v = table_get(by_settings, key);
	struct err e;

	if (v) {
		conf_free(&c);
		return v;
	}
	v = xcalloc(1, sizeof(*v));
	v->conf = c;
	(void)table_set(by_settings, key, v);
	if (view_read(v, &e) == RC_OK)
		return v;
	if (!en)
		die("%s", e.text);
	log_error("service " SPAN_FMT ": %s", SPAN_ARG(en->name), e.text);
	v->fault = arena_strdup(&views_arena, e.text);
	return v;
}

static struct span program_of(const struct master_entry *en)
{
	return span_skip(en->argv[0], (size_t)(span_rchr(en->argv[0], '/') + 1));
}

/* As master introduces its processes; SPAN_NONE: of a program that asks about main.cf alone. */
static struct span asker(const struct master_entry *en)
{
	struct span program = program_of(en);

	if (span_is(program, "postscreen"))
		program = SPAN("smtpd");
	for (size_t i = 0; i < ARRAY_LEN(askers); i++)
		if (span_is(program, askers[i]))
			return span_printf(&views_arena, SPAN_FMT " " SPAN_FMT, SPAN_ARG(program),
					   SPAN_ARG(en->name));
	return SPAN_NONE;
}

/* A port of postscreen is served by smtpd with the settings of the service that it names (master(8)). */
static const struct master_entry *behind(const struct mastercf *m, const struct master_entry *en)
{
	struct span to = span_str(conf_str(plain->conf, "smtpd_service_name")), name, value;

	if (!span_is(program_of(en), "postscreen"))
		return en;
	for (size_t pos = 1; mastercf_next_setting(en, &pos, &name, &value);)
		if (span_is(name, "smtpd_service_name"))
			to = value;
	for (size_t i = 0; i < m->n; i++)
		if (m->entry[i].type == ST_PASS && span_eq(m->entry[i].name, to))
			return &m->entry[i];
	return NULL;
}

static struct view *view_of_entry(const struct master_entry *en)
{
	struct span name, value;
	size_t pos = 1;

	return en && mastercf_next_setting(en, &pos, &name, &value) ? view_for(en) : plain;
}

/* Of two entries for one service the last counts. */
static void add_services(const struct mastercf *m)
{
	for (size_t i = 0; i < m->n; i++) {
		struct span key = asker(&m->entry[i]);

		if (key.n > 0)
			(void)table_set(by_service, key, view_of_entry(behind(m, &m->entry[i])));
	}
}

void views_prepare(void)
{
	struct mastercf *m;
	struct err e;
	enum rc rc;

	arena_init(&views_arena);
	by_service = table_new();
	by_settings = table_new();
	plain = view_for(NULL);
	rc = mastercf_load(conf_dir(service_conf()), plain->conf, &m, &e);
	if (rc == RC_NOTFOUND)
		return;
	if (rc != RC_OK) /* mail of a service with settings of its own must not go by others meanwhile */
		die("%s", e.text);
	add_services(m);
	mastercf_free(&m);
}

const struct view *view_of(const struct ipc_peer *who)
{
	char key[sizeof(who->program) + sizeof(who->service) + 1];
	const struct view *v;

	snprintf(key, sizeof(key), "%s %s", who->program, who->service);
	v = table_get(by_service, span_str(key));
	return v ? v : plain;
}

void views_each_list(void (*each)(void *arg, struct span list), void *arg)
{
	struct span key;
	size_t pos = 0;
	void *value;

	while (table_next(by_settings, &pos, &key, &value))
		for (size_t i = 0; i < VIEW_TABLES; i++)
			each(arg, span_str(conf_str(((struct view *)value)->conf, view_params[i])));
}
