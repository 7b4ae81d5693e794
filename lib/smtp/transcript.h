/* smtp/transcript.h - what was said in a session, and the mail that tells the postmaster of it (notify_classes: bounce, data,
 * policy, protocol, resource, software; error_notice_recipient, for bounce bounce_notice_recipient). The server and the client of SMTP keep one a session; nothing is
 * remembered where no class is asked for. */
#ifndef SMTP_TRANSCRIPT_H
#define SMTP_TRANSCRIPT_H

#include "base/buf.h"
#include "conf/conf.h"

#define NOTICE_POLICY	1u
#define NOTICE_PROTOCOL 2u
#define NOTICE_RESOURCE 4u
#define NOTICE_SOFTWARE 8u
#define NOTICE_DATA	16u
#define NOTICE_BOUNCE	32u /* of the server: an address that is not there was refused */

struct transcript { /* zeroed: empty */
	struct buf said;
	unsigned lines;
	bool own_notice; /* the message is such a notice itself: there is none about it */
};
unsigned transcript_classes(const struct conf *c); /* bits of notify_classes */
/* One line, and who said it: "In:  " what the peer says, "Out: " what we do. */
void transcript_add(struct transcript *t, const char *who, struct span line);
/* The same of a command: without the password of AUTH, and noting MAIL of a notice. */
void transcript_add_command(struct transcript *t, const struct conf *c, const char *who, struct span line);
/* A command as it may be shown: AUTH and its mechanism alone. */
struct span transcript_without_secret(struct span command);
void transcript_forget(struct transcript *t); /* frees */

struct transcript_mail {
	const struct conf *conf;
	unsigned lane; /* for the queue id */
	const char *cleanup_service;
	bool bounce;	      /* to bounce_notice_recipient */
	const char *role;     /* "SMTP server" */
	const char *peer;     /* "host[address]" */
	const char *first;    /* NULL, or a line before the transcript */
	const char *ended_by; /* NULL, or why the session ended */
};
/* Waits for cleanup(8); failures are logged. */
void transcript_send(const struct transcript *t, const struct transcript_mail *m);

#endif
