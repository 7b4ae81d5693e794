/* conf/mastercf.h - master.cf: one entry per service (master(5)). */
#ifndef CONF_MASTERCF_H
#define CONF_MASTERCF_H

#include "conf/conf.h"

enum service_type { ST_INET, ST_UNIX, ST_UNIX_DGRAM, ST_FIFO, ST_PASS };

struct master_entry {
	struct span name;	/* "smtp", "127.0.0.1:10025", "[::1]:25", "cleanup" */
	enum service_type type; /* ST_FIFO is served as ST_UNIX */
	bool is_private, unpriv, chroot;
	int64_t wakeup_s;    /* 0: never */
	bool wakeup_if_used; /* "60?" */
	int64_t maxproc;     /* 0: no limit; '-' became default_process_limit */
	struct span *argv; /* program first; -o {name = value} already joined to one argument "name=value" */
	size_t argc;
	unsigned line;
	/* the columns as written, for postconf -M */
	struct span column[8];
};

struct mastercf {
	struct master_entry *entry;
	size_t n;
	unsigned lost_line; /* the first line that continues nothing, and is ignored; 0: none */
	struct arena arena;
};

/* The story names file and line. `c` gives default_process_limit and names used in entries ($name in -o is left alone). */
MUST_CHECK enum rc mastercf_load(const char *dir, const struct conf *c, struct mastercf **out, struct err *e);
MUST_CHECK enum rc mastercf_parse(struct span text, const char *name, const struct conf *c,
				  struct mastercf **out, struct err *e);
void mastercf_free(struct mastercf **m);
/* The name=value arguments that follow -o; *pos starts at 1. What stands behind the first argument without '-'
 * belongs to another program. */
bool mastercf_next_setting(const struct master_entry *en, size_t *pos, struct span *name, struct span *value);
/* Where in argv the arguments stand that are no options: behind them. */
size_t mastercf_arguments(const struct master_entry *en);

#endif
