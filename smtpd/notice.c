/* notice.c - the transcript of a session: what goes into it, and when the postmaster is told (lib/smtp/transcript.h). Nothing
 * is remembered when no class is asked for. */
#include "notice.h"
#include "smtp/transcript.h"

/* ---- what went wrong ---- */

/* RFC 3463: the status says what it was about. Restrictions say themselves that they are policy. */
static unsigned class_of(struct span line)
{
	static const struct {
		const char *dsn; /* behind its class */
		unsigned bit;
	} rows[] = {
		{ ".3.0", NOTICE_SOFTWARE },
		{ ".3.5", NOTICE_SOFTWARE },
		{ ".3.1", NOTICE_RESOURCE },
		{ ".3.2", 0 },
		{ ".4.2", 0 },
		{ ".5.3", NOTICE_POLICY },
		{ ".5.", NOTICE_PROTOCOL },
	};
	struct span dsn = span_skip(line, 5);

	if (line.n < 9 || line.p[0] < '4' || (line.p[4] != '4' && line.p[4] != '5') || line.p[5] != '.')
		return line.n > 0 && line.p[0] >= '4' ? NOTICE_POLICY : 0;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (span_starts(dsn, span_str(rows[i].dsn)))
			return rows[i].bit;
	return NOTICE_POLICY;
}

/* Mail that would have bounced here is told of as bounces are. */
static unsigned trouble_of(const struct session *s, struct span line)
{
	unsigned class = class_of(line);

	if (!s->policy || line.p[0] < '4' || class == NOTICE_SOFTWARE)
		return class;
	return s->unlisted ? NOTICE_BOUNCE : NOTICE_POLICY;
}

void notice_out(struct session *s, struct span line)
{
	if (s->debug)
		log_info("> %s: " SPAN_FMT, session_client(s), SPAN_ARG(line));
	if (conf.notice_classes == 0)
		return;
	s->trouble |= trouble_of(s, line);
	s->unlisted = false;
	transcript_add(&s->said, "Out: ", line);
}

void notice_end(struct session *s)
{
	struct transcript_mail m = { .conf = service_conf(),
				     .lane = service_lane(),
				     .cleanup_service = conf.cleanup_service,
				     .bounce = (s->trouble & NOTICE_BOUNCE) != 0,
				     .role = conf.lmtp ? "LMTP server" : "SMTP server",
				     .peer = session_client(s),
				     .ended_by = s->ended_by };

	if ((s->trouble & conf.notice_classes) != 0 && !s->said.own_notice) {
		session_flush(s, 10); /* the client need not wait */
		transcript_send(&s->said, &m);
	}
	transcript_forget(&s->said);
	s->trouble = 0;
}

/* Where a conversation begins anew, and after a message. */
static bool starts_over(const struct session *s, struct span line)
{
	static const char *const verbs[] = { "EHLO", "HELO", "LHLO", "RSET" };
	struct span verb;

	if (!span_next_word(&line, " \t", &verb))
		return false;
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
		if (span_is_ci(verb, verbs[i]))
			return true;
	return s->tx == NULL && s->messages > 0 && span_is_ci(verb, "MAIL");
}

void notice_in(struct session *s, struct span line)
{
	if (s->debug)
		log_info("< %s: " SPAN_FMT, session_client(s), SPAN_ARG(transcript_without_secret(line)));
	if (conf.notice_classes == 0)
		return;
	if ((int64_t)s->said.lines > conf.history_max && starts_over(s, line))
		notice_end(s);
	transcript_add_command(&s->said, service_conf(), "In:  ", line);
}
