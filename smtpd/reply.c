/* reply.c - what the client is told, and the log line that goes with a refusal. */
#include "notice.h"
#include "log/event.h"
#include "mime/address_log.h"
#include "smtp/dsn.h"
#include <stdarg.h>

#define REPLY_MAX 1024 /* one reply; RFC 5321 section 4.5.3.1.5 asks for lines of at most 512 */

static unsigned code_of(const char *text)
{
	return ascii_isdigit(text[0]) && ascii_isdigit(text[1]) && ascii_isdigit(text[2])
		   ? (unsigned)((text[0] - '0') * 100 + (text[1] - '0') * 10 + (text[2] - '0'))
		   : 0;
}

/* soft_bounce: nothing is refused for good. */
static void soften(char *text)
{
	if (text[0] != '5' || !conf.soft_bounce)
		return;
	text[0] = '4';
	if (text[3] == ' ' && text[4] == '5' && text[5] == '.')
		text[4] = '4';
}

/* Bytes of a client may be in the text: none of them starts a line of its own. */
static void write_line(struct session *s, struct span code, char sep, struct span text)
{
	char line[REPLY_MAX + 8];
	size_t n = 0;

	memcpy(line, code.p, 3);
	line[3] = sep;
	for (n = 0; n < text.n && n < REPLY_MAX; n++) {
		unsigned char c = (unsigned char)text.p[n];

		line[4 + n] = c < ' ' || c == 0x7f ? '?' : (char)c;
	}
	n += 4;
	notice_out(s, span_make(line, n));
	line[n++] = '\r';
	line[n++] = '\n';
	stream_write(s->io, span_make(line, n));
}

static struct span expand_footer(struct session *s, struct span text, struct arena *a)
{
	struct words_of w = { s, s->rcpt_now };
	struct span out = SPAN_NONE;
	struct err e;

	if (conf_expand_with(service_conf(), text, session_word, &w, a, &out, &e) != RC_OK)
		log_warning("smtpd_reject_footer: %s", e.text);
	return out;
}

/* "\c" at the start of the footer joins it to the last line; "\n" in it parts lines (postconf(5)). */
static void write_with_footer(struct session *s, struct span code, struct span text, struct span footer,
			      struct arena *a)
{
	struct span line;
	ptrdiff_t at;

	footer = expand_footer(s, footer, a);
	if (span_starts(footer, SPAN("\\c"))) {
		at = span_find(footer, SPAN("\\n"));
		line = span_head(span_skip(footer, 2), at >= 2 ? (size_t)at - 2 : footer.n);
		text = span_printf(a, SPAN_FMT SPAN_FMT, SPAN_ARG(text), SPAN_ARG(line));
		footer = at >= 0 ? span_skip(footer, (size_t)at + 2) : SPAN_NONE;
	}
	struct span dsn = span_head(text, dsn_length(text));
	write_line(s, code, footer.n > 0 ? '-' : ' ', text);
	while (footer.n > 0) {
		at = span_find(footer, SPAN("\\n"));
		line = span_head(footer, at >= 0 ? (size_t)at : footer.n);
		footer = at >= 0 ? span_skip(footer, (size_t)at + 2) : SPAN_NONE;
		line = span_printf(a, SPAN_FMT "%s" SPAN_FMT, SPAN_ARG(dsn), dsn.n > 0 ? " " : "",
				   SPAN_ARG(line));
		write_line(s, code, footer.n > 0 ? '-' : ' ', line);
	}
}

/* The tables may wait: nothing here depends on what was before. */
static void write_refusal(struct session *s, char *text, size_t size)
{
	struct span all, footer;
	struct arena a;

	arena_init(&a);
	all = reject_filter(span_dup(&a, span_str(text)), &a);
	(void)snprintf(text, size, SPAN_FMT, SPAN_ARG(all));
	footer = s->greeted ? reject_footer(all, &a) : SPAN_NONE;
	write_with_footer(s, span_head(all, 3), span_skip(all, 4), footer, &a);
	arena_release(&a);
}

static void write_reply(struct session *s, char *text, size_t size)
{
	struct span rest, line;
	unsigned value = code_of(text);

	soften(text);
	while (span_next(&s->reply_first, '\n', &line))
		write_line(s, span_make(text, 3), '-', line);
	rest = span_skip(span_str(text), 4);
	if (value >= 400)
		write_refusal(s, text, size);
	else
		while (span_next(&rest, '\n', &line))
			write_line(s, span_make(text, 3), rest.n > 0 ? '-' : ' ', line);
	value = code_of(text);
	/* 421 and 521 end the conversation: RFC 5321 section 3.8, RFC 7504. */
	if (value == 421 || value == 521)
		s->hangup = true;
}

void reply(struct session *s, const char *fmt, ...)
{
	char text[REPLY_MAX];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	/* Somebody who guesses gets slower answers, of every kind. */
	if (s->errors >= (unsigned)conf.soft_error_limit && conf.error_sleep_s > 0) {
		session_flush(s, conf.timeout_s);
		task_sleep_ms(conf.error_sleep_s * 1000);
	}
	write_reply(s, text, sizeof(text));
}

void reply_verdict(struct session *s, const struct verdict *v)
{
	if (v->dsn.n > 0)
		reply(s, "%u " SPAN_FMT " " SPAN_FMT, v->code, SPAN_ARG(v->dsn), SPAN_ARG(v->text));
	else
		reply(s, "%u " SPAN_FMT, v->code, SPAN_ARG(v->text));
}

void log_action(struct session *s, const char *what, const char *where, struct span rcpt, const char *said)
{
	char text[REPLY_MAX];

	(void)snprintf(text, sizeof(text), "%s", said);
	if (code_of(text) > 0)
		soften(text);
	char from[ENV_ADDR_MAX + 16] = "", to[ENV_ADDR_MAX + 16] = "", helo[300] = "";

	struct span sender = s->tx != NULL ? address_log(s->tx->sender) : SPAN_NONE,
		    shown = address_log(rcpt);

	if (s->tx != NULL)
		(void)snprintf(from, sizeof(from), " from=<" SPAN_FMT ">", SPAN_ARG(sender));
	if (rcpt.n > 0)
		(void)snprintf(to, sizeof(to), " to=<" SPAN_FMT ">", SPAN_ARG(shown));
	if (s->client.helo.n > 0)
		(void)snprintf(helo, sizeof(helo), " helo=<" SPAN_FMT ">", SPAN_ARG(s->client.helo));
	EVENT("restriction", EV_TEXT("queue_id", s->tx != NULL ? qid_span(&s->tx->qid) : SPAN_NONE),
	      EV_CSTR("action", what), EV_CSTR("stage", where), EV_TEXT("client_name", s->client.name),
	      EV_TEXT("client_address", s->client.addr),
	      EV_TEXT("sender", s->tx != NULL ? s->tx->sender : SPAN_NONE), EV_TEXT("recipient", rcpt),
	      EV_TEXT("helo", s->client.helo), EV_CSTR("protocol", session_proto(s)),
	      EV_CSTR("reason", text));
	log_info("%s: %s: %s from %s: %s;%s%s proto=%s%s", session_message(s), what, where, session_client(s),
		 text, from, to, session_proto(s), helo);
}
