/* lookup/tables.c - the tables that proxymap(8) and proxywrite(8) may ask: found in the configuration, opened
 * as root, watched. */
#include "tables.h"
#include "base/table.h"
#include "conf/mastercf.h"
#include "log/log.h"
#include "map/driver.h"
#include "service/service.h"
#include "task/task.h"
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
	unsigned flags;
	mono_t looked;
};

static struct {
	struct table *by_name; /* struct entry */
	struct arena arena;
	unsigned flags;
	const char *readers; /* of what is opened now */
	bool retiring;
} tables;

static bool is_type(struct span word, const struct map_driver **drv)
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
		if (span_is(type, memory[i]))
			return false;
	return map_driver_find(type, drv, NULL, NULL) == RC_OK;
}

static void open_word(struct span word, unsigned depth);

static void open_table(struct span name, unsigned depth)
{
	struct entry *en;
	struct err e;

	if (table_get(tables.by_name, name) || table_count(tables.by_name) >= TABLES_MAX)
		return;
	en = xcalloc(1, sizeof *en);
	en->looked = mono_now();
	en->flags = tables.flags;
	en->readers = tables.readers;
	if (map_open_at(name, tables.flags, 0, true, &en->map, &e) != RC_OK)
		log_warning("%s", e.text); /* asked for it, we say: try later */
	if (!en->map) {
		free(en);
		return;
	}
	table_set(tables.by_name, name, en);
	if (map_within(en->map) && depth < MAP_DEPTH_MAX) /* its file has to be within reach, too */
		open_word(span_str(map_within(en->map)), depth + 1);
}

static void open_words(struct span text, unsigned depth);

static void open_word(struct span word, unsigned depth)
{
	const struct map_driver *drv;
	struct span inside;

	while (word.n && *word.p == '!')
		word = span_skip(word, 1);
	if (map_braces(word, &inside)) {
		if (depth < MAP_DEPTH_MAX)
			open_words(inside, depth + 1);
		return;
	}
	while (span_starts(word, SPAN("proxy:")))
		word = span_skip(word, 6);
	ptrdiff_t eq = span_chr(word, '='); /* "{ param = type:name }", "-o param=type:name" */
	if (eq > 0 && (span_chr(word, ':') < 0 || eq < span_chr(word, ':')))
		word = span_skip(word, (size_t)eq + 1);
	if (!is_type(word, &drv))
		return;
	open_table(word, depth);
	if (drv->flags & MD_SERVER) /* "socketmap:unix:/name" has no table within */
		return;
	/* unionmap:{...}, debug:type:name: those inside, too, for they may be asked by themselves */
	word = span_skip(word, (size_t)span_chr(word, ':') + 1);
	if (depth < MAP_DEPTH_MAX && word.n)
		open_word(word, depth + 1);
}

static void open_words(struct span text, unsigned depth)
{
	struct span word;

	while (map_word_next(&text, &word, NULL) == RC_OK)
		open_word(word, depth);
}

static void open_value(const struct conf *c, struct span raw)
{
	struct arena a;
	struct span value;
	struct err e;

	arena_init(&a);
	if (conf_expand(c, raw, &a, &value, &e) == RC_OK)
		open_words(value, 0);
	arena_release(&a);
}

static void scan_main(const struct conf *c)
{
	const char *name, *raw;
	unsigned line;
	size_t pos = 0;

	while (conf_next(c, &pos, &name, &raw, &line))
		if (span_chr(span_str(raw), ':') >= 0)
			open_value(c, span_str(raw));
}

/* Values of -o for the parameter `only`, or for all. */
static void scan_entry(const struct conf *c, const struct master_entry *en, const char *only)
{
	for (size_t k = 1; k < en->argc; k++) {
		struct span word = en->argv[k];
		ptrdiff_t eq = span_chr(word, '=');
		if (eq > 0 && (only == NULL || span_is(span_head(word, (size_t)eq), only)))
			open_value(c, span_skip(word, (size_t)eq + 1));
	}
}

static void scan_master(const struct conf *c, const struct mastercf *m, const char *only)
{
	for (size_t i = 0; m != NULL && i < m->n; i++)
		scan_entry(c, &m->entry[i], only);
}

/* Before all others: a table is opened once. */
static void open_secrets(const struct conf *c, const struct mastercf *m)
{
	for (size_t i = 0; i < ARRAY_LEN(secrets); i++) {
		tables.readers = secrets[i].readers;
		open_words(span_str(conf_str(c, secrets[i].param)), 0);
		scan_master(c, m, secrets[i].param);
	}
	tables.readers = NULL;
}

void tables_open(const char *param, unsigned flags, bool scan)
{
	const struct conf *c = service_conf();
	struct mastercf *m = NULL;
	struct err e;

	tables.by_name = table_new();
	tables.flags = flags;
	if (scan && mastercf_load(conf_dir(c), c, &m, &e) != RC_OK) {
		log_warning("%s", e.text);
		m = NULL;
	}
	if (scan)
		open_secrets(c, m);
	open_words(span_str(conf_str(c, param)), 0);
	if (scan)
		scan_main(c);
	scan_master(c, m, NULL);
	if (m != NULL)
		mastercf_free(&m);
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

/* The directory, for the file is replaced by a new one of its name. */
static const char *directory_of(struct arena *a, struct span name)
{
	ptrdiff_t colon = span_chr(name, ':'), slash;
	struct span path = span_skip(name, (size_t)colon + 1);

	if (!path.n || *path.p != '/' || (slash = span_rchr(path, '/')) < 0)
		return NULL;
	return arena_cstr(a, span_head(path, slash ? (size_t)slash : 1));
}

static const struct map_driver *driver_of(struct span name)
{
	ptrdiff_t colon = span_chr(name, ':');
	const struct map_driver *drv = NULL;

	(void)!map_driver_find(span_head(name, (size_t)colon), &drv, NULL, NULL);
	return drv;
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
		const char *dir = directory_of(a, name);
		if (dir)
			add_path(a, out, &l.n, &l.cap, dir, access);
		map_paths(((const struct entry *)value)->map, add_for_map, &l);
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

	if (!en || !is_for(en, program))
		return NULL;
	if (map_is_broken(en->map))
		try_again(en);
	else
		look_at(en);
	return en->map;
}
