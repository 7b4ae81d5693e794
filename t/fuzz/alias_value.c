/* t/fuzz/alias_value.c - alias values, .forward and :include: files, and the macros of pipe(8), against any
 * bytes. What is accepted holds no control bytes and stays within the input. Byte 0 chooses. */
#include "../../local/dest_list.c"
#include "../../lib/asuser/pipe_macro.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_list(struct span s, bool file, struct arena *a)
{
	struct dest_list l = { .n = 0 };
	enum rc rc = file ? dest_file_parse(s, a, 50, &l) : dest_list_parse(s, a, 50, &l);

	INVARIANT(rc == RC_OK || rc == RC_LIMIT);
	INVARIANT(l.n <= 50);
	for (size_t i = 0; i < l.n; i++) {
		INVARIANT(l.v[i].text.n > 0 && l.v[i].text.n <= ELEMENT_MAX);
		for (size_t k = 0; k < l.v[i].text.n; k++)
			INVARIANT((unsigned char)l.v[i].text.p[k] >= 0x20 || l.v[i].text.p[k] == '\t');
	}
}

static void check_macro(struct span s, struct arena *a)
{
	const struct pipe_value common[] = { { "sender", SPAN("$user") } };
	struct pipe_value rcpt[PIPE_RCPT_VALUES];
	struct span out;
	struct err e;

	pipe_rcpt_values(span_head(s, 40), SPAN_NONE, (unsigned)s.n & 7,
			 (struct address_extensions){ "+-", true }, a, rcpt);
	(void)pipe_is_per_rcpt(s);
	if (pipe_expand(s, common, 1, rcpt, PIPE_RCPT_VALUES, a, &out, &e) == RC_OK)
		INVARIANT(out.n <= ARGUMENT_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena a;

	if (size == 0 || size > 20000)
		return 0;
	struct span s = span_make((const char *)data + 1, size - 1);
	arena_init(&a);
	if (data[0] % 3 == 2)
		check_macro(s, &a);
	else
		check_list(s, data[0] % 3 == 1, &a);
	arena_release(&a);
	return 0;
}
