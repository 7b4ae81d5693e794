/* queue/qid.h - queue ids. Text of upper-case hexadecimal digits as in Postfix's short form, at most QID_MAX bytes:
 * 5 digits microseconds, 7 digits seconds (mod 2^28), 2 digits lane (master gives each process a lane of its own, so
 * that ids are unique across processes without asking anybody). Long form (enable_long_queue_ids) is read, too. */
#ifndef QUEUE_QID_H
#define QUEUE_QID_H

#include "base/clock.h"
#include "base/span.h"
#include "conf/conf.h"

#define QID_MAX 23
struct qid {
	char s[QID_MAX + 1]; /* NUL-terminated; "" is none */
};
struct qid qid_new(unsigned lane); /* never the same twice in this process */
void qid_set_long(bool on);	   /* from now on the long form */
void qid_configure(
    const struct conf *c); /* as enable_long_queue_ids of the cleanup service says; reads master.cf */
bool qid_parse(struct span s, struct qid *out); /* ASCII letters and digits, 6 to QID_MAX */
/* When qid_new() made it, wall clock; `now_us` is not before that. 0: not one of these (Postfix's short ids hold no seconds). */
int64_t qid_made_us(const struct qid *id, int64_t now_us);
/* What a user may call a queue id though no message ever had it: letters, digits, "_". */
bool qid_plausible(struct span s);
static inline struct span qid_span(const struct qid *q)
{
	return span_str(q->s);
}

#endif
