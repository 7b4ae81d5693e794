/* qmgr/window.h - how many deliveries one destination gets at a time, and when it counts as dead: the arithmetic of SCHEDULER_README
 * (concurrency feedback with hysteresis, pseudo-cohorts of failures). */
#ifndef QMGR_WINDOW_H
#define QMGR_WINDOW_H

#include "base/span.h"

/* "number", "number / number", "number / concurrency". */
struct feedback {
	double number; /* 0 to 1 */
	enum { FEEDBACK_FIXED, FEEDBACK_LINEAR } by;
};
/* False, and a feedback of 1, when it is none of the three. */
bool feedback_parse(struct span s, struct feedback *out);
double feedback_value(const struct feedback *f, int64_t concurrency);

struct window_rules {
	int64_t initial, limit, cohorts; /* limit, cohorts: 0: none */
	struct feedback positive, negative;
};
struct window {
	int64_t concurrency; /* at least 1 */
	double success, failure, failed_cohorts;
};
void window_init(struct window *w, const struct window_rules *r);
/* After a delivery that reached the destination. `busy`: deliveries in progress, this one among them. A window far above what is in
 * use does not grow: it could not shrink in time. */
void window_succeeded(struct window *w, const struct window_rules *r, size_t busy);
/* After one that did not. True when the destination is dead now: the window starts anew, for when it is tried again. */
bool window_failed(struct window *w, const struct window_rules *r);

#endif
