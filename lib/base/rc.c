/* base/rc.c - results, their stories, and the two ways a process may end by itself here. */
#include "base/rc.h"

#include <errno.h>
#include <stdarg.h>
#include <unistd.h>

#define EXIT_NO_MEMORY 75 /* EX_TEMPFAIL: the supervisor or the caller tries again later */

/* Truncation is fine: a story is for people. */
static void err_vtext(struct err *e, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
static void err_vtext(struct err *e, const char *fmt, va_list ap)
{
	if (vsnprintf(e->text, sizeof(e->text), fmt, ap) < 0)
		e->text[0] = '\0';
}

enum rc err_set(struct err *e, enum rc rc, const char *fmt, ...)
{
	va_list ap;

	if (e == NULL)
		return rc;
	e->rc = rc;
	e->sys = 0;
	va_start(ap, fmt);
	err_vtext(e, fmt, ap);
	va_end(ap);
	return rc;
}

enum rc err_sys(struct err *e, const char *fmt, ...)
{
	int saved = errno; /* before anything below may change it */
	va_list ap;
	size_t n;

	if (e == NULL)
		return RC_SYS;
	e->rc = RC_SYS;
	e->sys = saved;
	va_start(ap, fmt);
	err_vtext(e, fmt, ap);
	va_end(ap);
	n = strlen(e->text);
	snprintf(e->text + n, sizeof(e->text) - n, ": %s", strerror(saved));
	errno = saved;
	return RC_SYS;
}

enum rc err_prefix(struct err *e, const char *fmt, ...)
{
	char story[sizeof(e->text)];
	va_list ap;
	size_t n;

	if (e == NULL)
		return RC_SYS; /* without a story nobody knows better; callers keep their own rc */
	memcpy(story, e->text, sizeof(story));
	va_start(ap, fmt);
	err_vtext(e, fmt, ap);
	va_end(ap);
	n = strlen(e->text);
	snprintf(e->text + n, sizeof(e->text) - n, ": %.*s", (int)sizeof(story), story);
	return e->rc;
}

const char *rc_name(enum rc rc)
{
	switch (rc) {
	case RC_OK:
		return "ok";
	case RC_EOF:
		return "end of input";
	case RC_TIMEOUT:
		return "timeout";
	case RC_AGAIN:
		return "try again later";
	case RC_NOTFOUND:
		return "not found";
	case RC_GONE:
		return "gone";
	case RC_SYNTAX:
		return "syntax error";
	case RC_LIMIT:
		return "limit exceeded";
	case RC_DENIED:
		return "denied";
	case RC_SYS:
		return "system error";
	}
	return "unknown result";
}

/* A write(2) of its own: stdio may be what is broken. */
static void say(const char *text)
{
	ssize_t n = write(STDERR_FILENO, text, strlen(text));

	(void)n; /* nobody is left to tell */
}

void invariant_broken(const char *cond, const char *file, int line)
{
	char text[512];

	snprintf(text, sizeof(text), "fatal: %s:%d: broken invariant: %s\n", file, line, cond);
	say(text);
	abort();
}

static NORETURN void out_of_memory(void)
{
	say("fatal: out of memory\n");
	_exit(EXIT_NO_MEMORY);
}

void *xmalloc(size_t n)
{
	void *p = malloc(n != 0 ? n : 1);

	if (p == NULL)
		out_of_memory();
	return p;
}

void *xcalloc(size_t count, size_t size)
{
	void *p = calloc(count != 0 ? count : 1, size != 0 ? size : 1);

	if (p == NULL)
		out_of_memory();
	return p;
}

void *xrealloc(void *p, size_t n)
{
	void *q = realloc(p, n != 0 ? n : 1);

	if (q == NULL)
		out_of_memory();
	return q;
}

char *xstrdup(const char *s)
{
	size_t n = strlen(s) + 1;

	return memcpy(xmalloc(n), s, n);
}

#ifdef POSTERN_SAN
/* What the sanitizer build takes for granted also where the environment is not the tests' own: commands end without freeing. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "detect_leaks=0:abort_on_error=1";
}
#endif
