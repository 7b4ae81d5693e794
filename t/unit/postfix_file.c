/* Claim: a queue file of Postfix's gives its envelope and content; one that is cut short, out of order, too large, or whose pointers lead out
 * of it or in a circle is refused, and nothing is read for ever. */
#include "../../lib/queue/postfix_file.c"

#include <setjmp.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <cmocka.h>

struct file {
	char p[8192];
	size_t n;
};

static void put(struct file *f, char type, const char *text)
{
	size_t n = strlen(text);

	f->p[f->n++] = type;
	for (; n > 127; n >>= 7)
		f->p[f->n++] = (char)(0x80 | (n & 0x7f));
	f->p[f->n++] = (char)n;
	memcpy(f->p + f->n, text, strlen(text));
	f->n += strlen(text);
}

static int fd_of(const struct file *f)
{
	int fd = memfd_create("postfix_file", MFD_CLOEXEC);

	assert_true(fd >= 0 && write(fd, f->p, f->n) == (ssize_t)f->n);
	return fd;
}

static enum rc collect(void *arg, struct span piece, struct err *e)
{
	(void)e;
	assert_int_equal(buf_append(arg, piece), RC_OK);
	return RC_OK;
}

static enum rc read_file(const struct file *f, struct arena *a, struct envelope *env, struct buf *content)
{
	int fd = fd_of(f);
	struct err e;
	enum rc rc = postfix_file_read(fd, 100000, a, env, collect, content, &e);

	close(fd);
	return rc;
}

/* "T:1 2" is a record; an item of a list that ends with NULL. */
static struct file file_of(const char *const *records)
{
	struct file f = { .n = 0 };

	for (; *records; records++)
		put(&f, (*records)[0], *records + 2);
	return f;
}

#define SIZE                                                                                                 \
	"C:             10            100               1               0              10               1"

static void whole(void **state)
{
	static const char *const records[] = { SIZE,
					       "T:1795903491 123215",
					       "A:rewrite_context=local",
					       "F:Full Name",
					       "S:from@a.test",
					       "A:encoding=8bit",
					       "A:log_client_name=host",
					       "A:client_name=other",
					       "A:client_address=192.0.2.1",
					       "A:envelope_id=x y",
					       "A:ret_flags=2",
					       "A:sasl_username=kim",
					       "A:of_the_future=1",
					       "V:+=",
					       "L:smtp:[127.0.0.1]:9",
					       "W:1795903999",
					       "?:what is that",
					       "A:dsn_orig_rcpt=rfc822;x@y",
					       "A:notify_flags=10",
					       "O:was@b.test",
					       "R:is@b.test",
					       "O:done@b.test",
					       "D:done@b.test",
					       "M:",
					       "N:Subject: x",
					       "N:",
					       "L:a long",
					       "N: line",
					       "N:A:not an attribute",
					       "X:",
					       "K:trace_flags=1024",
					       "K:1795903999",
					       "O:same@b.test",
					       "R:same@b.test",
					       "E:",
					       NULL };
	struct file f = file_of(records);
	struct envelope env;
	struct arena a;
	struct buf b;

	(void)state;
	arena_init(&a);
	buf_init(&b, 8192);
	assert_int_equal(read_file(&f, &a, &env, &b), RC_OK);
	assert_true(span_is(buf_span(&b), "Subject: x\n\na long line\nA:not an attribute\n"));
	assert_true(env.arrival_us == 1795903491123215);
	assert_int_equal(env.flags, ENVF_LOCAL | ENVF_SMTPUTF8 | ENVF_WARNED);
	assert_int_equal(env.body, BODY_8BITMIME);
	assert_int_equal(env.ret, RET_HDRS);
	assert_true(span_is(env.sender, "from@a.test") && span_is(env.full_name, "Full Name") &&
		    span_is(env.envid, "x y"));
	assert_true(span_is(env.client_name, "host") && span_is(env.client_addr, "192.0.2.1") &&
		    span_is(env.sasl_username, "kim"));
	assert_true(span_is(env.verp, "+=") && span_is(env.content_filter, "smtp:[127.0.0.1]:9"));
	assert_int_equal(env.rcpts.n, 3);
	const struct env_rcpt *r = env.rcpts.v;
	assert_true(span_is(r[0].addr, "is@b.test") && span_is(r[0].orig, "was@b.test") &&
		    span_is(r[0].orcpt, "rfc822;x@y"));
	assert_int_equal(r[0].notify, NOTIFY_SUCCESS | NOTIFY_DELAY);
	assert_true(r[0].state == RCPT_TODO && r[1].state == RCPT_DONE && r[2].state == RCPT_TODO);
	assert_true(r[2].orig.n == 0 && r[2].orcpt.n == 0 &&
		    r[2].notify == 0); /* what was said of one is not said of the next */
	buf_release(&b);
	arena_release(&a);
}

/* Edits of milters: the first version of a header line is jumped over, the new one stands at the end. */
static void pointers(void **state)
{
	static const char *const start[] = { SIZE, "T:1795903491 0", "S:", "O:r@b", "R:r@b",
					     "M:", "N:First: 1",     NULL };
	struct file f = file_of(start);
	struct envelope env;
	struct arena a;
	struct buf b;
	char at[32];
	size_t jump, back;

	(void)state;
	jump = f.n;
	put(&f, 'p', "              0");
	put(&f, 'N', "Old: 2");
	back = f.n;
	put(&f, 'N', "Last: 3");
	put(&f, 'p', "              0"); /* no more than a place for one */
	put(&f, 'X', "");
	put(&f, 'E', "");
	snprintf(at, sizeof(at), "%15zu", f.n);
	memcpy(f.p + jump + 2, at, 15);
	put(&f, 'N', "New: 2");
	snprintf(at, sizeof(at), "%15zu", back);
	put(&f, 'p', at);
	arena_init(&a);
	buf_init(&b, 8192);
	assert_int_equal(read_file(&f, &a, &env, &b), RC_OK);
	assert_true(span_is(buf_span(&b), "First: 1\nNew: 2\nLast: 3\n"));
	/* and in a circle */
	snprintf(at, sizeof(at), "%15zu", jump);
	memcpy(f.p + f.n - 15, at, 15);
	assert_int_equal(read_file(&f, &a, &env, &b), RC_SYNTAX);
	/* and out of the file */
	memcpy(f.p + jump + 2, "999999999999999", 15);
	assert_int_equal(read_file(&f, &a, &env, &b), RC_SYNTAX);
	buf_release(&b);
	arena_release(&a);
}

static void refused(void **state)
{
	static const char *const t[][12] = {
		{ SIZE, "S:", "R:r@b", "M:", "X:", "E:" }, /* no time */
		{ SIZE, "T:soon", "S:", "R:r@b", "M:", "X:", "E:" },
		{ SIZE, "T:1795903491 0", "S:", "R:r@b", "M:", "X:" },	     /* no end */
		{ SIZE, "T:1795903491 0", "S:", "R:r@b", "X:", "M:", "E:" }, /* not in order */
		{ SIZE, "T:1795903491 0", "S:", "M:", "M:", "X:", "E:" },
		{ SIZE, "T:1795903491 0", "A:no value", "M:", "X:", "E:" },
		{ SIZE, "T:1795903491 0", "A:notify_flags=16", "M:", "X:", "E:" },
		{ SIZE, "T:1795903491 0", "A:ret_flags=x", "M:", "X:", "E:" },
		{ SIZE, "T:1795903491 0", "p:-1", "M:", "X:", "E:" },
		{ "C:x" },
	};
	struct envelope env;
	struct arena a;
	struct buf b;

	(void)state;
	arena_init(&a);
	buf_init(&b, 8192);
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct file f = file_of(t[i]);

		assert_int_equal(read_file(&f, &a, &env, &b), RC_SYNTAX);
	}
	buf_release(&b);
	arena_release(&a);
}

/* Every file that is cut short, and a length that says more than is there. */
static void cut(void **state)
{
	static const char *const records[] = {
		SIZE, "T:1795903491 0", "S:s@a", "R:r@b", "M:", "N:x", "X:", "E:", NULL
	};
	struct file f = file_of(records), g;
	struct envelope env;
	struct arena a;
	struct buf b;

	(void)state;
	arena_init(&a);
	buf_init(&b, 8192);
	for (size_t n = 0; n < f.n; n++) {
		g = f;
		g.n = n;
		assert_int_equal(read_file(&g, &a, &env, &b), RC_SYNTAX);
	}
	g = (struct file){ .p = "T\xff\xff\xff\xff\xff\xff\xff\xff\x01", .n = 20 };
	assert_int_equal(read_file(&g, &a, &env, &b), RC_SYNTAX);
	buf_release(&b);
	arena_release(&a);
}

static void redirected(void **state)
{
	static const char *const records[] = { SIZE,	  "T:1795903491 0", "S:s@a", "D:one@b",
					       "R:two@b", "R:three@b",	    "M:",    "N:x",
					       "X:",	  ">:other@c",	    "E:",    NULL };
	struct file f = file_of(records);
	struct envelope env;
	struct arena a;
	struct buf b;

	(void)state;
	arena_init(&a);
	buf_init(&b, 8192);
	assert_int_equal(read_file(&f, &a, &env, &b), RC_OK);
	const struct env_rcpt *r = env.rcpts.v;
	assert_int_equal(env.rcpts.n, 2);
	assert_true(r[0].state == RCPT_DONE && r[1].state == RCPT_TODO && span_is(r[1].addr, "other@c"));
	buf_release(&b);
	arena_release(&a);
}

static void known_by_their_beginning(void **state)
{
	static const struct {
		const char *bytes;
		bool is;
	} t[] = { { "C_             10            100 ", true },
		  { "T\x11"
		    "1795903491 123215",
		    true },
		  { "PSTRNQ1\n\1\0\0\0", false },
		  { "C_ text that is none", false },
		  { "", false },
		  { "T\x11"
		    "17959",
		    false } };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct file f = { .n = strlen(t[i].bytes) };
		int fd;

		memcpy(f.p, t[i].bytes, f.n);
		fd = fd_of(&f);
		assert_int_equal(postfix_file_is(fd), t[i].is);
		close(fd);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whole),      cmocka_unit_test(pointers),
		cmocka_unit_test(refused),    cmocka_unit_test(cut),
		cmocka_unit_test(redirected), cmocka_unit_test(known_by_their_beginning)
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
