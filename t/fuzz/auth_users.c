/* Any bytes as the file of users of auth(8), and what stands in it as stored passwords: a user is found as the last line that names it says, and
 * a password is right, wrong, or not to be judged for a reason. */
#include "../../auth/passwdfile.c" /* files of a daemon: not in the archive */
#include "../../auth/scheme.c"
#include <sys/mman.h>

#define LINES_MAX 40

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* crypt(3) takes its time, which what is stored decides. */
static bool is_slow(struct span stored)
{
	struct span scheme = take_scheme(&stored);

	for (size_t i = 0; i < ARRAY_LEN(schemes); i++)
		if (span_is_ci(scheme, schemes[i].scheme))
			return schemes[i].digest == NULL;
	return false;
}

static void check_password(struct span stored)
{
	static const struct span passwords[] = { { "secret", 6 }, { "", 0 } };
	struct span plain;

	if (is_slow(stored))
		return;
	for (size_t i = 0; i < ARRAY_LEN(passwords); i++) {
		struct err e = { .text = "" };
		enum rc rc = scheme_check(stored, passwords[i], &e);
		INVARIANT(rc == RC_OK || rc == RC_DENIED || (rc == RC_SYNTAX && e.text[0] != '\0'));
		if (scheme_plain(stored, &plain))
			INVARIANT((rc == RC_OK) == span_eq(plain, passwords[i]));
	}
}

static void check_user(const char *path, struct span user, struct span rest)
{
	struct keeper_answer out = { .source = 0 };
	char name[256];
	struct span stored = SPAN_NONE;

	if (span_cstr(user, name, sizeof name) != RC_OK)
		return;
	enum keeper_source found = passwdfile_find(path, name, &out);
	(void)span_next(&rest, ':', &stored);
	INVARIANT(found == KEEPER_FILE || found == KEEPER_TROUBLE);
	INVARIANT(memchr(out.stored, '\0', sizeof out.stored) && memchr(out.home, '\0', sizeof out.home) &&
		  memchr(out.mail, '\0', sizeof out.mail));
	if (found != KEEPER_FILE)
		return;
	INVARIANT(span_is(stored, out.stored));
	check_password(stored);
}

struct entry {
	struct span user, rest;
};

static size_t read_entries(struct span text, struct entry v[LINES_MAX])
{
	struct span line;
	size_t n = 0;

	while (n < LINES_MAX && span_next(&text, '\n', &line)) {
		line = span_trim(line);
		if (line.n > 0 && line.p[0] != '#' && line.p[0] != ':' && span_chr(line, ':') > 0) {
			(void)span_next(&line, ':', &v[n].user);
			v[n++].rest = line;
		}
	}
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool quiet;
	struct span text = span_make((const char *)data, size);
	struct entry v[LINES_MAX];
	char path[64];

	if (!quiet)
		log_init(&(struct log_conf){ .service = "fuzz", .file_fd = -1 });
	quiet = true;
	if (size > 8192)
		return 0;
	check_password(text);
	size_t n = read_entries(text, v);
	int fd = memfd_create("users", MFD_CLOEXEC);
	INVARIANT(fd >= 0 && write(fd, text.p, text.n) == (ssize_t)text.n);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	for (size_t i = 0; n < LINES_MAX && i < n; i++) {
		bool last = true;
		for (size_t k = i + 1; k < n; k++)
			last = last && !span_eq(v[k].user, v[i].user);
		if (last)
			check_user(path, v[i].user, v[i].rest);
	}
	close(fd);
	return 0;
}
