/* service/options.h - options of commands as tables, and what else the test tools have in common. */
#ifndef SERVICE_OPTIONS_H
#define SERVICE_OPTIONS_H

#include "base/span.h"

enum option_kind {
	OPT_FLAG,   /* *(bool *)to = true */
	OPT_COUNT,  /* (*(unsigned *)to)++ */
	OPT_TEXT,   /* *(const char **)to: the argument */
	OPT_NUMBER, /* *(int64_t *)to, from least to most; `what` names it in the complaint */
};
struct option_row {
	char letter;
	enum option_kind kind;
	void *to;
	int64_t least, most;
	const char *what;
};
/* What the row of `letter` says; false: it has none. A bad number ends the process. */
bool option_take(const struct option_row *rows, size_t n, int letter, const char *arg);
int64_t option_number(const char *text, int64_t least, int64_t most, const char *what);

/* The last part of a path: under which name a program was called. */
const char *base_name(const char *path);
/* As many descriptors as the host lets us have. */
void raise_descriptors(void);

#endif
