/* A queue image gives back what was built into it, and any damage to header, envelope, extents or content is
 * seen (HARDENING: nothing that a crash or a disk left behind is taken for a message unless all checksums
 * hold). */
#include "queue/msgsize.h"
#include "queue/qheader.h"
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

static const char text[] = "From: a@x\nSubject: test\n\nHello\n";

static struct envelope sample(struct env_rcpt *r, size_t n)
{
	struct envelope e = { .qid = SPAN("4A2B31234567801"),
			      .arrival_us = 1234567,
			      .sender = SPAN("a@example.org"),
			      .flags = ENVF_LOCAL,
			      .message_id = SPAN("<1@x>"),
			      .rcpts = { r, n } };

	for (size_t i = 0; i < n; i++)
		r[i] = (struct env_rcpt){ .addr = SPAN("b@example.org"),
					  .orig = SPAN("c"),
					  .notify = NOTIFY_DELAY };
	return e;
}

static int build(size_t rcpts, uint32_t generation)
{
	struct env_rcpt *r = calloc(rcpts, sizeof(*r));
	struct envelope env = sample(r, rcpts);
	struct span content = span_make(text, sizeof(text) - 1);
	struct iovec iov[4];
	struct arena a;
	uint64_t total;
	int n, fd = memfd_create("q", 0);

	arena_init(&a);
	assert_int_equal(qimage_build(&env, &content, 1, generation, &a, iov, &n, &total), RC_OK);
	assert_int_equal(total % 4096, 0);
	assert_int_equal(pwritev(fd, iov, n, 0), (ssize_t)total);
	arena_release(&a);
	free(r);
	return fd;
}

static void round_trip(void **st)
{
	(void)st;
	for (size_t rcpts = 1; rcpts < 5000; rcpts = rcpts * 7 + 1) {
		int fd = build(rcpts, 7);
		struct arena a;
		struct qimage im;
		struct err e;
		char back[sizeof(text)] = "";

		arena_init(&a);
		assert_int_equal(qimage_read(fd, 0, INT64_MAX, true, &a, &im, &e), RC_OK);
		assert_string_equal(im.qid.s, "4A2B31234567801");
		assert_int_equal(im.env.rcpts.n, rcpts);
		assert_true(span_is(im.env.sender, "a@example.org"));
		assert_true(span_is(envelope_rcpt(&im.env, rcpts - 1)->orig, "c"));
		assert_int_equal(im.content_bytes, sizeof(text) - 1);
		assert_int_equal(qimage_pread(fd, 0, &im, 0, back, sizeof(text) - 1, &e), RC_OK);
		assert_string_equal(back, text);
		assert_int_equal(qimage_mark(fd, 0, &im, (uint32_t)rcpts - 1, RCPT_BOUNCED, &e), RC_OK);
		assert_int_equal(qimage_schedule(fd, 0, 99, 3, ENVF_WARNED, &e), RC_OK);
		arena_reset(&a);
		assert_int_equal(qimage_read(fd, 0, INT64_MAX, true, &a, &im, &e), RC_OK);
		assert_int_equal(envelope_rcpt(&im.env, rcpts - 1)->state, RCPT_BOUNCED);
		assert_int_equal(im.attempts, 3);
		assert_int_equal(im.next_try_us, 99);
		assert_int_equal(im.env.flags, ENVF_WARNED);
		assert_int_equal(qimage_mark_done(fd, 0, &e), RC_OK);
		arena_reset(&a);
		assert_int_equal(qimage_read(fd, 0, INT64_MAX, true, &a, &im, &e), RC_GONE);
		arena_release(&a);
		close(fd);
	}
}

/* Every byte that a checksum covers: flipping one makes the image damaged, never another message. */
static void every_flip_is_seen(void **st)
{
	int fd = build(2, 7);
	off_t size = lseek(fd, 0, SEEK_END);
	struct arena a;
	struct qimage im;
	struct err e;
	size_t used;

	(void)st;
	arena_init(&a);
	assert_int_equal(qimage_read(fd, 0, INT64_MAX, true, &a, &im, &e), RC_OK);
	used = QFILE_CONTENT_OFF + im.stored_bytes + im.envelope.n;
	for (off_t i = 0; i < size; i++) {
		bool covered = i < QHEADER_FIXED + 4 || (i >= QFILE_CONTENT_OFF && (size_t)i < used);
		char c, was;
		enum rc rc;

		assert_int_equal(pread(fd, &was, 1, i), 1);
		c = (char)(was ^ 0x20);
		assert_int_equal(pwrite(fd, &c, 1, i), 1);
		arena_reset(&a);
		rc = qimage_read(fd, 0, INT64_MAX, true, &a, &im, &e);
		assert_int_equal(rc, covered ? RC_SYNTAX : RC_OK);
		assert_int_equal(pwrite(fd, &was, 1, i), 1);
	}
	arena_release(&a);
	close(fd);
}

/* States that an earlier generation left count as TODO. */
static void old_states_do_not_count(void **st)
{
	int fd = build(3, 8);
	struct arena a;
	struct qimage im;
	struct err e;

	(void)st;
	arena_init(&a);
	assert_int_equal(qimage_read(fd, 0, INT64_MAX, true, &a, &im, &e), RC_OK);
	im.generation = 7; /* a mark by somebody who believes in the former message */
	assert_int_equal(qimage_mark(fd, 0, &im, 1, RCPT_DONE, &e), RC_OK);
	arena_reset(&a);
	assert_int_equal(qimage_read(fd, 0, INT64_MAX, true, &a, &im, &e), RC_OK);
	assert_int_equal(envelope_rcpt(&im.env, 1)->state, RCPT_TODO);
	arena_release(&a);
	close(fd);
}

/* A file completed behind streamed content: extents, inserts, stray CR. */
static void complete_with_extents(void **st)
{
	struct env_rcpt r[1];
	struct envelope env = sample(r, 1);
	struct qextent x[2] = { { QFILE_CONTENT_OFF + 10, 4 }, { QFILE_CONTENT_OFF + 2, 3 } };
	int fd = memfd_create("q", 0);
	struct arena a;
	struct qimage im;
	struct err e;
	char back[8] = "";

	(void)st;
	arena_init(&a);
	assert_int_equal(pwrite(fd, "abcd\refghiTOO MUCH", 18, QFILE_CONTENT_OFF), 18);
	assert_int_equal(qimage_complete(fd, &env, 10, SPAN("NEW\n"), x, 2, true, false, &e), RC_OK);
	assert_int_equal(qimage_read(fd, 0, INT64_MAX, true, &a, &im, &e), RC_OK);
	assert_int_equal(im.content_bytes, 7);
	assert_int_equal(qimage_pread(fd, 0, &im, 0, back, 7, &e), RC_OK);
	assert_string_equal(back, "NEW\ncd ");
	assert_int_equal(qimage_pread(fd, 0, &im, 6, back, 2, &e), RC_EOF);
	x[1].off = QFILE_CONTENT_OFF + 14; /* past the end: refused when read */
	assert_int_equal(qimage_complete(fd, &env, 10, SPAN("NEW\n"), x, 2, true, false, &e), RC_OK);
	assert_int_equal(qimage_read(fd, 0, INT64_MAX, true, &a, &im, &e), RC_SYNTAX);
	arena_release(&a);
	close(fd);
}

/* The size of a file that checks have cut up is that of the message as it is now, line ends and all. */
static void counts_what_is_left(void **st)
{
	static const char content[] = "Old: head\n\nfirst\ndropped\nkept\nlast",
			  inserts[] = "New: header\n\nput in\n";
	const struct span message = SPAN("New: header\n\nfirst\nput in\nkept\nlast");
	const struct qextent x[] = { { QFILE_CONTENT_OFF + 34, 13 },
				     { QFILE_CONTENT_OFF + 11, 6 },
				     { QFILE_CONTENT_OFF + 47, 7 },
				     { QFILE_CONTENT_OFF + 25, 9 } };
	struct env_rcpt r[1];
	struct envelope env = sample(r, 1);
	struct msgsize all = { 0 };
	int fd = memfd_create("q", 0);
	struct arena a;
	struct qimage im;
	struct err e;

	(void)st;
	assert_int_equal(strlen(content), 34);
	arena_init(&a);
	msgsize_add(&all, message);
	assert_int_equal(pwrite(fd, content, 34, QFILE_CONTENT_OFF), 34);
	assert_int_equal(qimage_complete(fd, &env, 34, span_str(inserts), x, ARRAY_LEN(x), false, true, &e),
			 RC_OK);
	assert_int_equal(qimage_read(fd, 0, INT64_MAX, true, &a, &im, &e), RC_OK);
	assert_int_equal(im.content_bytes, message.n);
	assert_int_equal(im.env.size, all.bytes);
	arena_release(&a);
	close(fd);
}

/* A torn last record is ignored and overwritten by the next one. */
static void log_survives_tearing(void **st)
{
	int fd = build(3, 1);
	struct qstatus s = { .index = 1, .status = 2, .dsn = SPAN("4.4.1"), .reason = SPAN("no route") }, *v;
	struct arena a;
	struct qimage im;
	struct err e;
	off_t size;
	size_t n;

	(void)st;
	arena_init(&a);
	assert_int_equal(qimage_append_log(fd, &s, 1, &e), RC_OK);
	size = lseek(fd, 0, SEEK_END);
	s.reason = SPAN("second");
	assert_int_equal(qimage_append_log(fd, &s, 1, &e), RC_OK);
	for (off_t cut = lseek(fd, 0, SEEK_END) - 1; cut >= size; cut--) {
		assert_int_equal(ftruncate(fd, cut), 0);
		arena_reset(&a);
		assert_int_equal(qimage_read(fd, 0, INT64_MAX, true, &a, &im, &e), RC_OK);
		assert_int_equal(qimage_read_log(fd, 0, INT64_MAX, &im, &a, &v, &n, &e), RC_OK);
		assert_int_equal(n, 1);
		assert_true(span_is(v[0].reason, "no route"));
	}
	assert_int_equal(pwrite(fd, "GARBAGE", 7, size), 7);
	s.reason = SPAN("third");
	assert_int_equal(qimage_append_log(fd, &s, 1, &e), RC_OK);
	arena_reset(&a);
	assert_int_equal(qimage_read(fd, 0, INT64_MAX, true, &a, &im, &e), RC_OK);
	assert_int_equal(qimage_read_log(fd, 0, INT64_MAX, &im, &a, &v, &n, &e), RC_OK);
	assert_int_equal(n, 2);
	assert_true(span_is(v[1].reason, "third"));
	arena_release(&a);
	close(fd);
}

static void envelope_refuses_control(void **st)
{
	struct env_rcpt r[1];
	struct envelope env = sample(r, 1), back;
	struct arena a;
	struct buf b;
	struct err e;

	(void)st;
	arena_init(&a);
	buf_init(&b, 1 << 20);
	env.sender = SPAN("a\nRCPT TO:<x>");
	assert_int_equal(envelope_encode(&env, &b), RC_OK);
	assert_int_equal(envelope_decode(buf_span(&b), &a, &back, &e), RC_SYNTAX);
	buf_reset(&b);
	env = sample(r, 1);
	env.helo = SPAN("x\r\ny");
	assert_int_equal(envelope_encode(&env, &b), RC_OK);
	assert_int_equal(envelope_decode(buf_span(&b), &a, &back, &e), RC_SYNTAX);
	buf_release(&b);
	arena_release(&a);
}

static void ids_never_repeat(void **st)
{
	struct qid last = { "" }, id, back;

	(void)st;
	for (int i = 0; i < 10000; i++) {
		id = qid_new(3);
		assert_int_equal(strlen(id.s), 14);
		assert_true(qid_parse(qid_span(&id), &back));
		assert_string_not_equal(id.s, last.s);
		last = id;
	}
	qid_set_long(true);
	id = qid_new(255);
	assert_true(qid_parse(qid_span(&id), &back));
	qid_set_long(false);
	assert_false(qid_parse(SPAN("../../../etc/passwd"), &back));
	assert_false(qid_parse(SPAN("ABC"), &back));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trip),
		cmocka_unit_test(every_flip_is_seen),
		cmocka_unit_test(old_states_do_not_count),
		cmocka_unit_test(complete_with_extents),
		cmocka_unit_test(counts_what_is_left),
		cmocka_unit_test(log_survives_tearing),
		cmocka_unit_test(envelope_refuses_control),
		cmocka_unit_test(ids_never_repeat),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
