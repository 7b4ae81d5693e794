/* map/unix.c - unix:passwd.byname and unix:group.byname: the user database as lines of passwd(5) and
 * group(5). */
#include "map/driver.h"
#include <errno.h>
#include <grp.h>
#include <pwd.h>

#define FIRST_BYTES 4096
#define MOST_BYTES  (1 << 20)

static enum rc open_unix(struct map *m, struct err *e)
{
	if (span_is(m->arg, "passwd.byname") || span_is(m->arg, "group.byname"))
		return RC_OK;
	return err_set(e, RC_NOTFOUND, "unknown table: %s", m->name);
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
};
