/* t/fuzz/smtp_reply.c - no reply of a server, whatever its bytes, does more than be refused (RFC 5321
 * section 4.2). */
#include "smtp/reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct smtp_reply r;
	struct arena a;
	struct span rest = span_make((const char *)data, n), line;
	smtp_reply_init(&r);
	arena_init(&a);
	while (span_next(&rest, '\n', &line)) {
		enum rc rc = smtp_reply_feed(&r, line);
		if (rc == RC_AGAIN)
			continue;
		if (rc == RC_OK) {
			INVARIANT(r.code <= 999 && strlen(r.dsn) < SMTP_DSN_MAX);
			struct span text = smtp_reply_text(&r, &a);
			for (size_t i = 0; i < text.n; i++)
				INVARIANT((unsigned char)text.p[i] >= ' ' && text.p[i] != 0x7f);
		}
		smtp_reply_reset(&r);
	}
	smtp_reply_release(&r);
	arena_release(&a);
	return 0;
}
