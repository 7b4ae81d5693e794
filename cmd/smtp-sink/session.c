/* cmd/smtp-sink/session.c - one client from the greeting to its end, and what each command does. The sink is lenient on
 * purpose: it checks the order of commands and nothing of their arguments. */
#include "sink.h"
#include "log/log.h"
#include "net/addr.h"
#include <unistd.h>

#define LINE_MAX_BYTES (64 * 1024) /* far beyond RFC 5321 section 4.5.3.1.4: clients are tried, not limited */
#define ARGS_MAX_BYTES (16 << 20)  /* of one transaction, kept for the dump */

/* ---- commands ---- */
bool run_connect(struct session *s, struct span arg)
{
	(void)arg;
	if (conf.pix)
		stream_puts(s->io, "220 ********\r\n");
	else
		stream_printf(s->io, "220 %s%s\r\n", conf.hostname, conf.plain ? "" : " ESMTP");
	return true;
}

static void take_helo(struct session *s, struct span arg, const char *proto)
{
	buf_reset(&s->helo);
	buf_append(&s->helo, arg);
	s->proto = proto;
}

bool run_hello(struct session *s, struct span arg)
{
	take_helo(s, arg, "SMTP");
	stream_printf(s->io, "250 %s\r\n", conf.hostname);
	return true;
}

bool run_ehlo(struct session *s, struct span arg)
{
	const struct {
		bool off;
		const char *keyword;
	} extensions[] = {
		{ conf.no_pipelining, "PIPELINING" },
		{ conf.no_8bitmime, "8BITMIME" },
		{ conf.no_auth, "AUTH PLAIN LOGIN" },
		{ conf.no_xclient, "XCLIENT NAME HELO" },
		{ conf.no_xforward, "XFORWARD NAME ADDR PROTO HELO" },
		{ conf.no_codes, "ENHANCEDSTATUSCODES" },
		{ conf.no_dsn, "DSN" },
	};

	take_helo(s, arg, conf.lmtp ? "LMTP" : "ESMTP");
	stream_printf(s->io, "250-%s\r\n", conf.hostname);
	for (size_t i = 0; i < ARRAY_LEN(extensions); i++)
		if (!extensions[i].off)
			stream_printf(s->io, "250-%s\r\n", extensions[i].keyword);
	stream_puts(s->io, "250 \r\n"); /* the list may be empty */
	return true;
}

static void end_transaction(struct session *s)
{
	s->in_mail = false;
	s->recipients = 0;
	buf_release(&s->mail);
	buf_release(&s->rcpt);
}

bool run_mail(struct session *s, struct span arg)
{
	if (s->in_mail) {
		stream_puts(s->io, "503 5.5.1 Error: nested MAIL command\r\n");
		return true;
	}
	s->in_mail = true;
	if (span_starts_ci(arg, SPAN("FROM:")))
		arg = span_trim(span_skip(arg, 5));
	buf_append(&s->mail, arg);
	stream_puts(s->io, "250 2.1.0 Ok\r\n");
	return true;
}

bool run_rcpt(struct session *s, struct span arg)
{
	if (!s->in_mail) {
		stream_puts(s->io, "503 5.5.1 Error: need MAIL command\r\n");
		return true;
	}
	if (span_starts_ci(arg, SPAN("TO:")))
		arg = span_trim(span_skip(arg, 3));
	if ((conf.single != NULL || conf.multi != NULL) &&
	    buf_printf(&s->rcpt, "X-Rcpt-Args: " SPAN_FMT "\n", SPAN_ARG(arg)) != RC_OK) {
		stream_puts(s->io, "452 4.5.3 Error: too many recipients\r\n");
		s->rcpt.failed = false;
		return true;
	}
	s->recipients++;
	stream_puts(s->io, "250 2.1.5 Ok\r\n");
	return true;
}

bool run_data(struct session *s, struct span arg)
{
	(void)arg;
	if (s->recipients == 0) {
		stream_puts(s->io, "503 5.5.1 Error: need RCPT command\r\n");
		return true;
	}
	stream_puts(s->io, "354 End data with <CR><LF>.<CR><LF>\r\n");
	if (conf.abort_s >= 0) {
		if (!session_flush(s))
			return false;
		task_sleep_ms(conf.abort_s * 1000);
		stream_puts(s->io, "550 This violates SMTP\r\n");
		return false;
	}
	bool go_on = data_receive(s);
	end_transaction(s);
	return go_on;
}

bool run_rset(struct session *s, struct span arg)
{
	(void)arg;
	end_transaction(s);
	stream_puts(s->io, "250 2.1.0 Ok\r\n");
	return true;
}

bool run_ok(struct session *s, struct span arg)
{
	(void)arg;
	stream_puts(s->io, "250 2.0.0 Ok\r\n");
	return true;
}

bool run_quit(struct session *s, struct span arg)
{
	(void)arg;
	stream_puts(s->io, "221 Bye\r\n");
	count_quit();
	return false;
}

/* ---- what the options say ---- */
bool session_flush(struct session *s)
{
	return stream_flush(s->io, deadline_s(conf.timeout_s), NULL) == RC_OK;
}

/* LMTP answers the final dot once per recipient (RFC 2033 section 4.2). */
static void refuse(struct session *s, const struct verb *v, const char *reply)
{
	bool each = conf.lmtp && v == verb_find(SPAN(".")) && s->in_mail;

	for (unsigned i = 0; i < (each ? s->recipients : 1); i++)
		stream_printf(s->io, "%s\r\n", reply);
}

bool session_obey(struct session *s, const struct verb *v, struct span line, bool *refused)
{
	int64_t delay_s = verb_delay_s(v);

	if (v->log)
		log_line(LOG_LEVEL_INFO, SPAN_FMT, SPAN_ARG(span_head(line, 200)));
	if (v->hang_up)
		return false;
	if (delay_s > 0) { /* the answers before this one must not wait with it; `line` is no more after it */
		if (!session_flush(s))
			return false;
		task_sleep_ms(delay_s * 1000);
	}
	if (v->say_421) {
		stream_puts(s->io, "421 4.0.0 Server closing connection\r\n");
		return false;
	}
	*refused = v->reject_hard || v->reject_soft;
	if (*refused)
		refuse(s, v, v->reject_hard ? conf.hard_reply : conf.soft_reply);
	return true;
}

/* ---- the session ---- */
static bool command(struct session *s, struct span line)
{
	struct span rest = line, name;
	bool refused = false;

	log_debug(SPAN_FMT, SPAN_ARG(line));
	if (!span_next_word(&rest, " \t", &name)) {
		stream_puts(s->io, "500 5.5.2 Error: unknown command\r\n");
		return true;
	}
	const struct verb *v = verb_find(name);
	if (v == NULL || v == verb_find(SPAN("CONNECT"))) {
		stream_puts(s->io, "500 5.5.1 Error: unknown command\r\n");
		return true;
	}
	struct span arg = span_dup(&s->arena, span_trim(rest)); /* the delay may end the line's life */
	if (!session_obey(s, v, line, &refused))
		return false;
	return refused || v->run(s, arg);
}

static void converse(struct session *s)
{
	const struct verb *connect = verb_find(SPAN("CONNECT"));
	struct span line;
	struct err e;
	enum rc rc;
	bool refused = false;

	if (!session_obey(s, connect, SPAN("connect"), &refused) || (!refused && !connect->run(s, SPAN_NONE)))
		return;
	while ((rc = stream_line(s->io, &line, LINE_MAX_BYTES, NULL, deadline_s(conf.timeout_s), &e)) ==
		   RC_OK &&
	       command(s, line))
		arena_reset(&s->arena);
	if (rc == RC_TIMEOUT)
		log_warning("read timeout");
}

static void client_name(struct session *s)
{
	struct sockaddr_storage ss = { 0 };
	struct inet_addr a;
	socklen_t n = sizeof ss;
	char text[INET_TEXT_MAX] = "";

	snprintf(s->client, sizeof s->client, "local");
	if (getpeername(stream_fd(s->io), (struct sockaddr *)&ss, &n) != 0 ||
	    (ss.ss_family != AF_INET && ss.ss_family != AF_INET6))
		return;
	inet_addr_from_sockaddr(&ss, &a, NULL);
	inet_addr_text(&a, text);
	snprintf(s->client, sizeof s->client, "%s%.56s", a.family == AF_INET6 ? "ipv6:" : "", text);
}

void session_run(void *fd)
{
	struct session s = { .io = stream_new((int)(intptr_t)fd), .proto = conf.lmtp ? "LMTP" : "SMTP" };

	buf_init(&s.helo, LINE_MAX_BYTES);
	buf_init(&s.mail, LINE_MAX_BYTES);
	buf_init(&s.rcpt, ARGS_MAX_BYTES);
	arena_init(&s.arena);
	stream_set_write_timeout(s.io, conf.timeout_s);
	client_name(&s);
	log_debug("connect (%s)", s.client);
	converse(&s);
	(void)session_flush(&s);
	log_debug("disconnect");
	stream_close(&s.io);
	end_transaction(&s);
	buf_release(&s.helo);
	arena_release(&s.arena);
	count_session_ends();
}
