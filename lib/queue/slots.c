/* queue/slots.c - the states of slots in memory (slots.h). */
#include "queue/slots.h"
#include "queue/qheader.h"

enum slot_state {
	SL_FREE,
	SL_TAKEN,
	SL_LIVE,
	SL_DONE,
	SL_SYNCING,
	SL_LOST /* its file failed to sync, or there is no such slot */
};

struct slot {
	uint32_t generation; /* of the message in it, or of the last one */
	uint8_t state;
	bool done_early; /* TAKEN, and qmgr said done: it found the message before we told it */
};

/* Free slots of one file, oldest first: a ring. */
struct ring {
	uint16_t at[SLOT_COUNT];
	unsigned first, n;
	bool bad;
};

struct slots {
	struct queue *q;
	struct slot *slot;
	struct ring *ring;
	unsigned files;
	size_t count[SLOT_CLASSES], free[SLOT_CLASSES], live[SLOT_CLASSES];
	size_t done[POOL_FILES_MAX];
};

static struct slot *get(const struct slots *s, uint32_t i)
{
	INVARIANT(i < s->files * SLOT_COUNT);
	return &s->slot[i];
}

static enum slot_class class_of(const struct slots *s, uint32_t i)
{
	return queue_pool_class(s->q, i / SLOT_COUNT);
}

/* A slot met for the first time. */
static bool exists(struct slots *s, uint32_t i)
{
	if (queue_slot(s->q, i).bytes == 0)
		return false;
	s->count[class_of(s, i)]++;
	return true;
}

static void make_free(struct slots *s, uint32_t i)
{
	struct ring *r = &s->ring[i / SLOT_COUNT];

	if (r->bad) {
		s->slot[i].state = SL_LOST;
		return;
	}
	INVARIANT(r->n < SLOT_COUNT);
	r->at[(r->first + r->n++) % SLOT_COUNT] = (uint16_t)(i % SLOT_COUNT);
	s->slot[i].state = SL_FREE;
	s->slot[i].done_early = false;
	s->free[class_of(s, i)]++;
}

static void make_done(struct slots *s, uint32_t i)
{
	s->slot[i].state = SL_DONE;
	s->done[i / SLOT_COUNT]++;
}

void slots_added(struct slots *s)
{
	unsigned files = queue_slots(s->q) / SLOT_COUNT;

	s->slot = xrealloc(s->slot, sizeof(*s->slot) * files * SLOT_COUNT);
	s->ring = xrealloc(s->ring, sizeof(*s->ring) * files);
	for (; s->files < files; s->files++) {
		s->ring[s->files] = (struct ring){ .n = 0 };
		for (uint32_t i = s->files * SLOT_COUNT; i < (s->files + 1) * SLOT_COUNT; i++) {
			s->slot[i] = (struct slot){ .state = SL_LOST };
			if (exists(s, i))
				make_free(s, i);
		}
	}
}

/* At the start: what is in slot i? */
static enum slot_state look(struct slots *s, uint32_t i, void (*report)(void *, uint32_t, const char *),
			    void *arg)
{
	struct slot_pos at = queue_slot(s->q, i);
	struct arena a;
	struct qimage im;
	struct err e;
	enum slot_state st = SL_FREE;
	enum rc rc;

	arena_init(&a);
	rc = qimage_read(at.fd, at.base, at.bytes, true, &a, &im, &e);
	s->slot[i].generation = im.generation;
	if (rc == RC_OK)
		st = SL_LIVE;
	else if (rc == RC_GONE)
		st = SL_DONE; /* perhaps not durable yet: it waits for a sync as any other */
	else if (rc == RC_SYNTAX && im.qid.s[0] != '\0') {
		struct err e2;
		char story[700];

		snprintf(story, sizeof(story), "%s: never acknowledged, kept in corrupt: %s", im.qid.s,
			 e.text);
		if (queue_slot_corrupt(s->q, i, &im.qid, &e2) != RC_OK)
			snprintf(story, sizeof(story), "%s: never acknowledged: %s", im.qid.s, e2.text);
		report(arg, i, story);
		/* the mark keeps it from being looked at, and copied, again */
		st = qimage_mark_done(at.fd, at.base, &e2) == RC_OK ? SL_DONE : SL_FREE;
	} else if (rc == RC_SYNTAX)
		report(arg, i, e.text);
	else if (rc != RC_NOTFOUND) {
		report(arg, i, e.text);
		st = SL_LOST; /* cannot be read: do not write there either */
	}
	arena_release(&a);
	return st;
}

enum rc slots_open(struct queue *q, void (*report)(void *arg, uint32_t slot, const char *story), void *arg,
		   struct slots **out, struct err *e)
{
	struct slots *s = xcalloc(1, sizeof(*s));

	(void)e;
	s->q = q;
	s->files = queue_slots(q) / SLOT_COUNT;
	s->slot = xcalloc((size_t)s->files * SLOT_COUNT + 1, sizeof(*s->slot));
	s->ring = xcalloc((size_t)s->files + 1, sizeof(*s->ring));
	for (uint32_t i = 0; i < s->files * SLOT_COUNT; i++) {
		enum slot_state st = exists(s, i) ? look(s, i, report, arg) : SL_LOST;

		s->slot[i].state = (uint8_t)st;
		if (st == SL_FREE)
			make_free(s, i);
		else if (st == SL_DONE)
			make_done(s, i);
		else if (st == SL_LIVE)
			s->live[class_of(s, i)]++;
	}
	*out = s;
	return RC_OK;
}

void slots_close(struct slots **sp)
{
	struct slots *s = *sp;

	if (s == NULL)
		return;
	*sp = NULL;
	free(s->slot);
	free(s->ring);
	free(s);
}

bool slots_take(struct slots *s, enum slot_class class, uint32_t *slot, uint32_t *generation)
{
	for (unsigned f = 0; f < s->files; f++) {
		struct ring *r = &s->ring[f];
		struct slot *sl;

		if (r->n == 0 || r->bad || queue_pool_class(s->q, f) != class)
			continue;
		*slot = f * SLOT_COUNT + r->at[r->first];
		r->first = (r->first + 1) % SLOT_COUNT;
		r->n--;
		s->free[class]--;
		sl = get(s, *slot);
		sl->state = SL_TAKEN;
		sl->done_early = false;
		sl->generation++;
		if (sl->generation == 0)
			sl->generation = 1;
		*generation = sl->generation;
		return true;
	}
	return false;
}

void slots_put_back(struct slots *s, uint32_t slot)
{
	INVARIANT(get(s, slot)->state == SL_TAKEN);
	make_free(s, slot);
}

bool slots_live(struct slots *s, uint32_t slot)
{
	struct slot *sl = get(s, slot);

	INVARIANT(sl->state == SL_TAKEN);
	if (sl->done_early) {
		make_done(s, slot);
		return true;
	}
	sl->state = SL_LIVE;
	s->live[class_of(s, slot)]++;
	return false;
}

bool slots_done(struct slots *s, uint32_t slot, uint32_t generation)
{
	struct slot *sl;

	if (slot >= s->files * SLOT_COUNT)
		return false;
	sl = get(s, slot);
	if (sl->generation != generation)
		return false;
	if (sl->state == SL_TAKEN)
		sl->done_early = true;
	else if (sl->state == SL_LIVE) {
		s->live[class_of(s, slot)]--;
		make_done(s, slot);
	} else
		return false;
	return true;
}

size_t slots_rescan(struct slots *s)
{
	size_t n = 0;

	for (uint32_t i = 0; i < s->files * SLOT_COUNT; i++) {
		struct slot_pos at;
		struct qheader h;

		if (s->slot[i].state != SL_LIVE)
			continue;
		at = queue_slot(s->q, i);
		if (qheader_load(at.fd, at.base, &h, NULL) == RC_OK && h.state == QSTATE_DONE &&
		    slots_done(s, i, h.generation))
			n++;
	}
	return n;
}

void slots_sync_begin(struct slots *s, uint64_t files)
{
	for (unsigned f = 0; f < s->files; f++) {
		if ((files >> f & 1) == 0 || s->done[f] == 0)
			continue;
		for (uint32_t i = f * SLOT_COUNT; i < (f + 1) * SLOT_COUNT; i++)
			if (s->slot[i].state == SL_DONE)
				s->slot[i].state = SL_SYNCING;
		s->done[f] = 0;
	}
}

void slots_sync_end(struct slots *s, uint64_t files, uint64_t failed)
{
	for (unsigned f = 0; f < s->files; f++) {
		struct ring *r = &s->ring[f];

		if ((files >> f & 1) == 0)
			continue;
		if ((failed >> f & 1) != 0 && !r->bad) {
			r->bad = true;
			s->free[queue_pool_class(s->q, f)] -= r->n;
			r->n = 0;
		}
		for (uint32_t i = f * SLOT_COUNT; i < (f + 1) * SLOT_COUNT; i++)
			if (s->slot[i].state == SL_SYNCING)
				make_free(s, i);
	}
}

uint64_t slots_waiting_files(const struct slots *s)
{
	uint64_t bits = 0;

	for (unsigned f = 0; f < s->files && f < 64; f++)
		if (s->done[f] > 0 && !s->ring[f].bad)
			bits |= (uint64_t)1 << f;
	return bits;
}

size_t slots_count(const struct slots *s, enum slot_class class)
{
	return s->count[class];
}

size_t slots_free_count(const struct slots *s, enum slot_class class)
{
	return s->free[class];
}

size_t slots_live_count(const struct slots *s, enum slot_class class)
{
	return s->live[class];
}
