/* cmd/postern/nonbdb.c - postern non-bdb: a configuration that uses Berkeley DB becomes one that does not.
 *
 * First every table is built anew in its other type, beside the old files, which stay. Only when all of them are there
 * are main.cf, master.cf and the files that other tables are described in exchanged, each by rename and with a copy of
 * what it was. A crash in between leaves a configuration that works; the next run does what is left, and one more
 * run finds nothing to do. */
#include "bdbwords.h"
#include "control.h"
#include "log/log.h"
#include "map/build.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <time.h>
#include <unistd.h>

#define FILE_MAX (10u << 20)

struct table {
	struct span type, name, where; /* where: the parameter */
	bool aliases, cache;
};

struct plan {
	struct arena arena;
	struct bdb_types types;
	const struct control *c;
	struct table *table;
	size_t tables, tables_cap;
	const char **file; /* that may hold names of tables */
	size_t files, files_cap;
	struct span where; /* the parameter that is looked at */
	bool bdb_default;  /* postmap(1) and newaliases(1) would make such tables */
};

/* ---- what is there ---- */
static void add_file(struct plan *p, const char *path)
{
	for (size_t i = 0; i < p->files; i++)
		if (!strcmp(p->file[i], path))
			return;
	if (p->files == p->files_cap)
		p->file = arena_grow(&p->arena, p->file, p->files, &p->files_cap, sizeof *p->file);
	p->file[p->files++] = path;
}

static void add_table(struct plan *p, struct span type, struct span name)
{
	bool aliases = span_is(p->where, "alias_maps") || span_is(p->where, "alias_database");

	for (size_t i = 0; i < p->tables; i++)
		if (span_eq(p->table[i].type, type) && span_eq(p->table[i].name, name)) {
			p->table[i].aliases |= aliases;
			return;
		}
	if (p->tables == p->tables_cap)
		p->table = arena_grow(&p->arena, p->table, p->tables, &p->tables_cap, sizeof *p->table);
	p->table[p->tables++] =
	    (struct table){ span_dup(&p->arena, type), span_dup(&p->arena, name),
			    span_dup(&p->arena, p->where), aliases, bdb_is_cache(p->where) };
}

/* Types whose name is a file in the form of main.cf, which may name further tables. */
static bool is_described(struct span type)
{
	static const char *const types[] = { "memcache", "ldap", "mysql", "pgsql", "sqlite" };

	for (size_t i = 0; i < ARRAY_LEN(types); i++)
		if (span_is(type, types[i]))
			return true;
	return false;
}

static void see_table(void *arg, struct span type, struct span name)
{
	struct plan *p = arg;

	if (span_is(type, "hash") || span_is(type, "btree"))
		add_table(p, type, name);
	else if (is_described(type) && name.n && *name.p == '/')
		add_file(p, arena_cstr(&p->arena, name));
}

static void see_value(struct plan *p, struct span name, struct span raw)
{
	struct span value;
	struct err e;

	if (span_is(name, "proxy_read_maps") || span_is(name, "proxy_write_maps"))
		return; /* says of tables what may be done with them, not what they are for */
	p->where = name;
	if (conf_expand(p->c->conf, raw, &p->arena, &value, &e) == RC_OK)
		bdb_tables(value, see_table, p);
	else
		log_warning(SPAN_FMT ": %s", SPAN_ARG(name), e.text);
}

static void see_main(struct plan *p)
{
	const struct conf *c = p->c->conf;
	const char *name, *raw;
	unsigned line;
	size_t pos = 0;

	while (conf_next(c, &pos, &name, &raw, &line))
		see_value(p, span_str(name), span_str(raw));
	for (const struct param *q = conf_params; q->name; q++)
		if (q->state == PS_DONE && q->type == P_STR && !conf_is_set(c, q->name))
			see_value(p, span_str(q->name), span_str(q->def));
}

static void see_master(struct plan *p)
{
	struct mastercf *m;
	struct err e;

	if (mastercf_load(p->c->dir, p->c->conf, &m, &e) != RC_OK)
		die("%s", e.text);
	for (size_t i = 0; i < m->n; i++)
		for (size_t k = 1; k < m->entry[i].argc; k++) {
			struct span word = m->entry[i].argv[k];
			ptrdiff_t eq = span_chr(word, '=');
			if (eq > 0)
				see_value(p, span_dup(&p->arena, span_head(word, (size_t)eq)),
					  span_skip(word, (size_t)eq + 1));
		}
	mastercf_free(&m);
}

static enum rc read_file(const char *path, struct buf *text, struct err *e)
{
	struct map_file f;
	enum rc rc;

	map_file_init(&f);
	buf_init(text, FILE_MAX);
	if ((rc = map_file_open(&f, span_str(path), e)) == RC_OK &&
	    (rc = map_read_all(f.fd, text, e)) != RC_OK)
		err_prefix(e, "%s", path);
	map_file_close(&f);
	return rc;
}

/* Those that a table is described in; they may describe further ones. */
static void see_described(struct plan *p, size_t from)
{
	const char *name, *raw;
	struct conf *c;
	struct buf text;
	struct err e;
	unsigned line;

	for (size_t i = from; i < p->files; i++) {
		size_t pos = 0;
		if (read_file(p->file[i], &text, &e) != RC_OK ||
		    conf_parse(buf_span(&text), p->file[i], "", &c, &e) != RC_OK) {
			log_warning("%s", e.text);
		} else {
			while (conf_next(c, &pos, &name, &raw, &line)) {
				p->where = span_str(p->file[i]);
				bdb_tables(span_dup(&p->arena, span_str(raw)), see_table, p);
			}
			conf_free(&c);
		}
		buf_release(&text);
	}
}

static void make_plan(struct plan *p, const struct control *c)
{
	const char *def = conf_str(c->conf, "default_database_type");
	size_t own;

	p->c = c;
	arena_init(&p->arena);
	p->bdb_default = !strcmp(def, "hash") || !strcmp(def, "btree");
	p->types = (struct bdb_types){ p->bdb_default ? "lmdb" : def, "lmdb" };
	add_file(p, arena_printf(&p->arena, "%s/main.cf", c->dir));
	add_file(p, arena_printf(&p->arena, "%s/master.cf", c->dir));
	own = p->files;
	see_main(p);
	see_master(p);
	see_described(p, own);
}

/* ---- the tables ---- */
static bool is_file(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

static bool build_table(const struct plan *p, const struct table *t)
{
	struct build_options o = { .aliases = t->aliases,
				   .utf8 = conf_bool(p->c->conf, "smtputf8_enable"),
				   .host = conf_str(p->c->conf, "myhostname") };
	char source[PATH_MAX], file[PATH_MAX + 3], old[PATH_MAX + 8];
	enum rc rc;
	struct err e;

	if (span_cstr(t->name, source, sizeof source) != RC_OK)
		return log_error(SPAN_FMT ": unusable file name", SPAN_ARG(t->name)), false;
	snprintf(file, sizeof file, "%s.db", source);
	snprintf(old, sizeof old, SPAN_FMT ":%s", SPAN_ARG(t->type), source);
	if (t->cache) {
		log_info("%s is a cache: it begins empty as %s:%s", old, p->types.cache, source);
		return true;
	}
	if (is_file(source)) {
		rc = map_build(span_str(p->types.table), t->name, &o, &e);
	} else if (is_file(file)) {
		rc = map_copy(span_str(old), file, span_str(p->types.table), t->name, &e);
	} else {
		/* A macro may hold the beginning of a name only ("indexed = hash:/etc/postfix"). */
		if (conf_param_find(t->where))
			log_warning("%s: neither %s nor %s is there: only its name changes", old, source,
				    file);
		return true;
	}
	if (rc != RC_OK)
		return log_error("%s: %s", old, e.text), false;
	log_info("%s is now also %s:%s", old, p->types.table, source);
	return true;
}

static void build_tables(const struct plan *p)
{
	bool good = true;

	for (size_t i = 0; i < p->tables; i++)
		good &= build_table(p, &p->table[i]);
	if (!good)
		die("the configuration was not changed");
}

/* ---- the files ---- */
static void write_file(const char *path, struct span text, const struct stat *like)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0)
		die("create %s: %s", path, strerror(errno));
	while (text.n) {
		ssize_t n = write(fd, text.p, text.n);
		if (n < 0 && errno != EINTR)
			die("write %s: %s", path, strerror(errno));
		text = span_skip(text, n > 0 ? (size_t)n : 0);
	}
	if ((fchown(fd, like->st_uid, like->st_gid) != 0 && geteuid() == 0) ||
	    fchmod(fd, like->st_mode & 07777) != 0 || fsync(fd) != 0 || close(fd) != 0)
		die("write %s: %s", path, strerror(errno));
}

static void sync_directory_of(const char *path)
{
	char dir[PATH_MAX];
	int fd;

	snprintf(dir, sizeof dir, "%.*s", (int)(strrchr(path, '/') - path) + 1, path);
	if ((fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0 || fsync(fd) != 0)
		die("fsync %s: %s", dir, strerror(errno));
	close(fd);
}

/* The copy is on disk before the name changes hands. */
static void exchange(struct plan *p, const char *path, struct span old, struct span text)
{
	const char *copy = arena_printf(&p->arena, "%s.bdb-%lld", path, (long long)time(NULL)),
		   *temporary = arena_printf(&p->arena, "%s.tmp", path);
	struct stat st;

	if (stat(path, &st) != 0)
		die("%s: %s", path, strerror(errno));
	write_file(copy, old, &st);
	(void)!unlink(temporary);
	write_file(temporary, text, &st);
	if (rename(temporary, path) != 0)
		die("replace %s: %s", path, strerror(errno));
	sync_directory_of(path);
	log_info("%s was changed; as it was, it is %s", path, copy);
}

/* A default that main.cf does not mention is of Berkeley DB: it has to. */
static bool add_defaults(const struct plan *p, struct buf *out)
{
	static const char *const names[] = { "default_database_type", "default_cache_db_type" };
	bool added = false;

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		const struct param *q = conf_param_find(span_str(names[i]));
		if (!q || conf_is_set(p->c->conf, names[i]) ||
		    (strcmp(q->def, "hash") != 0 && strcmp(q->def, "btree") != 0))
			continue;
		if (out && !added && out->n && out->p[out->n - 1] != '\n')
			buf_putc(out, '\n');
		if (out)
			buf_printf(out, "%s = %s\n", names[i], i ? p->types.cache : p->types.table);
		added = true;
	}
	return added;
}

static bool edit_file(struct plan *p, size_t i)
{
	char path[PATH_MAX];
	struct buf old, text;
	struct err e;
	bool changed;

	if (!realpath(p->file[i], path)) { /* a symbolic link stays one: what it names is replaced */
		log_warning("%s: %s", p->file[i], strerror(errno));
		return false;
	}
	if (read_file(path, &old, &e) != RC_OK)
		die("%s", e.text);
	buf_init(&text, 2 * FILE_MAX);
	changed = bdb_rewrite(buf_span(&old), &p->types, &text);
	if (i == 0)
		changed |= add_defaults(p, &text);
	if (!buf_ok(&text))
		die("%s: too large", path);
	if (changed)
		exchange(p, path, buf_span(&old), buf_span(&text));
	buf_release(&old);
	buf_release(&text);
	return changed;
}

/* ---- the command ---- */
static size_t show(const struct plan *p, const char *verb)
{
	for (size_t i = 0; i < p->tables; i++)
		log_info(SPAN_FMT "%s " SPAN_FMT ":" SPAN_FMT, SPAN_ARG(p->table[i].where), verb,
			 SPAN_ARG(p->table[i].type), SPAN_ARG(p->table[i].name));
	if (p->bdb_default)
		log_info("default_database_type%s %s", verb, conf_str(p->c->conf, "default_database_type"));
	return p->tables + p->bdb_default;
}

/* What could not be seen in the text: a type put together of several parameters. */
static int look_again(const struct control *c)
{
	struct control after = *c;
	struct plan p = { 0 };
	struct err e;
	size_t left;

	if (conf_load(c->dir, &after.conf, &e) != RC_OK)
		die("%s", e.text);
	make_plan(&p, &after);
	left = show(&p, " still uses");
	arena_release(&p.arena);
	conf_free(&after.conf);
	return left > 0;
}

int control_non_bdb(const struct control *c)
{
	struct plan p = { 0 };
	bool status = c->argc == 1 && !strcmp(c->argv[0], "status"), changed = false;

	if (c->argc > 1 || (c->argc == 1 && !status))
		die("usage: postfix non-bdb [status]");
	make_plan(&p, c);
	if (status) {
		size_t n = show(&p, " uses");
		arena_release(&p.arena);
		return n > 0;
	}
	build_tables(&p);
	for (size_t i = p.files; i-- > 0;) /* main.cf last: it says whether all is done */
		changed |= edit_file(&p, i);
	arena_release(&p.arena);
	if (!changed)
		log_info("nothing to do: Berkeley DB is not used");
	return look_again(c);
}
