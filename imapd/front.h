/* front.h - one connection before log-in; shared by the files of the front. */
#ifndef IMAPD_FRONT_H
#define IMAPD_FRONT_H

#include "imapd.h"
#include "parse.h"

struct front {
	struct login l;
	struct arena a; /* of the command at hand */
	struct buf cmd; /* its text: passwords may be in it */
	struct span tag;
	unsigned bad;
	const char *end; /* why it is over; NULL while it goes on */
	bool handed_over;
};

void front_tagged(struct front *f, const char *text);
void front_bad(struct front *f, const struct parse *p);
void front_forget(struct front *f); /* the command's text and all that was made of it */
void front_put_capability(struct front *f);

/* ---- front_auth.c ---- */
void front_login(struct front *f, struct parse *p);
void front_authenticate(struct front *f, struct parse *p);
void front_starttls(struct front *f, struct parse *p);

#endif
