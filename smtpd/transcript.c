/* transcript.c - what was said in a session, and the mail that tells the postmaster of it (notify_classes: policy,
 * protocol, resource, software; error_notice_recipient). Nothing is remembered when no class is asked for. */
#include "transcript.h"
#include "base/clock.h"
#include "mime/address.h"

#define TRANSCRIPT_MAX (48 * 1024) /* what is said later is not in the mail */
#define LINE_MAX_COLS  79
#define SUBMIT_S       60

static const struct {
	const char *name;
	unsigned bit;
} classes[] = {
	{ "policy", NOTICE_POLICY },
	{ "protocol", NOTICE_PROTOCOL },
	{ "resource", NOTICE_RESOURCE },
	{ "software", NOTICE_SOFTWARE },
};

static bool has_word(const char *param, const char *word)
{
	struct span rest = span_str(conf_str(service_conf(), param)), w;

	while (span_next_word(&rest, ", \t\n", &w))
		if (span_is_ci(w, word))
			return true;
	return false;
}

unsigned transcript_classes(void)
{
	unsigned bits = 0;

	for (size_t i = 0; i < ARRAY_LEN(classes); i++)
		if (has_word("notify_classes", classes[i].name))
			bits |= classes[i].bit;
	return bits;
}

/* ---- what is said ---- */

/* One line, folded at blanks so that it can be read in a mail. */
static void add_folded(struct buf *b, const char *who, struct span line)
{
	struct span word;
	size_t column = 6;
	bool first = true;

	(void)buf_printf(b, " %s", who);
	while (span_next(&line, ' ', &word)) {
		if (!first && column + 1 + word.n > LINE_MAX_COLS) {
			(void)buf_printf(b, "\n     " SPAN_FMT, SPAN_ARG(word));
			column = 5 + word.n;
		} else {
			(void)buf_printf(b, "%s" SPAN_FMT, first ? "" : " ", SPAN_ARG(word));
			column += word.n + !first;
		}
		first = false;
	}
	(void)buf_append(b, SPAN("\n"));
}

static void add(struct session *s, const char *who, struct span line)
{
	char text[1200];
	size_t n = 0;

	if (conf.notice_classes == 0)
		return;
	if (s->said.max == 0)
		buf_init(&s->said, TRANSCRIPT_MAX + 4096);
	s->said_lines++;
	if (s->said.n >= TRANSCRIPT_MAX)
		return;
	for (; n < line.n && n < sizeof(text); n++) {
		unsigned char c = (unsigned char)line.p[n];

		text[n] = c < ' ' || c > '~' ? '?' : (char)c;
	}
	add_folded(&s->said, who, span_make(text, n));
}

/* Passwords are nobody's to read, the postmaster's neither. */
static struct span without_secret(struct span line)
{
	struct span rest = line, verb, mech, secret;

	if (span_next_word(&rest, " \t", &verb) && span_is_ci(verb, "AUTH") &&
	    span_next_word(&rest, " \t", &mech) && span_next_word(&rest, " \t", &secret))
		return span_head(line, (size_t)(secret.p - line.p));
	return line;
}

/* A notice that comes back here and is refused must not make another one. */
static bool is_own_notice(struct span line)
{
	struct span rest = line, verb;
	struct span own = span_str(conf_str(service_conf(), "double_bounce_sender"));
	ptrdiff_t at;

	if (!span_next_word(&rest, " \t", &verb) || !span_is_ci(verb, "MAIL"))
		return false;
	at = span_find(rest, own);
	return at > 0 && (size_t)at + own.n < rest.n && rest.p[at - 1] == '<' &&
	       rest.p[(size_t)at + own.n] == '@';
}

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

void transcript_out(struct session *s, struct span line)
{
	if (s->debug)
		log_info("> %s: " SPAN_FMT, session_client(s), SPAN_ARG(line));
	if (conf.notice_classes == 0)
		return;
	s->trouble |= s->policy && line.p[0] >= '4' && class_of(line) != NOTICE_SOFTWARE ? NOTICE_POLICY
											 : class_of(line);
	add(s, "Out: ", line);
}

/* ---- the mail ---- */

static void write_mail(struct session *s, const struct qid *id, const char *to, struct buf *b)
{
	const struct conf *c = service_conf();
	const char *origin = conf_str(c, "myorigin");
	char date[DATE_MAX];

	wall_rfc5322(wall_now(), date);
	(void)buf_printf(b, "Received: by %s (%s)\n\tid %s; %s\nDate: %s\n", conf.myhostname, conf.mail_name,
			 id->s, date, date);
	(void)buf_printf(b, "From: Mail Delivery System <MAILER-DAEMON@%s>\nTo: Postmaster <%s%s%s>\n",
			 origin, to, strchr(to, '@') != NULL ? "" : "@",
			 strchr(to, '@') != NULL ? "" : origin);
	(void)buf_printf(b, "Message-Id: <%s@%s>\nAuto-Submitted: auto-generated\n", id->s, conf.myhostname);
	(void)buf_printf(b, "Subject: %s %s server: errors from %s\n\nTranscript of session follows.\n\n",
			 conf.mail_name, conf.lmtp ? "LMTP" : "SMTP", session_client(s));
	(void)buf_append(b, buf_span(&s->said));
	if (s->said.n >= TRANSCRIPT_MAX)
		(void)buf_printf(b, " (what was said later is not shown)\n");
	if (s->ended_by != NULL)
		(void)buf_printf(b, "\nSession aborted, reason: %s\n", s->ended_by);
	else
		(void)buf_printf(b, "\n");
	(void)buf_printf(b, "\nThe local mail log may tell more.\n");
}

static void submit(const struct qid *id, struct span to, struct span content, struct arena *a)
{
	const struct conf *c = service_conf();
	struct env_rcpt rcpt = { .addr = to, .notify = NOTIFY_NEVER };
	struct envelope env = { .qid = qid_span(id),
				.arrival_us = wall_now().us,
				.sender = span_printf(a, "%s@%s", conf_str(c, "double_bounce_sender"),
						      conf_str(c, "myorigin")),
				.flags = ENVF_BOUNCE,
				.size = content.n,
				.rcpts = { &rcpt, 1 } };
	struct cleanup_submit q = { .content = content, .content_bytes = content.n };
	struct cleanup_submit_reply r = { .code = 0 };
	struct buf b;
	struct err e;

	if (!has_word("internal_mail_filter_classes", "notify"))
		env.flags |= ENVF_NO_HEADERBODY | ENVF_NO_MILTERS;
	buf_init(&b, IPC_FRAME_MAX);
	if (envelope_encode(&env, &b) != RC_OK)
		log_warning("postmaster notification: bad error_notice_recipient");
	else {
		q.envelope = buf_span(&b);
		if (service_request(conf.cleanup_service, false, IPC_CLEANUP_SUBMIT, &q, &r, a,
				    deadline_s(SUBMIT_S), &e) != RC_OK)
			log_warning("postmaster notification: %s: %s", conf.cleanup_service, e.text);
		else if (r.code != 0)
			log_warning("postmaster notification: %u " SPAN_FMT, r.code, SPAN_ARG(r.text));
	}
	buf_release(&b);
}

static void send_notice(struct session *s)
{
	const char *to = conf_str(service_conf(), "error_notice_recipient");
	struct qid id = qid_new(service_lane());
	struct arena a;
	struct buf b;

	session_flush(s, 10); /* the client need not wait */
	arena_init(&a);
	buf_init(&b, TRANSCRIPT_MAX + 8192);
	write_mail(s, &id, to, &b);
	submit(&id, span_str(to), buf_span(&b), &a);
	buf_release(&b);
	arena_release(&a);
}

static void forget(struct session *s)
{
	buf_release(&s->said);
	s->said_lines = s->trouble = 0;
}

void transcript_end(struct session *s)
{
	if ((s->trouble & conf.notice_classes) != 0 && !s->quiet)
		send_notice(s);
	forget(s);
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

void transcript_in(struct session *s, struct span line)
{
	if (s->debug)
		log_info("< %s: " SPAN_FMT, session_client(s), SPAN_ARG(without_secret(line)));
	if (conf.notice_classes == 0)
		return;
	if ((int64_t)s->said_lines > conf.history_max && starts_over(s, line))
		transcript_end(s);
	s->quiet |= is_own_notice(line);
	add(s, "In:  ", without_secret(line));
}
