/* cmd/postern/lint_names.c - values that are one of a few words. */
#include "lint.h"

/* What would be refused was told before. */
static void look_at_choice(const struct lint *l, const char *param)
{
	struct conf_choice c;

	if (!conf_choice(param, lint_value(l, param), &c) && !c.fatal)
		lint_say(l, param, "\"" SPAN_FMT "\" means nothing here: %s of %s", SPAN_ARG(c.wrong),
			 c.list ? "words" : "one", c.words);
}

void lint_choices(const struct lint *l)
{
	for (const struct param *p = conf_params; p->name != NULL; p++) {
		if (lint_is_own(l, p->name))
			look_at_choice(l, p->name);
	}
}
