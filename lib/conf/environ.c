/* conf/environ.c - import_environment and export_environment: "NAME", "NAME=value" or "{ NAME = value }". */
#include "conf/conf.h"
#include <stdlib.h>
#include <time.h>

bool conf_environment_word(struct span word, struct span *name, struct span *value)
{
	ptrdiff_t eq = span_chr(word, '=');

	*name = span_trim(eq < 0 ? word : span_head(word, (size_t)eq));
	*value = eq < 0 ? SPAN_NONE : span_trim(span_skip(word, (size_t)eq + 1));
	return eq >= 0;
}

void conf_enforce_environment(const struct conf *c)
{
	struct span *word, name, value;
	struct arena a;
	size_t n;

	arena_init(&a);
	if (conf_words(span_str(conf_str(c, "import_environment")), false, &a, &word, &n, NULL) != RC_OK)
		n = 0;
	for (size_t i = 0; i < n; i++)
		if (conf_environment_word(word[i], &name, &value) && name.n > 0)
			(void)setenv(arena_cstr(&a, name), arena_cstr(&a, value), 1);
	arena_release(&a);
	tzset();
}
