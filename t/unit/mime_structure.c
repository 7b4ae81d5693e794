/* Claim: the structure of RFC 2046 is read in one pass with bounded depth and number of parts, each part lies
 * within its parent, sizes with CRLF are those IMAP wants (RFC 3501 7.4.2), and no real or broken message of
 * the corpora breaks that. */
#include "mime/mime.h"
#include "base/buf.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

static struct arena a;
static struct span msg;
static size_t parts, depth_seen;

/* type/subtype of the tree: "multipart/mixed(text/plain text/html)" */
static struct span shape(const struct mime_part *p)
{
	struct span s = span_printf(&a, SPAN_FMT "/" SPAN_FMT, SPAN_ARG(p->type), SPAN_ARG(p->subtype));

	if (!p->child)
		return s;
	s = span_printf(&a, SPAN_FMT "(", SPAN_ARG(s));
	for (const struct mime_part *c = p->child; c; c = c->next)
		s = span_printf(&a, SPAN_FMT SPAN_FMT "%s", SPAN_ARG(s), SPAN_ARG(shape(c)),
				c->next ? " " : ")");
	return s;
}

static uint64_t with_crlf(uint64_t off, uint64_t len)
{
	uint64_t n = len;

	for (uint64_t i = off; i < off + len; i++)
		n += msg.p[i] == '\n' && (i == 0 || msg.p[i - 1] != '\r');
	return n;
}

static void check(const struct mime_part *p, uint64_t from, uint64_t to, size_t depth)
{
	parts++;
	depth_seen = depth > depth_seen ? depth : depth_seen;
	assert_true(p->header_off >= from && p->header_off <= to);
	assert_int_equal(p->body_off, p->header_off + p->header_len);
	assert_true(p->body_off + p->body_len <= msg.n);
	assert_int_equal(p->crlf_header_len, with_crlf(p->header_off, p->header_len));
	if (depth < 8) /* one count a level is enough */
		assert_int_equal(p->crlf_body_len, with_crlf(p->body_off, p->body_len));
	for (const struct mime_part *c = p->child; c; c = c->next) {
		if (c->next)
			assert_true(c->next->header_off >= c->body_off + c->body_len);
		check(c, p->body_off, p->body_off + p->body_len, depth + 1);
	}
}

static struct mime_part *parse(struct span s)
{
	struct mime_part *root = mime_parse(s, &a);

	msg = s;
	parts = depth_seen = 0;
	check(root, 0, s.n, 0);
	assert_true(parts <= MIME_PARTS_MAX && depth_seen <= MIME_DEPTH_MAX);
	return root;
}

static void expect(const char *text, const char *want)
{
	struct span got = shape(parse(span_str(text)));

	if (!span_is_ci(got, want))
		fail_msg(SPAN_FMT "\nwanted %s\n%s", SPAN_ARG(got), want, text);
}

static struct span body(const struct mime_part *p)
{
	return span_make(msg.p + p->body_off, p->body_len);
}

static void plain_and_multipart(void **state)
{
	struct mime_part *p;

	(void)state;
	expect("Subject: x\n\nbody\n", "text/plain");
	expect("", "text/plain");
	p = parse(SPAN("Content-Type: multipart/mixed; "
		       "boundary=b\r\n\r\npreamble\r\n--b\r\n\r\none\r\n--b\r\nContent-Type: "
		       "text/html\r\n\r\ntwo\r\n\r\n--b--\r\nepilogue"));
	assert_true(span_is(shape(p), "multipart/mixed(TEXT/PLAIN text/html)"));
	assert_true(span_is(body(p->child), "one"));
	assert_true(span_is(body(p->child->next), "two\r\n"));
	assert_int_equal(p->child->next->body_lines, 1);
	p = parse(
	    SPAN("Content-Type: multipart/mixed; boundary=b\n\n--b\n\n--b\n\n--b--\n")); /* empty parts */
	assert_int_equal(p->child->body_len, 0);
}

static void boundaries_that_begin_each_other(void **state)
{
	(void)state;
	expect("Content-Type: multipart/mixed; boundary=ab\n\n--ab\nContent-Type: multipart/alternative; "
	       "boundary=abc\n\n--abc\n\n1\n--abc\n\n2\n--abc--\n"
	       "--ab\n\n3\n--ab--\n",
	       "multipart/mixed(multipart/alternative(text/plain text/plain) text/plain)");
	expect("Content-Type: multipart/mixed; boundary=abc\n\n--abc\nContent-Type: multipart/alternative; "
	       "boundary=ab\n\n--ab\n\n1\n--ab--\n"
	       "--abc\n\n3\n--abc--\n",
	       "multipart/mixed(multipart/alternative(text/plain) text/plain)");
	/* the outer one is the inner one with "--" behind: its line does not end the inner part twice */
	expect("Content-Type: multipart/mixed; boundary=b--x\n\n--b--x\nContent-Type: multipart/alternative; "
	       "boundary=b\n\n--b\n\n1\n--b--x\n\n2\n--b--x--\n",
	       "multipart/mixed(multipart/alternative(text/plain) text/plain)");
	expect("Content-Type: multipart/mixed; boundary=b\n\n--bx\n--b \t\n\n1\n--b--junk\n",
	       "multipart/mixed(text/plain)");
}

static void missing_ends(void **state)
{
	(void)state;
	expect("Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/mixed; "
	       "boundary=b\n\n--b\n\n1\n--a\n\n2",
	       "multipart/mixed(multipart/mixed(text/plain) text/plain)");
	expect("Content-Type: multipart/mixed; boundary=a\n\n--a", "multipart/mixed(text/plain)");
	expect("Content-Type: multipart/mixed; boundary=a\n\nnothing", "multipart/mixed");
	expect("Content-Type: multipart/mixed\n\n--a\n", "application/octet-stream"); /* no boundary */
	expect("Content-Type: multipart/mixed; boundary=\"\"\n\n--\n", "application/octet-stream");
}

static void digests_and_messages(void **state)
{
	struct mime_part *p;

	(void)state;
	expect("Content-Type: multipart/digest; boundary=a\n\n--a\n\nSubject: in\n\nx\n--a\nContent-Type: "
	       "text/plain\n\ny\n--a--\n",
	       "multipart/digest(message/rfc822(text/plain) text/plain)");
	p = parse(SPAN("Content-Type: message/rfc822\n\nContent-Type: multipart/mixed; "
		       "boundary=q\n\n--q\n\n1\n--q--\n"));
	assert_true(span_is_ci(shape(p), "message/rfc822(multipart/mixed(text/plain))"));
	assert_int_equal(p->child->header_off, p->body_off);
	expect("Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nU3ViamVjdA==\n",
	       "message/rfc822"); /* RFC 2046 5.2.1: not opened */
	expect("Content-Type: text/plain\nContent-Type: text/html\n\n", "text/plain");
	expect("Content-Type: nonsense\n\n", "text/plain"); /* RFC 2045 5.2 */
}

/* Many levels, many parts, many fields: bounds hold and memory does not follow the attacker. */
static void hostile_structures_are_bounded(void **state)
{
	struct buf b;
	struct mime_part *p;

	(void)state;
	buf_init(&b, 64 << 20);
	for (unsigned i = 0; i < 2000; i++)
		(void)buf_printf(&b, "Content-Type: multipart/mixed; boundary=b%u\n\n--b%u\n", i, i);
	(void)parse(buf_span(&b));
	assert_true(depth_seen >= 20);
	buf_reset(&b);
	for (unsigned i = 0; i < 2000; i++)
		(void)buf_puts(&b, "Content-Type: message/rfc822\n\n");
	(void)parse(buf_span(&b));
	buf_reset(&b);
	(void)buf_puts(&b, "Content-Type: multipart/mixed; boundary=b\n\n");
	for (unsigned i = 0; i < 100000; i++)
		(void)buf_puts(&b, "--b\n\nx\n");
	p = parse(buf_span(&b));
	assert_true(parts > 900);
	assert_int_equal(p->body_off + p->body_len, b.n);
	arena_reset(&a);
	buf_reset(&b);
	for (unsigned i = 0; i < 100000; i++)
		(void)buf_puts(&b, "Content-Disposition: x; a=\"b\"\nContent-Type: a/b; c=d\n");
	(void)parse(buf_span(&b));
	assert_true(a.used_bytes < 10 * b.n);
	arena_reset(&a);
	buf_release(&b);
}

static size_t files;

static int one_file(const char *name, const struct stat *st, int kind, struct FTW *ftw)
{
	char *bytes;
	FILE *f;

	(void)ftw;
	if (kind != FTW_F || st->st_size > 4 << 20 || !(f = fopen(name, "r")))
		return 0;
	bytes = xmalloc((size_t)st->st_size + 1);
	(void)parse(span_make(bytes, fread(bytes, 1, (size_t)st->st_size, f)));
	fclose(f);
	free(bytes);
	arena_reset(&a);
	files++;
	return 0;
}

static void corpora_keep_the_rules(void **state)
{
	const char *shared = getenv("POSTERN_SHARED") ? getenv("POSTERN_SHARED") : "../shared";
	char dir[400];

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		snprintf(dir, sizeof(dir), "%s/data/%s", shared,
			 ((const char *[]){ "mime", "dsn", "imap" })[i]);
		(void)nftw(dir, one_file, 20, FTW_PHYS);
	}
	if (files == 0)
		skip(); /* ../shared/data is not here */
	print_message("%zu files\n", files);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain_and_multipart),
		cmocka_unit_test(boundaries_that_begin_each_other),
		cmocka_unit_test(missing_ends),
		cmocka_unit_test(digests_and_messages),
		cmocka_unit_test(hostile_structures_are_bounded),
		cmocka_unit_test(corpora_keep_the_rules),
	};

	arena_init(&a);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
