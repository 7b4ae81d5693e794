/* map/dns_filter.h - smtpd_dns_reply_filter and its kin: tables that are asked about every record of an answer of the DNS,
 * as "name. ttl IN TYPE [preference] value" (postconf(5)). IGNORE takes the record out; an answer without a record left is
 * RC_DENIED. */
#ifndef MAP_DNS_FILTER_H
#define MAP_DNS_FILTER_H

#include "base/rc.h"
#include "base/span.h"

/* In prepare(): opens the tables of parameter `param`, whose value is `list`; every dns_query() of this process then asks
 * them. "" changes nothing. */
MUST_CHECK enum rc dns_filter_open(const char *param, struct span list, struct err *e);

#endif
