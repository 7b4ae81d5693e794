/* map/build.c - tables made from their sources. */
#include "map/build.h"
#include "base/codec.h"
#include "log/log.h"
#include "map/alias.h"
#include "map/batch.h"
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <time.h>
#include <unistd.h>

#define DEFAULT_MODE 0644
#define BATCH_MAX    (8u << 20) /* pairs that are brought into order at a time */

/* ---- the file that replaces another ---- */
struct map_edit {
	struct map *map;
	char final[PATH_MAX], temp[PATH_MAX]; /* files, with suffix; temp "": changed in place */
	int lock_fd;			      /* the old file, locked while we build on it; -1 */
	bool set_owner;
	uid_t uid;
	gid_t gid;
	mode_t mode;
};

static enum rc sync_path(const char *path, int flags, const struct map_edit *ed, struct err *e)
{
	int fd = open(path, flags | O_CLOEXEC);
	enum rc rc = RC_OK;

	if (fd < 0)
		return err_sys(e, "open %s", path);
	if (ed && fchmod(fd, ed->mode) != 0)
		rc = err_sys(e, "change mode of %s", path);
	if (rc == RC_OK && ed && ed->set_owner && fchown(fd, ed->uid, ed->gid) != 0)
		rc = err_sys(e, "change owner of %s", path);
	if (rc == RC_OK && fsync(fd) != 0)
		rc = err_sys(e, "fsync %s", path);
	close(fd);
	return rc;
}

static enum rc sync_directory_of(const char *path, struct err *e)
{
	char dir[PATH_MAX];
	char *slash;

	snprintf(dir, sizeof dir, "%s", path);
	if (!(slash = strrchr(dir, '/')))
		return sync_path(".", O_RDONLY | O_DIRECTORY, NULL, e);
	slash[slash == dir] = 0;
	return sync_path(dir, O_RDONLY | O_DIRECTORY, NULL, e);
}

/* The old file, locked, and still the one of that name. RC_NOTFOUND: there is none. */
static enum rc lock_old(struct map_edit *ed, struct stat *st, struct err *e)
{
	struct stat now;

	for (;;) {
		if ((ed->lock_fd = open(ed->final, O_RDWR | O_CLOEXEC)) < 0)
			return errno == ENOENT ? err_set(e, RC_NOTFOUND, "open database %s: %s", ed->final,
							 strerror(errno))
					       : err_sys(e, "open database %s", ed->final);
		enum rc rc = map_lock(ed->lock_fd, F_WRLCK, ed->final, e);
		if (rc != RC_OK)
			return rc;
		if (fstat(ed->lock_fd, st) == 0 && stat(ed->final, &now) == 0 && now.st_ino == st->st_ino &&
		    now.st_dev == st->st_dev)
			return RC_OK;
		close(ed->lock_fd);
	}
}

static enum rc copy_old(struct map_edit *ed, struct err *e)
{
	char block[65536];
	int out = open(ed->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	enum rc rc = RC_OK;
	off_t at = 0;
	ssize_t got = 0;

	if (out < 0)
		return err_sys(e, "create %s", ed->temp);
	while (rc == RC_OK && (got = pread(ed->lock_fd, block, sizeof block, at)) > 0) {
		if (write(out, block, (size_t)got) != got)
			rc = err_sys(e, "write %s", ed->temp);
		at += got;
	}
	if (got < 0)
		rc = err_sys(e, "read %s", ed->final);
	close(out);
	return rc;
}

static enum rc open_named(struct map_edit *ed, struct span type, const char *file, const char *suffix,
			  unsigned flags, uint64_t source_bytes, struct err *e)
{
	char name[PATH_MAX + 64];

	snprintf(name, sizeof name, SPAN_FMT ":%.*s", SPAN_ARG(type), (int)(strlen(file) - strlen(suffix)),
		 file);
	enum rc rc = map_open_sized(span_str(name), flags | MAP_READ_WRITE, source_bytes, &ed->map, e);
	if (rc != RC_OK)
		map_close(&ed->map);
	return rc;
}

static enum rc open_other(struct map_edit *ed, struct span type, struct span path, unsigned flags,
			  struct err *e)
{
	char name[PATH_MAX];

	if (span_cstr(path, name, sizeof name) != RC_OK)
		return err_set(e, RC_SYNTAX, "open " SPAN_FMT ": unusable name", SPAN_ARG(path));
	return open_named(ed, type, name, "", flags, 0, e);
}

static enum rc name_files(struct map_edit *ed, struct span path, const char *suffix, struct err *e)
{
	static unsigned serial;
	int n = snprintf(ed->final, sizeof ed->final, SPAN_FMT "%s", SPAN_ARG(path), suffix);
	int t = snprintf(ed->temp, sizeof ed->temp, SPAN_FMT ".new.%ld.%u%s", SPAN_ARG(path), (long)getpid(),
			 serial++, suffix);

	if (n >= (int)sizeof ed->final || t >= (int)sizeof ed->temp || memchr(path.p, 0, path.n))
		return err_set(e, RC_LIMIT, "open database: unusable file name");
	return RC_OK;
}

static bool temp_possible(const struct map_edit *ed)
{
	int fd = open(ed->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0)
		return errno != EACCES && errno != EPERM && errno != EROFS;
	close(fd);
	return true;
}

static struct map_edit *edit_new(void)
{
	struct map_edit *ed = xcalloc(1, sizeof *ed);

	ed->lock_fd = -1;
	ed->mode = DEFAULT_MODE;
	return ed;
}

/* A new, empty table that will take the name of the old one. */
static enum rc edit_create(struct map_edit *ed, struct span type, struct span path, const char *suffix,
			   unsigned flags, uint64_t bytes, struct err *e)
{
	struct stat st;
	enum rc rc = name_files(ed, path, suffix, e);

	if (rc != RC_OK)
		return rc;
	if (temp_possible(ed))
		return open_named(ed, type, ed->temp, suffix, flags | MAP_CREATE, bytes, e);
	ed->temp[0] = 0;
	if ((rc = lock_old(ed, &st, e)) == RC_NOTFOUND)
		return err_set(e, RC_DENIED, "open database %s: %s", ed->final, strerror(EACCES));
	if (rc != RC_OK)
		return rc;
	ed->mode = st.st_mode & 07777;
	return open_named(ed, type, ed->final, suffix, flags | MAP_CREATE, bytes, e);
}

/* A copy of the old table, likewise. */
static enum rc edit_copy(struct map_edit *ed, struct span type, struct span path, const char *suffix,
			 unsigned flags, struct err *e)
{
	struct stat st;
	enum rc rc = name_files(ed, path, suffix, e);

	if (rc != RC_OK || (rc = lock_old(ed, &st, e)) != RC_OK)
		return rc;
	ed->set_owner = true;
	ed->uid = st.st_uid;
	ed->gid = st.st_gid;
	ed->mode = st.st_mode & 07777;
	rc = copy_old(ed, e);
	if (rc != RC_OK && access(ed->temp, F_OK) != 0) { /* the directory cannot be written: in place */
		ed->temp[0] = 0;
		close(ed->lock_fd);
		ed->lock_fd = -1;
		return open_named(ed, type, ed->final, suffix, flags, 0, e);
	}
	return rc == RC_OK ? open_named(ed, type, ed->temp, suffix, flags | MAP_PRIVATE, 0, e) : rc;
}

enum rc map_edit_open(struct span type, struct span path, unsigned flags, struct map_edit **out,
		      struct err *e)
{
	const struct map_driver *drv;
	const char *suffix;
	struct map_edit *ed;
	enum rc rc = map_driver_find(type, &drv, &suffix, e);

	*out = NULL;
	if (rc != RC_OK)
		return rc;
	if (!drv->put || !drv->del)
		return err_set(e, RC_DENIED, "" SPAN_FMT ":" SPAN_FMT " map requires O_RDONLY access mode",
			       SPAN_ARG(type), SPAN_ARG(path));
	ed = edit_new();
	*out = ed;
	rc = suffix ? edit_copy(ed, type, path, suffix, flags, e) : open_other(ed, type, path, flags, e);
	if (rc != RC_OK)
		(void)!map_edit_close(out, false, NULL);
	return rc;
}

struct map *map_edit_map(struct map_edit *ed)
{
	return ed->map;
}

enum rc map_edit_close(struct map_edit **edp, bool keep, struct err *e)
{
	struct map_edit *ed = *edp;
	bool replaces = ed->temp[0];
	enum rc rc = RC_OK;

	if (keep && ed->map && ed->map->drv->flush)
		rc = ed->map->drv->flush(ed->map, e);
	map_close(&ed->map);
	if (replaces && keep && rc == RC_OK && (rc = sync_path(ed->temp, O_RDONLY, ed, e)) == RC_OK) {
		if (rename(ed->temp, ed->final) != 0)
			rc = err_sys(e, "rename %s to %s", ed->temp, ed->final);
		else
			rc = sync_directory_of(ed->final, e);
	}
	if (replaces && (!keep || rc != RC_OK))
		unlink(ed->temp);
	if (!replaces && keep && rc == RC_OK && ed->final[0])
		rc = sync_path(ed->final, O_RDONLY, NULL, e);
	if (ed->lock_fd >= 0)
		close(ed->lock_fd);
	free(ed);
	*edp = NULL;
	return rc;
}

/* ---- lines into the table ---- */
struct build {
	const struct build_options *o;
	struct map *map;
	const char *source; /* for messages */
	const char *table;
	struct span text;
	struct batch *batch; /* pairs that wait for their order; NULL: they are written as they come */
	struct arena kept;   /* what of them does not stand in the text */
	struct arena line;   /* for the life of a line */
	struct err e;
};

/* Values that are names of files: their contents, one after the other, base64. */
static enum rc encode_files(struct build *b, struct span *value)
{
	struct span rest = *value, name;
	struct buf content, coded;
	enum rc rc = RC_OK;
	bool first = true;

	buf_init(&content, MAP_VALUE_MAX);
	buf_init(&coded, 2 * MAP_VALUE_MAX);
	while (rc == RC_OK && (rc = map_word_next(&rest, &name, &b->e)) == RC_OK) {
		struct map_file f;
		map_file_init(&f);
		if (!first)
			buf_putc(&content, '\n');
		first = false;
		if ((rc = map_file_open(&f, name, &b->e)) == RC_OK)
			rc = map_read_all(f.fd, &content, &b->e);
		map_file_close(&f);
	}
	if (rc == RC_NOTFOUND && !rest.n) {
		base64_encode(&coded, buf_span(&content));
		*value = span_dup(&b->line, buf_span(&coded));
		rc = RC_OK;
	}
	buf_release(&content);
	buf_release(&coded);
	return rc == RC_NOTFOUND ? err_set(&b->e, RC_SYNTAX, "%s", strerror(ENOENT)) : rc;
}

static void tell_duplicate(void *arg, struct span key)
{
	const struct build *b = arg;

	if (!b->o->ignore_dups && !b->o->replace)
		log_warning("%s: duplicate entry: \"" SPAN_FMT "\"", b->table, SPAN_ARG(key));
}

static enum rc store_now(void *arg, struct span key, struct span value)
{
	struct build *b = arg;
	enum rc rc = b->o->replace ? map_put(b->map, key, value, &b->e) : map_add(b->map, key, value, &b->e);

	if (rc == RC_DENIED)
		tell_duplicate(b, key);
	return rc == RC_DENIED ? RC_OK : rc;
}

static enum rc store_batch(struct build *b)
{
	enum rc rc = b->batch ? batch_drain(b->batch, b->o->replace, tell_duplicate, store_now, b) : RC_OK;

	arena_reset(&b->kept);
	return rc;
}

/* What stands in the text as it is needs no copy. */
static struct span keep(struct build *b, struct span s)
{
	bool in_text = s.p >= b->text.p && s.p < b->text.p + b->text.n;

	return in_text ? s : span_dup(&b->kept, s);
}

static enum rc store(struct build *b, struct span key, struct span value)
{
	if (!b->o->no_fold)
		key = map_fold(&b->line, key);
	if (!b->batch)
		return store_now(b, key, value);
	batch_add(b->batch, keep(b, key), keep(b, value));
	return batch_count(b->batch) == BATCH_MAX ? store_batch(b) : RC_OK;
}

static enum rc build_line(struct build *b, struct span text, unsigned line)
{
	struct span key, value;
	bool alias_like = false;
	enum rc rc;

	arena_reset(&b->line);
	if (b->o->aliases)
		rc = alias_parse(text, b->o->utf8, &b->line, &key, &value, &b->e);
	else
		rc = map_source_pair(text, b->o->utf8, &key, &value, &alias_like, &b->e);
	if (rc != RC_OK) {
		log_warning("%s, line %u: %s", b->source, line, b->e.text);
		return RC_OK;
	}
	if (alias_like)
		log_warning("%s, line %u: record is in \"key: value\" format; is this an alias file?",
			    b->source, line);
	if (b->o->base64_files && encode_files(b, &value) != RC_OK) {
		log_warning("%s, line %u: %s: skipping this entry", b->source, line, b->e.text);
		return RC_OK;
	}
	return store(b, key, value);
}

/* What NIS puts into alias tables, and sendmail's programs look for. */
static enum rc store_marks(struct build *b)
{
	char stamp[32], host[HOST_NAME_MAX + 1] = "";
	enum rc rc;

	snprintf(stamp, sizeof stamp, "%010lld", (long long)time(NULL));
	if (b->o->host)
		snprintf(host, sizeof host, "%s", b->o->host);
	else
		gethostname(host, sizeof host - 1);
	if ((rc = map_put(b->map, SPAN("@"), SPAN("@"), &b->e)) == RC_OK &&
	    (rc = map_put(b->map, SPAN("YP_LAST_MODIFIED"), span_str(stamp), &b->e)) == RC_OK)
		rc = map_put(b->map, SPAN("YP_MASTER_NAME"), span_str(host), &b->e);
	return rc;
}

/* The table as messages name it, in which types differ. */
static void name_for_messages(const struct map_edit *ed, struct span path, char *out, size_t size)
{
	const char *type = ed->map->drv->name;
	bool plain = !strcmp(type, "cdb"), full = !strcmp(type, "lmdb");

	if (plain || full)
		snprintf(out, size, "%s%s" SPAN_FMT, full ? type : "", full ? ":" : "", SPAN_ARG(path));
	else
		snprintf(out, size, "%s", ed->final);
}

static enum rc fill(struct map_edit *ed, const struct build_options *o, struct span path, struct span text,
		    const char *source, struct err *e)
{
	char table[PATH_MAX];
	struct build b = { .o = o, .map = ed->map, .source = source, .table = table, .text = text };
	struct map_lines lines;
	struct span line;
	unsigned number;
	enum rc rc = RC_OK;

	name_for_messages(ed, path, table, sizeof table);
	map_fold_unicode(o->utf8);
	ed->map->flags &= ~(unsigned)MAP_FOLD_KEY; /* done by store(), once */
	if ((ed->map->drv->flags & MD_SORTED) && (ed->map->flags & MAP_CREATE))
		b.batch = batch_new();
	arena_init(&b.line);
	arena_init(&b.kept);
	map_lines_init(&lines, text, source);
	while (rc == RC_OK && map_lines_next(&lines, &line, &number))
		rc = build_line(&b, line, number);
	if (rc == RC_OK)
		rc = store_batch(&b);
	if (rc == RC_OK && o->aliases)
		rc = store_marks(&b);
	batch_free(&b.batch);
	map_lines_release(&lines);
	arena_release(&b.line);
	arena_release(&b.kept);
	if (rc != RC_OK && e)
		*e = b.e;
	return rc;
}

/* ---- one table ---- */
static bool drop_to_owner(const struct stat *st)
{
	if (geteuid() != 0 || st->st_uid == 0)
		return false;
	if (setegid(st->st_gid) != 0 || setgroups(1, &st->st_gid) != 0 || seteuid(st->st_uid) != 0)
		die("become the owner of the source: %s", strerror(errno));
	return true;
}

static void become_root_again(void)
{
	if (seteuid(0) != 0 || setegid(0) != 0)
		die("become root again: %s", strerror(errno));
}

static enum rc open_for_build(struct map_edit *ed, struct span type, struct span path,
			      const struct build_options *o, uint64_t bytes, struct err *e)
{
	unsigned flags = (o->no_fold ? 0 : MAP_FOLD_KEY) | o->nul;
	const struct map_driver *drv;
	const char *suffix;
	enum rc rc = map_driver_find(type, &drv, &suffix, e);

	if (rc != RC_OK)
		return rc;
	if (!suffix)
		return err_set(e, RC_DENIED,
			       "unsupported dictionary type: " SPAN_FMT
			       " does not support bulk-mode creation.",
			       SPAN_ARG(type));
	if (!o->incremental)
		return edit_create(ed, type, path, suffix, flags, bytes, e);
	rc = edit_copy(ed, type, path, suffix, flags, e);
	return rc == RC_NOTFOUND ? edit_create(ed, type, path, suffix, flags, bytes, e) : rc;
}

static enum rc build_from(int fd, const struct stat *st, struct span type, struct span path,
			  const struct build_options *o, const char *source, struct err *e)
{
	struct map_edit *ed = edit_new();
	struct buf text;
	enum rc rc, end;

	buf_init(&text, MAP_SOURCE_MAX);
	if (!o->incremental && !o->default_mode)
		ed->mode = DEFAULT_MODE & (st->st_mode | 0600);
	if ((rc = map_read_all(fd, &text, e)) != RC_OK)
		err_prefix(e, "%s", source);
	if (geteuid() == 0 && st->st_uid != 0 &&
	    !o->incremental) { /* the owner still is who wrote the source */
		ed->set_owner = true;
		ed->uid = st->st_uid;
		ed->gid = st->st_gid;
	}
	if (rc == RC_OK)
		rc = open_for_build(ed, type, path, o, text.n, e);
	if (rc == RC_OK)
		rc = fill(ed, o, path, buf_span(&text), source, e);
	end = map_edit_close(&ed, rc == RC_OK, rc == RC_OK ? e : NULL);
	buf_release(&text);
	return rc != RC_OK ? rc : end;
}

enum rc map_build(struct span type, struct span path, const struct build_options *o, struct err *e)
{
	char name[PATH_MAX];
	struct stat st;
	int fd = STDIN_FILENO;
	enum rc rc;
	bool dropped;

	if (span_cstr(path, name, sizeof name) != RC_OK)
		return err_set(e, RC_SYNTAX, "open " SPAN_FMT ": unusable file name", SPAN_ARG(path));
	if (!o->incremental && span_is(type, "proxy"))
		return err_set(e, RC_DENIED, "can't create maps via the proxy service");
	if (!o->incremental && (fd = open(name, O_RDONLY | O_CLOEXEC)) < 0)
		return err_sys(e, "open %s", name);
	if (fstat(fd, &st) != 0)
		rc = err_sys(e, "fstat %s", name);
	else {
		dropped = !o->keep_root && !o->incremental && drop_to_owner(&st);
		rc = build_from(fd, &st, type, path, o, o->incremental ? "stdin" : name, e);
		if (dropped)
			become_root_again();
	}
	if (fd != STDIN_FILENO)
		close(fd);
	return rc;
}

static enum rc copy_pairs(struct map *from, struct map *to, struct err *e)
{
	struct span key, value;
	void *state = NULL;
	struct arena a;
	enum rc rc;

	arena_init(&a);
	while ((rc = map_next(from, &state, &a, &key, &value, e)) == RC_OK &&
	       (rc = map_put(to, key, value, e)) == RC_OK)
		arena_reset(&a);
	arena_release(&a);
	return rc == RC_NOTFOUND ? RC_OK : rc;
}

enum rc map_copy(struct span from, const char *like, struct span type, struct span path, struct err *e)
{
	static const struct build_options as_stored = { .no_fold = true };
	struct map_edit *ed = edit_new();
	struct map *old = NULL;
	struct stat st;
	enum rc rc = map_open(from, 0, &old, e), end;

	if (rc == RC_OK && stat(like, &st) != 0)
		rc = err_sys(e, "stat %s", like);
	if (rc == RC_OK) {
		ed->mode = st.st_mode & 07777;
		ed->set_owner = geteuid() == 0;
		ed->uid = st.st_uid;
		ed->gid = st.st_gid;
		rc = open_for_build(ed, type, path, &as_stored, (uint64_t)st.st_size, e);
	}
	if (rc == RC_OK)
		rc = copy_pairs(old, ed->map, e);
	end = map_edit_close(&ed, rc == RC_OK, rc == RC_OK ? e : NULL);
	map_close(&old);
	return rc != RC_OK ? rc : end;
}

enum rc alias_db_build(struct span type_path, const char *default_type, bool utf8, struct err *e)
{
	struct build_options o = { .aliases = true, .utf8 = utf8 };
	ptrdiff_t colon = span_chr(type_path, ':');

	if (colon < 0)
		return map_build(span_str(default_type), type_path, &o, e);
	return map_build(span_head(type_path, (size_t)colon), span_skip(type_path, (size_t)colon + 1), &o, e);
}
