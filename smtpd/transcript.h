/* transcript.h - what was said in a session, for the postmaster. */
#ifndef SMTPD_TRANSCRIPT_H
#define SMTPD_TRANSCRIPT_H

#include "smtpd.h"

#define NOTICE_POLICY	1u
#define NOTICE_PROTOCOL 2u
#define NOTICE_RESOURCE 4u
#define NOTICE_SOFTWARE 8u
unsigned transcript_classes(void); /* bits of notify_classes */
/* A command. Where one starts over, what is longer than smtpd_history_flush_threshold is reported if it must be, and
 * forgotten. */
void transcript_in(struct session *s, struct span line);
/* One line of a reply, with its code, which also says what kind of trouble there is. */
void transcript_out(struct session *s, struct span line);
/* The session is over. */
void transcript_end(struct session *s);

#endif
