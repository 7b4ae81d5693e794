/* cmd/smtp-source/session.c - one session: connect, greet, transactions, QUIT. Every command waits for its reply: the
 * server is what is measured. */
#include "source.h"
#include "log/log.h"
#include "smtp/reply.h"
#include <inttypes.h>
#include <stdio.h>

#define REPLY_TIMEOUT_S	  300
#define COMMAND_MAX_BYTES (256 * 1024) /* more than the arguments of a process can hold each */

struct session {
	int64_t number;
	struct stream *io; /* NULL: not connected */
	struct smtp_reply reply;
	struct buf line; /* the command */
};
static int64_t done; /* messages, for -c */

/* The steps of a session, and how complaints name them. */
struct step {
	char good; /* first digit of the reply that is wanted */
	const char *refused, *lost;
};
static const struct step greeting = { '2', "rejected at server banner", "reading server greeting" };
static const struct step hello = { '2', "HELO rejected", "sending HELO" };
static const struct step lmtp_hello = { '2', "LHLO rejected", "sending LHLO" };
static const struct step mail = { '2', "sender rejected", "sending sender" };
static const struct step rcpt = { '2', "recipient rejected", "sending recipient" };
static const struct step data = { '3', "data rejected", "sending DATA command" };
static const struct step end = { '2', "end of data rejected", "sending message" };
static const struct step reset = { '2', "RSET rejected", "sending RSET" };

NORETURN static void lost(const struct step *step, enum rc rc, const struct err *e)
{
	if (rc == RC_TIMEOUT)
		die("timeout while %s", step->lost);
	if (rc == RC_SYNTAX || rc == RC_LIMIT)
		die("%s: no SMTP reply: %s", step->refused, e->text);
	die("lost connection while %s", step->lost);
}

static void read_reply(struct session *s, const struct step *step)
{
	struct err e = { 0 };

	smtp_reply_reset(&s->reply);
	enum rc rc = smtp_reply_read(&s->reply, s->io, deadline_s(REPLY_TIMEOUT_S), &e);
	if (rc != RC_OK)
		lost(step, rc, &e);
	if (log_verbose() > 0)
		log_debug("<<< " SPAN_FMT, SPAN_ARG(buf_span(&s->reply.text)));
}

/* Whether the server agreed; if it did not and -A was not given, the process ends. A 421 ends the connection (RFC 5321
 * section 3.8). */
static bool agreed(struct session *s, const struct step *step)
{
	struct arena a;

	read_reply(s, step);
	if (s->reply.code / 100 == (unsigned)(step->good - '0'))
		return true;
	arena_init(&a);
	struct span text = smtp_reply_text(&s->reply, &a);
	if (!conf.go_on)
		die("%s: " SPAN_FMT, step->refused, SPAN_ARG(text));
	log_warning("%s: " SPAN_FMT, step->refused, SPAN_ARG(text));
	arena_release(&a);
	if (s->reply.code == 421)
		stream_close(&s->io);
	return false;
}

static bool command(struct session *s, const struct step *step, const char *fmt, ...) PRINTF_LIKE(3, 4);
static bool command(struct session *s, const struct step *step, const char *fmt, ...)
{
	va_list ap;

	buf_reset(&s->line);
	va_start(ap, fmt);
	if (buf_vprintf(&s->line, fmt, ap) != RC_OK)
		die("too long: %.100s", fmt);
	va_end(ap);
	log_debug(SPAN_FMT, SPAN_ARG(buf_span(&s->line)));
	stream_write(s->io, buf_span(&s->line));
	stream_puts(s->io, "\r\n");
	return agreed(s, step);
}

/* The number goes before the address: with -N one that never comes again, else 2 and up for all but one. */
static bool send_recipient(struct session *s, int64_t index)
{
	static int64_t next;

	if (conf.numbered)
		return command(s, &rcpt, "RCPT TO:<%" PRId64 "%s>", ++next, conf.to);
	if (index > 1)
		return command(s, &rcpt, "RCPT TO:<%" PRId64 "%s>", index, conf.to);
	return command(s, &rcpt, "RCPT TO:<%s>", conf.to);
}

static int64_t send_recipients(struct session *s)
{
	int64_t accepted = 0;

	for (int64_t i = conf.recipients; i > 0 && s->io != NULL; i--)
		accepted += send_recipient(s, i);
	return accepted;
}

void count_message(void)
{
	done++;
	if (!conf.counter)
		return;
	printf("%" PRId64 "\r", done);
	fflush(stdout);
}

/* LMTP answers once for each recipient that was accepted (RFC 2033 section 4.2). */
static void send_text(struct session *s, int64_t message, int64_t accepted)
{
	if (!conf.old && !payload_has_header())
		payload_header(s->io, s->number, message);
	stream_write(s->io, payload_text());
	stream_puts(s->io, ".\r\n");
	log_debug(".");
	for (int64_t i = 0; i < (conf.lmtp ? accepted : 1) && s->io != NULL; i++)
		(void)agreed(s, &end);
	count_message();
}

static void send_message(struct session *s, int64_t message)
{
	int64_t accepted = 0;
	bool go_on = command(s, &mail, "MAIL FROM:<%s>", conf.from);

	if (go_on)
		accepted = send_recipients(s);
	if (accepted > 0 && s->io != NULL && command(s, &data, "DATA"))
		send_text(s, message, accepted);
	else if (s->io != NULL)
		(void)command(s, &reset, "RSET");
}

static void begin(struct session *s)
{
	s->io = stream_new(target_connect());
	stream_set_write_timeout(s->io, REPLY_TIMEOUT_S);
	(void)agreed(s, &greeting);
	if (s->io == NULL || conf.old)
		return;
	if (conf.lmtp)
		(void)command(s, &lmtp_hello, "LHLO %s", conf.myhostname);
	else
		(void)command(s, &hello, "HELO %s", conf.myhostname);
}

/* What the server says to QUIT is of no interest. */
static void quit(struct session *s)
{
	struct err e;

	if (s->io == NULL)
		return;
	log_debug("QUIT");
	stream_puts(s->io, "QUIT\r\n");
	smtp_reply_reset(&s->reply);
	if (smtp_reply_read(&s->reply, s->io, deadline_s(REPLY_TIMEOUT_S), &e) == RC_OK)
		log_debug("<<< " SPAN_FMT, SPAN_ARG(buf_span(&s->reply.text)));
	stream_close(&s->io);
}

void pause_before_message(void)
{
	int64_t ms = conf.pause_s * 1000;

	if (ms > 0)
		task_sleep_ms(conf.random_pause ? random() % (ms + 1) : ms);
}

void session_run(void *number)
{
	struct session s = { .number = (intptr_t)number };

	smtp_reply_init(&s.reply);
	buf_init(&s.line, COMMAND_MAX_BYTES);
	while (conf.messages > 0) {
		int64_t message = --conf.messages;
		pause_before_message();
		if (s.io == NULL)
			begin(&s);
		if (s.io != NULL)
			send_message(&s, message);
		if (!conf.keep)
			quit(&s);
	}
	quit(&s);
	smtp_reply_release(&s.reply);
	buf_release(&s.line);
}
