/* cmd/qshape/qshape.h - qshape(1): options in qshape.c, the messages of the queue in read.c, domains counted by age in
 * count.c, the table as people and scripts read it in print.c. */
#ifndef QSHAPE_H
#define QSHAPE_H

#include "base/arena.h"
#include "base/table.h"
#include "conf/conf.h"

#define BUCKETS_MAX 100

struct shape_options {
	bool senders, parents, linear;
	uint64_t min_subdomains, buckets, bucket_minutes, width;
	uint64_t batch, top; /* on a terminal only: messages between two tables, rows */
};

/* ---- count.c ---- */
struct row {
	struct span name; /* a parent's begins with '.' */
	uint64_t subdomains;
	uint64_t total, count[BUCKETS_MAX];
};
struct shape {
	const struct shape_options *opt;
	int64_t now_s;
	struct arena a; /* names and rows */
	struct table *rows;
	struct row all; /* "TOTAL" */
};
void shape_init(struct shape *s, const struct shape_options *opt, int64_t now_s);
void shape_release(struct shape *s);
/* In minutes: where bucket `i` ends; the last one has no end. */
int64_t shape_limit(const struct shape_options *opt, uint64_t i);
void shape_count(struct shape *s, struct span address, int64_t arrival_s);

/* ---- print.c ---- */
/* The rows that are to be shown, largest first, shorter names before longer ones. */
void shape_print(const struct shape *s, uint64_t rows_max);

/* ---- read.c ---- */
struct seen {
	struct span sender;
	struct span *rcpt; /* those still to be delivered */
	size_t rcpts;
	int64_t arrival_s;
};
typedef void seen_fn(void *arg, const struct seen *m);
/* The messages in `names` (incoming, active, deferred, hold, maildrop: of the queue of `c`; an absolute path: any
 * directory of queue files), each once; what is being delivered is in "active". Dies when a directory is not there or cannot be read. */
void read_queues(const struct conf *c, char *const *names, size_t n, seen_fn *fn, void *arg);

#endif
