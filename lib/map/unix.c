/* map/unix.c - unix:passwd.byname and unix:group.byname: the user database as lines of passwd(5) and
 * group(5). */
#include "map/driver.h"
#include <errno.h>
#include <grp.h>
#include <pwd.h>

#define FIRST_BYTES 4096
#define MOST_BYTES  (1 << 20)

/* The file behind the table, when there is one. A sandbox opens files, not names: when useradd(8) puts a new file in
 * the place of the old one, only a new process can read it. */
static enum rc open_unix(struct map *m, struct err *e)
{
	bool users = span_is(m->arg, "passwd.byname");
	struct map_file *f;
	enum rc rc;

	if (!users && !span_is(m->arg, "group.byname"))
		return err_set(e, RC_NOTFOUND, "unknown table: %s", m->name);
	f = xcalloc(1, sizeof(*f));
	map_file_init(f);
	rc = map_file_open(f, users ? SPAN("/etc/passwd") : SPAN("/etc/group"), e);
	if (rc == RC_NOTFOUND) /* the database may be elsewhere: nsswitch.conf(5) */
		map_file_init(f);
	else if (rc != RC_OK) {
		free(f);
		return rc;
	}
	m->state = f;
	return RC_OK;
}

static void close_unix(struct map *m)
{
	map_file_close(m->state);
	free(m->state);
}

static bool changed(const struct map *m)
{
	return map_file_changed(m->state);
}

static int user_line(const char *name, char *p, size_t bytes, struct arena *a, struct span *value)
{
	struct passwd pw, *found;
	int r = getpwnam_r(name, &pw, p, bytes, &found);

	if (!r && found)
		*value = span_printf(a, "%s:%s:%lu:%lu:%s:%s:%s", pw.pw_name, pw.pw_passwd,
				     (unsigned long)pw.pw_uid, (unsigned long)pw.pw_gid,
				     pw.pw_gecos ? pw.pw_gecos : "", pw.pw_dir, pw.pw_shell);
	return r;
}

static int group_line(const char *name, char *p, size_t bytes, struct arena *a, struct span *value)
{
	struct group gr, *found;
	struct buf line;
	int r = getgrnam_r(name, &gr, p, bytes, &found);

	if (r || !found)
		return r;
	buf_init(&line, MAP_VALUE_MAX);
	buf_printf(&line, "%s:%s:%lu:", gr.gr_name, gr.gr_passwd, (unsigned long)gr.gr_gid);
	for (char **who = gr.gr_mem; *who; who++)
		buf_printf(&line, "%s%s", who == gr.gr_mem ? "" : ",", *who);
	*value = span_dup(a, buf_span(&line));
	buf_release(&line);
	return 0;
}

static enum rc lookup(struct map *m, unsigned flags, struct span key, struct arena *a, struct span *value,
		      struct err *e)
{
	int (*line)(const char *, char *, size_t, struct arena *, struct span *) =
	    span_is(m->arg, "passwd.byname") ? user_line : group_line;
	char *name = arena_cstr(a, key), *p = NULL;
	int r = ERANGE;

	(void)flags;
	for (size_t bytes = FIRST_BYTES; r == ERANGE && bytes <= MOST_BYTES; bytes *= 4) {
		p = xrealloc(p, bytes);
		r = line(name, p, bytes, a, value);
	}
	free(p);
	if (!r)
		return value->n ? RC_OK : RC_NOTFOUND;
	if (r == ENOENT || r == ESRCH)
		return RC_NOTFOUND;
	return err_set(e, RC_AGAIN, "%s: %s", m->name, strerror(r));
}

const struct map_driver map_unix = {
	.name = "unix",
	.flags = MD_REMOTE | MD_BLOCKING,
	.open = open_unix,
	.lookup = lookup,
	.close = close_unix,
	.changed = changed,
};
