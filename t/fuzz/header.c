/* t/fuzz/header.c - any bytes as a header: fields cover it without gap or overlap, decoding stays within its
 * bound (RFC 5322 2.2, RFC 2047, RFC 2231). */
#include "mime/header.h"
#include "mime/params.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct span all = span_make((const char *)data, n), rest = all, type, subtype;
	struct header_field f;
	struct mime_param *v;
	struct arena a;
	size_t at = 0, params;

	arena_init(&a);
	while (header_next(&rest, &f) == RC_OK) {
		INVARIANT(f.all.p == all.p + at && f.all.n > 0);
		INVARIANT(f.body.p + f.body.n <= f.all.p + f.all.n);
		at += f.all.n;
		f.body = header_unfold(&a, f.body);
		INVARIANT(header_decode(&a, f.body).n <= f.body.n + 64 * 1024);
		if (params_parse_type(f.body, &a, &type, &subtype, &v, &params))
			for (size_t i = 0; i < params; i++)
				INVARIANT(v[i].value.n <= (size_t)PARAM_VALUE_MAX + n);
		arena_reset(&a);
	}
	INVARIANT(header_length(all) <= n);
	arena_release(&a);
	return 0;
}
