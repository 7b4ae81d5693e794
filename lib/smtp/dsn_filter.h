/* smtp/dsn_filter.h - default_delivery_status_filter and its relatives: tables that replace status code and text of a
 * delivery result. Asked with "5.1.1 text as logged", they answer with the same form. */
#ifndef SMTP_DSN_FILTER_H
#define SMTP_DSN_FILTER_H

#include "conf/conf.h"
#include "ipc/proto.h"
#include "map/map.h"

/* `status`, `dsn` and `reason` are replaced together, by spans in `a`. A success stays one and a failure stays one;
 * a temporary failure may become a permanent one and the reverse. What breaks this rule, and a table that fails, is
 * warned of and changes nothing. True: replaced. May wait (remote tables). */
bool dsn_filter(struct maps *m, struct arena *a, uint16_t *status, struct span *dsn, struct span *reason);
/* soft_bounce, after the filter: a failure for good becomes one for now, which the log calls SOFTBOUNCE_STATUS. True: it
 * became one. What a probe finds is told as it is. */
#define SOFTBOUNCE_STATUS "SOFTBOUNCE"
bool soft_bounce(const struct conf *c, bool probe, struct arena *a, uint16_t *status, struct span *dsn);

#endif
