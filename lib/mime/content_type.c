/* mime/content_type.c - types that hold parts. */
#include "mime/content_type.h"
#include "mime/header.h"
#include "mime/params.h"

static void add_boundaries(struct content_type *t, const struct mime_param *v, size_t n, struct arena *a)
{
	for (size_t i = 0; i < n; i++) {
		if (!span_is_ci(v[i].name, "boundary") || v[i].value.n == 0)
			continue;
		if (t->boundaries < BOUNDARIES_MAX)
			t->boundaries++;
		/* of too many the last is kept, as are the first: readers take one or the other */
		t->boundary[t->boundaries - 1] = span_dup(a, v[i].value);
	}
}

void content_type_add(struct content_type *t, struct span body, struct arena *a)
{
	struct span type, subtype = SPAN_NONE;
	struct mime_param *v;
	struct arena work; /* of its own: a message may hold very many fields */
	size_t n;

	arena_init(&work);
	body = header_unfold(&work, body);
	if (!params_parse_type(body, &work, &type, &subtype, &v, &n))
		params_parse_value(body, &work, &type, &v,
				   &n); /* without a subtype: a multipart all the same */
	t->multipart = span_is_ci(type, "multipart");
	t->message = span_is_ci(type, "message");
	t->digest = t->multipart && span_is_ci(subtype, "digest");
	t->nested = t->message && (span_is_ci(subtype, "rfc822") || span_is_ci(subtype, "global"));
	if (t->multipart) {
		params_all(body, &work, &v, &n);
		add_boundaries(t, v, n, a);
	}
	arena_release(&work);
}
