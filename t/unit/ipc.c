/* t/unit/ipc.c - ipc/ipc.h: one encoding per message and nothing else accepted; calls, replies, descriptors
 * and ends of connections. The message types are the test's own: this ipc_type_find() stands in for that of
 * ipc/proto.c. */
#include "ipc/frame.h"
#include "log/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
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
			fprintf(stderr, "%s:%d: %s: not so: %s\n", __FILE__, __LINE__, __func__, #cond);     \
			_exit(1);                                                                            \
		}                                                                                            \
	} while (0)

/* ---- messages ---- */

struct part {
	uint16_t n;
	struct span s;
};
struct item {
	uint32_t id;
	struct span name;
	struct ipc_list parts; /* struct part */
};
struct all {
	bool yes;
	uint16_t u16;
	uint32_t u32;
	uint64_t u64;
	int64_t i64;
	struct span text, content;
	struct ipc_list items; /* struct item */
	int fd;
};
struct number {
	uint32_t n;
};
struct fd_item {
	int fd;
};
struct fd_list {
	struct ipc_list v; /* struct fd_item */
};
#define TEXT_MAX    100
#define CONTENT_MAX (150 * 1024)
#define ITEMS_MAX   5

static const struct field part_fields[] = {
	FIELD(F_U16, struct part, n),
	FIELD_SPAN(struct part, s, 10),
	FIELD_END,
};
static const struct field item_fields[] = {
	FIELD(F_U32, struct item, id),
	FIELD_SPAN(struct item, name, 20),
	FIELD_LIST(struct item, parts, part_fields, struct part, 3),
	FIELD_END,
};
static const struct field all_fields[] = {
	FIELD(F_BOOL, struct all, yes),
	FIELD(F_U16, struct all, u16),
	FIELD(F_U32, struct all, u32),
	FIELD(F_U64, struct all, u64),
	FIELD(F_I64, struct all, i64),
	FIELD_SPAN(struct all, text, TEXT_MAX),
	FIELD_SPAN(struct all, content, CONTENT_MAX),
	FIELD_LIST(struct all, items, item_fields, struct item, ITEMS_MAX),
	FIELD(F_FD, struct all, fd),
	FIELD_END,
};
static const struct field number_fields[] = {
	FIELD(F_U32, struct number, n),
	FIELD_END,
};
static const struct field fd_item_fields[] = {
	FIELD(F_FD, struct fd_item, fd),
	FIELD_END,
};
static const struct field fd_list_fields[] = {
	FIELD_LIST(struct fd_list, v, fd_item_fields, struct fd_item, 10),
	FIELD_END,
};

enum { T_ECHO = 1, T_SLEEP, T_HOLD, T_NOTE, T_ALL_NOTE, T_MASTER_ONLY, T_FDS };
static const struct ipc_type types[] = {
	{ T_ECHO, "echo", all_fields, all_fields, sizeof(struct all), sizeof(struct all) },
	{ T_SLEEP, "sleep", number_fields, number_fields, sizeof(struct number), sizeof(struct number) },
	{ T_HOLD, "hold", number_fields, number_fields, sizeof(struct number), sizeof(struct number) },
	{ T_NOTE, "note", number_fields, NULL, sizeof(struct number), 0 },
	{ T_ALL_NOTE, "all_note", all_fields, NULL, sizeof(struct all), 0 },
	{ T_MASTER_ONLY, "master_only", number_fields, NULL, sizeof(struct number), 0 },
	{ T_FDS, "fds", fd_list_fields, fd_list_fields, sizeof(struct fd_list), sizeof(struct fd_list) },
};

const struct ipc_type *ipc_type_find(uint16_t type)
{
	for (size_t i = 0; i < ARRAY_LEN(types); i++)
		if (types[i].type == type)
			return &types[i];
	return NULL;
}

/* ---- helpers ---- */

static struct part parts[] = { { 7, SPAN("seven") }, { 8, SPAN("") }, { 65535, SPAN("0123456789") } };
static struct item items[] = {
	{ 1, SPAN("one"), { parts, 3 } },
	{ 0xffffffff, SPAN("two\0\n"), { NULL, 0 } },
	{ 3, SPAN(""), { parts + 1, 1 } },
};

static struct all sample(void)
{
	return (struct all){ .yes = true,
			     .u16 = 0xa1b2,
			     .u32 = 0xa1b2c3d4,
			     .u64 = 0xa1b2c3d4e5f60718,
			     .i64 = -5,
			     .text = SPAN("any \xff\0 byte"),
			     .content = SPAN("line\n"),
			     .items = { items, 3 },
			     .fd = -1 };
}

static bool same(const struct all *a, const struct all *b)
{
	const struct item *x = a->items.v, *y = b->items.v;

	if (a->yes != b->yes || a->u16 != b->u16 || a->u32 != b->u32 || a->u64 != b->u64 ||
	    a->i64 != b->i64 || !span_eq(a->text, b->text) || !span_eq(a->content, b->content) ||
	    a->items.n != b->items.n)
		return false;
	for (size_t i = 0; i < a->items.n; i++) {
		const struct part *p = x[i].parts.v, *q = y[i].parts.v;

		if (x[i].id != y[i].id || !span_eq(x[i].name, y[i].name) || x[i].parts.n != y[i].parts.n)
			return false;
		for (size_t k = 0; k < x[i].parts.n; k++)
			if (p[k].n != q[k].n || !span_eq(p[k].s, q[k].s))
				return false;
	}
	return true;
}

static size_t open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	size_t n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static int some_fd(void)
{
	return open("/dev/null", O_RDWR | O_CLOEXEC);
}

static bool fd_is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static char *pattern(size_t n)
{
	char *p = xmalloc(n + 1);

	for (size_t i = 0; i < n; i++)
		p[i] = (char)(i * 31 + i / 251);
	return p;
}

static void run_task(void *arg)
{
	(*(void (**)(void))arg)();
}

/* Runs fn in a task until every task has ended; no descriptor stays behind. */
static void in_loop(void (*fn)(void))
{
	size_t before = open_fds();

	task_spawn(run_task, &fn);
	loop_run();
	assert_int_equal(task_count(), 0);
	assert_int_equal(open_fds(), before);
}

/* ---- coding ---- */

static enum rc decode(const char *p, size_t n, struct arena *a, struct all *out)
{
	/* In an allocation of its own size, so that a read past the end shows. */
	char *copy = xmalloc(n ? n : 1);
	struct err e = { 0 };
	enum rc rc;

	if (n > 0)
		memcpy(copy, p, n);
	rc = ipc_decode(all_fields, span_make(copy, n), NULL, 0, a, out, &e);
	if (rc != RC_OK)
		assert_true(e.rc == rc && e.text[0]);
	free(copy);
	return rc;
}

static void encode_sample(struct buf *out)
{
	struct all m = sample();
	int fds[IPC_FDS_MAX];
	size_t nfds = 99;

	buf_init(out, IPC_FRAME_MAX);
	assert_int_equal(ipc_encode(all_fields, &m, out, fds, &nfds), RC_OK);
	assert_int_equal(nfds, 0);
}

static void a_message_comes_back_as_it_was(void **state)
{
	struct all m = sample(), back;
	struct arena a;
	struct buf b;

	(void)state;
	arena_init(&a);
	encode_sample(&b);
	memset(&back, 0x5a, sizeof(back));
	assert_int_equal(ipc_decode(all_fields, buf_span(&b), NULL, 0, &a, &back, NULL), RC_OK);
	assert_true(same(&m, &back));
	assert_int_equal(back.fd, -1);
	assert_true(back.text.p > b.p && back.text.p < b.p + b.n); /* points into the frame */
	assert_memory_equal(b.p, "\x01\xb2\xa1\xd4\xc3\xb2\xa1\x18\x07\xf6\xe5\xd4\xc3\xb2\xa1\xfb\xff", 17);
	buf_release(&b);
	arena_release(&a);
}

static void every_truncation_and_trailing_byte_is_refused(void **state)
{
	struct all back;
	struct arena a;
	struct buf b;

	(void)state;
	arena_init(&a);
	encode_sample(&b);
	for (size_t n = 0; n < b.n; n++) {
		assert_int_equal(decode(b.p, n, &a, &back), RC_SYNTAX);
		arena_reset(&a);
	}
	assert_int_equal(decode(b.p, b.n, &a, &back), RC_OK);
	for (int c = 0; c < 256; c++) {
		assert_int_equal(buf_putc(&b, (char)c), RC_OK);
		assert_int_equal(decode(b.p, b.n, &a, &back), RC_SYNTAX);
		b.n--;
	}
	buf_release(&b);
	arena_release(&a);
}

/* Every byte of an encoded message in every value: accepted only when it encodes to the same bytes again. */
static void there_is_one_encoding_of_a_message(void **state)
{
	struct arena a;
	struct buf b, again;
	size_t nfds;
	int fds[IPC_FDS_MAX];

	(void)state;
	arena_init(&a);
	buf_init(&again, IPC_FRAME_MAX);
	encode_sample(&b);
	for (size_t i = 0; i < b.n; i++)
		for (int c = 0; c < 256; c++) {
			char was = b.p[i];
			struct all m = { 0 };

			b.p[i] = (char)c;
			if (ipc_decode(all_fields, buf_span(&b), NULL, 0, &a, &m, NULL) == RC_OK) {
				buf_reset(&again);
				assert_int_equal(ipc_encode(all_fields, &m, &again, fds, &nfds), RC_OK);
				assert_true(span_eq(buf_span(&b), buf_span(&again)));
			}
			b.p[i] = was;
			arena_reset(&a);
		}
	buf_release(&b);
	buf_release(&again);
	arena_release(&a);
}

static void bounds_hold_on_both_sides(void **state)
{
	static const size_t text_at = 23,
			    list_at = 23 + 4 + 11 + 4 + 5; /* offsets of text's length and items' count */
	static const struct {
		size_t at;
		uint32_t value;
	} bad[] = {
		{ text_at, TEXT_MAX + 1 },
		{ text_at, 0xffffffff },
		{ text_at, 0x80000000 },
		{ list_at, ITEMS_MAX + 1 },
		{ list_at, 0xffffffff },
		{ list_at, ITEMS_MAX },
		{ list_at, 2 },
	};
	char *many = pattern(TEXT_MAX + 1);
	struct item six[ITEMS_MAX + 1] = { 0 };
	struct all m = sample(), back;
	struct arena a;
	struct buf b;
	int fds[IPC_FDS_MAX];
	size_t nfds;

	(void)state;
	arena_init(&a);
	encode_sample(&b);
	assert_memory_equal(b.p + text_at, "\x0b\0\0\0any ", 8);
	assert_memory_equal(b.p + list_at, "\3\0\0\0\1\0\0\0", 8);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		char was[4];

		memcpy(was, b.p + bad[i].at, 4);
		for (int k = 0; k < 4; k++)
			b.p[bad[i].at + (size_t)k] = (char)(bad[i].value >> 8 * k);
		assert_int_equal(decode(b.p, b.n, &a, &back), RC_SYNTAX);
		memcpy(b.p + bad[i].at, was, 4);
	}
	b.p[0] = 2; /* truth value */
	assert_int_equal(decode(b.p, b.n, &a, &back), RC_SYNTAX);
	b.p[0] = 1;
	b.p[b.n - 1] = 2; /* descriptor mark */
	assert_int_equal(decode(b.p, b.n, &a, &back), RC_SYNTAX);

	m.text = span_make(many, TEXT_MAX + 1);
	buf_reset(&b);
	assert_int_equal(ipc_encode(all_fields, &m, &b, fds, &nfds), RC_LIMIT);
	m = sample();
	m.items = (struct ipc_list){ six, ITEMS_MAX + 1 };
	buf_reset(&b);
	assert_int_equal(ipc_encode(all_fields, &m, &b, fds, &nfds), RC_LIMIT);
	buf_release(&b);
	buf_init(&b, 20);
	m = sample();
	assert_int_equal(ipc_encode(all_fields, &m, &b, fds, &nfds), RC_LIMIT);
	buf_release(&b);
	arena_release(&a);
	free(many);
}

static void descriptors_are_counted_and_closed_on_error(void **state)
{
	struct all m = sample(), back;
	struct fd_item five[IPC_FDS_MAX + 1] = { { 0 }, { 1 }, { 2 }, { 0 }, { 1 } };
	struct fd_list too_many = { { five, IPC_FDS_MAX + 1 } };
	struct arena a;
	struct buf b;
	int fds[IPC_FDS_MAX], fd = some_fd();
	size_t nfds;

	(void)state;
	arena_init(&a);
	buf_init(&b, IPC_FRAME_MAX);
	m.fd = fd;
	assert_int_equal(ipc_encode(all_fields, &m, &b, fds, &nfds), RC_OK);
	assert_int_equal(nfds, 1);
	assert_int_equal(fds[0], fd);
	assert_int_equal(ipc_decode(all_fields, buf_span(&b), fds, 1, &a, &back, NULL), RC_OK);
	assert_int_equal(back.fd, fd);
	assert_int_equal(ipc_decode(all_fields, buf_span(&b), NULL, 0, &a, &back, NULL),
			 RC_SYNTAX); /* missing */

	for (int i = 0; i < 3; i++) { /* surplus; none announced; short record */
		int given[2] = { some_fd(), some_fd() }, kept[2] = { given[0], given[1] };

		if (i == 1)
			b.p[b.n - 1] = 0;
		assert_int_equal(ipc_decode(all_fields, span_head(buf_span(&b), i == 2 ? 5 : b.n), given, 2,
					    &a, &back, NULL),
				 RC_SYNTAX);
		assert_false(fd_is_open(kept[0]) || fd_is_open(kept[1]));
		assert_int_equal(given[0], -1);
	}
	buf_reset(&b);
	assert_int_equal(ipc_encode(fd_list_fields, &too_many, &b, fds, &nfds), RC_LIMIT);
	close(fd);
	buf_release(&b);
	arena_release(&a);
}

static void a_frame_in_pieces_is_the_same_bytes(void **state)
{
	static const size_t sizes[] = { 0, 1, FRAME_BORROW_BYTES, FRAME_BORROW_BYTES + 1, 100000 };
	struct ipc_frame f;
	struct buf plain, joined;
	struct iovec iov[FRAME_IOV_MAX];
	char *content = pattern(CONTENT_MAX);
	int fds[IPC_FDS_MAX];
	size_t nfds;

	(void)state;
	ipc_frame_init(&f);
	buf_init(&plain, IPC_FRAME_MAX);
	buf_init(&joined, IPC_FRAME_MAX);
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		struct all m = sample();
		size_t n;

		m.content = span_make(content, sizes[i]);
		buf_reset(&plain);
		buf_reset(&joined);
		ipc_frame_reset(&f);
		assert_int_equal(ipc_encode(all_fields, &m, &plain, fds, &nfds), RC_OK);
		assert_int_equal(ipc_frame_encode(&f, &types[0], IPC_REPLY, 0x01020304, &m), RC_OK);
		n = ipc_frame_iov(&f, iov);
		assert_int_equal(n, sizes[i] > FRAME_BORROW_BYTES ? 3 : 1);
		for (size_t k = 0; k < n; k++)
			assert_int_equal(buf_append(&joined, span_make(iov[k].iov_base, iov[k].iov_len)),
					 RC_OK);
		assert_memory_equal(joined.p, "\1\1\1\0\4\3\2\1", IPC_HEADER_BYTES);
		assert_true(span_eq(span_skip(buf_span(&joined), IPC_HEADER_BYTES), buf_span(&plain)));
	}
	ipc_frame_release(&f);
	buf_release(&plain);
	buf_release(&joined);
	free(content);
}

/* ---- channels ---- */

static unsigned holding, holding_max, notes;
static struct waitq release_held;
static uint32_t note_sum;

static void serve_echo(struct ipc_call *call, const void *request)
{
	ipc_reply(call, request);
}

static void serve_sleep(struct ipc_call *call, const void *request)
{
	const struct number *m = request;
	struct number reply = { m->n + 1 };

	task_sleep_ms(m->n);
	ipc_reply(call, &reply);
}

static void serve_hold(struct ipc_call *call, const void *request)
{
	struct number reply = *(const struct number *)request;

	if (++holding > holding_max)
		holding_max = holding;
	CHECK(waitq_wait(&release_held, deadline_s(10)) == RC_OK);
	holding--;
	ipc_reply(call, &reply);
}

static void serve_note(struct ipc_call *call, const void *request)
{
	notes++;
	note_sum += ((const struct number *)request)->n;
	ipc_done(call);
}

static void serve_all_note(struct ipc_call *call, const void *request)
{
	const struct all *m = request;

	if (m->fd >= 0)
		close(m->fd);
	notes++;
	ipc_done(call);
}

static const struct ipc_handler handlers[] = {
	{ T_ECHO, "tester other", serve_echo },
	{ T_SLEEP, "*", serve_sleep },
	{ T_HOLD, "*", serve_hold },
	{ T_NOTE, "tester", serve_note },
	{ T_ALL_NOTE, "*", serve_all_note },
	{ T_MASTER_ONLY, "master", serve_note },
	{ T_FDS, "*", serve_echo },
	{ 0, NULL, NULL },
};
static const struct ipc_peer tester = { .program = "tester", .service = "unit", .pid = 1 };
static const struct ipc_peer stranger = { .uid = 12345 };

struct pair {
	struct ipc_chan *client, *server;
};

static void on_server_end(struct ipc_chan *c, void *arg)
{
	struct pair *p = arg;

	CHECK(p->server == c && !ipc_chan_alive(c));
	ipc_chan_close(&p->server);
}

static void sockets(int fd[2])
{
	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fd) == 0);
}

static void pair_open(struct pair *p, const struct ipc_peer *peer)
{
	int fd[2];

	sockets(fd);
	p->client = ipc_chan_new(fd[0], NULL, &tester, NULL);
	p->server = ipc_chan_new(fd[1], handlers, peer, p);
	CHECK(ipc_chan_context(p->server) == p);
	ipc_chan_on_close(p->server, on_server_end, p);
}

static void pair_close(struct pair *p)
{
	ipc_chan_close(&p->client);
	CHECK(!p->client);
	for (int i = 0; p->server && i < 1000; i++)
		task_sleep_ms(1);
	CHECK(!p->server); /* by on_server_end() */
}

static void echo_sizes(void)
{
	static const size_t sizes[] = { 0, 1000, 2048, 2049, 20000, 64 * 1024, 100 * 1024, CONTENT_MAX };
	char *content = pattern(CONTENT_MAX);
	struct pair p;
	struct arena a;

	arena_init(&a);
	pair_open(&p, &tester);
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		struct all m = sample(), back;
		int pipe_fd[2];
		char c;

		CHECK(pipe(pipe_fd) == 0);
		m.content = span_make(content, sizes[i]);
		m.fd = pipe_fd[1];
		memset(&back, 0x5a, sizeof(back));
		CHECK(ipc_request(p.client, T_ECHO, &m, &back, &a, deadline_s(5), NULL) == RC_OK);
		CHECK(same(&m, &back));
		CHECK(back.fd >= 0 && back.fd != m.fd && (fcntl(back.fd, F_GETFD) & FD_CLOEXEC));
		CHECK(write(back.fd, "x", 1) == 1 && read(pipe_fd[0], &c, 1) == 1 && c == 'x');
		close(back.fd);
		close(pipe_fd[1]); /* ours still; the server's went with its reply */
		CHECK(read(pipe_fd[0], &c, 1) == 0);
		close(pipe_fd[0]);
		arena_reset(&a);
	}
	pair_close(&p);
	arena_release(&a);
	free(content);
}

static void request_and_reply(void **state)
{
	(void)state;
	in_loop(echo_sizes);
}

static void four_fds_and_no_more(void)
{
	struct fd_item v[IPC_FDS_MAX + 1];
	struct fd_list m = { { v, IPC_FDS_MAX } }, back = { 0 };
	struct err e = { 0 };
	struct arena a;
	struct pair p;

	arena_init(&a);
	pair_open(&p, &stranger);
	for (size_t i = 0; i < ARRAY_LEN(v); i++)
		v[i].fd = some_fd();
	CHECK(ipc_request(p.client, T_FDS, &m, &back, &a, deadline_s(5), &e) == RC_OK);
	CHECK(back.v.n == IPC_FDS_MAX);
	for (size_t i = 0; i < back.v.n; i++)
		CHECK(close(((struct fd_item *)back.v.v)[i].fd) == 0);
	m.v.n++;
	CHECK(ipc_request(p.client, T_FDS, &m, &back, &a, deadline_s(5), &e) == RC_LIMIT);
	CHECK(e.rc == RC_LIMIT && ipc_chan_alive(p.client));
	for (size_t i = 0; i < ARRAY_LEN(v); i++)
		close(v[i].fd);
	pair_close(&p);
	arena_release(&a);
}

static void descriptors_up_to_the_limit(void **state)
{
	(void)state;
	in_loop(four_fds_and_no_more);
}

/* ---- calls in flight ---- */

static struct pair shared;
static struct waitq callers_done;
static unsigned callers;
static uint32_t order[64];
static unsigned ordered;
static enum rc want_rc;

static void wait_callers(void)
{
	while (callers > 0)
		CHECK(waitq_wait(&callers_done, deadline_s(20)) == RC_OK);
}

static void one_sleep(void *arg)
{
	struct number m = { (uint32_t)(uintptr_t)arg }, back = { 0 };
	struct arena a;

	arena_init(&a);
	CHECK(ipc_request(shared.client, T_SLEEP, &m, &back, &a, deadline_s(10), NULL) == RC_OK);
	CHECK(back.n == m.n + 1);
	order[ordered++] = m.n;
	arena_release(&a);
	if (--callers == 0)
		waitq_wake_all(&callers_done);
}

static void replies_out_of_order(void)
{
	waitq_init(&callers_done);
	pair_open(&shared, &tester);
	ordered = 0;
	callers = 8;
	for (unsigned i = 0; i < 8; i++) /* far enough apart for a slow machine */
		task_spawn(one_sleep, (void *)(uintptr_t)(150 * (8 - i)));
	wait_callers();
	for (unsigned i = 0; i < 8; i++)
		CHECK(order[i] == 150 * (i + 1));
	pair_close(&shared);
}

static void calls_end_in_any_order(void **state)
{
	(void)state;
	in_loop(replies_out_of_order);
}

static void one_failing(void *arg)
{
	struct number m = { 1 }, back;
	struct err e = { 0 };
	struct arena a;
	enum rc rc;

	(void)arg;
	arena_init(&a);
	rc = ipc_request(shared.client, T_SLEEP, &m, &back, &a, deadline_s(10), &e);
	CHECK(rc == want_rc && e.rc == rc && e.text[0]);
	arena_release(&a);
	if (--callers == 0)
		waitq_wake_all(&callers_done);
}

/* The other end is a bare socket in the test's hands. */
static int raw_open(const struct ipc_peer *peer, bool serve)
{
	int fd[2];

	waitq_init(&callers_done);
	sockets(fd);
	shared = (struct pair){ 0 };
	if (serve) {
		shared.server = ipc_chan_new(fd[0], handlers, peer, &shared);
		ipc_chan_on_close(shared.server, on_server_end, &shared);
	} else {
		shared.client = ipc_chan_new(fd[0], NULL, peer, NULL);
	}
	return fd[1];
}

static size_t raw_receive(int fd, char *p, size_t max)
{
	ssize_t n;

	CHECK(task_wait_fd(fd, TASK_READ, deadline_s(5)) == RC_OK);
	n = recv(fd, p, max, MSG_DONTWAIT);
	return n < 0 ? 0 : (size_t)n;
}

static void raw_close(int fd)
{
	task_forget_fd(fd);
	close(fd);
}

static void raw_send(int fd, struct span record, int nfds)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(16 * sizeof(int))];
	} control = { 0 };
	struct iovec iov = { (void *)(uintptr_t)record.p, record.n };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	int null = some_fd();

	if (nfds > 0) {
		m.msg_control = &control;
		m.msg_controllen = CMSG_SPACE((size_t)nfds * sizeof(int));
		CMSG_FIRSTHDR(&m)->cmsg_level = SOL_SOCKET;
		CMSG_FIRSTHDR(&m)->cmsg_type = SCM_RIGHTS;
		CMSG_FIRSTHDR(&m)->cmsg_len = CMSG_LEN((size_t)nfds * sizeof(int));
		for (int i = 0; i < nfds; i++)
			memcpy(CMSG_DATA(CMSG_FIRSTHDR(&m)) + (size_t)i * sizeof(int), &null, sizeof(int));
	}
	CHECK(sendmsg(fd, &m, MSG_NOSIGNAL) == (ssize_t)record.n);
	close(null);
}

static void peer_dies(void)
{
	int raw = raw_open(&tester, false);
	char record[64];

	callers = 20;
	want_rc = RC_EOF;
	for (unsigned i = 0; i < 20; i++)
		task_spawn(one_failing, NULL);
	for (int i = 0; i < 10; i++) /* reads some, leaves some */
		CHECK(raw_receive(raw, record, sizeof(record)) == IPC_HEADER_BYTES + 4);
	raw_close(raw);
	wait_callers();
	CHECK(!ipc_chan_alive(shared.client));
	callers = 1; /* at once, from now on */
	one_failing(NULL);
	ipc_chan_close(&shared.client);
}

static void a_dead_peer_ends_all_calls(void **state)
{
	(void)state;
	in_loop(peer_dies);
}

/* What the peer answered before it closed is taken, also when it left requests unread (ECONNRESET). */
static void peer_answers_then_dies(void)
{
	int raw = raw_open(&tester, false);
	char record[64];

	ordered = 0;
	callers = 2;
	want_rc = RC_EOF;
	task_spawn(one_sleep, (void *)(uintptr_t)77);
	CHECK(raw_receive(raw, record, sizeof(record)) == IPC_HEADER_BYTES + 4);
	task_spawn(one_failing, NULL);
	task_sleep_ms(5);
	record[1] = IPC_REPLY;
	record[IPC_HEADER_BYTES]++;
	raw_send(raw, span_make(record, IPC_HEADER_BYTES + 4), 0);
	raw_close(raw);
	wait_callers();
	CHECK(ordered == 1);
	ipc_chan_close(&shared.client);
}

static void the_last_words_of_a_peer_are_heard(void **state)
{
	(void)state;
	in_loop(peer_answers_then_dies);
}

static void owner_closes(void)
{
	int raw = raw_open(&tester, false);

	callers = 5;
	want_rc = RC_EOF;
	for (unsigned i = 0; i < 5; i++)
		task_spawn(one_failing, NULL);
	task_sleep_ms(5);
	ipc_chan_close(&shared.client);
	CHECK(!shared.client);
	wait_callers();
	raw_close(raw);
}

static void closing_ends_all_calls(void **state)
{
	(void)state;
	in_loop(owner_closes);
}

static void late_reply(void)
{
	struct number m = { 900 }, back = { 0 };
	struct arena a;
	struct err e = { 0 };

	arena_init(&a);
	pair_open(&shared, &tester);
	CHECK(ipc_request(shared.client, T_SLEEP, &m, &back, &a, deadline_ms(10), &e) == RC_TIMEOUT);
	CHECK(e.rc == RC_TIMEOUT);
	task_sleep_ms(1000); /* its reply comes, and is dropped */
	CHECK(ipc_chan_alive(shared.client));
	m.n = 1;
	CHECK(ipc_request(shared.client, T_SLEEP, &m, &back, &a, deadline_s(5), &e) == RC_OK);
	CHECK(back.n == 2);
	pair_close(&shared);
	arena_release(&a);
}

static void a_late_reply_is_dropped(void **state)
{
	(void)state;
	in_loop(late_reply);
}

/* ---- nonsense ---- */

#define H(flags, type, serial) "\1" flags type "\0" serial "\0\0\0"

static int log_file;

static off_t logged(void)
{
	return lseek(log_file, 0, SEEK_END);
}

static void malformed_requests(void)
{
	static const struct {
		struct span record;
		int fds;
	} bad[] = {
		{ SPAN("\1"), 0 },
		{ SPAN("\1\0\2\0\1\0\0"), 0 },		 /* no whole header */
		{ SPAN("\1"), 2 },			 /* and descriptors */
		{ SPAN("\2\0\2\0\1\0\0\0\0\0\0\0"), 0 }, /* version */
		{ SPAN("\0\0\2\0\1\0\0\0\0\0\0\0"), 1 },
		{ SPAN(H("\2", "\2", "\1") "\0\0\0\0"), 0 },   /* unknown flag */
		{ SPAN(H("\0", "\x63", "\1") "\0\0\0\0"), 1 }, /* unknown type */
		{ SPAN("\1\0\2\1\1\0\0\0\0\0\0\0"), 0 },       /* high byte of the type */
		{ SPAN(H("\0", "\2", "\1") "\0\0\0"), 0 },     /* short */
		{ SPAN(H("\0", "\2", "\1")), 0 },
		{ SPAN(H("\0", "\2", "\1") "\0\0\0\0\0"), 0 },	       /* trailing */
		{ SPAN(H("\0", "\2", "\1") "\0\0\0\0"), 1 },	       /* descriptor not asked for */
		{ SPAN(H("\0", "\2", "\0") "\0\0\0\0"), 0 },	       /* request without serial */
		{ SPAN(H("\0", "\4", "\1") "\0\0\0\0"), 0 },	       /* notice with serial */
		{ SPAN(H("\1", "\2", "\1") "\0\0\0\0"), 1 },	       /* reply to nothing */
		{ SPAN(H("\0", "\6", "\0") "\0\0\0\0"), 1 },	       /* not for this peer */
		{ SPAN(H("\0", "\7", "\1") "\5\0\0\0\1\1\1\1\1"), 5 }, /* too many descriptors */
		{ SPAN(H("\0", "\7", "\1") "\2\0\0\0\1\1"), 1 },       /* too few */
	};
	static char huge[IPC_FRAME_MAX + 1] = "\1\0\2\0\1";
	struct pair other;
	int bytes = 1 << 20;

	pair_open(&other, &tester);
	for (size_t i = 0; i <= ARRAY_LEN(bad); i++) {
		struct span record = i < ARRAY_LEN(bad) ? bad[i].record : span_make(huge, sizeof(huge));
		size_t before = open_fds();
		off_t log_before = logged();
		int raw = raw_open(&tester, true);
		struct number m = { 1 }, back = { 0 };
		struct arena a;
		char c;

		setsockopt(raw, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
		raw_send(raw, record, i < ARRAY_LEN(bad) ? bad[i].fds : 0);
		CHECK(raw_receive(raw, &c, 1) == 0); /* the end */
		CHECK(!shared.server || (task_sleep_ms(1), !shared.server));
		CHECK(logged() > log_before);
		raw_close(raw);
		CHECK(open_fds() == before);

		arena_init(&a); /* another connection is not touched */
		CHECK(ipc_request(other.client, T_SLEEP, &m, &back, &a, deadline_s(5), NULL) == RC_OK);
		arena_release(&a);
	}
	CHECK(notes == 0);
	pair_close(&other);
}

static void nonsense_closes_its_channel_only(void **state)
{
	(void)state;
	in_loop(malformed_requests);
}

static void stranger_asks(void)
{
	int raw = raw_open(&stranger, true);
	char c;

	raw_send(raw, SPAN(H("\0", "\4", "\0") "\0\0\0\0"), 0); /* T_NOTE: "tester" only */
	CHECK(raw_receive(raw, &c, 1) == 0);
	raw_close(raw);
	task_sleep_ms(1);
	CHECK(notes == 0 && !shared.server);

	raw = raw_open(&stranger, true);
	raw_send(raw, SPAN(H("\0", "\2", "\1") "\0\0\0\0"), 0); /* T_SLEEP: "*" */
	CHECK(raw_receive(raw, &c, 1) == 1);
	raw_close(raw);
	while (shared.server)
		task_sleep_ms(1);
}

static void from_says_who_may_send(void **state)
{
	(void)state;
	in_loop(stranger_asks);
}

static void bad_replies(void)
{
	static const struct {
		struct span tail; /* after version, flags, type, serial */
		int fds;
		char type;
	} bad[] = {
		{ SPAN(""), 0, T_SLEEP },
		{ SPAN("\0\0\0"), 0, T_SLEEP },
		{ SPAN("\0\0\0\0\0"), 0, T_SLEEP },
		{ SPAN("\0\0\0\0"), 1, T_SLEEP },
	};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		int raw = raw_open(&tester, false);
		char record[64];

		callers = 1;
		want_rc = RC_SYNTAX;
		task_spawn(one_failing, NULL);
		CHECK(raw_receive(raw, record, sizeof(record)) == IPC_HEADER_BYTES + 4);
		record[1] = IPC_REPLY;
		record[2] = bad[i].type;
		memcpy(record + IPC_HEADER_BYTES, bad[i].tail.p, bad[i].tail.n);
		raw_send(raw, span_make(record, IPC_HEADER_BYTES + bad[i].tail.n), bad[i].fds);
		wait_callers();
		CHECK(raw_receive(raw, record, 1) == 0);
		raw_close(raw);
		CHECK(!ipc_chan_alive(shared.client));
		ipc_chan_close(&shared.client);
	}
	for (int i = 0; i < 2; i++) { /* a reply of another type; a request to a client */
		int raw = raw_open(&tester, false);
		char record[64];

		callers = 1;
		want_rc = RC_EOF;
		task_spawn(one_failing, NULL);
		CHECK(raw_receive(raw, record, sizeof(record)) == IPC_HEADER_BYTES + 4);
		record[1] = i == 0 ? IPC_REPLY : 0;
		record[2] = i == 0 ? T_HOLD : T_SLEEP;
		raw_send(raw, span_make(record, IPC_HEADER_BYTES + 4), 0);
		wait_callers();
		raw_close(raw);
		ipc_chan_close(&shared.client);
	}
}

static void a_bad_reply_is_told_to_its_caller(void **state)
{
	(void)state;
	in_loop(bad_replies);
}

/* ---- pressure ---- */

static void one_hold(void *arg)
{
	struct number m = { (uint32_t)(uintptr_t)arg }, back = { 0 };
	struct arena a;

	arena_init(&a);
	CHECK(ipc_request(shared.client, T_HOLD, &m, &back, &a, deadline_s(10), NULL) == RC_OK);
	CHECK(back.n == m.n);
	arena_release(&a);
	if (--callers == 0)
		waitq_wake_all(&callers_done);
}

static void flood(const struct ipc_peer *peer, unsigned want_max)
{
	waitq_init(&callers_done);
	waitq_init(&release_held);
	holding = holding_max = 0;
	pair_open(&shared, peer);
	callers = 300;
	for (unsigned i = 0; i < 300; i++)
		task_spawn(one_hold, (void *)(uintptr_t)i);
	for (int i = 0; i < 1000 && holding < want_max; i++)
		task_sleep_ms(10);
	task_sleep_ms(50); /* more would come, if more were let in */
	CHECK(holding == want_max);
	while (callers > 0) {
		waitq_wake_all(&release_held);
		task_sleep_ms(1);
	}
	CHECK(holding_max == want_max && holding == 0);
	pair_close(&shared);
}

static void flood_of_strangers(void)
{
	flood(&stranger, IPC_CALLS_PUBLIC);
	flood(&tester, 300);
}

static void a_stranger_is_read_no_faster_than_served(void **state)
{
	(void)state;
	in_loop(flood_of_strangers);
}

#define WRITES 60 /* of 100,000 bytes: more than any socket holds */
static char *big;

static void one_writer(void *arg)
{
	struct all m = { .content = span_make(big, 100000), .fd = -1, .u32 = (uint32_t)(uintptr_t)arg };

	for (unsigned i = 0; i < WRITES; i++) {
		m.u16 = (uint16_t)i;
		CHECK(ipc_notify(shared.client, T_ALL_NOTE, &m, deadline_s(10), NULL) == RC_OK);
	}
	if (--callers == 0)
		waitq_wake_all(&callers_done);
}

static void many_writers(void)
{
	static char record[IPC_FRAME_MAX];
	unsigned next[8] = { 0 };
	struct all m = { .fd = -1 };
	struct err e = { 0 };
	struct arena a;
	int raw = raw_open(&tester, false);

	arena_init(&a);
	big = pattern(100000);
	m.content = span_make(big, 100000);
	callers = 8;
	for (unsigned i = 0; i < 8; i++)
		task_spawn(one_writer, (void *)(uintptr_t)i);
	task_sleep_ms(20); /* the socket is full, all wait */
	CHECK(callers == 8);
	CHECK(ipc_notify(shared.client, T_ALL_NOTE, &m, deadline_ms(10), &e) == RC_TIMEOUT &&
	      e.rc == RC_TIMEOUT);
	for (unsigned i = 0; i < 8 * WRITES; i++) {
		size_t n = raw_receive(raw, record, sizeof(record));
		struct all got;

		CHECK(n > IPC_HEADER_BYTES);
		CHECK(ipc_decode(all_fields, span_make(record + IPC_HEADER_BYTES, n - IPC_HEADER_BYTES), NULL,
				 0, &a, &got, &e) == RC_OK);
		CHECK(got.u32 < 8 && got.u16 == next[got.u32]++); /* whole, and in the order of each task */
		CHECK(span_eq(got.content, m.content));
	}
	wait_callers();
	raw_close(raw);
	ipc_chan_close(&shared.client);
	arena_release(&a);
	free(big);
}

static void records_of_many_tasks_stay_whole(void **state)
{
	(void)state;
	in_loop(many_writers);
}

static void writer_and_dead_peer(void)
{
	int raw = raw_open(&tester, false);
	struct all m = { .fd = -1 };
	enum rc rc = RC_OK;

	big = pattern(100000);
	m.content = span_make(big, 100000);
	while (rc == RC_OK)
		rc = ipc_notify(shared.client, T_ALL_NOTE, &m, deadline_ms(5), NULL);
	CHECK(rc == RC_TIMEOUT);
	raw_close(raw);
	CHECK(ipc_notify(shared.client, T_ALL_NOTE, &m, deadline_s(5), NULL) == RC_EOF);
	ipc_chan_close(&shared.client);
	free(big);
}

static void a_writer_learns_that_the_peer_died(void **state)
{
	(void)state;
	in_loop(writer_and_dead_peer);
}

static void handlers_outlive_the_channel_body(void)
{
	struct number m = { 9 };
	int raw = raw_open(&tester, true);

	(void)m;
	waitq_init(&release_held);
	holding = 0;
	raw_send(raw, SPAN(H("\0", "\3", "\1") "\0\0\0\0"), 0);
	while (holding == 0)
		task_sleep_ms(1);
	raw_close(raw);
	while (shared.server)
		task_sleep_ms(1);
	waitq_wake_all(&release_held);
	while (holding > 0)
		task_sleep_ms(1);
}

static void handlers_outlive_the_channel(void **state)
{
	(void)state;
	in_loop(handlers_outlive_the_channel_body);
}

static void notices_body(void)
{
	notes = note_sum = 0;
	pair_open(&shared, &tester);
	for (uint32_t i = 1; i <= 200; i++)
		CHECK(ipc_notify(shared.client, T_NOTE, &(struct number){ i }, deadline_s(5), NULL) == RC_OK);
	while (notes < 200)
		task_sleep_ms(1);
	CHECK(note_sum == 200 * 201 / 2);
	notes = 0;
	pair_close(&shared);
}

static void notices_arrive(void **state)
{
	(void)state;
	in_loop(notices_body);
}

static int group_setup(void **state)
{
	(void)state;
	loop_init();
	log_file = memfd_create("log", MFD_CLOEXEC);
	log_init(&(struct log_conf){ .service = "ipc", .file_fd = log_file });
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_message_comes_back_as_it_was),
		cmocka_unit_test(every_truncation_and_trailing_byte_is_refused),
		cmocka_unit_test(there_is_one_encoding_of_a_message),
		cmocka_unit_test(bounds_hold_on_both_sides),
		cmocka_unit_test(descriptors_are_counted_and_closed_on_error),
		cmocka_unit_test(a_frame_in_pieces_is_the_same_bytes),
		cmocka_unit_test(request_and_reply),
		cmocka_unit_test(descriptors_up_to_the_limit),
		cmocka_unit_test(calls_end_in_any_order),
		cmocka_unit_test(a_dead_peer_ends_all_calls),
		cmocka_unit_test(the_last_words_of_a_peer_are_heard),
		cmocka_unit_test(closing_ends_all_calls),
		cmocka_unit_test(a_late_reply_is_dropped),
		cmocka_unit_test(nonsense_closes_its_channel_only),
		cmocka_unit_test(from_says_who_may_send),
		cmocka_unit_test(a_bad_reply_is_told_to_its_caller),
		cmocka_unit_test(a_stranger_is_read_no_faster_than_served),
		cmocka_unit_test(records_of_many_tasks_stay_whole),
		cmocka_unit_test(a_writer_learns_that_the_peer_died),
		cmocka_unit_test(handlers_outlive_the_channel),
		cmocka_unit_test(notices_arrive),
	};
	return cmocka_run_group_tests(tests, group_setup, NULL);
}
