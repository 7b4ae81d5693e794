/* sni.c - tls_server_sni_maps: which keys and certificates belong to the name that a client asks for. The values are what
 * postmap -F made (base64 of PEM files), or, in tables that are text themselves, names of files. The tables are open since
 * before the sandbox; when a file of theirs is replaced the process retires, and its successor reads the new one. */
#include "tlsmgr.h"
#include "base/codec.h"
#include "log/log.h"
#include "map/map.h"

#include <unistd.h>

#define VALUE_MAX (4 * PEM_MAX)
#define CHECK_MS  1000
#define WATCHED	  32

#define TABLES_MAX 100
#define KEYS_NOTED 2000

static struct sni tables[TABLES_MAX];
static size_t tables_n;
static struct {
	const struct sni *t;
	struct span key;
} noted[KEYS_NOTED]; /* as they were when the process started */
static size_t noted_n;
static struct {
	unsigned file;
	dev_t dev;
	ino_t ino;
	struct timespec mtime;
} watched[WATCHED];
static size_t watched_n;
static mono_t checked;
static struct arena names; /* for the life of the process */

const struct sni *sni_of(const struct ipc_peer *who)
{
	const struct sni *of_all = NULL;

	for (size_t i = 0; i < tables_n; i++) {
		if (tables[i].service == NULL)
			of_all = &tables[i];
		else if (strcmp(tables[i].service, who->service) == 0)
			return maps_empty(tables[i].maps) ? NULL : &tables[i];
	}
	return of_all == NULL || maps_empty(of_all->maps) ? NULL : of_all;
}

static void watch(const char *path)
{
	struct stat st;

	if (watched_n == WATCHED || stat(path, &st) != 0 || !S_ISREG(st.st_mode))
		return;
	watched[watched_n].file = monitor_file(path);
	watched[watched_n].dev = st.st_dev;
	watched[watched_n].ino = st.st_ino;
	watched[watched_n++].mtime = st.st_mtim;
}

/* "type:/path": the files that the types of this build make of it. */
static void watch_table(const char *name)
{
	static const char *const ends[] = { "", ".db", ".lmdb", ".cdb" };
	const char *path = strchr(name, ':');

	for (size_t i = 0; path != NULL && path[1] == '/' && i < ARRAY_LEN(ends); i++)
		watch(arena_printf(&names, "%s%s", path + 1, ends[i]));
}

/* Files that values of text tables name, so that the monitor may open them. */
static void note_files(const struct sni *t, struct map *m)
{
	struct span key, value, path;
	void *state = NULL;
	struct arena a; /* values hold keys: they do not stay */
	struct err e;

	arena_init(&a);

	while (noted_n < KEYS_NOTED && map_next(m, &state, &a, &key, &value, &e) == RC_OK) {
		noted[noted_n].t = t;
		noted[noted_n++].key = span_dup(&names, key);
		while (span_next_word(&value, ", \t", &path))
			if (path.p[0] == '/')
				(void)monitor_file(arena_cstr(&names, path));
	}
	arena_release(&a);
}

bool sni_next(size_t *at, struct arena *a, const struct sni **t, struct span *key)
{
	if (*at >= noted_n)
		return false;
	*t = noted[*at].t;
	*key = span_dup(a, noted[(*at)++].key);
	return true;
}

void sni_prepare(const char *service, const struct conf *conf)
{
	const char *value = arena_strdup(&names, conf_str(conf, "tls_server_sni_maps"));
	struct err e;

	if (tables_n == TABLES_MAX)
		die("too many services with tls_server_sni_maps of their own");
	struct sni *t = &tables[tables_n++];
	t->service = service;
	if (maps_open("tls_server_sni_maps", span_str(value), MAP_FOLD_KEY, &t->maps, &e) != RC_OK)
		die("%s", e.text);
	for (size_t i = 0; i < maps_count(t->maps); i++) {
		watch_table(map_name(maps_at(t->maps, i)));
		note_files(t, maps_at(t->maps, i));
	}
}

static void look_for_changes(void)
{
	if (mono_diff_ms(mono_now(), checked) < CHECK_MS)
		return;
	checked = mono_now();
	for (size_t i = 0; i < watched_n; i++) {
		struct stat st;
		struct err e;
		int fd;

		if (monitor_open(watched[i].file, &fd, &e) != RC_OK)
			continue; /* being replaced: the table that is open still serves */
		bool same = fstat(fd, &st) == 0 && st.st_dev == watched[i].dev &&
			    st.st_ino == watched[i].ino && st.st_mtim.tv_sec == watched[i].mtime.tv_sec &&
			    st.st_mtim.tv_nsec == watched[i].mtime.tv_nsec;
		close(fd);
		if (!same) {
			log_info("tls_server_sni_maps changed, starting anew");
			service_retire();
			return;
		}
	}
}

static enum rc append_file(struct span path, struct arena *a, struct buf *out, struct err *e)
{
	enum rc rc;
	int fd;

	if (path.p[0] != '/')
		return err_set(e, RC_SYNTAX, "no absolute path: " SPAN_FMT, SPAN_ARG(span_head(path, 100)));
	if ((rc = monitor_open(monitor_file(arena_cstr(a, path)), &fd, e)) != RC_OK)
		return rc;
	for (ssize_t n = 1; n > 0;) {
		char *p = buf_reserve(out, 4096);

		n = p != NULL ? pread(fd, p, 4096, (off_t)out->n) : 0;
		if (n > 0)
			out->n += (size_t)n;
	}
	close(fd);
	return RC_OK;
}

static enum rc files(struct span value, struct arena *a, struct span *pem, struct err *e)
{
	struct span path;
	enum rc rc = RC_OK;

	*pem = SPAN_NONE;
	while (rc == RC_OK && span_next_word(&value, ", \t", &path)) {
		struct buf one;

		buf_init(&one, VALUE_MAX);
		rc = append_file(path, a, &one, e);
		if (rc == RC_OK)
			*pem =
			    span_printf(a, SPAN_FMT "\n" SPAN_FMT, SPAN_ARG(*pem), SPAN_ARG(buf_span(&one)));
		if (one.n > 0)
			explicit_bzero(one.p, one.n);
		buf_release(&one);
	}
	return rc;
}

static enum rc contents(struct span value, struct arena *a, struct span *pem, struct err *e)
{
	struct buf b;
	enum rc rc = RC_OK;

	if (value.n > 0 && value.p[0] == '/')
		return files(value, a, pem, e);
	buf_init(&b, VALUE_MAX);
	if (base64_decode(&b, value) == RC_OK)
		*pem = span_dup(a, buf_span(&b));
	else
		rc = err_set(e, RC_SYNTAX, "the value is not base64 (postmap -F)");
	if (b.n > 0)
		explicit_bzero(b.p, b.n);
	buf_release(&b);
	return rc;
}

enum rc sni_lookup(const struct sni *t, struct span name, struct arena *a, struct span *key, struct span *pem,
		   struct err *e)
{
	struct span value;
	enum rc rc;
	ptrdiff_t dot;

	look_for_changes();
	*key = name;
	while ((rc = maps_lookup(t->maps, *key, a, &value, e)) == RC_NOTFOUND) {
		if (key->n == 0 || (dot = span_chr(span_skip(*key, 1), '.')) < 0)
			return err_set(e, RC_NOTFOUND, "no certificate for this name");
		*key = span_skip(*key, (size_t)dot + 1); /* ".example.com" */
	}
	return rc == RC_OK ? contents(value, a, pem, e) : rc;
}
