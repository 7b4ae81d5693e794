/* edit.c - changing main.cf: name=value, -X (remove), -# (comment out).
 *
 * The new text goes to a temporary file in the same directory, which is synced, gets the owner and mode of
 * the old one and takes its place with rename(2): a crash leaves the old file or the new one, never a part. A
 * lock on the old file keeps two editors apart. Comments and lines of other settings stay byte for byte. */
#include "postconf.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

struct change {
	struct span name;
	struct span value;
	bool done;
};

struct edit {
	const struct options *o;
	struct change *change;
	size_t n;
	struct buf out;
};

static struct change *find(struct edit *ed, struct span name)
{
	for (size_t i = 0; i < ed->n; i++)
		if (span_eq(ed->change[i].name, name))
			return &ed->change[i];
	return NULL;
}

static void collect(struct edit *ed)
{
	for (int i = 0; i < ed->o->args; i++) {
		const char *arg = ed->o->arg[i];
		struct span name = span_trim(span_str(arg)), value = SPAN_NONE;
		struct change *ch;

		if (strpbrk(arg, "\r\n") != NULL)
			fatal("-e, -X, or -# accepts no multi-line input");
		if (ed->o->action == A_EDIT)
			split_argument(arg, &name, &value);
		else if (strchr(arg, '=') != NULL)
			fatal("-X or -# requires names without value: \"%s\"", arg);
		if (name.n == 0 || name.p[0] == '#')
			fatal("not a parameter name: \"%s\"", arg);
		if ((ch = find(ed, name)) == NULL)
			ch = &ed->change[ed->n++];
		else if (ed->o->action == A_EDIT)
			warn("ignoring earlier request: '" SPAN_FMT " = " SPAN_FMT "'", SPAN_ARG(ch->name),
			     SPAN_ARG(ch->value));
		ch->name = name;
		ch->value = value;
	}
}

static void put(struct edit *ed, struct span s)
{
	if (buf_append(&ed->out, s) != RC_OK)
		fatal("%s/main.cf would be longer than %zu bytes", ed->o->dir, CONF_FILE_MAX);
}

static void put_setting(struct edit *ed, struct change *ch)
{
	if (ch->done) /* the last one would win: all get the new value, as Postfix does it */
		warn("%s/main.cf: multiple entries for \"" SPAN_FMT "\"", ed->o->dir, SPAN_ARG(ch->name));
	put(ed, ch->name);
	put(ed, SPAN(" = "));
	put(ed, ch->value);
	put(ed, SPAN("\n"));
	ch->done = true;
}

static bool blank_or_comment(struct span line)
{
	line = span_trim(line);
	return line.n == 0 || line.p[0] == '#';
}

static struct span setting_name(struct span line)
{
	size_t n = 0;

	while (n < line.n && !ascii_isspace(line.p[n]) && line.p[n] != '=')
		n++;
	return span_head(line, n);
}

/* `ch` is the change that the current logical line falls under, or NULL. */
static void edit_line(struct edit *ed, struct span line, struct change **ch)
{
	bool starts = false;

	if (!blank_or_comment(line) && !ascii_isspace(line.p[0])) {
		*ch = find(ed, setting_name(line));
		starts = true;
	}
	if (*ch == NULL || blank_or_comment(line)) {
		put(ed, line);
		put(ed, SPAN("\n"));
		return;
	}
	switch (ed->o->action) {
	case A_COMMENT:
		put(ed, SPAN("#"));
		put(ed, line);
		put(ed, SPAN("\n"));
		break;
	case A_EDIT:
		if (starts)
			put_setting(ed, *ch);
		break;
	default:
		break; /* removed */
	}
}

static void edit_text(struct edit *ed, struct span text)
{
	struct change *ch = NULL;
	bool open_end = text.n > 0 && text.p[text.n - 1] != '\n';
	size_t before;

	while (text.n > 0) {
		ptrdiff_t nl = span_chr(text, '\n');
		size_t n = nl < 0 ? text.n : (size_t)nl;

		edit_line(ed, span_head(text, n), &ch);
		text = span_skip(text, nl < 0 ? n : n + 1);
	}
	before = ed->out.n;
	for (size_t i = 0; ed->o->action == A_EDIT && i < ed->n; i++)
		if (!ed->change[i].done)
			put_setting(ed, &ed->change[i]);
	if (open_end && ed->out.n == before && before > 0)
		ed->out.n--; /* the file had no newline at its end, and nothing came after it */
}

static void write_all(int fd, const char *path, struct span s)
{
	while (s.n > 0) {
		ssize_t n = write(fd, s.p, s.n);

		if (n < 0 && errno != EINTR) {
			int why = errno;

			(void)unlink(path);
			fatal("write %s: %s", path, strerror(why));
		}
		s = span_skip(s, n > 0 ? (size_t)n : 0);
	}
}

static void sync_directory(const char *path) /* an absolute file name */
{
	char dir[PATH_MAX];
	ptrdiff_t slash = span_rchr(span_str(path), '/');
	int fd;

	(void)snprintf(dir, sizeof(dir), "%.*s", slash > 0 ? (int)slash : 1, path);
	if ((fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) >= 0) {
		(void)fsync(fd);
		(void)close(fd);
	}
}

static void replace(const char *path, int old, struct span text)
{
	char temporary[PATH_MAX];
	struct stat st;
	int fd, n;

	n = snprintf(temporary, sizeof(temporary), "%s.tmp", path);
	if (n < 0 || (size_t)n >= sizeof(temporary))
		fatal("file name too long: %s", path);
	if (fstat(old, &st) != 0)
		fatal("%s: %s", path, strerror(errno));
	(void)unlink(temporary); /* left by a crash: the lock says that nobody uses it */
	if ((fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600)) < 0)
		fatal("open %s: %s", temporary, strerror(errno));
	write_all(fd, temporary, text);
	if ((fchown(fd, st.st_uid, st.st_gid) != 0 && geteuid() == 0) ||
	    fchmod(fd, st.st_mode & 07777) != 0 || fsync(fd) != 0 || close(fd) != 0 ||
	    rename(temporary, path) != 0) {
		int why = errno;

		(void)unlink(temporary);
		fatal("replace %s: %s", path, strerror(why));
	}
	sync_directory(path);
}

/* Opens and locks the file that `path` names at the moment the lock is held: another editor may have replaced
 * it. */
static int open_locked(const char *path)
{
	for (;;) {
		struct stat held, named;
		int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);

		if (fd < 0)
			fatal("open %s for update: %s", path, strerror(errno));
		if (flock(fd, LOCK_EX) != 0 || fstat(fd, &held) != 0)
			fatal("lock %s: %s", path, strerror(errno));
		if (stat(path, &named) == 0 && named.st_ino == held.st_ino && named.st_dev == held.st_dev)
			return fd;
		(void)close(fd);
	}
}

void edit_parameters(const struct options *o)
{
	struct edit ed = { .o = o };
	char name[PATH_MAX], path[PATH_MAX], *bytes = NULL;
	struct err e = { 0 };
	size_t n = 0;
	int fd;

	if (o->args == 0)
		fatal("nothing to change: name a parameter");
	ed.change = xcalloc((size_t)o->args, sizeof(*ed.change));
	buf_init(&ed.out, CONF_FILE_MAX);
	collect(&ed);
	if (snprintf(name, sizeof(name), "%s/main.cf", o->dir) >= (int)sizeof(name))
		fatal("file name too long: %s/main.cf", o->dir);
	if (realpath(name, path) == NULL) /* a symbolic link stays one: what it names is replaced */
		fatal("open %s: %s", name, strerror(errno));
	fd = open_locked(path);
	if (conf_read_file(path, &bytes, &n, &e) != RC_OK)
		fatal("%s", e.text);
	edit_text(&ed, span_make(bytes, n));
	if (!span_eq(buf_span(&ed.out), span_make(bytes, n)))
		replace(path, fd, buf_span(&ed.out));
	(void)close(fd);
	free(bytes);
	buf_release(&ed.out);
	free(ed.change);
}
