/* mime/address_log.h - addresses in log lines (info_log_address_format). */
#ifndef MIME_ADDRESS_LOG_H
#define MIME_ADDRESS_LOG_H

#include "base/span.h"

/* The address as lines show it: "a b"@x, or a b@x with log_addresses_internal(). Valid until the fourth call after this one: enough for one line. */
struct span address_log(struct span external);

#endif
