/* Claim: what many tasks put into an outbox arrives whole, once and in order, however slowly it is read; a
 * peer that never reads ends the connection and nothing else (task/outbox.h). */
#include "task/outbox.h"
#include "task/stream.h"

#include <setjmp.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#define TASKS	       50
#define RECORDS	       40
#define LINE_MAX_BYTES 4000

static struct outbox box;
static int pair[2];
static unsigned writers;

static void writer(void *arg)
{
	unsigned me = *(unsigned *)arg;
	char line[LINE_MAX_BYTES];
	struct err e;

	free(arg);
	for (unsigned i = 0; i < RECORDS; i++) {
		int n = snprintf(line, sizeof(line), "%u %u %0*d\n", me, i, (int)(1 + me * i % 3000), 0);

		assert_int_equal(outbox_put(&box, span_make(line, (size_t)n), &e), RC_OK);
		if (i % 7 == 0)
			task_yield();
	}
	writers--;
}

static void reader(void *arg)
{
	unsigned next[TASKS] = { 0 };
	struct stream *s = stream_new(pair[1]);
	struct span line, a, b;
	struct err e;
	uint64_t who, i;

	(void)arg;
	for (unsigned n = 0; n < TASKS * RECORDS; n++) {
		if (n % 50 == 0)
			task_sleep_ms(1);
		assert_int_equal(stream_line(s, &line, LINE_MAX_BYTES, NULL, deadline_s(30), &e), RC_OK);
		assert_true(span_next(&line, ' ', &a) && span_next(&line, ' ', &b));
		assert_int_equal(span_to_u64(a, TASKS - 1, &who), RC_OK);
		assert_int_equal(span_to_u64(b, RECORDS, &i), RC_OK);
		assert_int_equal(i, next[who]++);
		assert_int_equal(line.n, 1 + who * i % 3000);
	}
	assert_int_equal(writers, 0);
	outbox_end(&box);
	stream_close(&s);
	close(pair[0]);
	loop_stop(0);
}

static void many_writers(void **state)
{
	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	loop_init();
	outbox_init(&box, pair[0], 64u << 20, 30);
	for (unsigned i = 0; i < TASKS; i++) {
		unsigned *me = xmalloc(sizeof(*me));

		*me = i;
		writers++;
		task_spawn(writer, me);
	}
	task_spawn(reader, NULL);
	assert_int_equal(loop_run(), 0);
}

static void deaf_peer(void *arg)
{
	static const char record[1000];
	struct err e;
	unsigned n = 0;
	char byte;

	(void)arg;
	while (outbox_put(&box, span_make(record, sizeof(record)), &e) == RC_OK)
		INVARIANT(++n < 10000);
	assert_int_equal(e.rc, RC_LIMIT);
	assert_int_equal(outbox_put(&box, SPAN("x"), &e), RC_SYS);
	assert_int_equal(recv(pair[0], &byte, 1, MSG_DONTWAIT), 0); /* whoever reads finds the end */
	outbox_end(&box);
	task_forget_fd(pair[0]);
	close(pair[0]);
	close(pair[1]);
	loop_stop(0);
}

static void bounded(void **state)
{
	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	outbox_init(&box, pair[0], 100000, 30);
	task_spawn(deaf_peer, NULL);
	assert_int_equal(loop_run(), 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = { cmocka_unit_test(many_writers),
						   cmocka_unit_test(bounded) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
