/* store.c - where a message goes: into a slot of the pool when it fits and one is free, else into a file of
 * its own. A message that was streamed into a file is copied into a slot when it fits: the copy is cheaper than the
 * commits of the journal that a new name costs. Who holds the pool's lock allocates; during a reload the process that ends may have it still, and
 * the new one uses files until then. */
#include "cleanup.h"
#include "queue/qheader.h"
#include <errno.h>
#include <unistd.h>

#define SMALL_CONTENT  (SLOT_BYTES - 8 * 1024) /* with header and some recipients it fits a small slot */
#define HEADER_ROOM    4096		       /* for header fields that are added */
#define SPACE_PER_POOL 20		       /* ... if it is less than a twentieth of what is free */
#define RESCAN_MS      200

struct queue *queue;
struct slots *slots;
static const struct {
	size_t wanted; /* slots: messages on their way; then files */
	size_t spare;  /* fewer free slots: make another file of 18 MiB */
} pool[SLOT_CLASSES] = {
	[SLOT_SMALL] = { 8 * (size_t)SLOT_COUNT, 64 },
	[SLOT_LARGE] = { 4 * (size_t)LARGE_SLOT_COUNT, 16 },
};
static bool growing; /* one file at a time: they are numbered */
static bool enough[SLOT_CLASSES], draining;
static size_t taken; /* slots being written */
static mono_t rescanned;

static void report_slot(void *arg, uint32_t slot, const char *story)
{
	(void)arg;
	log_warning("pool slot %u: %s", slot, story);
}

struct pool_call {
	enum rc rc;
	struct err e;
	struct slots *s;
	enum slot_class class;
};

static void open_slots(void *arg)
{
	struct pool_call *c = arg;

	if ((c->rc = queue_pool_lock(queue, &c->e)) != RC_OK)
		return;
	if ((c->rc = queue_pool_refresh(queue, &c->e)) != RC_OK)
		return;
	if (queue_slots(queue) == 0 && (c->rc = queue_pool_grow(queue, SLOT_SMALL, &c->e)) != RC_OK)
		return;
	c->rc = slots_open(queue, report_slot, NULL, &c->s, &c->e);
}

/* Not offloaded: report_slot() logs, and nothing is served before. */
static bool take_pool(void)
{
	struct pool_call c = { .s = NULL };

	open_slots(&c);
	if (c.rc == RC_OK) {
		slots = c.s;
		return true;
	}
	if (c.rc != RC_AGAIN)
		log_warning("no pool of slots, each message gets a file: %s", c.e.text);
	return c.rc != RC_AGAIN;
}

static void wait_for_pool(void *arg)
{
	(void)arg;
	while (!draining && !take_pool())
		task_sleep_ms(500);
}

static void grow_pool(void *arg)
{
	struct pool_call *c = arg;

	c->rc = queue_pool_grow(queue, c->class, &c->e);
}

static bool room_to_grow(void)
{
	uint64_t bytes = 0, inodes;

	return queue_space(queue, &bytes, &inodes, NULL) == RC_OK &&
	       bytes / SPACE_PER_POOL > (uint64_t)SLOT_BYTES * SLOT_COUNT;
}

static void grow_task(void *arg)
{
	struct pool_call c = { .rc = RC_AGAIN, .class = (enum slot_class)((bool *)arg - enough) };

	if (room_to_grow()) {
		task_offload(grow_pool, &c);
		if (c.rc != RC_OK)
			log_warning("pool: %s", c.e.text);
		else if (slots != NULL)
			slots_added(slots);
	}
	enough[c.class] = c.rc != RC_OK; /* not again in this process */
	growing = false;
}

static void find_forgotten(void)
{
	commit_kick();
	if (mono_diff_ms(mono_now(), rescanned) <= RESCAN_MS)
		return;
	rescanned = mono_now();
	if (slots_rescan(slots) > 0)
		commit_kick();
}

/* Few free slots: find the forgotten, and make more. */
static void replenish(enum slot_class class)
{
	size_t count = slots_count(slots, class);

	if (slots_free_count(slots, class) > pool[class].spare)
		return;
	if (count > 0)
		find_forgotten();
	if (!growing && !enough[class] && slots_live_count(slots, class) >= count / 2 &&
	    count < pool[class].wanted) {
		growing = true;
		task_spawn(grow_task, &enough[class]);
	}
}

void store_start(void)
{
	struct err e;

	if (queue_open(service_queue_dir(), true, &queue, &e) != RC_OK)
		die("%s", e.text);
	if (!take_pool())
		task_spawn(wait_for_pool, NULL);
	commit_start();
}

/* The process that follows may have the pool as soon as no slot is being written here. */
static void give_up_pool(void)
{
	if (!draining || slots == NULL || taken > 0)
		return;
	slots_close(&slots);
	queue_pool_unlock(queue);
}

void store_drain(void)
{
	draining = true;
	give_up_pool();
}

void answer_slots(struct ipc_call *call, const void *request)
{
	const struct cleanup_slots *q = request;

	for (size_t i = 0; i < q->slots.n && slots != NULL; i++) {
		const struct slot_ref *r = (const struct slot_ref *)q->slots.v + i;

		(void)slots_done(slots, r->slot, r->generation);
	}
	ipc_done(call);
}

/* ---- content as it will stand ---- */

static void fix_cr(struct span s)
{
	char *p = (char *)(uintptr_t)s.p;

	for (char *cr = memchr(p, '\r', s.n); cr != NULL; cr = memchr(cr, '\r', s.n - (size_t)(cr - p)))
		*cr = ' ';
}

/* Nothing was put into the body, and nothing taken out of it. */
static bool body_untouched(const struct job *j)
{
	uint64_t bytes = j->content_bytes - j->body_off;

	if (j->pieces == 0)
		return bytes == 0;
	return j->pieces == 1 && !j->piece[0].fresh && j->piece[0].off == j->body_off &&
	       j->piece[0].len == bytes;
}

/* A message in memory: two pieces at most; joined into one when body checks cut it up, or a stray CR has to
 * go. */
static size_t memory_content(struct job *j, struct span out[2])
{
	bool cr = settings.replace_cr &&
		  memchr(j->content.p != NULL ? j->content.p : "", '\r', j->content.n) != NULL;
	struct buf b;

	if (!cr && body_untouched(j)) {
		uint64_t from = j->header_changed ? j->body_off : 0;

		out[0] = buf_span(&j->new_header);
		out[1] = span_skip(j->content, (size_t)from);
		return 2;
	}
	buf_init(&b, SIZE_MAX);
	(void)buf_append(&b, j->header_changed ? buf_span(&j->new_header)
					       : span_head(j->content, (size_t)j->body_off));
	for (size_t i = 0; i < j->pieces; i++)
		(void)buf_append(&b, j->piece[i].fresh
					 ? j->piece[i].text
					 : span_head(span_skip(j->content, (size_t)j->piece[i].off),
						     (size_t)j->piece[i].len));
	out[0] = span_dup(&j->a, buf_span(&b));
	buf_release(&b);
	if (cr)
		fix_cr(out[0]);
	return 1;
}

/* ---- failure ---- */

static void no_space(struct job *j, const struct err *e)
{
	log_warning("%s: %s", j->qid.s, e->text);
	if (e->rc == RC_SYS && (e->sys == ENOSPC || e->sys == EDQUOT))
		job_refuse(j, 452, "4.3.1", "Insufficient system storage");
	else
		job_refuse(j, 451, "4.3.0", "Error: queue file write error");
}

/* ---- a slot ---- */

/* false: not possible, take a file. */
static bool store_in_slot(struct job *j, const struct span *content, size_t pieces)
{
	size_t bytes = content[0].n + (pieces > 1 ? content[1].n : 0);
	enum slot_class class = bytes <= SMALL_CONTENT ? SLOT_SMALL : SLOT_LARGE;
	struct iovec iov[4];
	struct slot_pos at;
	uint64_t total;
	uint32_t slot, generation;
	struct err e;
	int n;

	if (slots == NULL || draining || j->hold || bytes > LARGE_CONTENT)
		return false;
	replenish(class);
	if (!slots_take(slots, class, &slot, &generation))
		return false;
	at = queue_slot(queue, slot);
	if (qimage_build(&j->env, content, pieces, generation, &j->a, iov, &n, &total) != RC_OK ||
	    total > at.bytes) {
		slots_put_back(slots, slot);
		return false;
	}
	taken++;
	if (pwritev_all(at.fd, iov, n, at.base, &e) != RC_OK || commit_pool(slot / SLOT_COUNT) != RC_OK) {
		/* what stands there was never acknowledged; it must not come up again beside the copy in a
		 * file */
		if (qimage_mark_done(at.fd, at.base, &e) != RC_OK)
			log_warning("pool slot %u: %s", slot, e.text);
		slots_put_back(slots, slot);
		taken--;
		give_up_pool();
		return false;
	}
	taken--;
	j->where = QW_SLOT;
	j->slot = slot;
	j->generation = generation;
	if (slots_live(slots, slot))
		j->where = QW_ACTIVE; /* finished already: nobody is told */
	give_up_pool();
	return true;
}

/* ---- a file of its own ---- */

struct file_call {
	struct job *j;
	const struct span *content; /* NULL: in the file already */
	size_t pieces;
	struct qextent *extent;
	size_t extents;
	struct span inserts;
	int fd;
	bool named;
	enum rc rc;
	struct err e;
};

static void write_file(void *arg)
{
	struct file_call *c = arg;
	struct job *j = c->j;
	struct iovec iov[4];
	uint64_t total;
	int n;

	if (c->content != NULL) {
		if ((c->rc = queue_file_new(queue, &c->fd, &c->e)) != RC_OK)
			return;
		if ((c->rc = qimage_build(&j->env, c->content, c->pieces, 1, &j->a, iov, &n, &total)) !=
		    RC_OK)
			err_set(&c->e, c->rc, "the envelope is too large");
		else
			c->rc = pwritev_all(c->fd, iov, n, 0, &c->e);
	} else
		c->rc = qimage_complete(c->fd, &j->env, j->content_bytes, c->inserts, c->extent, c->extents,
					settings.replace_cr, true, &c->e);
	if (c->rc == RC_OK && (c->rc = queue_file_link(queue, c->fd, &j->qid, j->where, &c->e)) == RC_OK)
		c->named = true;
}

static void remove_file(void *arg)
{
	struct file_call *c = arg;

	struct err e; /* of no interest: the message is refused with the story that is there */

	if (queue_file_remove(queue, &c->j->qid, c->j->where, &e) != RC_OK)
		c->named = true;
}

/* Extents of the message as it is now, when header or body were changed. New text goes behind the content. */
static void make_extents(struct job *j, struct file_call *c)
{
	struct buf b;
	size_t n = 0;

	if (!j->header_changed && body_untouched(j))
		return;
	buf_init(&b, 256 << 20);
	c->extent = arena_array(&j->a, j->pieces + 1, sizeof(*c->extent));
	if (j->header_changed) {
		c->extent[n++] = (struct qextent){ QFILE_CONTENT_OFF + j->content_bytes, j->new_header.n };
		(void)buf_append(&b, buf_span(&j->new_header));
	} else
		c->extent[n++] = (struct qextent){ QFILE_CONTENT_OFF, j->body_off };
	for (size_t i = 0; i < j->pieces; i++) {
		const struct piece *p = &j->piece[i];

		if (p->fresh) {
			c->extent[n++] =
			    (struct qextent){ QFILE_CONTENT_OFF + j->content_bytes + b.n, p->text.n };
			(void)buf_append(&b, p->text);
		} else
			c->extent[n++] = (struct qextent){ QFILE_CONTENT_OFF + p->off, p->len };
	}
	if (settings.replace_cr && b.n > 0)
		fix_cr(buf_span(&b));
	c->extents = n;
	c->inserts = span_dup(&j->a, buf_span(&b));
	buf_release(&b);
}

static void store_in_file(struct job *j, const struct span *content, size_t pieces)
{
	struct file_call c = { .j = j, .content = content, .pieces = pieces, .fd = -1 };

	j->where = j->hold ? QW_HOLD : QW_INCOMING;
	if (content == NULL) {
		c.fd = large_fd(j->file);
		make_extents(j, &c);
	}
	task_offload(write_file, &c);
	if (c.rc == RC_OK && commit_dir(j->where) != RC_OK) {
		c.rc = err_set(&c.e, RC_SYS, "sync of the queue directory failed");
		task_offload(remove_file, &c);
	}
	if (content != NULL && c.fd >= 0) {
		if (c.named)
			close(c.fd);
		else
			queue_file_drop(queue, c.fd);
	}
	if (c.rc != RC_OK)
		no_space(j, &c.e);
}

/* Whether a message of that size, in a file now, is worth a copy into memory: it will go into a slot. */
bool store_wants_copy(const struct job *j, uint64_t bytes)
{
	if (slots == NULL || draining || j->hold || bytes > LARGE_CONTENT - HEADER_ROOM)
		return false;
	replenish(SLOT_LARGE);
	return slots_free_count(slots, SLOT_LARGE) > 0;
}

void job_store(struct job *j)
{
	struct span content[2];
	size_t pieces;

	/* what smtpd tells the postmaster of a full disk is none of the network's */
	if (!(j->env.flags & ENVF_BOUNCE) && !room_for_mail(j->peer, (uint64_t)settings.queue_minfree)) {
		job_refuse(j, 452, "4.3.1", "Insufficient system storage");
		return;
	}
	if (j->file != NULL) {
		store_in_file(j, NULL, 0);
		return;
	}
	pieces = memory_content(j, content);
	if (!store_in_slot(j, content, pieces))
		store_in_file(j, content, pieces);
}
