/* map/mod_cdb.c - cdb: constant databases, as postmap(1) makes them: written in one go, never changed, replaced by
 * rename. Readers need no lock. */
#include "base/table.h"
#include "map/driver.h"
#include <cdb.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <unistd.h>

/* The hashes of the keys so far. The library looks for an earlier key in lists that grow with the table, which takes the square of
 * the time; only where a hash is here already it has to. */
struct seen {
	uint64_t *slot; /* 0: free */
	size_t n, cap;	/* a power of two */
};

struct database {
	struct map_file file;
	struct seen seen;
	struct cdb read;
	struct cdb_make make;
	unsigned walk;	/* where the listing is */
	unsigned tries; /* MAP_TRY0NULL, MAP_TRY1NULL: which form keys may have; narrowed by the first hit */
	bool reading, making, flushed;
};

static size_t slot_of(const struct seen *s, uint64_t hash)
{
	size_t i = (size_t)hash & (s->cap - 1);

	while (s->slot[i] && s->slot[i] != hash)
		i = (i + 1) & (s->cap - 1);
	return i;
}

static void grow(struct seen *s)
{
	struct seen more = { .cap = s->cap ? 2 * s->cap : 1024, .n = s->n };

	more.slot = xcalloc(more.cap, sizeof *more.slot);
	for (size_t i = 0; i < s->cap; i++)
		if (s->slot[i])
			more.slot[slot_of(&more, s->slot[i])] = s->slot[i];
	free(s->slot);
	*s = more;
}

/* True when a key like it may have been here. */
static bool was_seen(struct seen *s, struct span key)
{
	uint64_t hash = siphash(key) | 1;
	size_t i;

	if (2 * s->n >= s->cap)
		grow(s);
	i = slot_of(s, hash);
	if (s->slot[i])
		return true;
	s->slot[i] = hash;
	s->n++;
	return false;
}

static void release(struct database *d)
{
	free(d->seen.slot);
	if (d->reading)
		cdb_free(&d->read);
	if (d->making && !d->flushed)
		(void)!cdb_make_finish(&d->make); /* frees what it holds; the file is thrown away */
	map_file_close(&d->file);
	free(d);
}

static enum rc open_failed(const char *path, int error, struct err *e)
{
	if (e)
		e->sys = error;
	return err_set(e, error == ENOENT ? RC_NOTFOUND : RC_SYS, "open database %s: %s", path,
		       strerror(error));
}

/* The library trusts the offsets in the file's head to lie within it only in part: here all 256 have to. */
static bool head_is_sound(const struct database *d, off_t bytes)
{
	unsigned char head[2048];

	if (bytes < (off_t)sizeof head || bytes > UINT32_MAX ||
	    pread(d->file.fd, head, sizeof head, 0) != (ssize_t)sizeof head)
		return false;
	for (size_t i = 0; i < sizeof head; i += 8) {
		uint64_t at = cdb_unpack(head + i), slots = cdb_unpack(head + i + 4);
		if (at < sizeof head || at + slots * 8 > (uint64_t)bytes)
			return false;
	}
	return true;
}

static enum rc start_reading(struct map *m, struct database *d, const char *path, struct err *e)
{
	struct stat st;

	if (fstat(d->file.fd, &st) != 0)
		return open_failed(path, errno, e);
	m->owner = st.st_uid;
	m->has_owner = true;
	if (!head_is_sound(d, st.st_size))
		return err_set(e, RC_SYNTAX, "open database %s: not a cdb file", path);
	if (cdb_init(&d->read, d->file.fd) != 0)
		return open_failed(path, errno, e);
	d->reading = true;
	return RC_OK;
}

/* A file with readers keeps its bytes: only a new one is written. */
static enum rc start_making(struct database *d, const char *path, struct err *e)
{
	struct stat st;

	if (fstat(d->file.fd, &st) == 0 && st.st_size > 0)
		return err_set(e, RC_DENIED, "open database %s: the directory has to be writable", path);
	if (cdb_make_start(&d->make, d->file.fd) != 0)
		return open_failed(path, errno, e);
	d->making = true;
	return RC_OK;
}

static enum rc open_cdb(struct map *m, struct err *e)
{
	bool create = m->flags & MAP_CREATE;
	struct database *d;
	char path[PATH_MAX];
	enum rc rc;
	int fd;

	if (snprintf(path, sizeof path, SPAN_FMT ".cdb", SPAN_ARG(m->arg)) >= (int)sizeof path)
		return err_set(e, RC_LIMIT, "open database: name too long");
	if ((m->flags & MAP_READ_WRITE) && !create)
		return err_set(e, RC_DENIED, "%s map requires O_RDONLY access mode or bulk-mode creation",
			       m->name);
	if ((fd = open(path, (create ? O_RDWR | O_CREAT : O_RDONLY) | O_CLOEXEC, 0600)) < 0)
		return open_failed(path, errno, e);
	d = xcalloc(1, sizeof *d);
	map_file_init(&d->file);
	map_file_adopt(&d->file, fd, path);
	d->tries = m->flags & (MAP_TRY0NULL | MAP_TRY1NULL);
	if (!d->tries)
		d->tries = MAP_TRY0NULL | MAP_TRY1NULL;
	rc = create ? start_making(d, path, e) : start_reading(m, d, path, e);
	if (rc == RC_OK)
		m->state = d;
	else
		release(d);
	return rc;
}

static void close_cdb(struct map *m)
{
	if (m->state)
		release(m->state);
}

/* ---- reading ---- */
static struct span with_nul(struct arena *a, struct span s)
{
	return span_make(arena_cstr(a, s), s.n + 1);
}

/* Of a stored datum: the terminating NUL does not count. */
static enum rc stored(struct database *d, unsigned bytes, unsigned at, struct arena *a, struct span *out,
		      struct err *e)
{
	const char *p = cdb_get(&d->read, bytes, at);

	if (!p)
		return err_set(e, RC_SYS, "read %s: damaged", d->file.path);
	*out = span_dup(a, span_make(p, bytes && !p[bytes - 1] ? bytes - 1 : bytes));
	return RC_OK;
}

static int find(struct database *d, struct span key, unsigned form)
{
	int r = d->tries & form ? cdb_find(&d->read, key.p, (unsigned)key.n) : 0;

	if (r > 0)
		d->tries = form;
	return r;
}

static enum rc lookup(struct map *m, unsigned flags, struct span key, struct arena *a, struct span *value,
		      struct err *e)
{
	struct database *d = m->state;
	int r = d->reading ? find(d, with_nul(a, key), MAP_TRY1NULL) : 0;

	(void)flags;
	if (r == 0 && d->reading)
		r = find(d, key, MAP_TRY0NULL);
	if (r < 0)
		return err_set(e, RC_SYS, "read %s: %s", d->file.path, strerror(errno));
	return r ? stored(d, cdb_datalen(&d->read), cdb_datapos(&d->read), a, value, e) : RC_NOTFOUND;
}

static enum rc next(struct map *m, void **state, struct arena *a, struct span *key, struct span *value,
		    struct err *e)
{
	struct database *d = m->state;
	enum rc rc;
	int r;

	if (!d->reading)
		return err_set(e, RC_DENIED, "%s: is being written", m->name);
	if (!*state)
		cdb_seqinit(&d->walk, &d->read);
	*state = d;
	if ((r = cdb_seqnext(&d->walk, &d->read)) <= 0)
		return r == 0 ? RC_NOTFOUND
			      : err_set(e, RC_SYS, "read %s: %s", d->file.path, strerror(errno));
	rc = stored(d, cdb_keylen(&d->read), cdb_keypos(&d->read), a, key, e);
	return rc == RC_OK ? stored(d, cdb_datalen(&d->read), cdb_datapos(&d->read), a, value, e) : rc;
}

/* ---- making ---- */
/* Without -N the form is that of tables made for long: no terminating NUL. */
static enum rc put(struct map *m, bool replace, struct span key, struct span value, struct err *e)
{
	struct database *d = m->state;
	bool nul = d->tries == MAP_TRY1NULL;
	struct arena a;
	int r;

	if (!d->making)
		return err_set(e, RC_DENIED, "%s map requires bulk-mode creation", m->name);
	arena_init(&a);
	if (nul) {
		key = with_nul(&a, key);
		value = with_nul(&a, value);
	}
	r = cdb_make_put(&d->make, key.p, (unsigned)key.n, value.p, (unsigned)value.n,
			 !was_seen(&d->seen, key) ? CDB_PUT_ADD
			 : replace		  ? CDB_PUT_REPLACE
						  : CDB_PUT_INSERT);
	arena_release(&a);
	if (r < 0)
		return err_set(e, errno == ENOMEM || errno == EFBIG ? RC_LIMIT : RC_SYS, "write %s: %s",
			       d->file.path, strerror(errno));
	return r > 0 && !replace ? err_set(e, RC_DENIED, "duplicate entry") : RC_OK;
}

/* What cannot be reported by close. */
static enum rc flush(struct map *m, struct err *e)
{
	struct database *d = m->state;

	if (!d->making)
		return RC_OK;
	d->flushed = true;
	if (cdb_make_finish(&d->make) != 0)
		return err_set(e, RC_SYS, "write %s: %s", d->file.path, strerror(errno));
	return RC_OK;
}

static bool changed(const struct map *m)
{
	const struct database *d = m->state;

	return map_file_changed(&d->file);
}

static const struct map_driver cdb = {
	.name = "cdb",
	.flags = MD_REMOTE,
	.open = open_cdb,
	.lookup = lookup,
	.put = put,
	.next = next,
	.flush = flush,
	.close = close_cdb,
	.changed = changed,
};
static const struct map_driver *const drivers[] = { &cdb, NULL };
extern const struct map_module map_module;
const struct map_module map_module = { MAP_MODULE_ABI, drivers, ".cdb" };
