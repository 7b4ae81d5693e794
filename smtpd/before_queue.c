/* before_queue.c - smtpd_proxy_filter: mail goes to an SMTP server of somebody else instead of the queue, and what that one
 * answers is what the client is told (SMTPD_PROXY_README's subject).
 *
 * The filter hears of a message as the client does it: at the first recipient; with speed_adjust not before the message is
 * here, or BEFORE_SPEED_BYTES of it, so that slow clients do not keep filters busy. Nothing here ever says 250 by itself. */
#include "smtpd.h"
#include "base/codec.h"
#include "smtp/data_out.h"
#include "smtp/reply.h"

struct before_queue {
	struct stream *io;
	struct smtp_reply reply;
	unsigned offers; /* what its EHLO announced */
	size_t rcpts;	 /* told */
	struct data_out out;
	bool in_data;
	struct verdict verdict; /* why it is over */
};

enum { OFFERS_XFORWARD = 1, OFFERS_SIZE = 2, OFFERS_8BITMIME = 4, OFFERS_DSN = 8, OFFERS_SMTPUTF8 = 16 };
static const struct {
	const char *keyword;
	unsigned bit;
} offers[] = { { "XFORWARD", OFFERS_XFORWARD },
	       { "SIZE", OFFERS_SIZE },
	       { "8BITMIME", OFFERS_8BITMIME },
	       { "DSN", OFFERS_DSN },
	       { "SMTPUTF8", OFFERS_SMTPUTF8 } };

static deadline_t patience(void)
{
	return deadline_s(conf.before_timeout_s);
}

void before_end(struct before_queue **b)
{
	if (*b == NULL)
		return;
	stream_close(&(*b)->io);
	smtp_reply_release(&(*b)->reply);
	free(*b);
	*b = NULL;
}

/* ---- failures ---- */

static bool unreachable(struct before_queue *b, const char *text)
{
	log_warning("proxy %s: %s", conf.before.name, text);
	b->verdict = (struct verdict){ 451, SPAN("4.3.0"), SPAN("Error: queue file write error") };
	return false;
}

/* The filter's own words. */
static bool refused(struct session *s, struct before_queue *b, const char *where)
{
	struct span text = smtp_reply_text(&b->reply, &s->tx_arena);

	bool failure = b->reply.code >= 400 && b->reply.code < 600;

	b->verdict = (struct verdict){ (uint16_t)(failure ? b->reply.code : 451), SPAN_NONE,
				       text.n > 4 ? span_skip(text, 4) : SPAN("Error: filter failure") };
	log_action(s, "proxy-reject", where, SPAN_NONE, arena_printf(&s->tx_arena, SPAN_FMT, SPAN_ARG(text)));
	return false;
}

static bool read_reply(struct before_queue *b)
{
	struct err e;

	smtp_reply_reset(&b->reply);
	if (stream_flush(b->io, patience(), &e) != RC_OK ||
	    smtp_reply_read(&b->reply, b->io, patience(), &e) != RC_OK)
		return unreachable(b, e.text);
	return true;
}

static bool command(struct session *s, struct before_queue *b, unsigned class, const char *where)
{
	return read_reply(b) && (b->reply.code / 100 == class || refused(s, b, where));
}

/* ---- the dialogue ---- */

static void note_offers(struct before_queue *b)
{
	struct span line, word;

	for (size_t i = 1; smtp_reply_line(&b->reply, i, &line); i++)
		for (size_t k = 0; k < ARRAY_LEN(offers); k++) {
			struct span rest = line;

			if (span_next_word(&rest, " ", &word) && span_is_ci(word, offers[k].keyword))
				b->offers |= offers[k].bit;
		}
}

static void put_attr(struct before_queue *b, const char *name, struct span value)
{
	struct buf x;

	buf_init(&x, 2000);
	if (value.n > 0 && !span_is(value, "unknown"))
		xtext_encode(&x, span_head(value, 255));
	stream_printf(b->io, " %s=%s", name, x.n > 0 ? buf_cstr(&x) : "[UNAVAILABLE]");
	buf_release(&x);
}

/* The client of the first hop, when one was told to us. */
static bool send_xforward(struct session *s, struct before_queue *b)
{
	const struct forward *f = &s->fwd;
	struct span port = span_printf(&s->tx_arena, "%u", s->client.port);

	if (!(b->offers & OFFERS_XFORWARD))
		return true;
	stream_puts(b->io, "XFORWARD");
	put_attr(b, "NAME", f->name.n > 0 ? f->name : s->client.name);
	put_attr(b, "ADDR", f->addr.n > 0 ? f->addr : s->client.addr);
	put_attr(b, "PORT", f->port.n > 0 ? f->port : port);
	stream_puts(b->io, "\r\n");
	if (!command(s, b, 2, "XFORWARD"))
		return false;
	stream_puts(b->io, "XFORWARD");
	put_attr(b, "PROTO", f->proto.n > 0 ? f->proto : span_str(session_proto(s)));
	put_attr(b, "HELO", f->helo.n > 0 ? f->helo : s->client.helo);
	put_attr(b, "IDENT", f->ident.n > 0 ? f->ident : qid_span(&s->tx->qid));
	stream_printf(b->io, " SOURCE=%s\r\n", f->local ? "LOCAL" : "REMOTE");
	return command(s, b, 2, "XFORWARD");
}

static void put_xtext(struct before_queue *b, const char *name, struct span value)
{
	struct buf x;

	if (value.n == 0)
		return;
	buf_init(&x, 4000);
	xtext_encode(&x, value);
	stream_printf(b->io, " %s=%s", name, buf_cstr(&x));
	buf_release(&x);
}

static bool send_mail(struct session *s, struct before_queue *b)
{
	const struct mail_params *p = &s->tx->mail;

	stream_printf(b->io, "MAIL FROM:<" SPAN_FMT ">", SPAN_ARG(s->tx->sender));
	if ((b->offers & OFFERS_SIZE) && p->size > 0)
		stream_printf(b->io, " SIZE=%llu", (unsigned long long)p->size);
	if ((b->offers & OFFERS_8BITMIME) && p->body == BODY_8BITMIME)
		stream_puts(b->io, " BODY=8BITMIME");
	if ((b->offers & OFFERS_SMTPUTF8) && p->smtputf8)
		stream_puts(b->io, " SMTPUTF8");
	if ((b->offers & OFFERS_DSN) && p->ret != RET_NONE)
		stream_printf(b->io, " RET=%s", p->ret == RET_FULL ? "FULL" : "HDRS");
	if (b->offers & OFFERS_DSN)
		put_xtext(b, "ENVID", p->envid);
	stream_puts(b->io, "\r\n");
	return command(s, b, 2, "MAIL");
}

static bool send_rcpt(struct session *s, struct before_queue *b, const struct env_rcpt *r)
{
	ptrdiff_t semi = span_chr(r->orcpt, ';');
	char notify[NOTIFY_TEXT];

	stream_printf(b->io, "RCPT TO:<" SPAN_FMT ">", SPAN_ARG(r->addr));
	if (b->offers & OFFERS_DSN) {
		if (notify_words(r->notify, notify)[0] != '\0')
			stream_printf(b->io, " NOTIFY=%s", notify);
		if (semi > 0) {
			struct span type = span_head(r->orcpt, (size_t)semi + 1);

			stream_printf(b->io, " ORCPT=" SPAN_FMT, SPAN_ARG(type));
			struct buf x;

			buf_init(&x, 4000);
			xtext_encode(&x, span_skip(r->orcpt, (size_t)semi + 1));
			stream_write(b->io, buf_span(&x));
			buf_release(&x);
		}
	}
	stream_puts(b->io, "\r\n");
	if (!command(s, b, 2, "RCPT"))
		return false;
	b->rcpts++;
	return true;
}

static bool hello(struct session *s, struct before_queue *b)
{
	if (!command(s, b, 2, "CONNECT"))
		return false;
	stream_printf(b->io, "EHLO %s\r\n", conf.before_ehlo);
	if (!read_reply(b))
		return false;
	if (b->reply.code / 100 != 2) {
		stream_printf(b->io, "HELO %s\r\n", conf.before_ehlo);
		return command(s, b, 2, "HELO");
	}
	note_offers(b);
	return true;
}

static bool open_filter(struct session *s, struct before_queue *b)
{
	struct err e;
	int fd;

	if (b->io != NULL)
		return true;
	if (endpoint_connect(&conf.before, service_connect, patience(), &fd, &e) != RC_OK)
		return unreachable(b, e.text);
	b->io = stream_new(fd);
	b->out = (struct data_out){ .io = b->io };
	stream_set_write_timeout(b->io, conf.before_timeout_s);
	return hello(s, b) && send_xforward(s, b) && send_mail(s, b);
}

/* All that is known of the message so far; `data`: up to its content. */
static bool catch_up(struct session *s, bool data)
{
	struct before_queue *b = s->tx->before;

	if (b == NULL) {
		b = s->tx->before = xcalloc(1, sizeof(*b));
		smtp_reply_init(&b->reply);
	}
	if (b->verdict.code != 0 || !open_filter(s, b))
		return false;
	while (b->rcpts < s->tx->rcpts)
		if (!send_rcpt(s, b, &s->tx->rcpt[b->rcpts]))
			return false;
	if (!data || b->in_data)
		return true;
	stream_puts(b->io, "DATA\r\n");
	return b->in_data = command(s, b, 3, "DATA");
}

/* ---- the steps of the client ---- */

bool before_rcpt(struct session *s, struct verdict *v)
{
	struct before_queue *b;

	if (conf.before_speed || catch_up(s, false))
		return true;
	b = s->tx->before;
	*v = b->verdict;
	b->verdict = (struct verdict){ 0 };
	if (b->io == NULL || b->reply.code == 0 || b->reply.code == 421 || b->rcpts + 1 != s->tx->rcpts ||
	    b->rcpts == 0)
		before_end(&s->tx->before); /* the next recipient begins anew */
	return false;
}

bool before_data(struct session *s, struct verdict *v)
{
	if (conf.before_speed || catch_up(s, true))
		return true;
	*v = s->tx->before->verdict;
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

/* 250 here is the filter's promise, passed on. */
bool before_finish(struct session *s, struct verdict *v, struct span *answer)
{
	struct before_queue *b = s->tx->before;

	data_out_end(&b->out);
	stream_puts(b->io, ".\r\n");
	if (!command(s, b, 2, "END-OF-MESSAGE")) {
		*v = b->verdict;
		return false;
	}
	*answer = smtp_reply_text(&b->reply, &s->tx_arena);
	log_action(s, "proxy-accept", "END-OF-MESSAGE", SPAN_NONE,
		   arena_printf(&s->tx_arena, SPAN_FMT, SPAN_ARG(*answer)));
	stream_puts(b->io, "QUIT\r\n");
	struct err e;

	if (stream_flush(b->io, deadline_s(1), &e) != RC_OK)
		log_debug("proxy %s: %s", conf.before.name, e.text);
	return true;
}
