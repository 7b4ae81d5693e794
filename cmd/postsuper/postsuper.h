/* cmd/postsuper/postsuper.h - what the files of postsuper(1) share. */
#ifndef POSTSUPER_H
#define POSTSUPER_H

#include "conf/conf.h"
#include "queue/listing.h"

struct action {
	char flag;
	enum qmgr_op op;
	const char *each, *total;
	uint32_t count;
	bool asked;
};
extern struct conf *conf;
extern struct queue *queue;
extern bool running; /* the suite */
extern unsigned verbose;
bool wanted(enum queue_where where); /* of the queues that were named */

/* ---- direct.c: on the files, while the suite is down. id "": all ---- */
void directly(struct action *act, struct span id);
/* maildrop/ is nobody's but pickup(8)'s, which does not know what it has not read yet: files there are removed by hand, the suite
 * running or not. */
void delete_in_maildrop(struct action *act, struct span id);

/* ---- structure.c: -s, -S, -p ---- */
/* true: files have new names or places. */
bool structure(bool names, bool contents, bool temporary);

#endif
