/* dialogue.c - sendmail -bs: SMTP (RFC 5321) on standard input and output, for mail readers that speak it to a
 * program. The caller is a local user like any other: what he may do is what sendmail(1) lets him do, so the
 * dialogue is held here, without rights, and each message goes the way of all local ones (submit.c). No network
 * client gets a session by this: one that inetd(8) connects to us has the rights of the user we run as.
 *
 * States: greeted (EHLO or HELO), sender known, recipients known, chunks read (RFC 3030). */
#include "sendmail.h"
#include "base/codec.h"
#include "map/map.h"
#include "mime/address.h"
#include "smtp/params.h"
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <sys/wait.h>
#include <unistd.h>

#define LINE_MAX_BYTES 2048 /* of a command (line_length_limit) */

struct dialogue {
	struct options *o;
	bool greeted, have_sender;
	struct span sender;
	struct mail_params mail;
	struct env_rcpt *rcpt;
	size_t rcpts, cap;
	bool chunks, chunks_refused;
	struct buf content; /* of the chunks */
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
	d->mail = (struct mail_params){ 0 };
	d->rcpts = 0;
	d->chunks = d->chunks_refused = false;
	buf_release(&d->content);
}

static bool yes(const char *name)
{
	return conf_bool(config, name);
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
	long long size = (long long)conf_int(config, "message_size_limit");

	if (arg.n == 0) {
		say("501 Syntax: EHLO hostname");
		return;
	}
	end_transaction(d);
	d->greeted = true;
	say("250-%s", conf_str(config, "myhostname"));
	say("250-PIPELINING");
	if (size > 0)
		say("250-SIZE %lld", size);
	else
		say("250-SIZE");
	if (!yes("disable_vrfy_command"))
		say("250-VRFY");
	say("250-ETRN\r\n250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n250-DSN");
	if (yes("smtputf8_enable"))
		say("250-SMTPUTF8");
	say("250 CHUNKING");
}

/* An address as this dialogue takes it: "user" alone is completed later, as on the command line. */
static bool good_path(const struct dialogue *d, struct span path, struct span *out)
{
	bool routed;

	return path.n <= ENV_ADDR_MAX &&
	       address_parse_path(path, d->mail.smtputf8, &memory, out, &routed) == RC_OK;
}

/* What smtpd(8) takes of its clients; AUTH= says nothing here, and VERP is asked for with -XV. */
static unsigned extensions(void)
{
	return EXT_SIZE | EXT_8BITMIME | EXT_DSN | (yes("smtputf8_enable") ? EXT_SMTPUTF8 : 0);
}

static const char *mail_order(const struct dialogue *d)
{
	if (!d->greeted && yes("smtpd_helo_required"))
		return "503 5.5.1 Error: send HELO/EHLO first";
	return d->have_sender ? "503 5.5.1 Error: nested MAIL command" : NULL;
}

static void cmd_mail(struct dialogue *d, struct span arg)
{
	const char *refusal = mail_order(d);
	struct span path = SPAN_NONE, rest;

	if (refusal == NULL)
		refusal = params_path(arg, "FROM:", yes("strict_rfc821_envelopes"), &path, &rest);
	if (refusal == NULL) {
		end_transaction(d);
		refusal = params_mail(rest, extensions(), &memory, &d->mail);
	}
	if (refusal == NULL && path.n > 0 && !good_path(d, path, &d->sender))
		refusal = "501 5.1.7 Bad sender address syntax";
	if (refusal == NULL && d->mail.size > d->size_limit)
		refusal = "552 5.3.4 Message size exceeds fixed limit";
	if (refusal == NULL) {
		d->sender = span_dup(&memory, d->sender);
		d->have_sender = true;
	}
	say("%s", refusal != NULL ? refusal : "250 2.1.0 Ok");
}

static const char *rcpt_order(const struct dialogue *d)
{
	if (d->chunks || d->chunks_refused)
		return "503 5.5.1 Error: RCPT after BDAT";
	return d->have_sender ? NULL : "503 5.5.1 Error: need MAIL command";
}

static void cmd_rcpt(struct dialogue *d, struct span arg)
{
	const char *refusal = rcpt_order(d);
	struct rcpt_params p = { 0 };
	struct span path = SPAN_NONE, rest, addr;

	if (refusal == NULL)
		refusal = params_path(arg, "TO:", yes("strict_rfc821_envelopes"), &path, &rest);
	if (refusal == NULL)
		refusal = params_rcpt(rest, extensions(), &memory, &p);
	if (refusal == NULL && !good_path(d, path, &addr))
		refusal = "501 5.1.3 Bad recipient address syntax";
	if (refusal == NULL && d->rcpts >= (uint64_t)conf_int(config, "smtpd_recipient_limit"))
		refusal = "452 4.5.3 Error: too many recipients";
	if (refusal == NULL) {
		if (d->rcpts == d->cap)
			d->rcpt = arena_grow(&memory, d->rcpt, d->rcpts, &d->cap, sizeof(*d->rcpt));
		d->rcpt[d->rcpts++] = (struct env_rcpt){ .addr = span_dup(&memory, addr),
							 .orcpt = p.orcpt,
							 .notify = p.notify };
	}
	say("%s", refusal != NULL ? refusal : "250 2.1.5 Ok");
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

/* `counted`: "N bytes", which the reply to the last chunk begins with. */
static void hand_over(struct dialogue *d, struct span content, const char *counted)
{
	struct envelope env = { .arrival_us = wall_now().us,
				.sender = d->sender,
				.ret = (uint16_t)d->mail.ret,
				.body = (uint16_t)d->mail.body,
				.envid = d->mail.envid,
				.rcpts = { d->rcpt, d->rcpts } };
	const char *what = "";

	env.flags = (d->mail.smtputf8 ? ENVF_SMTPUTF8 : 0) | (span_is_ascii(content) ? 0 : ENVF_MIME_CONVERT);
	env.full_name = full_name(d->o);
	switch (submit_try(&env, content, &what)) {
	case SUBMIT_STORED:
		say("250 2.0.0 Ok: %squeued as %s", counted, what);
		break;
	case SUBMIT_REFUSED:
		say("550 5.7.1 %s", what);
		break;
	case SUBMIT_FAILED:
		say("451 4.3.0 %s", what);
		break;
	}
}

static bool have_rcpts(const struct dialogue *d)
{
	if (d->rcpts == 0)
		say(d->have_sender ? "554 5.5.1 Error: no valid recipients"
				   : "503 5.5.1 Error: need RCPT command");
	return d->rcpts > 0;
}

static void cmd_data(struct dialogue *d, struct span arg)
{
	struct buf b;

	if (d->chunks || d->chunks_refused) { /* RFC 3030 section 3: not both */
		say("503 5.5.1 Error: DATA after BDAT");
		return;
	}
	if (!have_rcpts(d))
		return;
	if (arg.n > 0) {
		say("501 5.5.4 Syntax: DATA");
		return;
	}
	say("354 End data with <CR><LF>.<CR><LF>");
	buf_init(&b, (size_t)d->size_limit);
	if (!read_data(d, &b))
		_exit(75); /* the client is gone: nothing was promised */
	if (buf_ok(&b))
		hand_over(d, buf_span(&b), "");
	else
		say("552 5.3.4 Error: message file too big");
	buf_release(&b);
	end_transaction(d);
}

/* ---- BDAT (RFC 3030) ---- */
/* The bytes of one chunk, with LF for each CRLF, which two chunks may share: the CR waits in the buffer. */
static void read_chunk(struct dialogue *d, uint64_t bytes, bool keep)
{
	struct buf *b = &d->content;

	for (; bytes > 0; bytes--) {
		int c = next_byte();

		if (c < 0)
			_exit(75); /* as in DATA */
		if (!keep)
			continue;
		if (c == '\n' && buf_ok(b) && b->n > 0 && b->p[b->n - 1] == '\r')
			b->n--;
		(void)buf_putc(b, (char)c);
	}
}

/* "count [LAST]" */
static bool chunk_size(struct span arg, uint64_t *bytes, bool *last)
{
	struct span w;

	if (!span_next_word(&arg, " \t", &w) || span_to_u64(w, INT64_MAX, bytes) != RC_OK)
		return false;
	*last = span_next_word(&arg, " \t", &w);
	return !*last || (span_is_ci(w, "LAST") && span_trim(arg).n == 0);
}

/* How much would follow nobody knows: what was said for text must not be taken for commands. */
NORETURN static void lost_count(void)
{
	say("521 5.5.4 Syntax: BDAT count [LAST]");
	exit(fflush(stdout) == 0 ? 0 : 75);
}

static void end_chunks(struct dialogue *d)
{
	struct buf *b = &d->content;
	char counted[40];
	size_t bytes = 0;

	if (buf_ok(b) && b->n > 0 && b->p[b->n - 1] != '\n')
		(void)buf_putc(b, '\n');
	for (size_t i = 0; i < b->n; i++)
		bytes += b->p[i] == '\n' ? 2 : 1; /* as it would go over the wire */
	snprintf(counted, sizeof(counted), "%zu bytes ", bytes);
	if (buf_ok(b))
		hand_over(d, buf_span(b), counted);
	else
		say("552 5.3.4 Error: message file too big");
	end_transaction(d);
}

static void cmd_bdat(struct dialogue *d, struct span arg)
{
	uint64_t bytes;
	bool last;

	if (!chunk_size(arg, &bytes, &last))
		lost_count();
	if (d->chunks_refused) {
		read_chunk(d, bytes, false);
		say("551 5.0.0 Discarded %llu bytes after earlier error", (unsigned long long)bytes);
		return;
	}
	if (!d->chunks && !have_rcpts(d)) {
		read_chunk(d, bytes, false);
		d->chunks_refused = true;
		return;
	}
	if (!d->chunks)
		buf_init(&d->content, (size_t)d->size_limit + 1);
	d->chunks = true;
	if (bytes > d->size_limit) {
		read_chunk(d, bytes, false);
		say("552 5.3.4 Chunk exceeds message size limit");
		end_transaction(d);
		d->chunks_refused = true;
		return;
	}
	read_chunk(d, bytes, true);
	if (last)
		end_chunks(d);
	else
		say("250 2.0.0 Ok: %llu bytes", (unsigned long long)bytes);
}

static void cmd_rset(struct dialogue *d, struct span arg)
{
	if (arg.n > 0) {
		say("501 5.5.4 Syntax: RSET");
		return;
	}
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
	if (yes("disable_vrfy_command"))
		say("502 5.5.1 VRFY command is disabled");
	else if (arg.n == 0)
		say("501 5.5.4 Syntax: VRFY address");
	else /* pickup(8) takes any recipient; what becomes of him is told by mail */
		say("252 2.0.0 " SPAN_FMT, SPAN_ARG(span_head(arg, 200)));
}

/* RFC 1985: what "sendmail -qRsite" does, with that command's rights. */
static void cmd_etrn(struct dialogue *d, struct span arg)
{
	struct options o = { .mode = MODE_FLUSH_SITE, .flush_arg = arena_cstr(&memory, arg) };
	int status = -1;
	pid_t pid;

	if (arg.n == 0 || span_chr(arg, ' ') >= 0) {
		say("500 Syntax: ETRN domain");
		return;
	}
	if (d->have_sender) {
		say("503 5.5.1 Error: MAIL transaction in progress");
		return;
	}
	if (fflush(stdout) != 0)
		_exit(75);
	if ((pid = fork()) == 0) {
		(void)dup2(STDERR_FILENO, STDOUT_FILENO); /* only replies go to the client */
		run_other(&o);
	}
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	say(status == 0 ? "250 Queuing started" : "458 Unable to queue messages");
}

static void cmd_quit(struct dialogue *d, struct span arg)
{
	(void)d;
	(void)arg;
	say("221 2.0.0 Bye");
	exit(fflush(stdout) == 0 ? 0 : 75);
}

/* What smtpd(8) has and a local user has no use for. */
static void cmd_auth(struct dialogue *d, struct span arg)
{
	(void)d;
	(void)arg;
	say("503 5.5.1 Error: authentication not enabled");
}

static void cmd_starttls(struct dialogue *d, struct span arg)
{
	(void)d;
	(void)arg;
	say("502 5.5.1 Error: command not implemented");
}

static void cmd_of_proxies(struct dialogue *d, struct span arg)
{
	(void)d;
	(void)arg;
	say("550 5.7.0 Error: insufficient authorization");
}

/* smtpd_forbidden_commands: somebody speaks another protocol. */
static bool is_forbidden(struct span verb)
{
	const char *list = conf_str(config, "smtpd_forbidden_commands");
	struct match_list *verbs;
	struct err e;
	bool hit;

	if (verb.n == 0 ||
	    match_list_open("smtpd_forbidden_commands", span_str(list), MATCH_EXACT, &verbs, &e) != RC_OK)
		return false;
	hit = match_domain(verbs, span_str(arena_cstr(&memory, verb)), &e) == RC_OK;
	match_list_close(&verbs);
	return hit;
}

NORETURN static void hang_up(void)
{
	say("221 2.7.0 Error: I can break rules, too. Goodbye.");
	exit(fflush(stdout) == 0 ? 0 : 75);
}

static const struct {
	const char *verb;
	void (*run)(struct dialogue *d, struct span arg);
} commands[] = {
	{ "HELO", cmd_helo },	      { "EHLO", cmd_ehlo },	     { "MAIL", cmd_mail },
	{ "RCPT", cmd_rcpt },	      { "DATA", cmd_data },	     { "RSET", cmd_rset },
	{ "NOOP", cmd_noop },	      { "VRFY", cmd_vrfy },	     { "QUIT", cmd_quit },
	{ "BDAT", cmd_bdat },	      { "ETRN", cmd_etrn },	     { "AUTH", cmd_auth },
	{ "STARTTLS", cmd_starttls }, { "XCLIENT", cmd_of_proxies }, { "XFORWARD", cmd_of_proxies },
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
	if (is_forbidden(verb))
		hang_up();
	say("%s", verb.n > 0 ? "500 5.5.2 Error: command not recognized" : "500 5.5.2 Error: bad syntax");
	if (++d->errors < (uint64_t)conf_int(config, "smtpd_hard_error_limit"))
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

	end_transaction(&d);
	say("220 %s", conf_str(config, "smtpd_banner"));
	buf_init(&line, LINE_MAX_BYTES);
	do {
		buf_reset(&line);
		while ((c = next_byte()) >= 0 && c != '\n')
			(void)buf_putc(&line, (char)c);
		d.crlf = line.n > 0 && line.p[line.n - 1] == '\r';
		if (c >= 0 && !buf_ok(&line))
			say("500 5.5.2 Error: command not recognized");
		else if (c >= 0)
			command(&d, span_trim(buf_span(&line)));
	} while (c >= 0);
	buf_release(&line);
}
