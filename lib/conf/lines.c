/* conf/lines.c - logical lines of main.cf and master.cf, and reading these files. */
#include "conf/conf_int.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

void lines_init(struct lines *l, struct span text, const char *file)
{
	l->file = file;
	l->rest = text;
	l->next = 1;
	buf_init(&l->text, CONF_VALUE_MAX);
}

void lines_release(struct lines *l)
{
	buf_release(&l->text);
}

static struct span physical_line(struct lines *l)
{
	ptrdiff_t nl = span_chr(l->rest, '\n');
	size_t n = nl < 0 ? l->rest.n : (size_t)nl;
	struct span line = span_head(l->rest, n);

	l->rest = span_skip(l->rest, nl < 0 ? n : n + 1);
	l->next++;
	return line;
}

static bool is_comment(struct span line)
{
	size_t i = 0;

	while (i < line.n && ascii_isspace(line.p[i]))
		i++;
	return i == line.n || line.p[i] == '#';
}

/* Comments and empty lines never end a value: only a line that starts with something else does. */
static bool continues(struct span rest)
{
	return rest.n > 0 && (rest.p[0] == '#' || ascii_isspace(rest.p[0]));
}

enum rc lines_next(struct lines *l, struct span *text, unsigned *line, struct err *e)
{
	buf_reset(&l->text);
	while (l->rest.n > 0) {
		unsigned number = l->next;
		struct span s = physical_line(l);

		if (!is_comment(s)) {
			if (l->text.n == 0)
				*line = number;
			if (span_chr(s, '\0') >= 0)
				return err_set(e, RC_SYNTAX, "%s line %u: contains a NUL byte", l->file,
					       number);
			if (buf_append(&l->text, s) != RC_OK)
				return err_set(e, RC_LIMIT,
					       "%s line %u: a logical line is limited to %zu bytes", l->file,
					       *line, CONF_VALUE_MAX);
		}
		if (l->text.n > 0 && !continues(l->rest))
			break;
	}
	if (l->text.n == 0)
		return RC_EOF;
	*text = buf_span(&l->text);
	while (text->n > 0 && ascii_isspace(text->p[text->n - 1]))
		text->n--;
	return RC_OK;
}

static enum rc read_all(int fd, const char *path, char **bytes, size_t *n, struct err *e)
{
	struct buf b;

	buf_init(&b, CONF_FILE_MAX);
	for (;;) {
		char *room = buf_reserve(&b, 16384);
		size_t want = 16384;
		ssize_t got;

		if (room == NULL) { /* near the ceiling: one byte decides whether the file is over it */
			char over = 0;

			want = CONF_FILE_MAX - b.n;
			room = want > 0 ? buf_reserve(&b, want) : &over;
			want = want > 0 ? want : 1;
			if (room == &over && read(fd, &over, 1) <= 0)
				break;
			if (room == &over || room == NULL) {
				buf_release(&b);
				return err_set(e, RC_LIMIT,
					       "%s: a configuration file is limited to %zu bytes", path,
					       CONF_FILE_MAX);
			}
		}
		got = read(fd, room, want);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0) {
			buf_release(&b);
			return err_sys(e, "read %s", path);
		}
		if (got == 0)
			break;
		b.n += (size_t)got;
	}
	*n = b.n;
	*bytes = xmalloc(b.n + 1);
	if (b.n > 0)
		memcpy(*bytes, b.p, b.n);
	(*bytes)[b.n] = '\0';
	buf_release(&b);
	return RC_OK;
}

enum rc conf_read_file(const char *path, char **bytes, size_t *n, struct err *e)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	struct stat st;
	enum rc rc;

	if (fd < 0) {
		if (errno == ENOENT || errno == ENOTDIR)
			return err_set(e, RC_NOTFOUND, "open %s: %s", path, strerror(errno));
		return err_sys(e, "open %s", path);
	}
	if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) {
		close(fd);
		return err_set(e, RC_SYNTAX, "%s is a directory", path);
	}
	rc = read_all(fd, path, bytes, n, e);
	close(fd);
	return rc;
}
