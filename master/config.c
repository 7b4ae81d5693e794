/* master/config.c - main.cf and master.cf become a struct running: checked, with services made, nothing bound
 * yet. */
#include "master.h"
#include "config.h"
#include "conf/ports.h"
#include "log/log.h"
#include <sys/stat.h>
#include <unistd.h>

/* Services that master.cf of a Postfix does not name, and that are here all the same. */
static const char builtin[] = "resolver unix - - n - 0 resolver\n"
			      "auth     unix - - n - 0 auth\n"
			      "tlsmgr   unix - - n - 1 tlsmgr\n"
			      "anvil    unix - - n - 1 anvil\n"
			      "verify   unix - - n - 1 verify\n"
			      "proxymap unix - - n - - proxymap\n"
			      "proxywrite unix - - n - 1 proxymap\n";

/* One binary may go by several names in master.cf. */
static const struct {
	const char *name, *binary;
} aliases[] = {
	{ "lmtp", "smtp" },    { "relay", "smtp" },   { "lmtpd", "smtpd" },
	{ "defer", "bounce" }, { "trace", "bounce" }, { "retry", "error" },
	{ "oqmgr", "qmgr" },   { "nqmgr", "qmgr" },   { "proxywrite", "proxymap" },
};

/* Programs of Postfix whose job is done elsewhere here: their lines are accepted. */
static const struct {
	const char *program, *instead;
} taken_over[] = {
	{ "scache", "smtp(8) keeps its connections itself" },
	{ "tlsproxy", "smtpd(8) and smtp(8) speak TLS themselves" },
	{ "dnsblog", "smtpd(8) asks resolver(8) itself" },
	{ "nbdb_reindexd", "tables are converted when they are opened" },
};

const char *config_instead(const char *program)
{
	for (size_t i = 0; i < ARRAY_LEN(taken_over); i++)
		if (strcmp(program, taken_over[i].program) == 0)
			return taken_over[i].instead;
	return NULL;
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash != NULL ? slash + 1 : path;
}

/* The binary of a program: daemon_directory/NAME, or the one that goes by this name too. */
const char *config_program_path(const struct conf *c, const char *name, struct arena *a)
{
	if (name[0] == '/')
		return arena_strdup(a, name);
	const char *dir = conf_str(c, "daemon_directory");
	const char *path = arena_printf(a, "%s/%s", dir, name);
	for (size_t i = 0; i < ARRAY_LEN(aliases) && access(path, X_OK) < 0; i++)
		if (strcmp(name, aliases[i].name) == 0)
			return arena_printf(a, "%s/%s", dir, aliases[i].binary);
	return path;
}

/* master_service_disable: "inet", "smtp/inet", "foo.unix". */
static bool disabled(struct running *r, const struct master_entry *en, const char *type)
{
	struct span *words;
	size_t n;
	if (conf_words(span_str(conf_str(r->conf, "master_service_disable")), false, &r->arena, &words, &n,
		       NULL) != RC_OK)
		return false;
	for (size_t i = 0; i < n; i++) {
		const char *slash = arena_printf(&r->arena, SPAN_FMT "/%s", SPAN_ARG(en->name), type);
		const char *dot = arena_printf(&r->arena, SPAN_FMT ".%s", SPAN_ARG(en->name), type);
		if (span_is(words[i], type) || span_is(words[i], slash) || span_is(words[i], dot))
			return true;
	}
	return false;
}

const char *config_type_name(enum service_type t)
{
	switch (t) {
	case ST_INET:
		return "inet";
	case ST_UNIX:
	case ST_FIFO:
		return "unix";
	case ST_UNIX_DGRAM:
		return "unix-dgram";
	case ST_PASS:
		return "pass";
	}
	return "unix";
}

static const struct master_entry *pass_entry(const struct running *r, struct span name)
{
	for (size_t i = 0; i < r->cf->n; i++)
		if (r->cf->entry[i].type == ST_PASS && span_eq(r->cf->entry[i].name, name))
			return &r->cf->entry[i];
	return NULL;
}

/* The value of an -o setting of a service, else main.cf's. */
static const char *setting(struct running *r, const struct master_entry *en, const char *name)
{
	for (size_t i = 2; i < en->argc; i++) {
		ptrdiff_t eq = span_chr(en->argv[i], '=');
		if (span_is(en->argv[i - 1], "-o") && eq > 0 &&
		    span_is(span_head(en->argv[i], (size_t)eq), name))
			return arena_cstr(&r->arena, span_skip(en->argv[i], (size_t)eq + 1));
	}
	return conf_str(r->conf, name);
}

/* What serves the port of a postscreen line: the "pass" service that postscreen would hand its clients to, with the settings that were
 * made there (content_filter, mynetworks, proxy filters), or plain smtpd when there is none. */
static const struct master_entry *behind_postscreen(struct running *r, const struct master_entry *front)
{
	const struct master_entry *pass = pass_entry(r, span_str(setting(r, front, "smtpd_service_name")));
	struct master_entry *en = arena_alloc(&r->arena, sizeof *en);
	*en = *front;
	en->maxproc = pass != NULL ? pass->maxproc : conf_int(r->conf, "default_process_limit");
	if (pass != NULL) {
		en->unpriv = pass->unpriv;
		en->chroot = pass->chroot;
	}
	en->argv = arena_array(&r->arena, (pass != NULL ? pass->argc : 1) + 2, sizeof *en->argv);
	en->argv[0] = span_str("smtpd");
	en->argv[1] = span_str("-o");
	en->argv[2] = span_str(arena_printf(&r->arena, "smtpd_upstream_proxy_protocol=%s",
					    setting(r, front, "postscreen_upstream_proxy_protocol")));
	en->argc = 3;
	for (size_t i = 1; pass != NULL && i < pass->argc; i++)
		en->argv[en->argc++] = pass->argv[i];
	log_info("service " SPAN_FMT ": postscreen: smtpd(8) serves this port itself%s",
		 SPAN_ARG(front->name),
		 pass != NULL ? ", with the settings of the service that it passes to" : "");
	return en;
}

static struct service *service_make(struct running *r, const struct master_entry *en, const char *program)
{
	struct service *s = xcalloc(1, sizeof *s);
	snprintf(s->name, sizeof s->name, SPAN_FMT, SPAN_ARG(en->name));
	s->config = r;
	s->entry = en;
	s->program = base_name(program);
	s->path = config_program_path(r->conf, program, &r->arena);
	s->socket_type = en->type == ST_UNIX_DGRAM ? SOCK_DGRAM : mp_socket_type(s->program);
	s->single = en->maxproc == 1 && en->type != ST_INET;
	s->always = strcmp(s->program, "qmgr") == 0 || strcmp(s->program, "tlsmgr") == 0 ||
		    (en->wakeup_s > 0 && !en->wakeup_if_used);
	list_init(&s->children);
	list_init(&s->handed);
	list_add_tail(&r->services, &s->link);
	r->refs++;
	return s;
}

static bool same_service(const struct master_entry *a, const struct master_entry *b)
{
	return span_eq(a->name, b->name) && strcmp(config_type_name(a->type), config_type_name(b->type)) == 0;
}

/* Of two entries for one service the last counts. */
static bool replaced(const struct running *r, size_t i)
{
	const struct master_entry *en = &r->cf->entry[i];
	for (size_t k = r->cf->n; k-- > i + 1;)
		if (same_service(en, &r->cf->entry[k])) {
			log_warning("%s/master.cf line %u: duplicate entry for service \"" SPAN_FMT
				    "\": that of line %u counts",
				    conf_dir(r->conf), en->line, SPAN_ARG(en->name), r->cf->entry[k].line);
			return true;
		}
	return false;
}

static enum rc add_entry(struct running *r, const struct master_entry *en, struct err *e)
{
	const char *type = config_type_name(en->type);
	char name[MP_NAME_MAX];
	if (span_cstr(en->name, name, sizeof name) != RC_OK)
		return err_set(e, RC_LIMIT, "%s/master.cf line %u: service name too long", conf_dir(r->conf),
			       en->line);
	if (en->type != ST_INET && strchr(name, '/') != NULL)
		return err_set(e, RC_SYNTAX, "%s/master.cf line %u: bad service name %s", conf_dir(r->conf),
			       en->line, name);
	const char *program = arena_cstr(&r->arena, en->argv[0]);
	const char *instead = config_instead(base_name(program));
	if (disabled(r, en, type))
		return RC_OK;
	if (instead != NULL) {
		log_info("service %s: %s is not started: %s", name, base_name(program), instead);
		return RC_OK;
	}
	if (strcmp(base_name(program), "postscreen") == 0)
		service_make(r, behind_postscreen(r, en), "smtpd");
	else
		service_make(r, en, program);
	return RC_OK;
}

static bool named(const struct running *r, struct span name)
{
	for (size_t i = 0; i < r->cf->n; i++)
		if (r->cf->entry[i].type != ST_INET && span_eq(r->cf->entry[i].name, name))
			return true;
	return false;
}

static enum rc add_builtin(struct running *r, struct err *e)
{
	enum rc rc = mastercf_parse(span_str(builtin), "built-in services", r->conf, &r->builtin, e);
	for (size_t i = 0; rc == RC_OK && i < r->builtin->n; i++) {
		const struct master_entry *en = &r->builtin->entry[i];
		const char *program = arena_cstr(&r->arena, en->argv[0]);
		if (named(r, en->name) || access(config_program_path(r->conf, program, &r->arena), X_OK) < 0)
			continue;
		service_make(r, en, program)->builtin = true;
	}
	return rc;
}

struct finding {
	struct err *e;
	bool failed;
};

static void report(void *arg, bool error, const char *text)
{
	struct finding *f = arg;
	if (!error)
		log_warning("%s", text);
	else if (!f->failed) {
		f->failed = true;
		err_set(f->e, RC_SYNTAX, "%s", text);
	} else
		log_error("%s", text);
}

/* Nobody said so, but compatibility_level does. */
static void tell_old_chroot(const char *dir, const struct master_entry *en)
{
	if (en->chroot && span_is(en->column[4], "-"))
		log_info("%s/master.cf: line %u: " OLD_DEFAULT "chroot=y", dir, en->line);
}

static enum rc load(struct running *r, const char *dir, struct err *e)
{
	struct finding f = { e, false };
	enum rc rc = conf_load(dir, &r->conf, e);
	if (rc == RC_OK && (rc = conf_check(r->conf, report, &f)) != RC_OK && !f.failed)
		err_set(e, rc, "%s/main.cf: errors", dir);
	if (rc == RC_OK && (rc = port_names_set(conf_str(r->conf, "known_tcp_ports"), e)) != RC_OK)
		err_prefix(e, "%s/main.cf", dir);
	if (rc == RC_OK)
		rc = mastercf_load(dir, r->conf, &r->cf, e);
	for (size_t i = 0; rc == RC_OK && i < r->cf->n; i++)
		tell_old_chroot(dir, &r->cf->entry[i]);
	for (size_t i = 0; rc == RC_OK && i < r->cf->n; i++)
		rc = replaced(r, i) ? RC_OK : add_entry(r, &r->cf->entry[i], e);
	return rc == RC_OK ? add_builtin(r, e) : rc;
}

enum rc config_load(const char *dir, struct running **out, struct err *e)
{
	struct running *r = xcalloc(1, sizeof *r);
	arena_init(&r->arena);
	list_init(&r->services);
	enum rc rc = load(r, dir, e);
	if (rc != RC_OK)
		config_release(&r);
	*out = r;
	return rc;
}

static void config_free(struct running *r)
{
	mastercf_free(&r->cf);
	mastercf_free(&r->builtin);
	conf_free(&r->conf);
	arena_release(&r->arena);
	free(r);
}

void config_release(struct running **r)
{
	if (*r == NULL)
		return;
	LIST_EACH_SAFE(it, &(*r)->services)
	free(LIST_ENTRY(it, struct service, link));
	config_free(*r);
	*r = NULL;
}

void config_unref(struct running *r)
{
	if (--r->refs == 0 && r != master.now)
		config_free(r);
}
