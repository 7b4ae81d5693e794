/* A slot of the pool is written again only after its DONE mark was synced, and a reuse torn at any 512-byte
 * boundary by a power cut never shows a wrong message: the new one whole, or nothing (RFC 5321 section 6.1:
 * what was acknowledged is not lost). */
#include "queue/slots.h"
#include "queue/qheader.h"
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

static char dir[64];
static unsigned reports;

static void report(void *arg, uint32_t slot, const char *story)
{
	(void)arg;
	(void)slot;
	(void)story;
	reports++;
}

static struct queue *open_queue(void)
{
	struct queue *q;
	struct err e;

	assert_int_equal(queue_open(dir, true, &q, &e), RC_OK);
	assert_int_equal(queue_pool_lock(q, &e), RC_OK);
	if (queue_slots(q) == 0)
		assert_int_equal(queue_pool_grow(q, SLOT_SMALL, &e), RC_OK);
	return q;
}

static struct slots *open_slots(struct queue *q)
{
	struct slots *s;
	struct err e;

	assert_int_equal(slots_open(q, report, NULL, &s, &e), RC_OK);
	return s;
}

/* Image of a message: `id`, content of n bytes of `fill`. */
static size_t image(const char *id, char fill, size_t n, uint32_t generation, char *out)
{
	struct env_rcpt r = { .addr = SPAN("b@example.org") };
	struct envelope env = { .qid = span_str(id), .sender = SPAN("a@example.org"), .rcpts = { &r, 1 } };
	char *c = malloc(n);
	struct span content = span_make(c, n);
	struct iovec iov[4];
	struct arena a;
	uint64_t total;
	size_t at = 0;
	int k;

	memset(c, fill, n);
	arena_init(&a);
	assert_int_equal(qimage_build(&env, &content, 1, generation, &a, iov, &k, &total), RC_OK);
	for (int i = 0; i < k; i++) {
		memcpy(out + at, iov[i].iov_base, iov[i].iov_len);
		at += iov[i].iov_len;
	}
	arena_release(&a);
	free(c);
	return at;
}

static void put(struct queue *q, uint32_t slot, const char *bytes, size_t n)
{
	struct slot_pos at = queue_slot(q, slot);

	assert_int_equal(pwrite(at.fd, bytes, n, at.base), (ssize_t)n);
}

static void reuse_waits_for_a_sync(void **st)
{
	static char bytes[SLOT_BYTES];
	struct queue *q = open_queue();
	struct slots *s = open_slots(q);
	uint32_t slot, g, other, og;
	struct slot_pos at;
	struct err e;
	size_t n;

	(void)st;
	assert_int_equal(slots_free_count(s, SLOT_SMALL), SLOT_COUNT);
	assert_true(slots_take(s, SLOT_SMALL, &slot, &g));
	n = image("AAAAAAAAAAAAAA", 'a', 5000, g, bytes);
	put(q, slot, bytes, n);
	assert_false(slots_live(s, slot));
	/* everything else is used up: the slot must not be given out before a sync */
	while (slots_take(s, SLOT_SMALL, &other, &og))
		assert_int_not_equal(other, slot);
	at = queue_slot(q, slot);
	assert_int_equal(qimage_mark_done(at.fd, at.base, &e), RC_OK);
	assert_false(slots_done(s, slot, g + 1)); /* another generation */
	assert_true(slots_done(s, slot, g));
	assert_false(slots_done(s, slot, g)); /* twice */
	assert_false(slots_take(s, SLOT_SMALL, &other, &og));
	assert_int_equal(slots_waiting_files(s), 1);
	slots_sync_begin(s, 1);
	assert_false(slots_take(s, SLOT_SMALL, &other, &og));
	slots_sync_end(s, 1, 0);
	assert_true(slots_take(s, SLOT_SMALL, &other, &og));
	assert_int_equal(other, slot);
	assert_int_equal(og, g + 1);
	slots_close(&s);
	queue_close(&q);
}

static void done_before_live(void **st)
{
	struct queue *q = open_queue();
	struct slots *s = open_slots(q);
	uint32_t slot, g;

	(void)st;
	assert_true(slots_take(s, SLOT_SMALL, &slot, &g));
	assert_true(slots_done(s, slot, g)); /* qmgr found it by itself, and was quick */
	assert_true(slots_live(s, slot));
	slots_close(&s);
	queue_close(&q);
}

static void failed_sync_ends_the_file(void **st)
{
	struct queue *q = open_queue();
	struct slots *s = open_slots(q);
	uint32_t slot, g;

	(void)st;
	slots_sync_begin(s, 1);
	slots_sync_end(s, 1, 1);
	assert_false(slots_take(s, SLOT_SMALL, &slot, &g));
	assert_int_equal(slots_free_count(s, SLOT_SMALL), 0);
	slots_close(&s);
	queue_close(&q);
}

static void second_process_has_no_pool(void **st)
{
	struct queue *q = open_queue(), *other;
	struct err e;

	(void)st;
	assert_int_equal(queue_open(dir, true, &other, &e), RC_OK);
	assert_int_equal(queue_pool_lock(other, &e), RC_AGAIN);
	queue_close(&other);
	queue_close(&q);
}

/* Old message done and synced; of the new one any set of sectors reached the disk. `order` picks sets: a
 * prefix, a suffix, one missing. */
static void torn_reuse(void **st)
{
	static char old[SLOT_BYTES], fresh[SLOT_BYTES], mixed[SLOT_BYTES];
	struct queue *q = open_queue();
	size_t sizes[] = { 100, 4096, 9000 };
	struct slot_pos at = queue_slot(q, 0);
	struct err e;

	(void)st;
	for (size_t k = 0; k < ARRAY_LEN(sizes); k++) {
		size_t n_old = image("AAAAAAAAAAAAAA", 'a', 9000, 4, old),
		       n = image("BBBBBBBBBBBBBB", 'b', sizes[k], 5, fresh);

		memset(old + n_old, 0, SLOT_BYTES - n_old);
		put(q, 0, old, SLOT_BYTES);
		assert_int_equal(qimage_mark_done(at.fd, at.base, &e), RC_OK);
		assert_int_equal(pread(at.fd, old, SLOT_BYTES, at.base), SLOT_BYTES);
		for (int order = 0; order < 3; order++)
			for (size_t cut = 0; cut <= n / 512; cut++) {
				struct arena a;
				struct qimage im;
				bool whole;
				enum rc rc;

				memcpy(mixed, old, SLOT_BYTES);
				for (size_t sec = 0; sec < n / 512; sec++) {
					bool there = order == 0	  ? sec < cut
						     : order == 1 ? sec >= cut
								  : sec != cut;

					if (there)
						memcpy(mixed + sec * 512, fresh + sec * 512, 512);
				}
				put(q, 0, mixed, SLOT_BYTES);
				whole = true; /* all that checksums cover is the new message's */
				for (size_t i = 0; i < n; i++)
					if ((i < 512 || i >= QFILE_CONTENT_OFF) && mixed[i] != fresh[i])
						whole = false;
				arena_init(&a);
				rc = qimage_read(at.fd, at.base, SLOT_BYTES, true, &a, &im, &e);
				if (rc == RC_OK) {
					assert_string_equal(im.qid.s, "BBBBBBBBBBBBBB");
					assert_int_equal(envelope_rcpt(&im.env, 0)->state, RCPT_TODO);
					assert_int_equal(im.content_bytes, sizes[k]);
				}
				if (whole)
					assert_int_equal(rc, RC_OK);
				else
					assert_true(rc == RC_SYNTAX || rc == RC_GONE ||
						    (rc == RC_OK && im.qid.s[0] == 'B'));
				arena_release(&a);
			}
	}
	memset(old, 0, SLOT_BYTES);
	put(q, 0, old, SLOT_BYTES);
	queue_close(&q);
}

/* What the allocator makes of a torn slot at its start: kept in corrupt/, free after a sync, not looked at
 * twice. */
static void torn_slot_at_start(void **st)
{
	static char bytes[SLOT_BYTES];
	struct queue *q = open_queue();
	struct slots *s;
	struct stat sb;
	char path[128];
	size_t n = image("CCCCCCCCCCCCCC", 'c', 8000, 3, bytes);

	(void)st;
	bytes[6000] = 'X';
	put(q, 9, bytes, n);
	reports = 0;
	s = open_slots(q);
	assert_int_equal(reports, 1);
	snprintf(path, sizeof(path), "%s/corrupt/CCCCCCCCCCCCCC", dir);
	assert_int_equal(stat(path, &sb), 0);
	slots_close(&s);
	reports = 0;
	s = open_slots(q);
	assert_int_equal(reports, 0);
	slots_close(&s);
	queue_close(&q);
}

/* Files: no name before the commit; slot to deferred/ with states and reasons. */
static void slot_to_file(void **st)
{
	static char bytes[SLOT_BYTES];
	struct queue *q = open_queue();
	struct slot_pos at = queue_slot(q, 20);
	struct qstatus why = { .index = 0,
			       .status = DS_DEFERRED,
			       .dsn = SPAN("4.4.1"),
			       .reason = SPAN("no route") },
		       *v;
	struct arena a;
	struct qimage im;
	struct qid id;
	struct err e;
	size_t n = image("DDDDD1234567AB", 'd', 3000, 3, bytes), logs;
	int fd;

	(void)st;
	put(q, 20, bytes, n);
	arena_init(&a);
	assert_int_equal(qimage_read(at.fd, at.base, SLOT_BYTES, true, &a, &im, &e), RC_OK);
	im.next_try_us = 77;
	im.attempts = 2;
	for (int twice = 0; twice < 2; twice++)
		assert_int_equal(queue_slot_to_file(q, 20, &im, QW_DEFERRED, &why, 1, &e), RC_OK);
	assert_int_equal(qimage_mark_done(at.fd, at.base, &e), RC_OK);
	assert_true(qid_parse(SPAN("DDDDD1234567AB"), &id));
	assert_int_equal(queue_file_open(q, &id, QW_DEFERRED, true, &fd, &e), RC_OK);
	arena_reset(&a);
	assert_int_equal(qimage_read(fd, 0, INT64_MAX, true, &a, &im, &e), RC_OK);
	assert_int_equal(im.next_try_us, 77);
	assert_int_equal(im.attempts, 2);
	assert_int_equal(qimage_read_log(fd, 0, INT64_MAX, &im, &a, &v, &logs, &e), RC_OK);
	assert_int_equal(logs, 1);
	close(fd);
	assert_int_equal(queue_file_move(q, &id, QW_DEFERRED, QW_HOLD, &e), RC_OK);
	assert_int_equal(queue_file_open(q, &id, QW_DEFERRED, true, &fd, &e), RC_NOTFOUND);
	assert_int_equal(queue_file_remove(q, &id, QW_HOLD, &e), RC_OK);
	arena_release(&a);
	queue_close(&q);
}

/* A file of large slots: numbers with gaps, slots of its own class, found again at the next start. */
static void large_slots(void **st)
{
	static char bytes[LARGE_SLOT_BYTES];
	struct queue *q = open_queue();
	uint32_t slot = 0, g = 0, n = 0, first;
	struct slots *s;
	struct slot_pos at;
	struct qimage im;
	struct arena a;
	struct err e;

	(void)st;
	first = queue_slots(q);
	assert_int_equal(queue_pool_grow(q, SLOT_LARGE, &e), RC_OK);
	assert_int_equal(queue_slot(q, first + LARGE_SLOT_COUNT - 1).bytes, LARGE_SLOT_BYTES);
	assert_int_equal(queue_slot(q, first + LARGE_SLOT_COUNT).bytes, 0);
	s = open_slots(q);
	assert_int_equal(slots_count(s, SLOT_LARGE), LARGE_SLOT_COUNT);
	while (slots_take(s, SLOT_LARGE, &slot, &g))
		assert_int_equal(slot, first + n++);
	assert_int_equal(n, LARGE_SLOT_COUNT);
	assert_true(slots_take(s, SLOT_SMALL, &n, &g)); /* the other class has its own */
	assert_true(n < first);
	put(q, slot, bytes, image("EEEEE1234567AB", 'e', LARGE_CONTENT, 1, bytes));
	slots_close(&s);
	queue_close(&q);

	q = open_queue();
	assert_int_equal(queue_slots(q), first + SLOT_COUNT);
	s = open_slots(q);
	assert_int_equal(slots_live_count(s, SLOT_LARGE), 1);
	assert_int_equal(slots_free_count(s, SLOT_LARGE), LARGE_SLOT_COUNT - 1);
	at = queue_slot(q, slot);
	arena_init(&a);
	assert_int_equal(qimage_read(at.fd, at.base, at.bytes, true, &a, &im, &e), RC_OK);
	assert_int_equal(queue_slot_to_file(q, slot, &im, QW_HOLD, NULL, 0, &e), RC_OK);
	assert_int_equal(queue_file_remove(q, &im.qid, QW_HOLD, &e), RC_OK);
	assert_int_equal(im.content_bytes, LARGE_CONTENT);
	arena_release(&a);
	slots_close(&s);
	queue_close(&q);
}

static int make_dir(void **st)
{
	(void)st;
	snprintf(dir, sizeof(dir), "/tmp/postern-pool-XXXXXX");
	return mkdtemp(dir) == NULL;
}

static int remove_dir(void **st)
{
	static const char *const names[] = { "pool/slots.0", "pool/large.1", "corrupt/CCCCCCCCCCCCCC",
					     "pool",	     "incoming",     "active",
					     "hold",	     "corrupt",	     "deferred/D" };
	char path[200];

	(void)st;
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		(void)(unlink(path) == 0 || rmdir(path) == 0);
	}
	snprintf(path, sizeof(path), "%s/deferred", dir);
	(void)rmdir(path);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(torn_reuse),
		cmocka_unit_test(reuse_waits_for_a_sync),
		cmocka_unit_test(done_before_live),
		cmocka_unit_test(failed_sync_ends_the_file),
		cmocka_unit_test(second_process_has_no_pool),
		cmocka_unit_test(torn_slot_at_start),
		cmocka_unit_test(slot_to_file),
		cmocka_unit_test(large_slots),
	};
	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
