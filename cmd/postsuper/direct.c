/* cmd/postsuper/direct.c - the suite is down: the operations on the files themselves. */
#include "postsuper.h"
#include "log/log.h"
#include <unistd.h>

/* Flags, and the time of the next attempt: at once. */
static enum rc schedule(const struct listed *m, uint32_t flag, struct err *e)
{
	int fd;
	enum rc rc = queue_file_open(queue, &m->id, m->where, true, &fd, e);

	if (rc != RC_OK)
		return rc;
	rc = qimage_schedule(fd, 0, 0, m->image.attempts, m->image.env.flags | flag, e);
	close(fd);
	return rc;
}

/* A slot cannot be held or kept for later: it becomes a file first. */
static enum rc leave_slot(struct listed *m, enum queue_where to, struct err *e)
{
	struct slot_pos pos = queue_slot(queue, m->slot);
	enum rc rc = queue_slot_to_file(queue, m->slot, &m->image, to, NULL, 0, e);

	return rc == RC_OK ? qimage_mark_done(pos.fd, pos.base, e) : rc;
}

/* Through pickup(8), once more. */
static enum rc requeue(struct listed *m, struct err *e)
{
	enum rc rc = RC_OK;

	if (m->where == QW_SLOT) {
		rc = leave_slot(m, QW_DEFERRED, e);
		if (rc == RC_OK)
			rc = queue_pool_sync(queue, UINT64_C(1) << (m->slot / SLOT_COUNT), e);
		m->where = QW_DEFERRED;
	}
	return rc == RC_OK ? queue_file_requeue(queue, &m->id, m->where, e) : rc;
}

static enum rc on_disk(struct listed *m, enum qmgr_op op, struct err *e)
{
	bool slot = m->where == QW_SLOT;
	struct slot_pos pos;

	if (m->where == QW_MAILDROP) /* pickup(8) has to have it first; deleted below */
		return RC_NOTFOUND;
	switch (op) {
	case QOP_DELETE:
		if (!slot)
			return queue_file_remove(queue, &m->id, m->where, e);
		pos = queue_slot(queue, m->slot);
		return qimage_mark_done(pos.fd, pos.base, e);
	case QOP_HOLD:
		if (m->where == QW_HOLD)
			return RC_NOTFOUND;
		return slot ? leave_slot(m, QW_HOLD, e)
			    : queue_file_move(queue, &m->id, m->where, QW_HOLD, e);
	case QOP_RELEASE:
		/* the time of its next attempt is what it was */
		return m->where == QW_HOLD ? queue_file_move(queue, &m->id, QW_HOLD, QW_DEFERRED, e)
					   : RC_NOTFOUND;
	case QOP_REQUEUE:
		return requeue(m, e);
	case QOP_EXPIRE:
		if (slot && leave_slot(m, QW_DEFERRED, e) != RC_OK)
			return e->rc;
		m->where = slot ? QW_DEFERRED : m->where;
		return schedule(m, ENVF_EXPIRE, e);
	default:
		return RC_SYNTAX;
	}
}

void directly(struct action *act, struct span id)
{
	struct listing *l;
	struct listed m;
	struct arena a;
	struct err e = { .text = "" };

	if (listing_open(queue, &l, &e) != RC_OK)
		log_warning("%s", e.text);
	arena_init(&a);
	while (listing_next(l, &a, &m, &e) == RC_OK) {
		if (wanted(m.where) && (id.n == 0 || span_eq(id, qid_span(&m.id)))) {
			enum rc rc = on_disk(&m, act->op, &e);

			if (rc == RC_OK) {
				if (id.n) /* ALL has its total only */
					log_info("%s: %s", m.id.s, act->each);
				act->count++;
			} else if (rc != RC_NOTFOUND) {
				log_warning("%s: %s", m.id.s, e.text);
			}
		}
		arena_reset(&a);
	}
	arena_release(&a);
	listing_close(&l);
}

/* ---- maildrop/ ---- */
struct drop {
	struct action *act;
	struct span id;
};

static bool delete_drop(void *arg, const struct qid *id, const char *name)
{
	const struct drop *d = arg;
	struct err e;

	(void)name;
	if (id == NULL || (d->id.n > 0 && !span_eq(d->id, qid_span(id))))
		return true;
	switch (queue_file_remove(queue, id, QW_MAILDROP, &e)) {
	case RC_OK:
		if (d->id.n > 0)
			log_info("%s: %s", id->s, d->act->each);
		d->act->count++;
		break;
	case RC_NOTFOUND: /* pickup was faster */
		break;
	default:
		log_warning("%s: %s", id->s, e.text);
	}
	return d->id.n == 0;
}

void delete_in_maildrop(struct action *act, struct span id)
{
	struct drop d = { act, id };
	struct err e;

	if (wanted(QW_MAILDROP) && queue_list(queue, QW_MAILDROP, delete_drop, &d, &e) != RC_OK)
		log_warning("%s", e.text);
}
