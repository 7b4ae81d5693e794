/* base/rc.h - the one result type, and the story that goes with it.
 * A function that can fail returns enum rc and writes the story to struct err; success leaves err alone.
 * Broken invariants abort (INVARIANT); unusable configuration ends a starting daemon (die, in log/log.h). */
#ifndef BASE_RC_H
#define BASE_RC_H

#include "base/banned.h"
#include <stdlib.h>

enum rc {
	RC_OK = 0,
	RC_EOF,	     /* the peer closed, or the input ended */
	RC_TIMEOUT,  /* a deadline passed */
	RC_AGAIN,    /* try later: locked, busy, temporary failure of a table or server */
	RC_NOTFOUND, /* no such key, user, name, file */
	RC_GONE,     /* existed, but ended meanwhile */
	RC_SYNTAX,   /* the input breaks its grammar */
	RC_LIMIT,    /* a stated maximum would be passed */
	RC_DENIED,   /* policy or credentials say no */
	RC_SYS,	     /* a system call failed: err.sys holds errno */
};

#define MUST_CHECK	  __attribute__((warn_unused_result))
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))
#define NORETURN	  __attribute__((noreturn))
#define ARRAY_LEN(a)	  (sizeof(a) / sizeof((a)[0]))

struct err {
	enum rc rc;
	int sys;	/* errno at RC_SYS, else 0 */
	char text[512]; /* one line, no newline; may hold bytes from a peer: the log escapes them */
};

/* Each returns its rc, so that `return err_set(e, RC_SYNTAX, "...")` reads well. `e` may be NULL. */
enum rc err_set(struct err *e, enum rc rc, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* RC_SYS with "<what>: <strerror(errno)>". */
enum rc err_sys(struct err *e, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Puts "<prefix>: " before the story that is there; returns e->rc. */
enum rc err_prefix(struct err *e, const char *fmt, ...) PRINTF_LIKE(2, 3);
const char *rc_name(enum rc rc);

/* A condition that only a defect can break: prints file and line to stderr and aborts. */
#define INVARIANT(cond) ((cond) ? (void)0 : invariant_broken(#cond, __FILE__, __LINE__))
NORETURN void invariant_broken(const char *cond, const char *file, int line);

/* Allocation that ends the process when memory is exhausted (exit status 75, a line on stderr). */
void *xmalloc(size_t n);
void *xcalloc(size_t count, size_t size);
void *xrealloc(void *p, size_t n);
char *xstrdup(const char *s);

#endif
