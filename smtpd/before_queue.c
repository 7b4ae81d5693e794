/* before_queue.c - smtpd_proxy_filter: mail goes to an SMTP server of somebody else instead of the queue, and what that one
 * answers is what the client is told (SMTPD_PROXY_README's subject).
 *
 * The filter hears of a message as the client does it: at the first recipient; with speed_adjust not before the message is
 * here, or BEFORE_SPEED_BYTES of it, so that slow clients do not keep filters busy. Nothing here ever says 250 by itself. */
#include "smtpd.h"
#include "base/codec.h"
#include "log/event.h"
#include "mime/address_log.h"
#include "smtp/data_out.h"
#include "smtp/reply.h"

#define XFORWARD_MAX 510
#define COMMAND_MAX  8000
#define GARBAGE_MAX  50 /* lines before one reply */

struct before_queue {
	struct stream *io;
	struct smtp_reply reply;
	unsigned offers; /* what its EHLO announced */
	size_t rcpts;	 /* told */
	struct data_out out;
	bool named; /* the log knows of the message */
	bool in_data, lost;
	struct verdict verdict;	 /* why it is over */
	struct span first_lines; /* of the same reply, before its last one */
};

enum {
	OFFERS_SIZE = 1,
	OFFERS_8BITMIME = 2,
	OFFERS_DSN = 4,
	OFFERS_SMTPUTF8 = 8,
	OFFERS_XFORWARD = 16 /* and its names, in the bits above */
};
static const struct {
	const char *keyword;
	unsigned bit;
} offers[] = { { "SIZE", OFFERS_SIZE },
	       { "8BITMIME", OFFERS_8BITMIME },
	       { "DSN", OFFERS_DSN },
	       { "SMTPUTF8", OFFERS_SMTPUTF8 } };
static const char *const forwarded[] = {
	"NAME", "ADDR", "PORT", "HELO", "IDENT", "PROTO", "SOURCE"
}; /* as they are sent */

static deadline_t patience(void)
{
	return deadline_s(conf.before_timeout_s);
}

/* A filter that waits for more of the message is told that there is none; within the content it has to see the connection end. */
static void part(struct before_queue *b)
{
	struct err e;

	if (b->io == NULL || b->in_data || b->lost)
		return;
	stream_puts(b->io, "QUIT\r\n");
	if (stream_flush(b->io, deadline_s(1), &e) != RC_OK)
		log_debug("proxy %s: %s", conf.before.name, e.text);
}

void before_end(struct before_queue **b)
{
	if (*b == NULL)
		return;
	part(*b);
	stream_close(&(*b)->io);
	smtp_reply_release(&(*b)->reply);
	free(*b);
	*b = NULL;
}

/* ---- failures ---- */

static bool unusable(struct before_queue *b)
{
	b->first_lines = SPAN_NONE;
	b->verdict = (struct verdict){ .code = 451,
				       .dsn = SPAN("4.3.0"),
				       .text = SPAN("Error: queue file write error") };
	return false;
}

static bool lost(struct before_queue *b, enum rc rc)
{
	b->lost = true;
	if (rc == RC_TIMEOUT)
		log_warning("timeout talking to proxy %s", conf.before.name);
	else
		log_warning("lost connection with proxy %s", conf.before.name);
	return unusable(b);
}

static struct span readable(struct session *s, struct span line)
{
	char *p = arena_cstr(&s->tx_arena, line);
	bool valid = utf8_valid(line);

	for (size_t i = 0; i < line.n && !valid; i++)
		if ((unsigned char)p[i] >= 0x80)
			p[i] = '?';
	return span_make(p, line.n);
}

/* The filter's own words, without their codes. */
static void pass_on(struct session *s, struct before_queue *b)
{
	struct span line, next;
	struct buf first;

	if (!smtp_reply_line(&b->reply, 0, &line))
		line = SPAN_NONE;
	buf_init(&first, SMTP_REPLY_BYTES);
	for (size_t i = 1; smtp_reply_line(&b->reply, i, &next); i++, line = next)
		(void)buf_printf(&first, "%s" SPAN_FMT, i > 1 ? "\n" : "", SPAN_ARG(readable(s, line)));
	b->first_lines = span_dup(&s->tx_arena, buf_span(&first));
	b->verdict = (struct verdict){ .code = (uint16_t)b->reply.code, .text = readable(s, line) };
	buf_release(&first);
}

/* What the client is told next. */
static struct verdict tell(struct session *s, struct before_queue *b)
{
	s->reply_first = b->first_lines;
	return b->verdict;
}

/* The reply on one line, as the log shows it. */
static struct span in_log(struct session *s, struct span lines)
{
	struct span line, out;
	struct buf b;

	buf_init(&b, 2 * SMTP_REPLY_BYTES);
	while (span_next(&lines, '\n', &line))
		(void)buf_printf(&b, "%s" SPAN_FMT, b.n > 0 ? "??" : "", SPAN_ARG(line));
	out = span_dup(&s->tx_arena, buf_span(&b));
	buf_release(&b);
	return out;
}

static bool is_refusal(const struct before_queue *b)
{
	return b->reply.code >= 400 && b->reply.code < 600;
}

/* A no to `what` is the client's to hear when it concerns this message, and else means that there is no filter now. */
static bool refused(struct session *s, struct before_queue *b, struct span what, bool of_message)
{
	struct span text = in_log(s, buf_span(&b->reply.text));

	log_warning("proxy %s rejected \"" SPAN_FMT "\": \"" SPAN_FMT "\"", conf.before.name, SPAN_ARG(what),
		    SPAN_ARG(text));
	if (!of_message || !is_refusal(b))
		return unusable(b);
	pass_on(s, b);
	return false;
}

/* Lines that are none of a reply are passed over, some of them, while the time lasts. */
static enum rc receive(struct before_queue *b, deadline_t until)
{
	struct span line;
	struct err e;
	enum rc rc = RC_AGAIN;
	unsigned garbage = 0;

	smtp_reply_reset(&b->reply);
	while (rc == RC_AGAIN) {
		if ((rc = stream_line(b->io, &line, SMTP_REPLY_LINE_MAX, NULL, until, &e)) != RC_OK)
			return rc;
		if ((rc = smtp_reply_feed(&b->reply, line)) == RC_SYNTAX) {
			log_warning("received garbage from proxy %s: " SPAN_FMT, conf.before.name,
				    SPAN_ARG(span_head(line, 100)));
			rc = ++garbage < GARBAGE_MAX ? RC_AGAIN : RC_LIMIT;
		}
	}
	return rc;
}

static bool read_reply(struct before_queue *b)
{
	deadline_t until = patience();
	struct err e;
	enum rc rc = stream_flush(b->io, until, &e);

	if (rc == RC_OK)
		rc = receive(b, until);
	return rc == RC_OK || lost(b, rc);
}

static bool command(struct session *s, struct before_queue *b, struct span line, unsigned class,
		    bool of_message)
{
	stream_printf(b->io, SPAN_FMT "\r\n", SPAN_ARG(line));
	return read_reply(b) && (b->reply.code / 100 == class || refused(s, b, line, of_message));
}

/* ---- the dialogue ---- */

static void note_names(struct before_queue *b, struct span rest)
{
	struct span word;

	while (span_next_word(&rest, " ", &word))
		for (size_t i = 0; i < ARRAY_LEN(forwarded); i++)
			if (span_is_ci(word, forwarded[i]))
				b->offers |= (unsigned)OFFERS_XFORWARD << i;
}

static void note_offers(struct before_queue *b)
{
	struct span line, word;

	for (size_t i = 1; smtp_reply_line(&b->reply, i, &line); i++) {
		struct span rest = line;

		if (!span_next_word(&rest, " ", &word))
			continue;
		if (span_is_ci(word, "XFORWARD"))
			note_names(b, rest);
		for (size_t k = 0; k < ARRAY_LEN(offers); k++)
			if (span_is_ci(word, offers[k].keyword))
				b->offers |= offers[k].bit;
	}
}

static struct span attribute(struct session *s, const char *name, struct span value)
{
	struct buf x;
	struct span out;

	buf_init(&x, 2000);
	if (value.n > 0 && !span_is(value, "unknown"))
		xtext_encode(&x, span_head(value, 255));
	out = span_printf(&s->tx_arena, " %s=%s", name, x.n > 0 ? buf_cstr(&x) : "[UNAVAILABLE]");
	buf_release(&x);
	return out;
}

/* The client of the first hop, when one was told to us; as many commands as RFC 5321's 512 bytes ask for. */
static bool send_xforward(struct session *s, struct before_queue *b)
{
	const struct forward *f = &s->fwd;
	bool told = f->name.n > 0 || f->addr.n > 0;
	struct span port = span_printf(&s->tx_arena, "%u", s->client.port), line = SPAN_NONE;
	struct span addr = told ? f->addr : s->client.addr;
	const struct span value[] = { told ? f->name : s->client.name,
				      span_chr(addr, ':') >= 0
					  ? span_printf(&s->tx_arena, "IPv6:" SPAN_FMT, SPAN_ARG(addr))
					  : addr,
				      told ? f->port : port,
				      told ? f->helo : s->client.helo,
				      f->ident,
				      told ? f->proto : span_str(session_proto(s)),
				      client_is_local(s) ? SPAN("LOCAL") : SPAN("REMOTE") };

	_Static_assert(ARRAY_LEN(value) == ARRAY_LEN(forwarded), "each name has a value");
	for (size_t i = 0; i < ARRAY_LEN(forwarded); i++) {
		if (!(b->offers & (unsigned)OFFERS_XFORWARD << i))
			continue;
		struct span one = attribute(s, forwarded[i], value[i]);
		if (line.n > 0 && line.n + one.n > XFORWARD_MAX && !command(s, b, line, 2, false))
			return false;
		if (line.n == 0 || line.n + one.n > XFORWARD_MAX)
			line = SPAN("XFORWARD");
		line = span_printf(&s->tx_arena, SPAN_FMT SPAN_FMT, SPAN_ARG(line), SPAN_ARG(one));
	}
	return line.n == 0 || command(s, b, line, 2, false);
}

static void put_xtext(struct buf *line, struct span before, struct span value)
{
	(void)buf_append(line, before);
	xtext_encode(line, value);
}

static bool send_line(struct session *s, struct before_queue *b, struct buf *line)
{
	struct span text = span_dup(&s->tx_arena, buf_span(line));

	buf_release(line);
	return command(s, b, text, 2, true);
}

static bool send_mail(struct session *s, struct before_queue *b)
{
	const struct mail_params *p = &s->tx->mail;
	struct buf line;

	buf_init(&line, COMMAND_MAX);
	(void)buf_printf(&line, "MAIL FROM:<" SPAN_FMT ">", SPAN_ARG(s->tx->sender));
	if ((b->offers & OFFERS_SIZE) && p->size > 0)
		(void)buf_printf(&line, " SIZE=%llu", (unsigned long long)p->size);
	if ((b->offers & OFFERS_8BITMIME) && p->body == BODY_8BITMIME)
		(void)buf_puts(&line, " BODY=8BITMIME");
	if ((b->offers & OFFERS_SMTPUTF8) && p->smtputf8)
		(void)buf_puts(&line, " SMTPUTF8");
	if ((b->offers & OFFERS_DSN) && p->ret != RET_NONE)
		(void)buf_printf(&line, " RET=%s", p->ret == RET_FULL ? "FULL" : "HDRS");
	if ((b->offers & OFFERS_DSN) && p->envid.n > 0)
		put_xtext(&line, SPAN(" ENVID="), p->envid);
	return send_line(s, b, &line);
}

static bool send_rcpt(struct session *s, struct before_queue *b, const struct env_rcpt *r)
{
	ptrdiff_t semi = span_chr(r->orcpt, ';');
	char notify[NOTIFY_TEXT];
	struct buf line;

	buf_init(&line, COMMAND_MAX);
	(void)buf_printf(&line, "RCPT TO:<" SPAN_FMT ">", SPAN_ARG(r->addr));
	if ((b->offers & OFFERS_DSN) && notify_words(r->notify, notify)[0] != '\0')
		(void)buf_printf(&line, " NOTIFY=%s", notify);
	if ((b->offers & OFFERS_DSN) && semi > 0) {
		(void)buf_puts(&line, " ORCPT=");
		put_xtext(&line, span_head(r->orcpt, (size_t)semi + 1),
			  span_skip(r->orcpt, (size_t)semi + 1));
	}
	if (!send_line(s, b, &line))
		return false;
	b->rcpts++;
	return true;
}

/* Who speaks no ESMTP is no filter. */
static bool hello(struct session *s, struct before_queue *b)
{
	if (!read_reply(b) ||
	    (b->reply.code / 100 != 2 && !refused(s, b, SPAN("connection request"), false)) ||
	    !command(s, b, span_printf(&s->tx_arena, "EHLO %s", conf.before_ehlo), 2, false))
		return false;
	note_offers(b);
	return true;
}

static bool open_filter(struct session *s, struct before_queue *b)
{
	struct err e;
	int fd;

	if (b->io != NULL)
		return true;
	if (endpoint_connect(&conf.before, service_connect, patience(), &fd, &e) != RC_OK) {
		log_warning("connect to proxy filter %s: %s", conf.before.name, e.text);
		return unusable(b);
	}
	b->io = stream_new(fd);
	b->out = (struct data_out){ .io = b->io };
	stream_set_write_timeout(b->io, conf.before_timeout_s);
	return hello(s, b) && send_xforward(s, b) && send_mail(s, b);
}

static struct before_queue *filter_of(struct session *s)
{
	if (s->tx->before == NULL) {
		s->tx->before = xcalloc(1, sizeof(*s->tx->before));
		smtp_reply_init(&s->tx->before->reply);
	}
	return s->tx->before;
}

/* All that is known of the message so far; `data`: up to its content. */
static bool catch_up(struct session *s, bool data)
{
	struct before_queue *b = filter_of(s);

	if (b->verdict.code != 0 || !open_filter(s, b))
		return false;
	if (!b->named)
		transaction_name(s);
	b->named = true;
	while (b->rcpts < s->tx->rcpts)
		if (!send_rcpt(s, b, &s->tx->rcpt[b->rcpts]))
			return false;
	if (!data || b->in_data)
		return true;
	return b->in_data = command(s, b, SPAN("DATA"), 3, true);
}

/* ---- the steps of the client ---- */

bool before_rcpt(struct session *s, struct verdict *v)
{
	struct before_queue *b = filter_of(s);

	if (conf.before_speed) {
		if (!b->named)
			transaction_name(s);
		return b->named = true;
	}
	if (catch_up(s, false))
		return true;
	*v = tell(s, b);
	b->verdict = (struct verdict){ 0 };
	if (b->io == NULL || b->lost || !b->named || b->reply.code == 421)
		before_end(&s->tx->before); /* the next recipient begins anew */
	return false;
}

bool before_data(struct session *s, struct verdict *v)
{
	if (conf.before_speed || catch_up(s, true))
		return true;
	*v = tell(s, s->tx->before);
	return false;
}

bool before_content(struct session *s, struct span text, struct verdict *v)
{
	if (!catch_up(s, true)) {
		*v = s->tx->before->verdict;
		return false;
	}
	data_out(&s->tx->before->out, text);
	return true;
}

/* "proxy-accept: END-OF-MESSAGE: 250 ..." */
static void log_end(struct session *s, const char *what, struct span said)
{
	struct span rcpt = s->tx->rcpts > 0 ? s->tx->rcpt[0].addr : SPAN_NONE, text = in_log(s, said);
	const char *helo = s->client.helo.n > 0
			       ? arena_printf(&s->tx_arena, " helo=<" SPAN_FMT ">", SPAN_ARG(s->client.helo))
			       : "";

	EVENT("restriction", EV_TEXT("queue_id", SPAN_NONE),
	      EV_CSTR("action", arena_printf(&s->tx_arena, "proxy-%s", what)),
	      EV_CSTR("stage", "END-OF-MESSAGE"), EV_TEXT("client_name", s->client.name),
	      EV_TEXT("client_address", s->client.addr), EV_TEXT("sender", s->tx->sender),
	      EV_TEXT("recipient", rcpt), EV_TEXT("helo", s->client.helo),
	      EV_CSTR("protocol", session_proto(s)), EV_TEXT("reason", text));
	log_info("proxy-%s: END-OF-MESSAGE: " SPAN_FMT "; from=<" SPAN_FMT "> to=<" SPAN_FMT "> proto=%s%s",
		 what, SPAN_ARG(text), SPAN_ARG(address_log(s->tx->sender)), SPAN_ARG(address_log(rcpt)),
		 session_proto(s), helo);
}

/* 250 here is the filter's promise, passed on. */
bool before_finish(struct session *s, struct verdict *v, struct span *answer)
{
	struct before_queue *b = s->tx->before;

	data_out_end(&b->out);
	stream_puts(b->io, ".\r\n");
	if (!read_reply(b)) {
		*v = b->verdict;
		return false;
	}
	b->in_data = false;
	if (b->reply.code / 100 == 2 || is_refusal(b))
		pass_on(s, b);
	else
		(void)unusable(b);
	if (b->reply.code / 100 != 2) {
		*v = b->verdict;
		return false;
	}
	*answer = span_printf(&s->tx_arena, "%u " SPAN_FMT, b->reply.code, SPAN_ARG(tell(s, b).text));
	log_end(s, "accept", buf_span(&b->reply.text));
	return true;
}

void before_refused(struct session *s, const struct verdict *v)
{
	const struct before_queue *b = s->tx->before;

	bool words = b != NULL && v->dsn.n == 0 && v->text.p == b->verdict.text.p;

	if (words)
		s->reply_first = b->first_lines;
	if (words)
		log_end(s, "reject", buf_span(&b->reply.text));
	else
		log_end(s, "reject",
			span_printf(&s->tx_arena, "%u " SPAN_FMT " " SPAN_FMT, v->code, SPAN_ARG(v->dsn),
				    SPAN_ARG(v->text)));
}
