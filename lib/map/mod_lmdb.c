/* map/mod_lmdb.c - lmdb: files of LMDB, one file a table, as postmap(1) makes them. LMDB's own lock file is
 * not used; an fcntl lock on the file itself keeps writers apart, as the other programs that use such tables
 * expect (lmdb_table(5)). */
#include "map/driver.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <lmdb.h>
#include <unistd.h>

#define FIRST_MAP_BYTES (16u << 20)
#define KEY_BYTES_MAX	511
#define DEFAULT_NUL	MAP_TRY0NULL /* new tables: keys and values without a terminating NUL */

struct database {
	MDB_env *env;
	MDB_dbi dbi;
	MDB_txn *bulk; /* alone: the one transaction */
	MDB_txn *walk;
	MDB_cursor *cursor;
	struct map_file file;
	size_t map_bytes;
	unsigned tries;
	bool alone, write; /* alone: nobody else uses it; one transaction, made durable by close */
};

static enum rc failed(struct err *e, const char *what, const char *path, int r)
{
	if (e)
		e->sys = r > 0 ? r : EIO;
	return err_set(e, r == ENOENT ? RC_NOTFOUND : RC_SYS, "%s %s: %s", what, path, mdb_strerror(r));
}

static MDB_val val_of(struct span s)
{
	return (MDB_val){ .mv_size = s.n, .mv_data = (void *)(uintptr_t)s.p };
}

static struct span stored(MDB_val v)
{
	struct span s = span_make(v.mv_data, v.mv_size);

	if (s.n && !s.p[s.n - 1])
		s.n--;
	return s;
}

static struct span with_nul(struct arena *a, struct span s)
{
	return span_make(arena_cstr(a, s), s.n + 1);
}

static void end_walk(struct database *d)
{
	if (d->cursor)
		mdb_cursor_close(d->cursor);
	if (d->walk)
		mdb_txn_abort(d->walk);
	d->cursor = NULL;
	d->walk = NULL;
}

static void release(struct database *d)
{
	end_walk(d);
	if (d->bulk)
		mdb_txn_abort(d->bulk);
	if (d->env)
		mdb_env_close(d->env);
	map_file_close(&d->file);
	free(d);
}

static int open_env(struct database *d, const char *path)
{
	MDB_txn *txn = NULL;
	int r = mdb_env_create(&d->env);

	if (!r && d->write)
		r = mdb_env_set_mapsize(d->env, d->map_bytes);
	if (!r)
		r = mdb_env_open(d->env, path, MDB_NOSUBDIR | MDB_NOLOCK | (d->write ? 0 : MDB_RDONLY), 0600);
	if (!r)
		r = mdb_txn_begin(d->env, NULL, d->write ? 0 : MDB_RDONLY, &txn);
	if (!r && (r = mdb_dbi_open(txn, NULL, 0, &d->dbi))) {
		mdb_txn_abort(txn);
		txn = NULL;
	}
	if (txn)
		r = mdb_txn_commit(txn);
	if (!r && d->alone)
		r = mdb_txn_begin(d->env, NULL, 0, &d->bulk);
	return r;
}

/* A map is address space, not disk: room for what the source may become, and for later additions. */
static size_t map_bytes_for(const struct map *m, const struct database *d)
{
	uint64_t need = m->size_hint * 8 + (uint64_t)d->file.bytes * 2;
	size_t page = (size_t)sysconf(_SC_PAGESIZE),
	       bytes = need > FIRST_MAP_BYTES ? (size_t)need : FIRST_MAP_BYTES;

	return (bytes + page - 1) / page * page;
}

static enum rc open_lmdb(struct map *m, struct err *e)
{
	struct database *d;
	char path[PATH_MAX];
	struct stat st;
	enum rc rc;
	int fd, r;

	if (snprintf(path, sizeof path, SPAN_FMT ".lmdb", SPAN_ARG(m->arg)) >= (int)sizeof path)
		return err_set(e, RC_LIMIT, "open database: name too long");
	fd = open(path,
		  (m->flags & MAP_READ_WRITE ? O_RDWR : O_RDONLY) |
		      (m->flags & MAP_CREATE ? O_CREAT | O_TRUNC : 0) | O_CLOEXEC,
		  0600);
	if (fd < 0)
		return failed(e, "open database", path, errno);
	d = xcalloc(1, sizeof *d);
	map_file_init(&d->file);
	map_file_adopt(&d->file, fd, path);
	if (fstat(fd, &st) == 0) {
		m->owner = st.st_uid;
		m->has_owner = true;
	}
	d->alone = m->flags & (MAP_CREATE | MAP_PRIVATE);
	d->write = m->flags & MAP_READ_WRITE;
	d->tries = m->flags & (MAP_TRY0NULL | MAP_TRY1NULL);
	if (!d->tries)
		d->tries = MAP_TRY0NULL | MAP_TRY1NULL;
	d->map_bytes = map_bytes_for(m, d);
	rc = d->alone ? RC_OK : map_lock(fd, d->write ? F_WRLCK : F_RDLCK, path, e);
	if (rc == RC_OK) {
		r = open_env(d, path);
		if (!d->alone)
			(void)!map_lock(fd, F_UNLCK, path, NULL);
		rc = r ? failed(e, "open database", path, r) : RC_OK;
		map_file_note(&d->file);
	}
	if (rc == RC_OK)
		m->state = d;
	else
		release(d);
	return rc;
}

static void close_lmdb(struct map *m)
{
	struct database *d = m->state;

	if (d)
		release(d);
}

static int get(struct database *d, MDB_txn *txn, struct span key, struct arena *a, MDB_val *value)
{
	int r = MDB_NOTFOUND;
	MDB_val k;

	if ((d->tries & MAP_TRY1NULL) && key.n < KEY_BYTES_MAX) {
		k = val_of(with_nul(a, key));
		if ((r = mdb_get(txn, d->dbi, &k, value)) == 0)
			d->tries = MAP_TRY1NULL;
	}
	if (r == MDB_NOTFOUND && (d->tries & MAP_TRY0NULL) && key.n <= KEY_BYTES_MAX) {
		k = val_of(key);
		if ((r = mdb_get(txn, d->dbi, &k, value)) == 0)
			d->tries = MAP_TRY0NULL;
	}
	return r;
}

/* The file outgrew the map: another process wrote it. */
static int begin_read(struct database *d, MDB_txn **txn)
{
	int r = mdb_txn_begin(d->env, NULL, MDB_RDONLY, txn);

	if (r == MDB_MAP_RESIZED && (r = mdb_env_set_mapsize(d->env, 0)) == 0)
		r = mdb_txn_begin(d->env, NULL, MDB_RDONLY, txn);
	return r;
}

static enum rc lookup(struct map *m, unsigned flags, struct span key, struct arena *a, struct span *value,
		      struct err *e)
{
	struct database *d = m->state;
	MDB_txn *txn = d->bulk;
	MDB_val found;
	enum rc rc;
	int r = 0;

	(void)flags;
	if (!txn && (rc = map_lock(d->file.fd, F_RDLCK, d->file.path, e)) != RC_OK)
		return rc;
	if (!txn)
		r = begin_read(d, &txn);
	if (!r)
		r = get(d, txn, key, a, &found);
	if (!r)
		*value = span_dup(a, stored(found));
	if (!d->bulk) {
		if (txn)
			mdb_txn_abort(txn);
		(void)!map_lock(d->file.fd, F_UNLCK, d->file.path, NULL);
	}
	return r == MDB_NOTFOUND ? RC_NOTFOUND : r ? failed(e, "read", d->file.path, r) : RC_OK;
}

/* One change, in its own transaction; a full map grows and the change is made again. */
static int change_once(struct database *d, int (*change)(struct database *, MDB_txn *, void *), void *arg)
{
	MDB_txn *txn;
	int r = mdb_txn_begin(d->env, NULL, 0, &txn);

	if (r)
		return r;
	if ((r = change(d, txn, arg))) {
		mdb_txn_abort(txn);
		return r;
	}
	return mdb_txn_commit(txn);
}

static int change_now(struct database *d, int (*change)(struct database *, MDB_txn *, void *), void *arg)
{
	int r;

	if (d->bulk)
		return change(d, d->bulk, arg);
	for (int grown = 0; grown < 4; grown++) {
		r = change_once(d, change, arg);
		if (r == MDB_MAP_RESIZED)
			r = mdb_env_set_mapsize(d->env, 0);
		else if (r == MDB_MAP_FULL)
			r = mdb_env_set_mapsize(d->env, d->map_bytes *= 2);
		else
			return r;
		if (r)
			return r;
	}
	return MDB_MAP_FULL;
}

struct put_args {
	MDB_val key, value;
	bool replace;
};

static int do_put(struct database *d, MDB_txn *txn, void *arg)
{
	struct put_args *p = arg;
	MDB_val value = p->value; /* MDB_NOOVERWRITE writes to it */

	return mdb_put(txn, d->dbi, &p->key, &value, p->replace ? 0 : MDB_NOOVERWRITE);
}

static enum rc locked_change(struct database *d, int (*change)(struct database *, MDB_txn *, void *),
			     void *arg, int *r, struct err *e)
{
	enum rc rc = d->bulk ? RC_OK : map_lock(d->file.fd, F_WRLCK, d->file.path, e);

	if (rc != RC_OK)
		return rc;
	*r = change_now(d, change, arg);
	if (!d->bulk) {
		map_file_note(&d->file);
		(void)!map_lock(d->file.fd, F_UNLCK, d->file.path, NULL);
	}
	return RC_OK;
}

static enum rc put(struct map *m, bool replace, struct span key, struct span value, struct err *e)
{
	struct database *d = m->state;
	struct put_args p = { .replace = replace };
	struct arena a;
	enum rc rc;
	int r = 0;
	bool nul;

	if (d->tries == (MAP_TRY0NULL | MAP_TRY1NULL))
		d->tries = DEFAULT_NUL;
	nul = d->tries & MAP_TRY1NULL;
	arena_init(&a);
	p.key = val_of(nul ? with_nul(&a, key) : key);
	p.value = val_of(nul ? with_nul(&a, value) : value);
	rc = locked_change(d, do_put, &p, &r, e);
	arena_release(&a);
	if (rc != RC_OK)
		return rc;
	if (r == MDB_KEYEXIST)
		return err_set(e, RC_DENIED, "duplicate entry");
	return r ? failed(e, "write", d->file.path, r) : RC_OK;
}

static int do_del(struct database *d, MDB_txn *txn, void *arg)
{
	struct put_args *p = arg; /* key with NUL; value: the key without */
	int r = MDB_NOTFOUND;

	if ((d->tries & MAP_TRY1NULL) && p->key.mv_size <= KEY_BYTES_MAX)
		r = mdb_del(txn, d->dbi, &p->key, NULL);
	if (r == MDB_NOTFOUND && (d->tries & MAP_TRY0NULL) && p->value.mv_size <= KEY_BYTES_MAX)
		r = mdb_del(txn, d->dbi, &p->value, NULL);
	return r;
}

static enum rc del(struct map *m, struct span key, struct err *e)
{
	struct database *d = m->state;
	struct put_args p = { .replace = false };
	struct arena a;
	enum rc rc;
	int r = 0;

	arena_init(&a);
	p.key = val_of(with_nul(&a, key));
	p.value = val_of(key);
	rc = locked_change(d, do_del, &p, &r, e);
	arena_release(&a);
	if (rc != RC_OK)
		return rc;
	return r == MDB_NOTFOUND ? RC_NOTFOUND : r ? failed(e, "delete", d->file.path, r) : RC_OK;
}

static enum rc next(struct map *m, void **state, struct arena *a, struct span *key, struct span *value,
		    struct err *e)
{
	struct database *d = m->state;
	MDB_val k, v;
	int r = 0;

	if (!*state)
		end_walk(d);
	if (!d->walk)
		r = begin_read(d, &d->walk);
	if (!r && !d->cursor)
		r = mdb_cursor_open(d->walk, d->dbi, &d->cursor);
	if (!r)
		r = mdb_cursor_get(d->cursor, &k, &v, *state ? MDB_NEXT : MDB_FIRST);
	if (r) {
		end_walk(d);
		return r == MDB_NOTFOUND ? RC_NOTFOUND : failed(e, "read", d->file.path, r);
	}
	*state = d;
	*key = span_dup(a, stored(k));
	*value = span_dup(a, stored(v));
	return RC_OK;
}

static enum rc flush(struct map *m, struct err *e)
{
	struct database *d = m->state;
	int r = d->bulk ? mdb_txn_commit(d->bulk) : 0;

	d->bulk = NULL;
	if (!r)
		r = mdb_env_sync(d->env, 1);
	return r ? failed(e, "write", d->file.path, r) : RC_OK;
}

static bool changed(const struct map *m)
{
	const struct database *d = m->state;
	return map_file_changed(&d->file);
}

static const struct map_driver lmdb = {
	.name = "lmdb",
	.flags = MD_REMOTE | MD_SORTED,
	.open = open_lmdb,
	.lookup = lookup,
	.put = put,
	.del = del,
	.next = next,
	.flush = flush,
	.close = close_lmdb,
	.changed = changed,
};
static const struct map_driver *const drivers[] = { &lmdb, NULL };
extern const struct map_module map_module;
const struct map_module map_module = { MAP_MODULE_ABI, drivers, ".lmdb" };
