/* Claim: header fields are taken off a message as RFC 5322 section 2.2 has them, with LF or CRLF, folded or
 * not; the header ends at the empty line or where something else begins, and no byte is lost. */
#include "mime/header.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static struct arena a;

static void fields_come_whole(void **state)
{
	struct span rest = SPAN("A: 1\r\nB : 2\n  3\r\n\t4\r\nC:\r\n\r\nbody: x\r\n");
	struct header_field f;

	(void)state;
	assert_int_equal(header_next(&rest, &f), RC_OK);
	assert_true(span_is(f.name, "A") && span_is(f.body, " 1") && span_is(f.all, "A: 1\r\n"));
	assert_int_equal(header_next(&rest, &f), RC_OK);
	assert_true(span_is(f.name, "B") && span_is(f.body, " 2\n  3\r\n\t4"));
	assert_true(span_is(header_unfold(&a, f.body), "2  3\t4"));
	assert_int_equal(header_next(&rest, &f), RC_OK);
	assert_true(span_is(f.name, "C") && f.body.n == 0);
	assert_int_equal(header_next(&rest, &f), RC_EOF);
	assert_true(span_is(rest, "body: x\r\n"));
}

/* RFC 5322 section 2.1.1: lists are broken behind commas, never inside of what is quoted. */
static void lists_are_folded(void **state)
{
	(void)state;
	assert_true(span_is(header_fold_list(&a, SPAN("To: a@b,c@d\n")), "To: a@b, c@d\n"));
	assert_true(span_is(
	    header_fold_list(
		&a,
		SPAN("To: \"x, y\" <one@some.example.org> (a, b),\r\n \"z\" <another@some.example.org>\r\n")),
	    "To: \"x, y\" <one@some.example.org> (a, b),\n\t\"z\" <another@some.example.org>\r\n"));
	assert_true(span_is(header_fold_list(&a, SPAN("To:\n")), "To:\n"));
}

/* RFC 2047 sections 2 and 5: 75 bytes a word, no character split, and decoding gives the text back. */
static void words_are_written(void **state)
{
	struct span text =
	    SPAN("J\303\266rg \"_=?\" M\303\274ller, \342\202\254\342\202\254\342\202\254\342\202\254"
		 "\342\202\254\342\202\254\342\202\254\342\202\254 (end)");
	struct span words = header_encode(&a, text, SPAN("utf-8")), rest = words, line;
	size_t lines = 0;

	(void)state;
	assert_true(span_is(header_encode(&a, SPAN("J\303\266 X"), SPAN("utf-8")), "=?utf-8?Q?J=C3=B6_X?="));
	assert_true(span_is(header_encode(&a, SPAN("\366"), SPAN("iso-8859-1")), "=?iso-8859-1?Q?=F6?="));
	assert_int_equal(header_encode(&a, SPAN(""), SPAN("utf-8")).n, 0);
	for (; span_next(&rest, '\n', &line); lines++) {
		assert_true(span_trim(line).n <= 75);
		assert_true(span_starts(span_trim(line), SPAN("=?utf-8?Q?")) && span_ends(line, SPAN("?=")));
	}
	assert_true(lines > 2);
	assert_true(span_eq(header_decode(&a, header_unfold(&a, words)), text));
}

static void header_ends_without_empty_line(void **state)
{
	struct span rest = SPAN("A: 1\nno field here\nB: 2\n");
	struct header_field f;

	(void)state;
	assert_int_equal(header_next(&rest, &f), RC_OK);
	assert_int_equal(header_next(&rest, &f), RC_SYNTAX);
	assert_true(span_starts(rest, SPAN("no field")));
	assert_int_equal(header_length(SPAN("A: 1\nno field\n")), 5);
	assert_int_equal(header_length(SPAN("A: 1\n\nB")), 6);
	assert_int_equal(header_length(SPAN("A: 1")), 4);
	assert_int_equal(header_length(SPAN("")), 0);
	assert_int_equal(header_length(SPAN("From x\nA: 1\n\nB")), 0);
	assert_int_equal(header_length_stored(SPAN("From x\nA: 1\n\nB")), 13);
	assert_int_equal(header_length_stored(SPAN(">From x\r\nA: 1\n\nB")), 15);
	assert_int_equal(header_length_stored(SPAN("From: x\n\nB")), 9);
	assert_int_equal(header_length(SPAN("\r\nx")), 2);
	assert_int_equal(header_length(SPAN(" leading: fold\n")), 0);
	assert_int_equal(header_length(SPAN("\xc3\xa9: 8-bit name\n")), 0);
	assert_int_equal(header_length(SPAN("a b: space in name\n")), 0);
}

static void find_folds_case_and_takes_the_first(void **state)
{
	struct header_field f;

	(void)state;
	assert_int_equal(header_find(SPAN("x: 1\nSUBJECT: a\nsubject: b\n\n"), "Subject", &f), RC_OK);
	assert_true(span_is(f.body, " a"));
	assert_int_equal(header_find(SPAN("x: 1\n\nSubject: b\n"), "Subject", &f), RC_NOTFOUND);
}

static void every_byte_belongs_to_one_field(void **state)
{
	struct span text = SPAN("A: 1\r\nB:\n\t\n C: x\nD: \r\r\n  y\nE:z"), rest = text;
	struct header_field f;
	size_t sum = 0;

	(void)state;
	while (header_next(&rest, &f) == RC_OK) {
		assert_ptr_equal(f.all.p, text.p + sum);
		sum += f.all.n;
	}
	assert_int_equal(sum, text.n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fields_come_whole),
		cmocka_unit_test(lists_are_folded),
		cmocka_unit_test(words_are_written),
		cmocka_unit_test(header_ends_without_empty_line),
		cmocka_unit_test(find_folds_case_and_takes_the_first),
		cmocka_unit_test(every_byte_belongs_to_one_field),
	};

	arena_init(&a);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
