/* Any words as attributes of pipe(8) or spawn(8): an error that says something, or a command whose arguments expand within their bound. The
 * first byte selects the program; a line is a word. */
#include "asuser/attributes.h"
#include "asuser/pipe_macro.h"

#define WORDS_MAX    200
#define ARGUMENT_MAX 8000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expand(const struct attributes *t, struct arena *a)
{
	struct span values[PIPE_COMMON_VALUES], out;
	struct pipe_value common[PIPE_COMMON_VALUES], rcpt[PIPE_RCPT_VALUES];
	struct err e = { .text = "" };

	for (size_t i = 0; i < PIPE_COMMON_VALUES; i++)
		values[i] = i % 2 ? SPAN("$recipient ${x") : SPAN("");
	pipe_common_values(values, common);
	pipe_rcpt_values(SPAN("\"a b\"+Ext@Far.TEST"), SPAN(""), PIPE_FOLD_LOCAL | PIPE_QUOTE,
			 (struct address_extensions){ "+", true }, a, rcpt);
	for (size_t i = 0; i < t->argc; i++) {
		enum rc rc =
		    pipe_expand(t->argv[i], common, PIPE_COMMON_VALUES, rcpt, PIPE_RCPT_VALUES, a, &out, &e);

		INVARIANT(rc == RC_LIMIT || t->spawn ||
			  rc == RC_OK); /* what cannot be expanded was refused */
		INVARIANT(rc != RC_OK || out.n <= ARGUMENT_MAX);
		(void)pipe_is_per_rcpt(t->argv[i]);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span text = span_make((const char *)data, size), words[WORDS_MAX];
	struct attributes t;
	struct arena a;
	struct err e = { .text = "" };
	bool spawn = size > 0 && (data[0] & 1);
	size_t n = 0;

	text = span_skip(text, size > 0);
	while (n < WORDS_MAX && span_next(&text, '\n', &words[n]))
		n++;
	arena_init(&a);
	if (attributes_parse(words, n, spawn, &a, &t, &e) != RC_OK) {
		INVARIANT(e.text[0] != '\0');
	} else {
		INVARIANT(t.argc > 0 && t.argv[0].n > 0 && t.user[0] != '\0');
		expand(&t, &a);
	}
	arena_release(&a);
	return 0;
}
