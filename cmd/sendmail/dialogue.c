/* dialogue.c - sendmail -bs: SMTP (RFC 5321) on standard input and output, for mail readers that speak it to a
 * program. The caller is a local user like any other: what he may do is what sendmail(1) lets him do, so the
 * dialogue is held here, without rights, and each message goes the way of all local ones (submit.c). No network
 * client gets a session by this: one that inetd(8) connects to us has the rights of the user we run as.
 *
 * States: greeted (EHLO or HELO), sender known, recipients known. */
#include "sendmail.h"
#include "base/codec.h"
#include "mime/address.h"
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <unistd.h>

#define LINE_MAX_BYTES 2048 /* of a command (line_length_limit) */
#define RCPT_MAX       1000 /* smtpd_recipient_limit */
#define ERRORS_MAX     100

struct dialogue {
	struct options *o;
	bool greeted, have_sender;
	struct span sender;
	uint16_t body;
	bool smtputf8;
	struct env_rcpt *rcpt;
	size_t rcpts, cap;
	unsigned errors;
	bool crlf; /* the command ended so: then its data has to, too */
	uint64_t size_limit;
};

static struct {
	char bytes[65536];
	size_t n, at;
} in;

/* As long as smtpd(8) waits. */
static bool wait_input(void)
{
	struct pollfd p = { .fd = STDIN_FILENO, .events = POLLIN };
	int64_t s = conf_int(config, "smtpd_timeout");
	int ready;

	do
		ready = poll(&p, 1, s < INT_MAX / 1000 ? (int)(s * 1000) : INT_MAX);
	while (ready < 0 && errno == EINTR);
	if (ready == 0)
		printf("421 4.4.2 %s Error: timeout exceeded\r\n", conf_str(config, "myhostname"));
	return ready > 0;
}

static int next_byte(void)
{
	ssize_t got;

	if (in.at == in.n) {
		if (fflush(stdout) != 0 || !wait_input()) /* replies to pipelined commands go together */
			return -1;
		do
			got = read(STDIN_FILENO, in.bytes, sizeof(in.bytes));
		while (got < 0 && errno == EINTR);
		if (got <= 0)
			return -1;
		in.n = (size_t)got;
		in.at = 0;
	}
	return (unsigned char)in.bytes[in.at++];
}

static void say(const char *fmt, ...) PRINTF_LIKE(1, 2);
static void say(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vprintf(fmt, ap);
	va_end(ap);
	fputs("\r\n", stdout);
}

static void end_transaction(struct dialogue *d)
{
	d->have_sender = false;
	d->sender = SPAN_NONE;
	d->rcpts = 0;
	d->body = BODY_7BIT;
	d->smtputf8 = false;
}

/* ---- commands ---- */
static void cmd_helo(struct dialogue *d, struct span arg)
{
	if (arg.n == 0) {
		say("501 Syntax: HELO hostname");
		return;
	}
	end_transaction(d);
	d->greeted = true;
	say("250 %s", conf_str(config, "myhostname"));
}

static void cmd_ehlo(struct dialogue *d, struct span arg)
{
	if (arg.n == 0) {
		say("501 Syntax: EHLO hostname");
		return;
	}
	end_transaction(d);
	d->greeted = true;
	say("250-%s\r\n250-PIPELINING\r\n250-SIZE %lld\r\n250-ENHANCEDSTATUSCODES\r\n250-SMTPUTF8\r\n250 "
	    "8BITMIME",
	    conf_str(config, "myhostname"), (long long)conf_int(config, "message_size_limit"));
}

/* "FROM:<path> PARAMS": false, when it is not that. */
static bool path_of(struct span arg, const char *keyword, struct span *path, struct span *params)
{
	struct span key = span_str(keyword);
	ptrdiff_t end;

	if (!span_starts_ci(arg, key))
		return false;
	arg = span_trim(span_skip(arg, key.n));
	if (span_starts(arg, SPAN("<")) && (end = span_chr(arg, '>')) > 0) {
		*path = span_make(arg.p + 1, (size_t)end - 1);
		*params = span_skip(arg, (size_t)end + 1);
		return true;
	}
	*params = arg;
	return span_next_word(params, " \t", path) && path->p[0] != '<';
}

/* An address as this dialogue takes it: "user" alone is completed later, as on the command line. */
static bool good_path(const struct dialogue *d, struct span path, struct span *out)
{
	bool routed;

	return path.n <= ENV_ADDR_MAX &&
	       address_parse_path(path, d->smtputf8, &memory, out, &routed) == RC_OK;
}

/* false: the reply is sent. */
static bool mail_param(struct dialogue *d, struct span w)
{
	uint64_t size = 0;

	if (span_starts_ci(w, SPAN("SIZE=")) && span_to_u64(span_skip(w, 5), INT64_MAX, &size) == RC_OK) {
		if (size <= d->size_limit)
			return true;
		say("552 5.3.4 Message size exceeds fixed limit");
		return false;
	}
	if (span_is_ci(w, "SMTPUTF8"))
		return d->smtputf8 = true;
	if (span_is_ci(w, "BODY=8BITMIME") || span_is_ci(w, "BODY=7BIT")) {
		d->body = span_is_ci(w, "BODY=7BIT") ? BODY_7BIT : BODY_8BITMIME;
		return true;
	}
	say("555 5.5.4 Unsupported option: " SPAN_FMT, SPAN_ARG(span_head(w, 200)));
	return false;
}

static void cmd_mail(struct dialogue *d, struct span arg)
{
	struct span path, params, w;

	if (!d->greeted) {
		say("503 5.5.1 Error: send HELO/EHLO first");
		return;
	}
	if (d->have_sender) {
		say("503 5.5.1 Error: nested MAIL command");
		return;
	}
	if (!path_of(arg, "FROM:", &path, &params)) {
		say("501 5.5.4 Syntax: MAIL FROM:<address>");
		return;
	}
	end_transaction(d);
	while (span_next_word(&params, " \t", &w))
		if (!mail_param(d, w))
			return;
	if (path.n > 0 && !good_path(d, path, &d->sender)) {
		say("501 5.1.7 Bad sender address syntax");
		return;
	}
	d->sender = span_dup(&memory, d->sender);
	d->have_sender = true;
	say("250 2.1.0 Ok");
}

static void cmd_rcpt(struct dialogue *d, struct span arg)
{
	struct span path, params, w, addr;

	if (!d->have_sender)
		say("503 5.5.1 Error: need MAIL command");
	else if (!path_of(arg, "TO:", &path, &params))
		say("501 5.5.4 Syntax: RCPT TO:<address>");
	else if (span_next_word(&params, " \t", &w))
		say("555 5.5.4 Unsupported option: " SPAN_FMT, SPAN_ARG(span_head(w, 200)));
	else if (!good_path(d, path, &addr))
		say("501 5.1.3 Bad recipient address syntax");
	else if (d->rcpts == RCPT_MAX)
		say("452 4.5.3 Error: too many recipients");
	else {
		if (d->rcpts == d->cap)
			d->rcpt = arena_grow(&memory, d->rcpt, d->rcpts, &d->cap, sizeof(*d->rcpt));
		d->rcpt[d->rcpts++] = (struct env_rcpt){ .addr = span_dup(&memory, addr) };
		say("250 2.1.5 Ok");
	}
}

/* ---- the message ---- */
/* One line of it, into `line`; false at the end of input. *ended: with CRLF, when the client uses that. */
static bool data_line(const struct dialogue *d, struct buf *line, bool *ended)
{
	int c;

	buf_reset(line);
	while ((c = next_byte()) >= 0 && c != '\n')
		(void)buf_putc(line, (char)c);
	*ended = !d->crlf;
	if (line->n > 0 && line->p[line->n - 1] == '\r') {
		line->n--;
		*ended = d->crlf;
	}
	return c >= 0;
}

/* Up to the dot; false when the input ends before: that is no message. A dot ends it only between line ends of
 * the kind that the commands have: what else looks like one was written by whoever wrote the text. */
static bool read_data(const struct dialogue *d, struct buf *out)
{
	bool ended, before = true;
	struct buf line;

	buf_init(&line, (size_t)d->size_limit + 2);
	while (data_line(d, &line, &ended)) {
		struct span s = buf_span(&line);

		if (span_is(s, ".") && ended && before) {
			buf_release(&line);
			return true;
		}
		if (span_starts(s, SPAN(".")))
			s = span_skip(s, 1);
		(void)buf_append(out, s);
		(void)buf_putc(out, '\n');
		before = ended;
	}
	buf_release(&line);
	return false;
}

static void hand_over(struct dialogue *d, struct span content)
{
	struct envelope env = { .arrival_us = wall_now().us,
				.sender = d->sender,
				.body = d->body,
				.rcpts = { d->rcpt, d->rcpts } };
	const char *why = "";

	env.flags = (d->smtputf8 ? ENVF_SMTPUTF8 : 0) | (span_is_ascii(content) ? 0 : ENVF_MIME_CONVERT);
	env.full_name = span_str(d->o->full_name != NULL ? d->o->full_name : full_name_of_user());
	switch (submit_try(&env, content, &why)) {
	case SUBMIT_STORED:
		say("250 2.0.0 Ok: queued");
		break;
	case SUBMIT_REFUSED:
		say("550 5.7.1 %s", why);
		break;
	case SUBMIT_FAILED:
		say("451 4.3.0 %s", why);
		break;
	}
}

static void cmd_data(struct dialogue *d, struct span arg)
{
	struct buf b;

	(void)arg;
	if (d->rcpts == 0) {
		say(d->have_sender ? "554 5.5.1 Error: no valid recipients"
				   : "503 5.5.1 Error: need RCPT command");
		return;
	}
	say("354 End data with <CR><LF>.<CR><LF>");
	buf_init(&b, (size_t)d->size_limit);
	if (!read_data(d, &b))
		_exit(75); /* the client is gone: nothing was promised */
	if (buf_ok(&b))
		hand_over(d, buf_span(&b));
	else
		say("552 5.3.4 Error: message file too big");
	buf_release(&b);
	end_transaction(d);
}

static void cmd_rset(struct dialogue *d, struct span arg)
{
	(void)arg;
	end_transaction(d);
	say("250 2.0.0 Ok");
}

static void cmd_noop(struct dialogue *d, struct span arg)
{
	(void)d;
	(void)arg;
	say("250 2.0.0 Ok");
}

static void cmd_vrfy(struct dialogue *d, struct span arg)
{
	(void)d;
	if (arg.n == 0)
		say("501 5.5.4 Syntax: VRFY address");
	else /* pickup(8) takes any recipient; what becomes of him is told by mail */
		say("252 2.0.0 " SPAN_FMT, SPAN_ARG(span_head(arg, 200)));
}

static void cmd_quit(struct dialogue *d, struct span arg)
{
	(void)d;
	(void)arg;
	say("221 2.0.0 Bye");
	exit(fflush(stdout) == 0 ? 0 : 75);
}

static const struct {
	const char *verb;
	void (*run)(struct dialogue *d, struct span arg);
} commands[] = {
	{ "HELO", cmd_helo }, { "EHLO", cmd_ehlo }, { "MAIL", cmd_mail },
	{ "RCPT", cmd_rcpt }, { "DATA", cmd_data }, { "RSET", cmd_rset },
	{ "NOOP", cmd_noop }, { "VRFY", cmd_vrfy }, { "QUIT", cmd_quit },
};

static void command(struct dialogue *d, struct span line)
{
	struct span verb = SPAN_NONE, arg = line;

	(void)span_next_word(&arg, " \t", &verb);
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (span_is_ci(verb, commands[i].verb)) {
			commands[i].run(d, span_trim(arg));
			return;
		}
	say("502 5.5.2 Error: command not recognized");
	if (++d->errors < ERRORS_MAX)
		return;
	say("421 4.7.0 %s Error: too many errors", conf_str(config, "myhostname"));
	exit(fflush(stdout) == 0 ? 0 : 75);
}

void dialogue_run(struct options *o)
{
	int64_t limit = conf_int(config, "message_size_limit");
	struct dialogue d = { .o = o, .size_limit = limit > 0 ? (uint64_t)limit : INT32_MAX };
	struct buf line;
	int c;

	say("220 %s", conf_str(config, "smtpd_banner"));
	buf_init(&line, LINE_MAX_BYTES);
	do {
		buf_reset(&line);
		while ((c = next_byte()) >= 0 && c != '\n')
			(void)buf_putc(&line, (char)c);
		d.crlf = line.n > 0 && line.p[line.n - 1] == '\r';
		if (c >= 0 && !buf_ok(&line))
			say("500 5.5.2 Error: line too long");
		else if (c >= 0)
			command(&d, span_trim(buf_span(&line)));
	} while (c >= 0);
	buf_release(&line);
}
