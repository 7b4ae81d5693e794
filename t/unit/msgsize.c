/* Claim: a message is as large as Postfix logs it: 2 octets a line beside its text, 3 from 128 on, lines cut every 2048
 * octets; it makes no difference how the bytes come. */
#include "queue/msgsize.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static const struct {
	size_t line, counts;
} t[] = { { 0, 2 },	  { 1, 3 },	  { 127, 129 },	  { 128, 131 },	 { 2047, 2050 },
	  { 2048, 2053 }, { 2049, 2054 }, { 2176, 2182 }, { 5000, 5009 } }; /* as logged by Postfix 3.7.11 */

static char text[6000];

static void lines_count_as_records(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct msgsize m = { 0 };

		memset(text, 'x', t[i].line);
		text[t[i].line] = '\n';
		msgsize_add(&m, span_make(text, t[i].line + 1));
		assert_int_equal(m.bytes, t[i].counts);
	}
}

static void pieces_make_no_difference(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		for (size_t step = 1; step < 700; step += 97) {
			struct msgsize m = { 0 };

			memset(text, 'x', t[i].line);
			text[t[i].line] = '\n';
			for (size_t at = 0; at <= t[i].line; at += step)
				msgsize_add(&m, span_head(span_make(text + at, t[i].line + 1 - at), step));
			assert_int_equal(m.bytes, t[i].counts);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_count_as_records),
		cmocka_unit_test(pieces_make_no_difference),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
