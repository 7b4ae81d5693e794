/* cmd/smtp-source/qmqp.c - qmqp-source(1): a connection, a message. QMQP (https://cr.yp.to/proto/qmqp.html): one netstring around
 * those of the message, the sender and each recipient; the answer is a netstring that begins with K (taken), Z (not now) or D
 * (never). */
#include "source.h"
#include "log/log.h"
#include <inttypes.h>
#include <unistd.h>

#define TIMEOUT_S      300
#define MESSAGE_BYTES  1024
#define ANSWER_MAX     (64 * 1024)
#define SUBMISSION_MAX ((size_t)1 << 31)

static struct buf submission; /* the same for all messages */

static void add_netstring(struct buf *b, struct span s)
{
	(void)buf_printf(b, "%zu:", s.n);
	(void)buf_append(b, s);
	(void)buf_putc(b, ',');
}

/* A header, then lines that grow by one byte; cut at `length`. */
static void make_message(struct buf *m, size_t length)
{
	char date[DATE_MAX];

	wall_rfc5322(wall_now(), date);
	(void)buf_printf(m, "From: <%s>\nTo: <%s>\nDate: %s\nMessage-Id: <%04x@%s>\n\n", conf.from, conf.to,
			 date, (unsigned)getpid(), conf.myhostname);
	for (size_t line = 1; m->n < length; line = line < 78 ? line + 1 : 1) {
		for (size_t i = 0; i < line && m->n < length; i++)
			(void)buf_putc(m, 'X');
		(void)buf_putc(m, '\n');
	}
	m->n = length;
	m->p[length - 1] = '\n';
}

void qmqp_prepare(int64_t length)
{
	struct buf inner, message;

	buf_init(&message, SUBMISSION_MAX);
	buf_init(&inner, SUBMISSION_MAX);
	buf_init(&submission, SUBMISSION_MAX);
	make_message(&message, length > 0 ? (size_t)length : MESSAGE_BYTES);
	add_netstring(&inner, buf_span(&message));
	add_netstring(&inner, span_str(conf.from));
	for (int64_t i = 0; i < conf.recipients; i++) {
		struct buf to;

		buf_init(&to, SUBMISSION_MAX);
		if (conf.recipients > 1)
			(void)buf_printf(&to, "%" PRId64, i);
		(void)buf_puts(&to, conf.to);
		add_netstring(&inner, buf_span(&to));
		buf_release(&to);
	}
	add_netstring(&submission, buf_span(&inner));
	if (!buf_ok(&submission) || !buf_ok(&inner))
		die("the message is too large");
	buf_release(&inner);
	buf_release(&message);
}

NORETURN static void broken(enum rc rc)
{
	die("%s while receiving server reply", rc == RC_TIMEOUT		      ? "timeout"
					       : rc == RC_EOF || rc == RC_SYS ? "lost connection"
									      : "netstring format error");
}

static void read_bytes(struct stream *io, char *to, size_t n)
{
	struct err e;
	enum rc rc = stream_read_exact(io, to, n, deadline_s(TIMEOUT_S), &e);

	if (rc != RC_OK)
		broken(rc);
}

/* The number in front of a netstring, and its colon. */
static size_t answer_length(struct stream *io)
{
	size_t n = 0;
	char c;

	for (read_bytes(io, &c, 1); ascii_isdigit(c) && n <= ANSWER_MAX; read_bytes(io, &c, 1))
		n = n * 10 + (size_t)(c - '0');
	if (c != ':' || n == 0 || n > ANSWER_MAX)
		broken(RC_SYNTAX);
	return n;
}

static void read_answer(struct stream *io)
{
	char *text;
	size_t n = answer_length(io);
	struct span why;

	text = xmalloc(n + 1);
	read_bytes(io, text, n + 1);
	if (text[n] != ',')
		broken(RC_SYNTAX);
	why = span_make(text + 1, n - 1);
	log_debug("<<< %c" SPAN_FMT, text[0], SPAN_ARG(why));
	if (text[0] != 'K')
		die("%s error: " SPAN_FMT,
		    text[0] == 'D'   ? "unrecoverable"
		    : text[0] == 'Z' ? "recoverable"
				     : "unknown",
		    SPAN_ARG(why));
	free(text);
}

void qmqp_run(void *number)
{
	(void)number;
	while (conf.messages > 0) {
		struct stream *io;

		conf.messages--;
		pause_before_message();
		io = stream_new(target_connect());
		stream_set_write_timeout(io, TIMEOUT_S);
		stream_write(io, buf_span(&submission));
		read_answer(io);
		stream_close(&io);
		count_message();
	}
}
