/* Any bytes as main.cf: an error or a configuration whose every value expands, checks and splits within the
 * bounds. */
#include "conf/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void ignore(void *arg, bool error, const char *text)
{
	(void)arg;
	(void)error;
	INVARIANT(text[0] != '\0');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct conf *c = NULL;
	struct err e = { 0 };
	struct arena a;
	const char *name, *raw;
	unsigned line;
	enum rc rc;

	if (conf_parse(span_make((const char *)data, size), "main.cf", "/nonexistent", &c, &e) != RC_OK) {
		INVARIANT(e.text[0] != '\0');
		return 0;
	}
	arena_init(&a);
	for (size_t pos = 0; conf_next(c, &pos, &name, &raw, &line);) {
		struct span out, *word;
		size_t n;

		if (conf_expand(c, span_str(raw), &a, &out, &e) == RC_OK &&
		    conf_words(out, false, &a, &word, &n, &e) == RC_OK)
			INVARIANT(n <= out.n);
		arena_reset(&a);
	}
	rc = conf_check(c, ignore, NULL);
	INVARIANT(rc == RC_OK || rc == RC_SYNTAX);
	arena_release(&a);
	conf_free(&c);
	return 0;
}
