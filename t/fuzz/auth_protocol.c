/* t/fuzz/auth_protocol.c - any bytes as lines that a client sends to auth(8): what is accepted has terminated
 * texts and an id, and values survive the protocol's escapes. */
#include "../../auth/protocol.c" /* a daemon's file: not in the archive */
#include "base/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void terminated(const char *s, size_t size)
{
	INVARIANT(memchr(s, '\0', size) != NULL);
}

static void one_line(struct span line)
{
	struct request r;
	struct buf b;

	buf_init(&b, 12288);
	if (request_parse(line, &r) == RC_OK) {
		terminated(r.mech, sizeof(r.mech));
		terminated(r.service, sizeof(r.service));
		terminated(r.rip, sizeof(r.rip));
		terminated(r.lip, sizeof(r.lip));
		INVARIANT(r.kind != REQ_AUTH || (r.id != 0 && r.mech[0]));
		INVARIANT(r.base64.n <= line.n && r.cookie.n <= line.n);
		if (r.has_data && base64_decode(&b, r.base64) == RC_OK)
			INVARIANT(b.n <= r.base64.n);
	}
	buf_reset(&b);
	protocol_put_value(&b, line);
	INVARIANT(span_chr(buf_span(&b), '\t') < 0 && span_chr(buf_span(&b), '\n') < 0);
	INVARIANT(span_chr(buf_span(&b), '\0') < 0);
	buf_release(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span rest = span_make((const char *)data, size), line;

	while (span_next(&rest, '\n', &line))
		one_line(line);
	return 0;
}
