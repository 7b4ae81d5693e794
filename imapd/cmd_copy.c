/* COPY (RFC 3501 6.4.7), MOVE (RFC 6851), both with COPYUID (RFC 4315). */
#include "session.h"

static void put_copyuid(struct session *s, const uint32_t *from, const uint32_t *to, size_t n,
			uint32_t validity, struct buf *b)
{
	(void)s;
	buf_printf(b, "[COPYUID %u ", validity);
	put_numset(b, from, n);
	buf_putc(b, ' ');
	put_numset(b, to, n);
	buf_puts(b, "] ");
}

static void copy(struct session *s, struct parse *p, bool move)
{
	struct span to;
	size_t *seq, n, k = 0;
	uint32_t validity = 0;
	struct err e;
	if (!parse_sp(p) || !session_set(s, p, &seq, &n) || !parse_sp(p) || !parse_mailbox(p, &to) ||
	    !parse_end(p)) {
		tagged_bad(s, p);
		return;
	}
	if (move && s->readonly) {
		tagged_no(s, "[READ-ONLY] Mailbox is read-only");
		return;
	}
	uint32_t *to_uid = arena_array(&s->a, n + 1, sizeof(*to_uid)),
		 *from_uid = arena_array(&s->a, n + 1, sizeof(*from_uid));
	for (size_t i = 0; i < n; i++)
		from_uid[i] = mailbox_uid(s->mb, seq[i]);
	enum rc rc = mailbox_copy(s->mb, seq, n, to, move, to_uid, &validity, &e);
	if (rc != RC_OK) {
		if (rc == RC_NOTFOUND)
			tagged_no(s, "[TRYCREATE] %s", e.text);
		else
			tagged_failure(s, &e);
		return;
	}
	for (size_t i = 0; i < n; i++)
		if (to_uid[i]) {
			from_uid[k] = from_uid[i];
			to_uid[k++] = to_uid[i];
		}
	buf_reset(&s->out);
	if (k)
		put_copyuid(s, from_uid, to_uid, k, validity, &s->out);
	struct span code = span_dup(&s->a, buf_span(&s->out));
	if (move) { /* RFC 6851 4.3: the code comes before the EXPUNGEs */
		s->expunged += (uint32_t)k;
		if (k) {
			stream_puts(s->io, "* OK ");
			stream_write(s->io, code);
			stream_puts(s->io, "Moved UIDs.\r\n");
		}
		tagged_ok(s, "Move completed.");
		return;
	}
	session_news(s, true);
	if (s->state == ST_LOGOUT)
		return;
	stream_write(s->io, s->tag);
	stream_puts(s->io, " OK ");
	stream_write(s->io, code);
	stream_puts(s->io, "Copy completed.\r\n");
	s->done = true;
}

COMMAND(cmd_copy)
{
	copy(s, p, false);
}

COMMAND(cmd_move)
{
	copy(s, p, true);
}
