/* data_scan.h - where a message ends, and its bytes as they are stored: lines end with LF, stuffed dots are
 * gone.
 *
 * The end is CRLF "." CRLF and nothing else (RFC 5321 sections 2.3.8 and 4.1.1.4). A bare LF ends a line of
 * text, as many programs send it, but no "." next to one ends a message, however the bytes are cut on the
 * way: what follows would be taken for commands of somebody else (mail smuggling). `lenient` is for clients
 * that the administrator excepts: for them LF counts as CRLF throughout. Pure: no I/O, no memory. */
#ifndef SMTPD_DATA_SCAN_H
#define SMTPD_DATA_SCAN_H

#include "base/span.h"

struct data_scan {
	unsigned char at; /* private: enum in data_scan.c; 0 is the start */
	bool lenient;
	bool chunked;	/* BDAT (RFC 3030): no dots, no end mark */
	bool done;	/* the end mark was consumed */
	bool bare_lf;	/* a line ended without CR */
	uint64_t lines; /* stored so far: each is an octet longer on the wire */
};
#define DATA_SCAN_EXTRA 2 /* output can be longer than the input by what was held back before */

/* Takes bytes off `in` up to the end mark at most; returns how many. Writes at most in.n + DATA_SCAN_EXTRA
 * bytes to `out`, which must not overlap; *made tells how many. */
size_t data_scan(struct data_scan *s, struct span in, char *out, size_t *made);
/* The end of the last chunk: what was held back, and a line end when the last line has none. At most
 * DATA_SCAN_EXTRA bytes. */
size_t data_scan_finish(struct data_scan *s, char *out);

bool data_scan_in_line(const struct data_scan *s); /* the last line has no end yet */

#endif
