/* lookup/tables.c - the tables that proxymap(8) and proxywrite(8) may ask: found in the configuration, opened
 * as root, watched. */
#include "tables.h"
#include "base/table.h"
#include "conf/mastercf.h"
#include "log/log.h"
#include "map/driver.h"
#include "service/service.h"
#include "task/task.h"
#include <errno.h>
#include <unistd.h>

#define TABLES_MAX	1000
#define LOOK_EVERY_MS	1000 /* how often a table is looked at for changes */
#define RETIRE_AFTER_MS 50   /* a table that cannot be opened anew: time for the answers on their way */

/* A server that was taken over must not learn how we log in elsewhere. What these parameters name is for `readers` alone, also when
 * another parameter names it, too. */
static const struct secret {
	const char *param, *readers;
} secrets[] = {
	{ "smtp_sasl_password_maps", "smtp lmtp relay" },
	{ "lmtp_sasl_password_maps", "smtp lmtp relay" },
	{ "tls_server_sni_maps", "" }, /* keys may be in it; tlsmgr reads it itself */
};

struct entry {
	struct map *map;
	const char *readers; /* programs; NULL: all */
	bool approved;	     /* may be asked by its name, not only through a table around it */
	unsigned flags;
	mono_t looked;
};

static struct {
	struct table *by_name; /* struct entry */
	struct table *secret;  /* name -> the readers of a table that holds secrets */
	unsigned flags;
	bool writes, retiring;
} tables;

/* Where a word stands. */
struct place {
	bool listed; /* in proxy_read_maps or proxy_write_maps: "proxy:" tables are approved there alone */
	bool inside; /* within a table that is asked as a whole: it has to be within reach, and no more */
	const char *readers; /* of a table around it that holds secrets; NULL: none */
};

/* The types that every process has at hand are ours to answer when "proxy:" is written before them, and else are no subject here. */
static bool is_type(struct span word, bool proxied, const struct map_driver **drv)
{
	static const char *const memory[] = { "inline", "static", "randmap", "environ", "internal" };
	ptrdiff_t colon = span_chr(word, ':');
	struct span type = span_head(word, colon > 0 ? (size_t)colon : 0);

	if (!type.n || (size_t)colon + 1 == word.n)
		return false;
	for (size_t i = 0; i < type.n; i++)
		if (!(type.p[i] >= 'a' && type.p[i] <= 'z') && !ascii_isdigit(type.p[i]))
			return false;
	for (size_t i = 0; i < ARRAY_LEN(memory); i++)
		if (!proxied && span_is(type, memory[i]))
			return false;
	if (span_is(type, "unix") && span_chr(word, '/') >= 0) /* a socket: smtpd_milters, smtpd_sasl_path */
		return false;
	return map_driver_find(type, drv, NULL, NULL) == RC_OK;
}

/* ---- words of values ---- */
typedef void word_fn(struct span name, const struct map_driver *drv, bool proxied, const struct place *at,
		     unsigned depth);

static void each_word(struct span text, const struct place *at, unsigned depth, word_fn *fn);

static void one_word(struct span word, const struct place *at, unsigned depth, word_fn *fn)
{
	const struct map_driver *drv;
	struct span inside;
	bool proxied = false;

	while (word.n && *word.p == '!')
		word = span_skip(word, 1);
	if (map_braces(word, &inside)) {
		each_word(inside, at, depth + 1, fn);
		return;
	}
	ptrdiff_t eq = span_chr(word, '='); /* "{ param = type:name }", "-o param=type:name" */
	if (eq > 0 && (span_chr(word, ':') < 0 || eq < span_chr(word, ':')))
		word = span_skip(word, (size_t)eq + 1);
	for (; span_starts(word, SPAN("proxy:")); proxied = true)
		word = span_skip(word, 6);
	if (is_type(word, proxied, &drv))
		fn(word, drv, proxied, at, depth);
}

static void each_word(struct span text, const struct place *at, unsigned depth, word_fn *fn)
{
	struct span word;

	while (depth <= MAP_DEPTH_MAX && map_word_next(&text, &word, NULL) == RC_OK)
		one_word(word, at, depth, fn);
}

/* unionmap:{...}, debug:type:name: the words within. "socketmap:unix:/name" has none. */
static void words_within(struct span name, const struct map_driver *drv, const struct place *at,
			 unsigned depth, word_fn *fn)
{
	struct span within = span_skip(name, (size_t)span_chr(name, ':') + 1);

	if (!(drv->flags & MD_SERVER) && depth < MAP_DEPTH_MAX)
		one_word(within, at, depth + 1, fn);
}

/* ---- opening ---- */
static void open_table(struct span name, const struct map_driver *drv, bool proxied, const struct place *at,
		       unsigned depth);

static const struct map_driver *driver_of(struct span name)
{
	ptrdiff_t colon = span_chr(name, ':');
	const struct map_driver *drv = NULL;

	(void)!map_driver_find(span_head(name, (size_t)colon), &drv, NULL, NULL);
	return drv;
}

/* The directory, for the file is replaced by a new one of its name. */
static const char *directory_of(struct arena *a, struct span name)
{
	ptrdiff_t colon = span_chr(name, ':'), slash;
	struct span path = span_skip(name, (size_t)colon + 1);

	if (!path.n || *path.p != '/' || (slash = span_rchr(path, '/')) < 0)
		return NULL;
	return arena_cstr(a, span_head(path, slash ? (size_t)slash : 1));
}

struct span tables_place(struct span name, struct arena *a)
{
	const struct map_driver *drv = driver_of(name);
	const char *dir =
	    drv != NULL && drv->put != NULL && !(drv->flags & MD_SERVER) ? directory_of(a, name) : NULL;

	if (dir == NULL || access(dir, W_OK) == 0 || errno != EROFS)
		return name;
	ptrdiff_t colon = span_chr(name, ':'), slash = span_rchr(name, '/');
	return span_printf(a, SPAN_FMT ":%s" SPAN_FMT, SPAN_ARG(span_head(name, (size_t)colon)),
			   conf_str(service_conf(), "data_directory"),
			   SPAN_ARG(span_skip(name, (size_t)slash)));
}

static enum rc open_map(struct span name, struct map **out, struct err *e)
{
	struct arena a;
	struct span place = name;

	arena_init(&a);
	if (tables.writes)
		place = tables_place(name, &a);
	if (!span_eq(place, name))
		log_warning("table " SPAN_FMT " is in a directory that cannot be written: it is " SPAN_FMT
			    " instead",
			    SPAN_ARG(name), SPAN_ARG(place));
	enum rc rc = map_open_at(place, tables.flags, 0, true, out, e);
	arena_release(&a);
	return rc;
}

/* NULL: it cannot even be said to be unavailable. */
static struct entry *entry_open(struct span name, const char *readers)
{
	struct entry *en = xcalloc(1, sizeof *en);
	const char *own = table_get(tables.secret, name);
	struct err e;

	en->looked = mono_now();
	en->flags = tables.flags;
	en->readers = own ? own : readers;
	if (open_map(name, &en->map, &e) != RC_OK)
		log_warning("%s", e.text); /* asked for it, we say: try later */
	if (!en->map) {
		free(en);
		return NULL;
	}
	table_set(tables.by_name, name, en);
	return en;
}

/* What a table asks in its turn is opened with it, for its directory has to be within reach. */
static struct entry *entry_new(struct span name, const struct map_driver *drv, const struct place *at,
			       unsigned depth)
{
	struct entry *en;
	struct place within = *at;

	if (table_count(tables.by_name) >= TABLES_MAX || !(en = entry_open(name, at->readers)))
		return NULL;
	within.inside = true;
	words_within(name, drv, &within, depth, open_table);
	if (map_within(en->map) && depth < MAP_DEPTH_MAX) {
		within = (struct place){ .listed = true, .inside = !tables.writes, .readers = en->readers };
		one_word(span_str(map_within(en->map)), &within, depth + 1, open_table);
	}
	return en;
}

/* Tables that our daemons ask us about although nobody wrote "proxy:" before them. */
static bool needed(const struct map_driver *drv)
{
	return tables.writes || drv->flags & (MD_REMOTE | MD_SERVER);
}

static void open_table(struct span name, const struct map_driver *drv, bool proxied, const struct place *at,
		       unsigned depth)
{
	struct entry *en = table_get(tables.by_name, name);
	bool approved = !at->inside && (proxied ? at->listed : needed(drv));

	if (!at->inside && !proxied) /* the asker has the table itself, and asks for what is in it */
		words_within(name, drv, at, depth, open_table);
	if (!approved && !at->inside)
		return;
	if (!en && !(en = entry_new(name, drv, at, depth)))
		return;
	en->approved |= approved;
}

static void note_secret(struct span name, const struct map_driver *drv, bool proxied, const struct place *at,
			unsigned depth)
{
	(void)proxied;
	if (!table_get(tables.secret, name))
		table_set(tables.secret, name, (void *)(uintptr_t)at->readers);
	words_within(name, drv, at, depth, note_secret);
}

static void each_in_value(const struct conf *c, struct span raw, const struct place *at, word_fn *fn)
{
	struct arena a;
	struct span value;
	struct err e;

	arena_init(&a);
	if (conf_expand(c, raw, &a, &value, &e) == RC_OK)
		each_word(value, at, 0, fn);
	arena_release(&a);
}

/* Defaults, too: a list that does not name $alias_maps keeps no daemon from its aliases. */
static void scan_main(const struct conf *c)
{
	static const struct place anywhere;
	const char *name, *raw;
	unsigned line;
	size_t pos = 0;

	for (const struct param *p = conf_params; p->name; p++)
		if (!conf_is_set(c, p->name) && strchr(p->def, ':'))
			each_in_value(c, span_str(p->def), &anywhere, open_table);
	while (conf_next(c, &pos, &name, &raw, &line))
		if (strchr(raw, ':'))
			each_in_value(c, span_str(raw), &anywhere, open_table);
}

/* Values of -o for the parameter `only`, or for all. */
static void scan_entry(const struct conf *c, const struct master_entry *en, const char *only,
		       const struct place *at, word_fn *fn)
{
	for (size_t k = 1; k < en->argc; k++) {
		struct span word = en->argv[k];
		ptrdiff_t eq = span_chr(word, '=');
		if (eq > 0 && (only == NULL || span_is(span_head(word, (size_t)eq), only)))
			each_in_value(c, span_skip(word, (size_t)eq + 1), at, fn);
	}
}

static void scan_master(const struct conf *c, const struct mastercf *m, const char *only,
			const struct place *at, word_fn *fn)
{
	for (size_t i = 0; m != NULL && i < m->n; i++)
		scan_entry(c, &m->entry[i], only, at, fn);
}

static void note_secrets(const struct conf *c, const struct mastercf *m)
{
	for (size_t i = 0; i < ARRAY_LEN(secrets); i++) {
		const struct place at = { .readers = secrets[i].readers };

		each_word(span_str(conf_str(c, secrets[i].param)), &at, 0, note_secret);
		scan_master(c, m, secrets[i].param, &at, note_secret);
	}
}

static void scan(const struct conf *c)
{
	static const struct place anywhere;
	struct mastercf *m = NULL;
	struct err e;

	if (mastercf_load(conf_dir(c), c, &m, &e) != RC_OK) {
		log_warning("%s", e.text);
		m = NULL;
	}
	note_secrets(c, m);
	scan_main(c);
	scan_master(c, m, NULL, &anywhere, open_table);
	if (m != NULL)
		mastercf_free(&m);
}

void tables_open(const char *param, unsigned flags)
{
	static const struct place listed = { .listed = true };
	const struct conf *c = service_conf();

	tables.by_name = table_new();
	tables.secret = table_new();
	tables.flags = flags;
	tables.writes = flags & MAP_READ_WRITE;
	if (!tables.writes)
		scan(c);
	each_word(span_str(conf_str(c, param)), &listed, 0, open_table);
}

static void add_path(struct arena *a, struct sandbox_path **v, size_t *n, size_t *cap, const char *path,
		     int access)
{
	for (size_t i = 0; i < *n; i++)
		if (span_is(span_str((*v)[i].path), path))
			return;
	if (*n == *cap)
		*v = arena_grow(a, *v, *n, cap, sizeof **v);
	(*v)[(*n)++] = (struct sandbox_path){ path, access };
}

/* By type, for a table that cannot be opened now may be there later. */
bool tables_ask_servers(void)
{
	struct span name;
	size_t pos = 0;
	void *value;

	while (table_next(tables.by_name, &pos, &name, &value))
		if (driver_of(name) && (driver_of(name)->flags & MD_SERVER))
			return true;
	return false;
}

struct path_list {
	struct arena *a;
	struct sandbox_path **v;
	size_t n, cap;
};

static void add_for_map(void *arg, const char *path)
{
	struct path_list *l = arg;
	add_path(l->a, l->v, &l->n, &l->cap, arena_strdup(l->a, path), SB_READ);
}

/* What the resolver and the TLS libraries of database clients read. */
static void add_for_servers(struct path_list *l)
{
	static const char *const files[] = {
		"/etc/resolv.conf", "/etc/hosts",	    "/etc/host.conf",
		"/etc/gai.conf",    "/etc/services",	    "/etc/protocols",
		"/etc/ssl",	    "/usr/lib/ssl",	    "/usr/share/ca-certificates",
		"/etc/gnutls",	    "/run/systemd/resolve", "/dev/urandom"
	};

	for (size_t i = 0; i < ARRAY_LEN(files); i++)
		add_path(l->a, l->v, &l->n, &l->cap, files[i], SB_READ);
}

size_t tables_paths(struct arena *a, struct sandbox_path **out, int access)
{
	struct path_list l = { a, out, 0, 0 };
	static const char *const for_users[] = { "/etc/passwd", "/etc/group", "/etc/nsswitch.conf",
						 "/run/nscd" };
	size_t pos = 0;
	struct span name;
	void *value;

	*out = NULL;
	while (table_next(tables.by_name, &pos, &name, &value)) {
		const struct map *m = ((const struct entry *)value)->map;
		const char *dir = directory_of(a, span_str(map_name(m)));
		if (dir)
			add_path(a, out, &l.n, &l.cap, dir, access);
		map_paths(m, add_for_map, &l);
	}
	for (size_t i = 0; i < ARRAY_LEN(for_users); i++)
		add_path(a, out, &l.n, &l.cap, for_users[i], SB_READ);
	if (tables_ask_servers())
		add_for_servers(&l);
	return l.n;
}

/* ---- watching ---- */
static void end_now(void *arg)
{
	(void)arg;
	loop_stop(0);
}

/* A fresh process opens it as root; who waits for us asks that one. */
static void retire(const struct map *m)
{
	static struct timer t;

	if (tables.retiring)
		return;
	tables.retiring = true;
	log_info("table %s has changed -- restarting", map_name(m));
	timer_init(&t, end_now, NULL);
	timer_set(&t, deadline_ms(RETIRE_AFTER_MS));
}

/* What such a table reads is fixed when a process starts. */
static bool needs_paths(struct span name)
{
	const struct map_driver *drv = driver_of(name);
	return drv && drv->paths;
}

static void look_at(struct entry *en)
{
	struct map *fresh = NULL;
	struct err e;

	if (mono_diff_ms(loop_now(), en->looked) < LOOK_EVERY_MS)
		return;
	en->looked = loop_now();
	if (en->map->busy || !map_changed(en->map))
		return;
	if (!needs_paths(span_str(map_name(en->map))) &&
	    map_open_at(span_str(map_name(en->map)), en->flags, 0, true, &fresh, &e) == RC_OK) {
		map_close(&en->map);
		en->map = fresh;
		return;
	}
	map_close(&fresh);
	retire(en->map);
}

/* One that could not be opened at the start may be there now. */
static void try_again(struct entry *en)
{
	struct map *fresh;
	struct err e;

	if (mono_diff_ms(loop_now(), en->looked) < LOOK_EVERY_MS)
		return;
	en->looked = loop_now();
	if (map_open_at(span_str(map_name(en->map)), en->flags, 0, true, &fresh, &e) == RC_OK) {
		map_close(&en->map);
		en->map = fresh;
		if (needs_paths(span_str(map_name(fresh))))
			retire(fresh);
	} else {
		map_close(&fresh);
	}
}

static bool is_for(const struct entry *en, const char *program)
{
	struct span rest = span_str(en->readers != NULL ? en->readers : ""), w;

	while (span_next_word(&rest, " ", &w))
		if (span_is(w, program))
			return true;
	return en->readers == NULL;
}

struct map *tables_find(struct span name, const char *program)
{
	struct entry *en = table_get(tables.by_name, name);

	if (!en || !en->approved || !is_for(en, program))
		return NULL;
	if (map_is_broken(en->map))
		try_again(en);
	else
		look_at(en);
	return en->map;
}
