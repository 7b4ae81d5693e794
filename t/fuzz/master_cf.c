/* Any bytes as master.cf: an error that says where, or entries that each have a name and a program. */
#include "conf/mastercf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mastercf *m = NULL;
	struct err e = { 0 };

	if (mastercf_parse(span_make((const char *)data, size), "master.cf", NULL, &m, &e) != RC_OK) {
		INVARIANT(e.text[0] != '\0');
		return 0;
	}
	for (size_t i = 0; i < m->n; i++)
		INVARIANT(m->entry[i].name.n > 0 && m->entry[i].argc > 0 && m->entry[i].argv[0].n > 0);
	mastercf_free(&m);
	return 0;
}
