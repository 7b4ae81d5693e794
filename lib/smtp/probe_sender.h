/* smtp/probe_sender.h - the sender of address verification probes: address_verify_sender, whose local part changes every
 * address_verify_sender_ttl seconds when that is set, so that spammers cannot learn an address that is never refused. */
#ifndef SMTP_PROBE_SENDER_H
#define SMTP_PROBE_SENDER_H

#include "conf/conf.h"

/* The whole address; "": the null sender. */
struct span probe_sender(const struct conf *c, int64_t now_s, struct arena *a);
/* Whether `addr` is it, or was or will be within one life. Without domain in address_verify_sender any domain will do. */
bool probe_sender_is(const struct conf *c, struct span addr, int64_t now_s);

#endif
