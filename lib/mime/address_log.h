/* mime/address_log.h - addresses in log lines (info_log_address_format). */
#ifndef MIME_ADDRESS_LOG_H
#define MIME_ADDRESS_LOG_H

#include "base/span.h"

/* "external" (the default: "a b"@x) or "internal" (a b@x). False for anything else, which changes nothing. */
bool address_log_format(struct span name);
/* The address as lines show it. Valid until the fourth call after this one: enough for one line. */
struct span address_log(struct span external);

#endif
