/* qmgr/takeover.c - a host changes over from Postfix: the messages that are in the queue go on with us (queue/adopt.h). */
#include "qmgr.h"
#include "log/log.h"
#include "queue/adopt.h"

#define REFUSED_MAX 100 /* files that are named in the log, of one directory */

struct refused {
	char name[QID_MAX + 1];
	struct err why;
};
struct run {
	enum queue_where where;
	size_t taken, refused_n;
	bool left; /* something has to be tried again */
	struct refused *refused;
	enum rc rc;
	struct err e;
};

static void note(void *arg, const char *name, const struct err *why, bool later)
{
	struct run *r = arg;
	struct refused *f;

	if (!why) {
		r->taken++;
		return;
	}
	r->left |= later;
	if (r->refused_n++ >= REFUSED_MAX)
		return;
	f = &r->refused[r->refused_n - 1];
	snprintf(f->name, sizeof(f->name), "%s", name);
	f->why = *why;
}

static void run(void *arg)
{
	struct run *r = arg;

	r->rc = queue_adopt(queue, r->where, note, r, &r->e);
}

static void tell(const struct run *r, const char *dir)
{
	if (r->rc != RC_OK)
		log_warning("%s: %s", dir, r->e.text);
	if (r->taken > 0)
		log_info("%s: took over %zu messages that Postfix left", dir, r->taken);
	for (size_t i = 0; i < r->refused_n && i < REFUSED_MAX; i++)
		log_warning("%s/%s: cannot take over this queue file of Postfix: %s", dir, r->refused[i].name,
			    r->refused[i].why.text);
	if (r->refused_n > REFUSED_MAX)
		log_warning("%s: and %zu more", dir, r->refused_n - REFUSED_MAX);
}

bool takeover(void)
{
	bool left = false;
	static const struct {
		enum queue_where where;
		const char *name;
	} dirs[] = { { QW_DEFERRED, "deferred" },
		     { QW_HOLD, "hold" },
		     { QW_INCOMING, "incoming" },
		     { QW_ACTIVE, "active" } };

	for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
		struct run r = { .where = dirs[i].where,
				 .refused = xcalloc(REFUSED_MAX, sizeof(*r.refused)) };

		task_offload(run, &r);
		tell(&r, dirs[i].name);
		free(r.refused);
		left |= r.left || r.rc != RC_OK;
	}
	return left;
}
