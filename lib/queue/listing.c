/* queue/listing.c - walking through the queue. */
#include "queue/listing.h"
#include <unistd.h>

struct entry {
	enum queue_where where;
	uint32_t slot;
	struct qid id;
};
struct listing {
	struct queue *q;
	struct entry *v;
	size_t n, cap, next;
	enum queue_where where; /* being listed */
};

static void add(struct listing *l, uint32_t slot, const struct qid *id)
{
	if (l->n == l->cap) {
		l->cap = l->cap ? 2 * l->cap : 256;
		l->v = xrealloc(l->v, l->cap * sizeof(*l->v));
	}
	l->v[l->n++] = (struct entry){ l->where, slot, id ? *id : (struct qid){ "" } };
}

static bool add_name(void *arg, const struct qid *id, const char *name)
{
	(void)name;
	if (id)
		add(arg, 0, id);
	return true;
}

enum rc listing_open(struct queue *q, struct listing **out, struct err *e)
{
	const enum queue_where dirs[] = { QW_ACTIVE, QW_INCOMING, QW_DEFERRED, QW_HOLD, QW_MAILDROP };
	struct listing *l = xcalloc(1, sizeof(*l));
	enum rc rc = queue_pool_refresh(q, e), r;

	l->q = q;
	l->where = QW_SLOT;
	for (uint32_t s = 0; rc == RC_OK && s < queue_slots(q); s++)
		if (queue_slot(q, s).bytes > 0)
			add(l, s, NULL);
	for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
		l->where = dirs[i];
		if ((r = queue_list(q, dirs[i], add_name, l, e)) != RC_OK)
			rc = r;
	}
	*out = l;
	return rc;
}

void listing_close(struct listing **l)
{
	if (*l) {
		free((*l)->v);
		free(*l);
	}
	*l = NULL;
}

size_t listing_count(const struct listing *l)
{
	return l->n;
}

/* The log's last word on each recipient. */
static void take_log(int fd, int64_t base, uint64_t max, struct arena *a, struct listed *out)
{
	struct qstatus *log;
	struct err e;
	size_t n;

	out->why = arena_array(a, out->image.env.rcpts.n + 1, sizeof(*out->why));
	if (qimage_read_log(fd, base, max, &out->image, a, &log, &n, &e) != RC_OK)
		return; /* a listing without reasons is better than none */
	for (size_t i = 0; i < n; i++)
		if (log[i].index < out->image.env.rcpts.n)
			out->why[log[i].index] = log[i];
}

static enum rc read_entry(struct listing *l, const struct entry *en, struct arena *a, struct listed *out,
			  struct err *e)
{
	struct slot_pos pos;
	enum rc rc;
	int fd;

	if (en->where == QW_SLOT) {
		pos = queue_slot(l->q, en->slot);
		rc = qimage_read(pos.fd, pos.base, pos.bytes, true, a, &out->image, e);
		out->why = arena_array(a, rc == RC_OK ? out->image.env.rcpts.n + 1 : 1, sizeof(*out->why));
		return rc;
	}
	if ((rc = queue_file_open(l->q, &en->id, en->where, false, &fd, e)) != RC_OK)
		return rc;
	rc = qimage_read(fd, 0, UINT64_MAX, false, a, &out->image, e);
	if (rc == RC_OK)
		take_log(fd, 0, UINT64_MAX, a, out);
	close(fd);
	return rc;
}

enum rc listing_next(struct listing *l, struct arena *a, struct listed *out, struct err *e)
{
	static const char *const names[] = {
		[QW_SLOT] = "incoming",	    [QW_INCOMING] = "incoming", [QW_ACTIVE] = "active",
		[QW_DEFERRED] = "deferred", [QW_HOLD] = "hold",		[QW_MAILDROP] = "maildrop",
	};

	while (l->next < l->n) {
		const struct entry *en = &l->v[l->next++];

		*out = (struct listed){ .queue = names[en->where], .where = en->where, .slot = en->slot };
		if (read_entry(l, en, a, out, e) == RC_OK) {
			out->id =
			    en->where == QW_MAILDROP ? en->id : out->image.qid; /* any user wrote that */
			return RC_OK;
		}
	}
	return RC_EOF;
}
