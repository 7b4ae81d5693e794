/* notice.h - what was said in a session, for the postmaster. */
#ifndef SMTPD_NOTICE_H
#define SMTPD_NOTICE_H

#include "smtpd.h"

/* A command. Where one starts over, what is longer than smtpd_history_flush_threshold is reported if it must be, and
 * forgotten. */
void notice_in(struct session *s, struct span line);
/* One line of a reply, with its code, which also says what kind of trouble there is. */
void notice_out(struct session *s, struct span line);
/* The session is over. */
void notice_end(struct session *s);

#endif
