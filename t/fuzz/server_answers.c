/* Any bytes as what servers of others answer: the lines of a policy server, the keywords of a reply to EHLO. An answer has an action that it holds, or a
 * story; what is offered depends on no order of lines but for AUTH, and a keyword that is discarded is not offered. The first byte selects. */
#include "../../smtp/ehlo.c" /* files of daemons: not in the archive */
#include "../../smtpd/policy_answer.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void as_policy(struct span text, struct arena *a)
{
	struct policy_answer p = { .seen = false };
	struct err e = { .text = "" };
	struct span rest = text, line;
	enum rc rc = RC_AGAIN;

	while (rc == RC_AGAIN && span_next(&rest, '\n', &line))
		rc = policy_answer_take(&p, line, a, &e);
	INVARIANT(rc == RC_OK || rc == RC_AGAIN || e.text[0] != '\0');
	INVARIANT(p.lines <= LINES_MAX && (p.seen || p.action.n == 0));
	INVARIANT(rc != RC_OK || p.seen);
	INVARIANT(p.action.n == 0 || span_find(text, p.action) >= 0);
	INVARIANT(span_chr(p.action, '\n') < 0 && span_eq(span_trim(p.action), p.action));
}

static void words_only(const char *list)
{
	struct span rest = span_str(list), word;

	INVARIANT(list[0] != ' ');
	while (span_next(&rest, ' ', &word))
		INVARIANT(word.n > 0 && span_chr(word, '=') < 0);
}

/* "LIST LF LINE LF ..." */
static void as_ehlo(struct span text)
{
	struct ehlo all = { .features = FEAT_ESMTP }, bare = all, twice = all;
	struct span discard = SPAN_NONE, line, rest, wrong;

	(void)span_next(&text, '\n', &discard);
	for (rest = text; span_next(&rest, '\n', &line);) {
		wrong = ehlo_take(&bare, line, SPAN_NONE);
		INVARIANT(wrong.n == 0 || (wrong.p >= line.p && wrong.p + wrong.n <= line.p + line.n));
		(void)ehlo_take(&all, line, discard);
		(void)ehlo_take(&twice, line, SPAN("size, AUTH xforward STARTTLS"));
	}
	INVARIANT(memchr(bare.mechanisms, '\0', sizeof bare.mechanisms) != NULL);
	INVARIANT((all.features & ~bare.features) == 0 && bare.size_limit <= UINT64_MAX / 2);
	INVARIANT(bare.size_limit == 0 || (bare.features & FEAT_SIZE) != 0);
	INVARIANT(bare.mechanisms[0] == '\0' || (bare.features & FEAT_AUTH) != 0);
	INVARIANT(twice.size_limit == 0 && twice.mechanisms[0] == '\0');
	INVARIANT((twice.features &
		   ~(FEAT_ESMTP | FEAT_PIPELINING | FEAT_8BITMIME | FEAT_DSN | FEAT_SMTPUTF8)) == 0);
	words_only(bare.mechanisms);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span text = span_skip(span_make((const char *)data, size), 1);
	struct arena a;

	if (size < 1 || size > 65536)
		return 0;
	arena_init(&a);
	if (*data & 1)
		as_policy(text, &a);
	else if (span_chr(text, '\0') < 0) /* smtp/reply.h: such bytes are '?' by then */
		as_ehlo(text);
	arena_release(&a);
	return 0;
}
