/* cmd/smtp-sink/data.c - the text after DATA, as fast as it comes: only <CRLF>.<CRLF> ends it (RFC 5321 section 4.1.1.4), a bare CR or
 * LF is data. For the dump lines end in LF and the dots that the client doubled are single again. */
#include "sink.h"
#include "log/log.h"
#include <string.h>

enum at { /* what has been seen */
	  AT_TEXT,
	  AT_CR,     /* <CR> */
	  AT_LINE,   /* <CRLF>, or the beginning */
	  AT_DOT,    /* <CRLF>. */
	  AT_DOT_CR, /* <CRLF>.<CR> */
	  AT_END
};

/* The part of `in` before the next CR belongs to one line: passes it on at once. */
static size_t take_text(struct span in, struct dump *d)
{
	const char *cr = memchr(in.p, '\r', in.n);
	size_t n = cr != NULL ? (size_t)(cr - in.p) : in.n;

	dump_write(d, span_head(in, n));
	return n;
}

/* One byte; a CR that begins no line end is dropped from the dump, like the dot at the beginning of a line. */
static enum at step(enum at at, char c, struct dump *d)
{
	if (c == '\r')
		return at == AT_DOT ? AT_DOT_CR : AT_CR;
	if (c == '\n' && at == AT_DOT_CR)
		return AT_END;
	if (c == '\n' && at == AT_CR) {
		dump_write(d, SPAN("\n"));
		return AT_LINE;
	}
	if (c == '.' && at == AT_LINE)
		return AT_DOT;
	dump_write(d, span_make(&c, 1));
	return AT_TEXT;
}

static size_t scan(struct span in, enum at *at, struct dump *d)
{
	size_t i = 0;

	while (i < in.n && *at != AT_END)
		if (*at == AT_TEXT && in.p[i] != '\r')
			i += take_text(span_skip(in, i), d);
		else
			*at = step(*at, in.p[i++], d);
	return i;
}

static bool read_text(struct session *s, struct dump *d)
{
	struct span in;
	struct err e;
	enum rc rc = RC_OK;
	enum at at = AT_LINE;

	while (at != AT_END && (rc = stream_peek(s->io, &in, deadline_s(conf.timeout_s), &e)) == RC_OK)
		stream_consume(s->io, scan(in, &at, d));
	if (rc == RC_TIMEOUT)
		log_warning("read timeout");
	return at == AT_END;
}

static void accept_message(struct session *s)
{
	for (unsigned i = 0; i < (conf.lmtp ? s->recipients : 1); i++)
		stream_puts(s->io, conf.lmtp ? "250 2.2.0 Ok\r\n" : "250 2.0.0 Ok\r\n");
}

bool data_receive(struct session *s)
{
	bool refused = false, go_on;

	if (conf.read_delay_s > 0) {
		if (!session_flush(s))
			return false;
		task_sleep_ms(conf.read_delay_s * 1000);
	}
	struct dump *d = dump_begin(s);
	go_on = read_text(s, d);
	dump_end(&d, go_on);
	if (!go_on)
		return false;
	log_debug(".");
	count_message();
	go_on = session_obey(s, verb_find(SPAN(".")), SPAN("."), &refused);
	if (go_on && !refused)
		accept_message(s);
	if (count_messages_enough()) {
		(void)session_flush(s); /* the client learns of the last one, too */
		loop_stop(0);
		return false;
	}
	return go_on;
}
