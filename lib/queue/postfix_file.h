/* queue/postfix_file.h - a message as Postfix keeps it in its queue: read, so that no mail stays behind when a host changes over.
 *
 * Such a file is a sequence of records: a type (one octet), a length (seven bits an octet, the lowest first, 0x80: more follows), so
 * many octets. postcat(1) shows the types as numbers.
 *
 *   C size  T arrival  A attribute name=value  F full name  S sender  V VERP delimiters  L filter transport:nexthop  > redirect
 *   O original recipient  R recipient  D recipient that is done; what stands of O and of the attributes dsn_orig_rcpt and notify_flags
 *   in front of one is about it
 *   M content: N a line, L a part of one  X what cleanup took from the header: records as before M  E end
 *   p go on at this offset (0: here)  K a record that counts no more: a trace_flags that was answered, the time of a delay's warning
 *   W when to warn of a delay; other types say nothing that we keep
 *
 * A file of maildrop/ begins with T, any other with C. */
#ifndef QUEUE_POSTFIX_FILE_H
#define QUEUE_POSTFIX_FILE_H

#include "queue/envelope.h"

/* Whether the file begins as one of these. Blocking. */
bool postfix_file_is(int fd);

/* Takes content, in order; lines end with LF. */
typedef enum rc postfix_content_fn(void *arg, struct span piece, struct err *e);

/* Envelope and content. Of `env` everything but qid, size and hops is set; memory from `a`. The content may have gone to `fn` in part when
 * the call fails. Blocking.
 * errors   RC_SYNTAX damaged or unfinished; RC_LIMIT more than one of our envelopes takes, or larger than `max_bytes`; RC_SYS;
 *          those of `fn` */
MUST_CHECK enum rc postfix_file_read(int fd, uint64_t max_bytes, struct arena *a, struct envelope *env,
				     postfix_content_fn *fn, void *arg, struct err *e);

#endif
