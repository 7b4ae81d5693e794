/* auth/passwdfile.c - users in a file like passwd(5): user:password:uid:gid:gecos:home:shell:extra; of the
 * extra fields userdb_mail= (or mail=) names the mailbox. The file is read into a table and read again when
 * it changed. */
#include "base/arena.h"
#include "base/table.h"
#include "keeper_loop.h"
#include "log/log.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX (256 * 1024 * 1024)

static struct table *users; /* name -> rest of the line (struct span *) */
static struct arena arena;
static struct stat seen;

static void take_line(const char *path, unsigned number, struct span line)
{
	struct span *rest;
	ptrdiff_t colon;

	line = span_trim(line);
	colon = span_chr(line, ':');
	if (line.n == 0 || line.p[0] == '#')
		return;
	if (colon <= 0) {
		log_warning("%s line %u: expected user:password:uid:gid:gecos:home:shell:extra, found no ':'",
			    path, number);
		return;
	}
	rest = arena_alloc(&arena, sizeof(*rest));
	*rest = span_skip(line, (size_t)colon + 1);
	table_set(users, span_head(line, (size_t)colon), rest);
}

static bool load(const char *path, int fd, const struct stat *st)
{
	struct span text, line;
	char *p;
	ssize_t n;
	unsigned number = 0;

	if (st->st_size > FILE_MAX)
		return false;
	table_free(&users, NULL);
	arena_release(&arena);
	arena_init(&arena);
	users = table_new();
	p = arena_alloc(&arena, (size_t)st->st_size + 1);
	n = pread(fd, p, (size_t)st->st_size, 0);
	if (n < 0)
		return false;
	text = span_make(p, (size_t)n);
	while (span_next(&text, '\n', &line))
		take_line(path, ++number, line);
	seen = *st;
	return true;
}

static bool current(const char *path)
{
	struct stat st;
	int fd;
	bool ok;

	if (stat(path, &st) != 0)
		return false;
	if (users && st.st_ino == seen.st_ino && st.st_size == seen.st_size &&
	    st.st_mtim.tv_sec == seen.st_mtim.tv_sec && st.st_mtim.tv_nsec == seen.st_mtim.tv_nsec)
		return true;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	ok = fstat(fd, &st) == 0 && load(path, fd, &st);
	close(fd);
	return ok;
}

static uint32_t number(struct span s)
{
	uint64_t v;

	return span_to_u64(s, UINT32_MAX - 1, &v) == RC_OK ? (uint32_t)v : (uint32_t)-1;
}

static void take_extra(struct span extra, struct keeper_answer *out)
{
	struct span word;

	while (span_next_word(&extra, " \t", &word)) {
		if (span_starts(word, SPAN("userdb_")))
			word = span_skip(word, 7);
		if (span_starts(word, SPAN("mail=")) &&
		    span_cstr(span_skip(word, 5), out->mail, sizeof(out->mail)) != RC_OK)
			out->mail[0] = '\0';
	}
}

enum keeper_source passwdfile_find(const char *path, const char *user, struct keeper_answer *out)
{
	struct span *rest, line, f;

	if (!current(path)) {
		log_warning("%s: %m", path);
		return KEEPER_TROUBLE;
	}
	rest = table_get(users, span_str(user));
	if (!rest)
		return KEEPER_NOBODY;
	line = *rest;
	for (int i = 0; i < 6 && span_next(&line, ':', &f); i++) {
		switch (i) {
		case 0:
			if (span_cstr(f, out->stored, sizeof(out->stored)) != RC_OK)
				return KEEPER_TROUBLE;
			break;
		case 1:
			out->uid = number(f);
			break;
		case 2:
			out->gid = number(f);
			break;
		case 4:
			if (span_cstr(f, out->home, sizeof(out->home)) != RC_OK)
				return KEEPER_TROUBLE;
			break;
		default:
			break;
		}
	}
	take_extra(line, out); /* may hold colons: maildir:/path */
	return KEEPER_FILE;
}
