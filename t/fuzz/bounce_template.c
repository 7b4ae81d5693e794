/* Fuzz target: the file that bounce_template_file names. */
#include "conf/bounce_template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bounce_template t[BT_COUNT];
	struct arena a;
	struct err e;

	memcpy(t, bounce_templates, sizeof(t));
	arena_init(&a);
	if (bounce_template_parse(span_make((const char *)data, size), &a, t, &e) == RC_OK)
		for (size_t i = 0; i < BT_COUNT; i++)
			INVARIANT(t[i].subject.n > 0 && t[i].from.n > 0);
	arena_release(&a);
	return 0;
}
