/* Claim: a stream gives lines and bytes as they were sent however they are cut up on the way, bounds every
 * line and every wait, holds no buffers while idle, and after a failed write drops what follows. */
#include "task/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

/* Tasks have stacks of their own, out of which cmocka's longjmp() must not go. */
#define CHECK(cond)                                                                                          \
	do {                                                                                                 \
		if (!(cond)) {                                                                               \
			dprintf(2, "%s:%d: %s: not so: %s\n", __FILE__, __LINE__, __func__, #cond);          \
			_exit(1);                                                                            \
		}                                                                                            \
	} while (0)

#define SOON deadline_s(10)

static struct stream *a, *b; /* two ends */
static int finished;
static struct err err;

static void open_unix(void)
{
	int fd[2];

	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, fd) == 0);
	a = stream_new(fd[0]);
	b = stream_new(fd[1]);
	CHECK((fcntl(fd[0], F_GETFL) & O_NONBLOCK) != 0);
}

static void open_tcp(void)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof(sin);
	int listener = socket(AF_INET, SOCK_STREAM, 0), fd = socket(AF_INET, SOCK_STREAM, 0);

	CHECK(bind(listener, (struct sockaddr *)&sin, n) == 0 && listen(listener, 1) == 0);
	CHECK(getsockname(listener, (struct sockaddr *)&sin, &n) == 0);
	CHECK(connect(fd, (struct sockaddr *)&sin, n) == 0);
	a = stream_new(fd);
	b = stream_new(accept(listener, NULL, NULL));
	close(listener);
}

static void run_two(task_fn *one, task_fn *two, int expect)
{
	finished = 0;
	loop_init();
	task_spawn(one, NULL);
	if (two != NULL)
		task_spawn(two, NULL);
	loop_run();
	stream_close(&a);
	stream_close(&b);
	assert_int_equal(finished, expect);
}

static void expect_line(struct stream *s, const char *want, bool want_crlf)
{
	struct span line;
	bool crlf;

	CHECK(stream_line(s, &line, 100, &crlf, SOON, &err) == RC_OK);
	CHECK(span_is(line, want));
	CHECK(crlf == want_crlf);
}

/* ---- lines ---- */
static void send_cut_up(void *arg)
{
	static const char text[] = "one\r\ntwo\nthree\rstill\r\n\r\n\nlast without end";

	(void)arg;
	for (size_t i = 0; i < sizeof(text) - 1; i++) {
		CHECK(write(stream_fd(a), text + i, 1) == 1);
		if (i % 3 == 0)
			task_yield();
		if (i % 8 == 0)
			task_sleep_ms(1);
	}
	stream_close(&a);
	finished++;
}

static void read_lines(void *arg)
{
	struct span line;

	(void)arg;
	expect_line(b, "one", true);
	expect_line(b, "two", false);
	expect_line(b, "three\rstill", true); /* a bare CR is part of the line */
	expect_line(b, "", true);
	expect_line(b, "", false);
	CHECK(stream_line(b, &line, 100, NULL, SOON, &err) == RC_EOF);
	CHECK(stream_line(b, &line, 100, NULL, SOON, &err) == RC_EOF);
	CHECK(stream_bytes_in(b) == 41);
	finished++;
}

static void lines_survive_any_cut(void **state)
{
	(void)state;
	open_unix();
	run_two(read_lines, send_cut_up, 2);
	open_tcp();
	run_two(read_lines, send_cut_up, 2);
}

static void send_long_lines(void *arg)
{
	(void)arg;
	stream_printf(a, "%0100d\r\n", 1); /* exactly the limit */
	stream_printf(a, "%0101d\n", 1);   /* one more, with its end at hand */
	stream_puts(a, "short\r\n");
	CHECK(stream_flush(a, SOON, &err) == RC_OK);
	for (int i = 0; i < 300; i++)
		stream_printf(a, "%0100d", 1); /* far more than any buffer */
	stream_puts(a, "\r\nafter\r\n");
	CHECK(stream_flush(a, SOON, &err) == RC_OK);
	stream_close(&a);
	finished++;
}

static void read_long_lines(void *arg)
{
	struct span line;
	bool crlf;

	(void)arg;
	CHECK(stream_line(b, &line, 100, &crlf, SOON, &err) == RC_OK && line.n == 100 && crlf);
	CHECK(stream_line(b, &line, 100, &crlf, SOON, &err) == RC_LIMIT && line.n == 100);
	expect_line(b, "short", true);
	CHECK(stream_line(b, &line, 100, &crlf, SOON, &err) == RC_LIMIT);
	expect_line(b, "after", true);
	CHECK(stream_line(b, &line, 100, NULL, SOON, &err) == RC_EOF);
	finished++;
}

static void overlong_lines_are_passed_over(void **state)
{
	(void)state;
	open_unix();
	run_two(read_long_lines, send_long_lines, 2);
	open_tcp();
	run_two(read_long_lines, send_long_lines, 2);
}

static void send_large_line(void *arg)
{
	(void)arg;
	for (int i = 0; i < 1000; i++)
		stream_printf(a, "%0100d", i);
	stream_puts(a, "\r\nnext\n");
	CHECK(stream_flush(a, SOON, &err) == RC_OK);
	finished++;
}

static void read_large_line(void *arg)
{
	struct span line;

	(void)arg;
	CHECK(stream_line(b, &line, 100000, NULL, SOON, &err) == RC_OK && line.n == 100000);
	CHECK(span_starts(span_skip(line, 99997), SPAN("999")));
	expect_line(b, "next", false);
	finished++;
}

static void a_line_may_be_larger_than_the_buffer(void **state)
{
	(void)state;
	open_unix();
	run_two(read_large_line, send_large_line, 2);
}

/* ---- bytes ---- */
static void send_much(void *arg)
{
	static char much[1 << 20];

	(void)arg;
	for (size_t i = 0; i < sizeof(much); i++)
		much[i] = (char)(i * 7);
	stream_puts(a, "head\n");
	stream_write(a, span_make(much, sizeof(much)));
	stream_puts(a, "tail\n");
	CHECK(stream_flush(a, SOON, &err) == RC_OK);
	CHECK(stream_bytes_out(a) == sizeof(much) + 10);
	finished++;
}

static void read_much(void *arg)
{
	static char much[1 << 20];
	struct span some;

	(void)arg;
	expect_line(b, "head", false);
	CHECK(stream_peek(b, &some, SOON, &err) == RC_OK && some.n > 0 && some.p[0] == 0);
	stream_consume(b, 1);
	CHECK(stream_read_exact(b, much + 1, 10, SOON, &err) == RC_OK);
	CHECK(stream_read_exact(b, much + 11, sizeof(much) - 11, SOON, &err) == RC_OK);
	for (size_t i = 1; i < sizeof(much); i++)
		CHECK(much[i] == (char)(i * 7));
	expect_line(b, "tail", false);
	CHECK(!stream_has_input(b) && stream_buffered(b) == 0);
	CHECK(stream_read_exact(b, much, 0, SOON, &err) == RC_OK);
	finished++;
}

static void bytes_arrive_as_sent(void **state)
{
	(void)state;
	open_unix();
	run_two(send_much, read_much, 2);
	open_tcp();
	run_two(send_much, read_much, 2);
}

static void streams_work_outside_of_tasks(void **state)
{
	(void)state;
	loop_init();
	open_unix();
	stream_puts(a, "hello\r\n");
	assert_int_equal(stream_flush(a, SOON, &err), RC_OK);
	expect_line(b, "hello", true);
	stream_close(&a);
	stream_close(&b);
	stream_close(&b); /* NULL is fine */
}

static void pipes_work_too(void **state)
{
	int fd[2];

	(void)state;
	assert_int_equal(pipe(fd), 0);
	b = stream_new(fd[0]);
	a = stream_new(fd[1]);
	run_two(send_much, read_much, 2);
}

/* ---- replies before waits, deadlines, failures ---- */
static void ask(void *arg)
{
	(void)arg;
	for (int i = 0; i < 10; i++) {
		stream_puts(a, "question\r\n"); /* no flush: waiting for the answer sends it */
		expect_line(a, "answer", true);
	}
	stream_close(&a);
	finished++;
}

static void answer(void *arg)
{
	struct span line;

	(void)arg;
	while (stream_line(b, &line, 100, NULL, SOON, &err) == RC_OK)
		stream_puts(b, "answer\r\n");
	CHECK(err.rc == RC_EOF);
	finished++;
}

static void output_goes_before_a_wait(void **state)
{
	(void)state;
	open_unix();
	run_two(answer, ask, 2);
	open_tcp();
	run_two(answer, ask, 2);
}

static void times_out(void *arg)
{
	static char much[4 << 20];
	struct span line;

	(void)arg;
	CHECK(write(stream_fd(b), "half", 4) == 4);
	CHECK(stream_line(a, &line, 100, NULL, deadline_ms(10), &err) == RC_TIMEOUT);
	CHECK(err.rc == RC_TIMEOUT);
	CHECK(write(stream_fd(b), " a line\n", 8) == 8);
	expect_line(a, "half a line", false); /* what had come was kept */
	stream_set_write_timeout(a, 0);
	stream_write(a, span_make(much, sizeof(much))); /* nobody reads */
	CHECK(stream_flush(a, SOON, &err) == RC_TIMEOUT);
	CHECK(stream_flush(a, SOON, &err) == RC_TIMEOUT); /* it stays failed */
	finished++;
}

static void every_wait_ends(void **state)
{
	(void)state;
	open_unix();
	run_two(times_out, NULL, 1);
}

static void writes_to_nobody(void *arg)
{
	uint64_t before;

	(void)arg;
	stream_close(&b);
	stream_puts(a, "x");
	CHECK(stream_flush(a, SOON, &err) == RC_SYS && err.sys == EPIPE);
	before = stream_bytes_out(a);
	for (int i = 0; i < 100; i++)
		stream_printf(a, "%01000d", i);
	CHECK(stream_flush(a, SOON, &err) == RC_SYS);
	CHECK(stream_bytes_out(a) == before);
	finished++;
}

static void after_a_failure_writes_are_dropped(void **state)
{
	(void)state;
	open_unix();
	run_two(writes_to_nobody, NULL, 1);
}

/* ---- transports: this one adds one to each byte and never moves more than three ---- */
static int transports_open;
static bool transport_shut;

static ssize_t add_read(void *state, void *buf, size_t n, int *want)
{
	ssize_t got = read(*(int *)state, buf, n < 3 ? n : 3);

	*want = TASK_READ;
	for (ssize_t i = 0; i < got; i++)
		((char *)buf)[i]--;
	return got;
}

static ssize_t add_writev(void *state, const struct iovec *iov, int count, int *want)
{
	char c = (char)(*(const char *)iov[0].iov_base + 1);

	(void)count;
	*want = TASK_WRITE;
	return write(*(int *)state, &c, 1);
}

static void add_shutdown(void *state)
{
	(void)state;
	transport_shut = true;
}

static void add_close(void *state)
{
	free(state);
	transports_open--;
}

static void add_transport(struct stream *s)
{
	int *fd = xmalloc(sizeof(*fd));
	struct transport t = { add_read, add_writev, add_shutdown, add_close, fd };

	*fd = stream_fd(s);
	transports_open++;
	CHECK(stream_set_transport(s, &t) == RC_OK);
	CHECK(stream_release_fd(s) == -1);
}

static void upgrade_client(void *arg)
{
	(void)arg;
	stream_puts(a, "STARTTLS\r\n");
	expect_line(a, "ready", true);
	add_transport(a);
	stream_puts(a, "protected\r\n");
	expect_line(a, "yes", true);
	stream_close(&a);
	finished++;
}

static void upgrade_server(void *arg)
{
	(void)arg;
	expect_line(b, "STARTTLS", true);
	stream_puts(b, "ready\r\n");
	add_transport(b); /* sends what is buffered in clear text first */
	expect_line(b, "protected", true);
	stream_puts(b, "yes\r\n");
	CHECK(stream_flush(b, SOON, &err) == RC_OK);
	stream_close(&b);
	finished++;
}

static void the_transport_can_be_replaced(void **state)
{
	(void)state;
	transports_open = 0;
	transport_shut = false;
	open_unix();
	run_two(upgrade_client, upgrade_server, 2);
	assert_int_equal(transports_open, 0);
	assert_true(transport_shut);
}

/* RFC 3207 section 4.2: a command that came with STARTTLS in clear text is not taken for a protected one. */
static void refuse_injection(void *arg)
{
	struct transport t = { add_read, add_writev, NULL, NULL, NULL };

	(void)arg;
	CHECK(write(stream_fd(a), "STARTTLS\r\nMAIL FROM:<>\r\n", 24) == 24);
	expect_line(b, "STARTTLS", true);
	CHECK(stream_set_transport(b, &t) == RC_DENIED);
	stream_drop_input(b);
	CHECK(stream_set_transport(b, &t) == RC_OK);
	finished++;
}

static void buffered_clear_text_refuses_a_transport(void **state)
{
	(void)state;
	open_unix();
	run_two(refuse_injection, NULL, 1);
}

static void give_away(void *arg)
{
	struct span line;
	int fd;

	(void)arg;
	CHECK(write(stream_fd(a), "one\ntwo\n", 8) == 8);
	expect_line(b, "one", false);
	fd = stream_release_fd(b);
	CHECK(fd >= 0 && stream_fd(b) == -1);
	expect_line(b, "two", false); /* unread input stays */
	CHECK(stream_line(b, &line, 100, NULL, SOON, &err) == RC_EOF);
	stream_close(&b);
	CHECK(write(fd, "mine", 4) == 4);
	close(fd);
	finished++;
}

static void the_descriptor_can_be_given_away(void **state)
{
	(void)state;
	open_unix();
	run_two(give_away, NULL, 1);
}

/* ---- files ---- */
static int file;
static bool by_hand;

static void send_file(void *arg)
{
	(void)arg;
	if (by_hand)
		add_transport(a);
	stream_puts(a, "before\n");
	CHECK(stream_sendfile(a, file, 3, 100000, SOON, &err) == RC_OK);
	stream_puts(a, "after\n");
	CHECK(stream_flush(a, SOON, &err) == RC_OK);
	CHECK(stream_sendfile(a, file, 3, 200000, SOON, &err) == RC_EOF); /* shorter than promised */
	CHECK(stream_flush(a, SOON, &err) == RC_SYS);
	stream_close(&a);
	finished++;
}

static void read_file(void *arg)
{
	char *got = xmalloc(100000);

	(void)arg;
	if (by_hand)
		add_transport(b);
	expect_line(b, "before", false);
	CHECK(stream_read_exact(b, got, 100000, SOON, &err) == RC_OK);
	for (int i = 0; i < 100000; i++)
		CHECK(got[i] == (char)((i + 3) * 3));
	expect_line(b, "after", false);
	while (stream_read_exact(b, got, 1, SOON, &err) == RC_OK)
		;
	CHECK(err.rc == RC_EOF);
	free(got);
	finished++;
}

static void files_are_sent(void **state)
{
	char c[120000];

	(void)state;
	for (int i = 0; i < 120000; i++)
		c[i] = (char)(i * 3);
	file = memfd_create("unit", 0);
	assert_int_equal(write(file, c, sizeof(c)), sizeof(c));
	for (int i = 0; i < 2; i++) {
		by_hand = i == 1;
		open_unix();
		run_two(send_file, read_file, 2);
	}
	by_hand = false;
	close(file);
}

/* ---- relay ---- */
static struct stream *c, *d; /* a <-> b = relay = c <-> d */
static enum rc relay_rc;
static int64_t relay_idle_s;

static void relay(void *arg)
{
	(void)arg;
	relay_rc = stream_relay(b, c, relay_idle_s, &err);
	stream_close(&b);
	stream_close(&c);
	finished++;
}

static void relay_client(void *arg)
{
	static char much[300000];

	(void)arg;
	stream_puts(a, "question\n");
	expect_line(a, "answer", false);
	stream_write(a, span_make(much, sizeof(much)));
	CHECK(stream_flush(a, SOON, &err) == RC_OK);
	stream_close(&a); /* the far side must still get all of it */
	finished++;
}

static void relay_server(void *arg)
{
	char *much = xmalloc(300000);
	struct span none;

	(void)arg;
	expect_line(d, "question", false);
	stream_puts(d, "answer\n");
	CHECK(stream_flush(d, SOON, &err) == RC_OK);
	task_sleep_ms(20); /* so that the relay meets a full socket */
	CHECK(stream_read_exact(d, much, 300000, SOON, &err) == RC_OK);
	CHECK(stream_peek(d, &none, SOON, &err) == RC_EOF);
	free(much);
	finished++;
}

static void open_four(bool tcp)
{
	tcp ? open_tcp() : open_unix();
	c = a;
	d = b;
	tcp ? open_tcp() : open_unix();
}

static void relay_joins_two_streams(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		open_four(i == 1);
		relay_idle_s = 10;
		task_spawn(relay_server, NULL);
		run_two(relay, relay_client, 3);
		assert_int_equal(relay_rc, RC_OK);
		stream_close(&d);
	}
}

static void relay_ends_when_idle(void **state)
{
	(void)state;
	open_four(false);
	relay_idle_s = 0;
	run_two(relay, NULL, 1);
	assert_int_equal(relay_rc, RC_TIMEOUT);
	stream_close(&d);
}

/* ---- fairness ---- */
static bool flooding;

static void flood(void *arg)
{
	static char junk[65536];

	(void)arg;
	while (flooding) {
		ssize_t n = write(stream_fd(a), junk, sizeof(junk));

		CHECK(n > 0 || errno == EAGAIN);
		task_yield();
	}
	stream_close(&a);
	finished++;
}

static void swallow(void *arg)
{
	struct span some;

	(void)arg;
	while (stream_peek(b, &some, SOON, &err) == RC_OK)
		stream_consume(b, some.n);
	finished++;
}

static void bystander(void *arg)
{
	(void)arg;
	task_sleep_ms(30);
	flooding = false;
	finished++;
}

static void a_busy_stream_shuts_nobody_out(void **state)
{
	(void)state;
	open_unix();
	flooding = true;
	loop_init();
	task_spawn(bystander, NULL);
	run_two(flood, swallow, 3);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_survive_any_cut),
		cmocka_unit_test(overlong_lines_are_passed_over),
		cmocka_unit_test(a_line_may_be_larger_than_the_buffer),
		cmocka_unit_test(bytes_arrive_as_sent),
		cmocka_unit_test(streams_work_outside_of_tasks),
		cmocka_unit_test(pipes_work_too),
		cmocka_unit_test(output_goes_before_a_wait),
		cmocka_unit_test(every_wait_ends),
		cmocka_unit_test(after_a_failure_writes_are_dropped),
		cmocka_unit_test(the_transport_can_be_replaced),
		cmocka_unit_test(buffered_clear_text_refuses_a_transport),
		cmocka_unit_test(the_descriptor_can_be_given_away),
		cmocka_unit_test(files_are_sent),
		cmocka_unit_test(relay_joins_two_streams),
		cmocka_unit_test(relay_ends_when_idle),
		cmocka_unit_test(a_busy_stream_shuts_nobody_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
