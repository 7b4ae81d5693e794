/* map/mod_db.c - hash: and btree: files of Berkeley DB 5.3, as postmap(1) makes them: key and value end with
 * a NUL byte (files without are read, too), and whoever reads or writes holds an fcntl lock on the file.
 *
 * The library looks for a file DB_CONFIG in the "home" of its environment, the working directory by default,
 * and obeys it (CVE-2017-10140). Here the environment is private memory and its home a directory that cannot
 * exist. */
#include "map/driver.h"
#include <db.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <unistd.h>

#define NO_HOME		 "/proc/postern-has-no-home"
#define CREATE_CACHE	 (16u << 20)
#define SORTED_CACHE	 (1u << 20) /* btree: pages are filled one after the other */
#define CREATE_CACHE_MAX (256u << 20)
#define READ_CACHE	 (128u << 10)
#define FIRST_KEYS	 4096 /* hash: expected number, so that small tables do not begin with splitting buckets */
#define MOST_KEYS	 (50u << 20)
#define BYTES_PER_LINE	 40 /* of a source, more or less */

struct database {
	DB_ENV *env;
	DB *db;
	DBC *cursor;
	struct map_file file;
	struct arena scratch; /* of a change: one after the other, without a call of malloc(3) each */
	bool locks;	      /* others may use the file, too */
	unsigned tries; /* MAP_TRY0NULL, MAP_TRY1NULL: which form keys may have; narrowed by the first hit */
};

static enum rc db_failed(struct err *e, const char *what, const char *path, int r)
{
	if (r == DB_LOCK_DEADLOCK)
		return err_set(e, RC_AGAIN, "%s %s: %s", what, path, db_strerror(r));
	if (e)
		e->sys = r > 0 ? r : EIO;
	return err_set(e, r == ENOENT ? RC_NOTFOUND : RC_SYS, "%s %s: %s", what, path,
		       r > 0 ? strerror(r) : db_strerror(r));
}

static void no_message(const DB_ENV *env, const char *prefix, const char *text)
{
	(void)env, (void)prefix, (void)text;
}

static DBT dbt_of(struct span s)
{
	DBT t;

	memset(&t, 0, sizeof t);
	t.data = (void *)(uintptr_t)s.p;
	t.size = (u_int32_t)s.n;
	return t;
}

/* A hash that does not fit while it is made is read and written over and over. */
static u_int32_t cache_bytes(const struct map *m, bool create)
{
	uint64_t bytes = m->size_hint * 4;

	if (!create)
		return READ_CACHE;
	if (m->drv->flags & MD_SORTED)
		return SORTED_CACHE;
	return bytes < CREATE_CACHE	  ? CREATE_CACHE
	       : bytes > CREATE_CACHE_MAX ? CREATE_CACHE_MAX
					  : (u_int32_t)bytes;
}

/* Growing one bucket after the other costs more than all the rest. */
static u_int32_t expected_keys(const struct map *m)
{
	uint64_t keys = m->size_hint / BYTES_PER_LINE;

	return keys < FIRST_KEYS ? FIRST_KEYS : keys > MOST_KEYS ? MOST_KEYS : (u_int32_t)keys;
}

static int make_env(const struct map *m, struct database *d, bool create)
{
	int r = db_env_create(&d->env, 0);

	if (r)
		return r;
	d->env->set_errcall(d->env, no_message);
	d->env->set_cachesize(d->env, 0, cache_bytes(m, create), 1);
	return d->env->open(d->env, NO_HOME, DB_CREATE | DB_INIT_MPOOL | DB_PRIVATE, 0);
}

static int open_db(const struct map *m, struct database *d, const char *path, DBTYPE type)
{
	bool create = m->flags & MAP_CREATE, write = m->flags & MAP_READ_WRITE;
	int r = make_env(m, d, create);

	if (!r)
		r = db_create(&d->db, d->env, 0);
	if (!r && type == DB_HASH && create)
		r = d->db->set_h_nelem(d->db, expected_keys(m));
	if (!r)
		r = d->db->open(d->db, NULL, path, NULL, type,
				create	? DB_CREATE | DB_TRUNCATE
				: write ? 0
					: DB_RDONLY,
				0600);
	return r;
}

static void release(struct database *d)
{
	if (d->cursor)
		d->cursor->close(d->cursor);
	if (d->db)
		d->db->close(d->db, 0);
	if (d->env)
		d->env->close(d->env, 0);
	map_file_close(&d->file);
	arena_release(&d->scratch);
	free(d);
}

/* The library resolves relative names from its home. */
static enum rc absolute_path(struct span arg, char out[PATH_MAX], struct err *e)
{
	char cwd[PATH_MAX] = "";
	int n;

	if (!arg.n || (*arg.p != '/' && !getcwd(cwd, sizeof cwd)))
		return err_sys(e, "open database " SPAN_FMT ".db", SPAN_ARG(arg));
	n = snprintf(out, PATH_MAX, "%s%s" SPAN_FMT ".db", cwd, *arg.p == '/' ? "" : "/", SPAN_ARG(arg));
	return n < PATH_MAX ? RC_OK : err_set(e, RC_LIMIT, "open database: name too long");
}

/* A descriptor of our own, for locking and to see changes; it must not be closed while a lock is held. */
static enum rc adopt_file(struct map *m, struct database *d, const char *path, const char *shown, bool create,
			  struct err *e)
{
	bool write = m->flags & MAP_READ_WRITE;
	int fd = open(path, (write ? O_RDWR : O_RDONLY) | (create ? O_CREAT : 0) | O_CLOEXEC, 0600);
	struct stat st;

	if (fd < 0)
		return db_failed(e, "open database", shown, errno);
	map_file_adopt(&d->file, fd, path);
	if (fstat(fd, &st) == 0) {
		m->owner = st.st_uid;
		m->has_owner = true;
	}
	return RC_OK;
}

static enum rc open_type(struct map *m, DBTYPE type, struct err *e)
{
	bool create = m->flags & MAP_CREATE;
	struct database *d;
	char path[PATH_MAX], shown[PATH_MAX];
	enum rc rc = absolute_path(m->arg, path, e);
	int r;

	if (rc != RC_OK)
		return rc;
	snprintf(shown, sizeof shown, SPAN_FMT ".db", SPAN_ARG(m->arg));
	d = xcalloc(1, sizeof *d);
	arena_init(&d->scratch);
	map_file_init(&d->file);
	d->locks = !(m->flags & (MAP_CREATE | MAP_PRIVATE));
	d->tries = m->flags & (MAP_TRY0NULL | MAP_TRY1NULL);
	if (!d->tries)
		d->tries = MAP_TRY0NULL | MAP_TRY1NULL;
	if ((rc = adopt_file(m, d, path, shown, create, e)) == RC_OK &&
	    (!d->locks || (rc = map_lock(d->file.fd, F_RDLCK, path, e)) == RC_OK)) {
		r = open_db(m, d, path, type);
		if (d->locks)
			(void)!map_lock(d->file.fd, F_UNLCK, path, NULL);
		rc = r ? db_failed(e, "open database", shown, r) : RC_OK;
	}
	if (rc == RC_OK)
		m->state = d;
	else
		release(d);
	return rc;
}

static enum rc open_hash(struct map *m, struct err *e)
{
	return open_type(m, DB_HASH, e);
}

static enum rc open_btree(struct map *m, struct err *e)
{
	return open_type(m, DB_BTREE, e);
}

static void close_db(struct map *m)
{
	struct database *d = m->state;

	if (d)
		release(d);
}

static enum rc lock(struct database *d, short type, struct err *e)
{
	return d->locks ? map_lock(d->file.fd, type, d->file.path, e) : RC_OK;
}

static void unlock(struct database *d)
{
	if (d->locks)
		(void)!map_lock(d->file.fd, F_UNLCK, d->file.path, NULL);
}

/* Of a stored datum: the terminating NUL does not count. */
static struct span stored(const DBT *t)
{
	struct span s = span_make(t->data, t->size);

	if (s.n && !s.p[s.n - 1])
		s.n--;
	return s;
}

static struct span with_nul(struct arena *a, struct span s)
{
	return span_make(arena_cstr(a, s), s.n + 1);
}

/* Tries the forms of the key in turn: 0 found, DB_NOTFOUND, or an error. */
static int get(struct database *d, struct span key, struct arena *a, DBT *value)
{
	int r = DB_NOTFOUND;
	DBT k;

	if (d->tries & MAP_TRY1NULL) {
		k = dbt_of(with_nul(a, key));
		r = d->db->get(d->db, NULL, &k, value, 0);
		if (r == 0)
			d->tries = MAP_TRY1NULL;
	}
	if (r == DB_NOTFOUND && (d->tries & MAP_TRY0NULL)) {
		k = dbt_of(key);
		r = d->db->get(d->db, NULL, &k, value, 0);
		if (r == 0)
			d->tries = MAP_TRY0NULL;
	}
	return r;
}

static enum rc lookup(struct map *m, unsigned flags, struct span key, struct arena *a, struct span *value,
		      struct err *e)
{
	struct database *d = m->state;
	DBT found = dbt_of(SPAN_NONE);
	enum rc rc = lock(d, F_RDLCK, e);
	int r;

	(void)flags;
	if (rc != RC_OK)
		return rc;
	r = get(d, key, a, &found);
	unlock(d);
	if (r == DB_NOTFOUND)
		return RC_NOTFOUND;
	if (r)
		return db_failed(e, "read", d->file.path, r);
	*value = span_dup(a, stored(&found));
	return RC_OK;
}

/* Without locks the file is ours alone, and close makes it durable. */
static enum rc finish_write(struct database *d, struct err *e)
{
	int r = d->locks ? d->db->sync(d->db, 0) : 0;

	if (!d->locks)
		return RC_OK;
	map_file_note(&d->file);
	unlock(d);
	return r ? db_failed(e, "write", d->file.path, r) : RC_OK;
}

static enum rc put(struct map *m, bool replace, struct span key, struct span value, struct err *e)
{
	struct database *d = m->state;
	enum rc rc = lock(d, F_WRLCK, e), end;
	bool nul = d->tries & MAP_TRY1NULL;
	DBT k, v;
	int r;

	if (rc != RC_OK)
		return rc;
	arena_reset(&d->scratch);
	if (d->tries == (MAP_TRY0NULL | MAP_TRY1NULL))
		d->tries = MAP_TRY1NULL;
	k = dbt_of(nul ? with_nul(&d->scratch, key) : key);
	v = dbt_of(nul ? with_nul(&d->scratch, value) : value);
	r = d->db->put(d->db, NULL, &k, &v, replace ? 0 : DB_NOOVERWRITE);
	rc = r == DB_KEYEXIST ? err_set(e, RC_DENIED, "duplicate entry")
	     : r	      ? db_failed(e, "write", d->file.path, r)
			      : RC_OK;
	end = finish_write(d, rc == RC_OK ? e : NULL);
	return rc != RC_OK ? rc : end;
}

static enum rc del(struct map *m, struct span key, struct err *e)
{
	struct database *d = m->state;
	enum rc rc = lock(d, F_WRLCK, e), end;
	int r = DB_NOTFOUND;
	DBT k;

	if (rc != RC_OK)
		return rc;
	arena_reset(&d->scratch);
	if (d->tries & MAP_TRY1NULL) {
		k = dbt_of(with_nul(&d->scratch, key));
		r = d->db->del(d->db, NULL, &k, 0);
	}
	if (r == DB_NOTFOUND && (d->tries & MAP_TRY0NULL)) {
		k = dbt_of(key);
		r = d->db->del(d->db, NULL, &k, 0);
	}
	rc = r == DB_NOTFOUND ? RC_NOTFOUND : r ? db_failed(e, "delete", d->file.path, r) : RC_OK;
	end = finish_write(d, rc == RC_OK ? e : NULL);
	return rc != RC_OK ? rc : end;
}

static enum rc next(struct map *m, void **state, struct arena *a, struct span *key, struct span *value,
		    struct err *e)
{
	struct database *d = m->state;
	DBT k = dbt_of(SPAN_NONE), v = dbt_of(SPAN_NONE);
	enum rc rc = lock(d, F_RDLCK, e);
	int r = 0;

	if (rc != RC_OK)
		return rc;
	if (!*state && d->cursor) {
		d->cursor->close(d->cursor);
		d->cursor = NULL;
	}
	if (!d->cursor)
		r = d->db->cursor(d->db, NULL, &d->cursor, 0);
	if (!r)
		r = d->cursor->get(d->cursor, &k, &v, *state ? DB_NEXT : DB_FIRST);
	unlock(d);
	if (r == DB_NOTFOUND)
		return RC_NOTFOUND;
	if (r)
		return db_failed(e, "read", d->file.path, r);
	*state = d;
	*key = span_dup(a, stored(&k));
	*value = span_dup(a, stored(&v));
	return RC_OK;
}

static enum rc flush(struct map *m, struct err *e)
{
	struct database *d = m->state;
	int r = d->db->sync(d->db, 0);

	return r ? db_failed(e, "write", d->file.path, r) : RC_OK;
}

static bool changed(const struct map *m)
{
	const struct database *d = m->state;
	return map_file_changed(&d->file);
}

#define DRIVER(type, more, open_fn)                                                                          \
	{                                                                                                    \
		.name = type, .flags = MD_REMOTE | (more), .open = open_fn, .lookup = lookup, .put = put,    \
		.del = del, .next = next, .flush = flush, .close = close_db, .changed = changed              \
	}

static const struct map_driver hash = DRIVER("hash", 0, open_hash),
			       btree = DRIVER("btree", MD_SORTED, open_btree);
static const struct map_driver *const drivers[] = { &hash, &btree, NULL };
extern const struct map_module map_module;
const struct map_module map_module = { MAP_MODULE_ABI, drivers, ".db" };
