/* ehlo.h - what a server offers in its reply to EHLO or LHLO (RFC 5321 section 4.1.1.1). Pure. */
#ifndef SMTP_EHLO_H
#define SMTP_EHLO_H

#include "base/span.h"

#define FEAT_PIPELINING	     (1u << 0)
#define FEAT_8BITMIME	     (1u << 1)
#define FEAT_SIZE	     (1u << 2)
#define FEAT_STARTTLS	     (1u << 3)
#define FEAT_AUTH	     (1u << 4)
#define FEAT_DSN	     (1u << 5)
#define FEAT_SMTPUTF8	     (1u << 6)
#define FEAT_ESMTP	     (1u << 7)
#define FEAT_XFORWARD_NAME   (1u << 8)
#define FEAT_XFORWARD_ADDR   (1u << 9)
#define FEAT_XFORWARD_PORT   (1u << 10)
#define FEAT_XFORWARD_PROTO  (1u << 11)
#define FEAT_XFORWARD_HELO   (1u << 12)
#define FEAT_XFORWARD_IDENT  (1u << 13)
#define FEAT_XFORWARD_SOURCE (1u << 14)

struct ehlo {
	unsigned features;
	uint64_t size_limit;  /* 0: none */
	char mechanisms[512]; /* of AUTH, with blanks between them: what there was room for */
};
/* Adds a line, without its code, unless its keyword is in the list `discard`. The argument of SIZE when it is no number, else "". */
struct span ehlo_take(struct ehlo *o, struct span line, struct span discard);

#endif
