/* t/fuzz/mime.c - any bytes as a message: a bounded tree whose parts lie within their parents (RFC 2046). */
#include "mime/mime.h"

static size_t parts;

static void walk(const struct mime_part *p, uint64_t from, uint64_t to, unsigned depth)
{
	INVARIANT(++parts <= MIME_PARTS_MAX && depth <= MIME_DEPTH_MAX + 1);
	INVARIANT(p->header_off >= from && p->body_off == p->header_off + p->header_len);
	INVARIANT(p->body_off + p->body_len <= (to > p->body_off ? to : p->body_off));
	INVARIANT(p->crlf_body_len >= p->body_len && p->crlf_header_len >= p->header_len);
	for (const struct mime_part *c = p->child; c; c = c->next)
		walk(c, p->body_off, p->body_off + p->body_len, depth + 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct arena a;

	arena_init(&a);
	parts = 0;
	walk(mime_parse(span_make((const char *)data, n), &a), 0, n, 0);
	arena_release(&a);
	return 0;
}
