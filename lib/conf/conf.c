/* conf/conf.c - main.cf as read, overrides, and typed access to parameters. */
#include "conf/conf_int.h"
#include "log/log.h"

const char *conf_default_dir(void)
{
	const char *dir = getenv("MAIL_CONFIG");

	return dir != NULL && *dir != '\0' ? dir : POSTERN_SYSCONFDIR "/postfix";
}

const char *conf_dir(const struct conf *c)
{
	return c->dir;
}

static struct conf *conf_new(const char *name, const char *dir)
{
	struct conf *c = xcalloc(1, sizeof(*c));

	arena_init(&c->arena);
	c->file = arena_strdup(&c->arena, name);
	c->dir = arena_strdup(&c->arena, dir);
	c->index = table_new();
	c->over = table_new();
	c->late = xcalloc(1, sizeof(*c->late));
	arena_init(&c->late->arena);
	c->late->value = table_new();
	c->late->computed = table_new();
	return c;
}

void conf_free(struct conf **cp)
{
	struct conf *c = *cp;

	if (c == NULL)
		return;
	table_free(&c->index, NULL);
	table_free(&c->over, NULL);
	table_free(&c->late->value, NULL);
	table_free(&c->late->computed, NULL);
	arena_release(&c->late->arena);
	free(c->late);
	arena_release(&c->arena);
	free(c);
	*cp = NULL;
}

/* ---- reading ---- */

static void note(struct conf *c, const char *text)
{
	if (c->warnings == c->warnings_cap)
		c->warning =
		    arena_grow(&c->arena, c->warning, c->warnings, &c->warnings_cap, sizeof(*c->warning));
	c->warning[c->warnings++] = text;
}

/* "name = value"; blanks around both are not part of them. */
static enum rc split_setting(struct span text, struct span *name, struct span *value, struct err *e)
{
	ptrdiff_t eq = span_chr(text, '=');

	*name = span_trim(span_head(text, eq < 0 ? text.n : (size_t)eq));
	if (eq >= 0 && name->n == 0)
		return err_set(e, RC_SYNTAX, "name missing before '=': \"" SPAN_FMT "\"",
			       SPAN_ARG(span_head(text, 80)));
	for (size_t i = 0; i < name->n; i++)
		if (ascii_isspace(name->p[i]))
			eq = -1;
	if (eq < 0)
		return err_set(e, RC_SYNTAX, "'=' missing after the name: \"" SPAN_FMT "\"",
			       SPAN_ARG(span_head(text, 80)));
	*value = span_trim(span_skip(text, (size_t)eq + 1));
	return RC_OK;
}

static void set_entry(struct conf *c, struct span name, struct span value, unsigned line)
{
	size_t at = (size_t)(uintptr_t)table_get(c->index, name);

	if (at > 0) {
		struct conf_entry *old = &c->entry[at - 1];

		note(c, arena_printf(&c->arena, "%s, line %u: overriding earlier entry: %s=%s", c->file, line,
				     old->name, old->raw));
		old->raw = arena_cstr(&c->arena, value);
		old->line = line;
		return;
	}
	if (c->n == c->cap)
		c->entry = arena_grow(&c->arena, c->entry, c->n, &c->cap, sizeof(*c->entry));
	c->entry[c->n].name = arena_cstr(&c->arena, name);
	c->entry[c->n].raw = arena_cstr(&c->arena, value);
	c->entry[c->n].line = line;
	c->n++;
	(void)table_set(c->index, name, (void *)(uintptr_t)c->n);
}

static enum rc read_settings(struct conf *c, struct span text, struct err *e)
{
	struct lines l;
	struct span line, name, value;
	unsigned number = 0;
	enum rc rc;

	lines_init(&l, text, c->file);
	while ((rc = lines_next(&l, &line, &number, e)) == RC_OK) {
		if (ascii_isspace(line.p[0])) { /* a continuation with nothing before it */
			note(c,
			     arena_printf(
				 &c->arena,
				 "%s line %u: ignored, because it starts with white space: \"" SPAN_FMT "\"",
				 c->file, number, SPAN_ARG(span_head(line, 60))));
			continue;
		}
		if ((rc = split_setting(line, &name, &value, e)) != RC_OK) {
			(void)err_prefix(e, "%s line %u", c->file, number);
			break;
		}
		set_entry(c, name, value, number);
	}
	lines_release(&l);
	return rc == RC_EOF ? RC_OK : rc;
}

enum rc conf_parse(struct span text, const char *name, const char *dir, struct conf **out, struct err *e)
{
	struct conf *c;
	enum rc rc;

	if (text.n > CONF_FILE_MAX)
		return err_set(e, RC_LIMIT, "%s: a configuration file is limited to %zu bytes", name,
			       CONF_FILE_MAX);
	c = conf_new(name, dir);
	if ((rc = read_settings(c, text, e)) != RC_OK) {
		conf_free(&c);
		return rc;
	}
	*out = c;
	return RC_OK;
}

enum rc conf_load(const char *dir, struct conf **out, struct err *e)
{
	char *bytes = NULL, *path;
	struct arena a;
	size_t n = 0;
	enum rc rc;

	arena_init(&a);
	path = arena_printf(&a, "%s/main.cf", dir);
	if ((rc = conf_read_file(path, &bytes, &n, e)) == RC_OK)
		rc = conf_parse(span_make(bytes, n), path, dir, out, e);
	if (rc == RC_OK && !conf_is_set(*out, "mynetworks"))
		conf_find_nets(*out); /* now: a sandbox may forbid it later */
	free(bytes);
	arena_release(&a);
	return rc;
}

/* ---- text ---- */

const struct conf_entry *conf_entry(const struct conf *c, struct span name)
{
	size_t at = (size_t)(uintptr_t)table_get(c->index, name);

	return at > 0 ? &c->entry[at - 1] : NULL;
}

static const char *explicit_text(const struct conf *c, const char *name)
{
	const char *over = table_get(c->over, span_str(name));
	const struct conf_entry *en;

	if (over != NULL)
		return over;
	en = conf_entry(c, span_str(name));
	return en != NULL ? en->raw : NULL;
}

static void forget_values(struct conf *c)
{
	table_free(&c->late->value, NULL); /* the texts stay: callers may hold them */
	table_free(&c->late->computed, NULL);
	c->late->value = table_new();
	c->late->computed = table_new();
}

void conf_override(struct conf *c, struct span name, struct span value)
{
	(void)table_set(c->over, name, arena_cstr(&c->arena, span_trim(value)));
	forget_values(c);
}

bool conf_is_set(const struct conf *c, const char *name)
{
	return explicit_text(c, name) != NULL;
}

bool conf_is_old_default(const struct conf *c, const char *name, const char *value)
{
	const char *now = conf_str(c, name);

	return !conf_is_set(c, name) && (value != NULL ? strcmp(now, value) == 0 : now[0] != '\0');
}

const char *conf_raw(const struct conf *c, const char *name)
{
	const char *text = explicit_text(c, name);
	const struct param *p;

	if (text != NULL)
		return text;
	p = conf_param_find(span_str(name));
	return p != NULL ? conf_default(c, p) : NULL;
}

bool conf_next(const struct conf *c, size_t *pos, const char **name, const char **raw, unsigned *line)
{
	if (*pos >= c->n)
		return false;
	*name = c->entry[*pos].name;
	*raw = c->entry[*pos].raw;
	*line = c->entry[*pos].line;
	(*pos)++;
	return true;
}

/* ---- values ---- */

/* Expands what is written; when that fails, the default, with a warning. */
static const char *evaluate(const struct conf *c, const char *name, const char *raw, const char *fallback)
{
	struct span out;
	struct err e = { 0 };

	if (conf_expand(c, span_str(raw), &c->late->arena, &out, &e) == RC_OK)
		return out.p;
	log_warning("%s: %s: %s; using the default", c->file, name, e.text);
	if (fallback != NULL && conf_expand(c, span_str(fallback), &c->late->arena, &out, &e) == RC_OK)
		return out.p;
	return "";
}

/* Debian: "myorigin = /etc/mailname" stands for the first line of that file. Read once: a daemon asks before its
 * sandbox hides it. */
static const char *origin(const struct conf *c, const char *path)
{
	struct conf_late *late = c->late;
	struct err e = { 0 };
	struct span rest, line;
	char *bytes;
	size_t n;

	if (late->origin_file != NULL && strcmp(late->origin_file, path) == 0)
		return late->origin;
	if (conf_read_file(path, &bytes, &n, &e) != RC_OK) {
		log_warning("%s: myorigin: %s; using $myhostname", c->file, e.text);
		return conf_str(c, "myhostname");
	}
	rest = span_make(bytes, n);
	if (!span_next(&rest, '\n', &line))
		line = SPAN_NONE;
	late->origin = arena_cstr(&late->arena, span_trim(line));
	late->origin_file = arena_strdup(&late->arena, path);
	free(bytes);
	return late->origin;
}

static const char *value_of(const struct conf *c, const char *name, const struct param *p)
{
	struct span key = span_str(name);
	const char *text = table_get(c->late->value, key);

	if (text != NULL)
		return text;
	text = conf_raw(c, name);
	if (p == NULL || p->type != P_RAW)
		text = evaluate(c, name, text, p != NULL ? conf_default(c, p) : NULL);
	if (text[0] == '/' && strcmp(name, "myorigin") == 0)
		text = origin(c, text);
	/* The table wants a pointer to change; nobody changes it. */
	(void)table_set(c->late->value, key, arena_strdup(&c->late->arena, text));
	return table_get(c->late->value, key);
}

static const struct param *known(const char *name)
{
	const struct param *p = conf_param_find(span_str(name));

	INVARIANT(p != NULL);
	return p;
}

const char *conf_str(const struct conf *c, const char *name)
{
	return value_of(c, name, known(name));
}

static int64_t number_of(const struct conf *c, const char *name, const struct param *p)
{
	const char *text = value_of(c, name, p), *fault, *fallback;
	struct param as_number = *p;
	int64_t value = 0;

	if (p->type == P_STR || p->type == P_RAW) { /* digits by custom, such as smtpd_tls_loglevel */
		as_number.type = P_LONG;
		as_number.min = as_number.max = NULL; /* those of the text */
	}
	if ((fault = conf_typed_fault(&as_number, span_str(text), &value)) == NULL)
		return value;
	log_warning("%s: %s = %s: %s; using the default", c->file, name, text, fault);
	fallback = evaluate(c, name, conf_default(c, p), NULL);
	return conf_typed_fault(&as_number, span_str(fallback), &value) == NULL ? value : 0;
}

int64_t conf_int(const struct conf *c, const char *name)
{
	return number_of(c, name, known(name));
}

bool conf_bool(const struct conf *c, const char *name)
{
	const struct param *p = known(name);

	INVARIANT(p->type == P_BOOL);
	return number_of(c, name, p) != 0;
}

/* "<transport><suffix>" when it is set or built in, else NULL. The name lives as long as `c`. */
static const char *transport_name(const struct conf *c, const char *transport, const char *suffix)
{
	char name[256];
	int n = snprintf(name, sizeof(name), "%s%s", transport, suffix);

	if (n < 0 || (size_t)n >= sizeof(name) || conf_raw(c, name) == NULL)
		return NULL;
	return arena_strdup(&c->late->arena, name);
}

int64_t conf_transport_int(const struct conf *c, const char *transport, const char *suffix,
			   const char *fallback)
{
	const struct param *p = known(fallback);
	const char *name = transport_name(c, transport, suffix);

	return number_of(c, name != NULL ? name : fallback, p);
}

const char *conf_transport_str(const struct conf *c, const char *transport, const char *suffix,
			       const char *fallback)
{
	const struct param *p = known(fallback);
	const char *name = transport_name(c, transport, suffix);

	return value_of(c, name != NULL ? name : fallback, p);
}
