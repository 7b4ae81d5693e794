/* smtp/transcript.c - see transcript.h. */
#include "smtp/transcript.h"
#include "base/clock.h"
#include "ipc/ask.h"
#include "ipc/proto.h"
#include "log/log.h"
#include "queue/envelope.h"
#include "queue/qid.h"

#include <string.h>

#define TRANSCRIPT_MAX (48 * 1024) /* what is said later is not in the mail */
#define LINE_MAX_COLS  79
#define SUBMIT_S       60

static const struct {
	const char *name;
	unsigned bit;
} classes[] = {
	{ "bounce", NOTICE_BOUNCE },	 { "data", NOTICE_DATA },	  { "policy", NOTICE_POLICY },
	{ "protocol", NOTICE_PROTOCOL }, { "resource", NOTICE_RESOURCE }, { "software", NOTICE_SOFTWARE },
};

static bool has_word(const struct conf *c, const char *param, const char *word)
{
	struct span rest = span_str(conf_str(c, param)), w;

	while (span_next_word(&rest, ", \t\n", &w))
		if (span_is_ci(w, word))
			return true;
	return false;
}

unsigned transcript_classes(const struct conf *c)
{
	unsigned bits = 0;

	for (size_t i = 0; i < ARRAY_LEN(classes); i++)
		if (has_word(c, "notify_classes", classes[i].name))
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

void transcript_add(struct transcript *t, const char *who, struct span line)
{
	char text[1200];
	size_t n = 0;

	if (t->said.max == 0)
		buf_init(&t->said, TRANSCRIPT_MAX + 4096);
	t->lines++;
	if (t->said.n >= TRANSCRIPT_MAX)
		return;
	for (; n < line.n && n < sizeof(text); n++) {
		unsigned char c = (unsigned char)line.p[n];

		text[n] = c < ' ' || c > '~' ? '?' : (char)c;
	}
	add_folded(&t->said, who, span_make(text, n));
}

/* Passwords are nobody's to read, the postmaster's neither. */
struct span transcript_without_secret(struct span line)
{
	struct span rest = line, verb, mech, secret;

	if (span_next_word(&rest, " \t", &verb) && span_is_ci(verb, "AUTH") &&
	    span_next_word(&rest, " \t", &mech) && span_next_word(&rest, " \t", &secret))
		return span_head(line, (size_t)(secret.p - line.p));
	return line;
}

/* A notice that comes back here and is refused must not make another one. */
static bool is_own_notice(const struct conf *c, struct span line)
{
	struct span rest = line, verb;
	struct span own = span_str(conf_str(c, "double_bounce_sender"));
	ptrdiff_t at;

	if (!span_next_word(&rest, " \t", &verb) || !span_is_ci(verb, "MAIL"))
		return false;
	at = span_find(rest, own);
	return at > 0 && (size_t)at + own.n < rest.n && rest.p[at - 1] == '<' &&
	       rest.p[(size_t)at + own.n] == '@';
}

void transcript_add_command(struct transcript *t, const struct conf *c, const char *who, struct span line)
{
	t->own_notice |= is_own_notice(c, line);
	transcript_add(t, who, transcript_without_secret(line));
}

void transcript_forget(struct transcript *t)
{
	buf_release(&t->said);
	*t = (struct transcript){ 0 };
}

/* ---- the mail ---- */

static void write_mail(const struct transcript *t, const struct transcript_mail *m, const struct qid *id,
		       const char *to, struct buf *b)
{
	const char *origin = conf_str(m->conf, "myorigin"), *host = conf_str(m->conf, "myhostname");
	const char *name = conf_str(m->conf, "mail_name");
	char date[DATE_MAX];

	wall_rfc5322(wall_now(), date);
	(void)buf_printf(b, "Received: by %s (%s)\n\tid %s; %s\nDate: %s\n", host, name, id->s, date, date);
	(void)buf_printf(b, "From: Mail Delivery System <MAILER-DAEMON@%s>\nTo: Postmaster <%s%s%s>\n",
			 origin, to, strchr(to, '@') != NULL ? "" : "@",
			 strchr(to, '@') != NULL ? "" : origin);
	(void)buf_printf(b, "Message-Id: <%s@%s>\nAuto-Submitted: auto-generated\n", id->s, host);
	(void)buf_printf(b, "Subject: %s %s: errors from %s\n\n", name, m->role, m->peer);
	if (m->first != NULL)
		(void)buf_printf(b, "%s\n\n", m->first);
	(void)buf_printf(b, "Transcript of session follows.\n\n");
	(void)buf_append(b, buf_span(&t->said));
	if (t->said.n >= TRANSCRIPT_MAX)
		(void)buf_printf(b, " (what was said later is not shown)\n");
	if (m->ended_by != NULL)
		(void)buf_printf(b, "\nSession aborted, reason: %s\n", m->ended_by);
	else
		(void)buf_printf(b, "\n");
	(void)buf_printf(b, "\nThe local mail log may tell more.\n");
}

static void submit(const struct transcript_mail *m, const struct qid *id, struct span to, struct span content,
		   struct arena *a)
{
	struct env_rcpt rcpt = { .addr = to, .notify = NOTIFY_NEVER };
	struct envelope env = { .qid = qid_span(id),
				.arrival_us = wall_now().us,
				.sender = span_printf(a, "%s@%s", conf_str(m->conf, "double_bounce_sender"),
						      conf_str(m->conf, "myorigin")),
				.flags = ENVF_BOUNCE,
				.size = content.n,
				.rcpts = { &rcpt, 1 } };
	struct cleanup_submit q = { .content = content, .content_bytes = content.n };
	struct cleanup_submit_reply r = { .code = 0 };
	struct buf b;
	struct err e;

	if (!has_word(m->conf, "internal_mail_filter_classes", "notify"))
		env.flags |= ENVF_NO_HEADERBODY | ENVF_NO_MILTERS;
	buf_init(&b, IPC_FRAME_MAX);
	if (envelope_encode(&env, &b) != RC_OK)
		log_warning("postmaster notification: bad address of its recipient");
	else {
		q.envelope = buf_span(&b);
		if (ipc_ask(m->cleanup_service, false, IPC_CLEANUP_SUBMIT, &q, &r, a, deadline_s(SUBMIT_S),
			    &e) != RC_OK)
			log_warning("postmaster notification: %s: %s", m->cleanup_service, e.text);
		else if (r.code != 0)
			log_warning("postmaster notification: %u " SPAN_FMT, r.code, SPAN_ARG(r.text));
	}
	buf_release(&b);
}

void transcript_send(const struct transcript *t, const struct transcript_mail *m)
{
	const char *to = conf_str(m->conf, m->bounce ? "bounce_notice_recipient" : "error_notice_recipient");
	struct qid id = qid_new(m->lane);
	struct arena a;
	struct buf b;

	arena_init(&a);
	buf_init(&b, TRANSCRIPT_MAX + 8192);
	write_mail(t, m, &id, to, &b);
	submit(m, &id, span_str(to), buf_span(&b), &a);
	buf_release(&b);
	arena_release(&a);
}
