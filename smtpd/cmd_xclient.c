/* cmd_xclient.c - XCLIENT and XFORWARD: what a trusted front-end or filter says of the real client (the
 * protocol of Postfix's XCLIENT_README and XFORWARD_README). Values are xtext; "[UNAVAILABLE]" and
 * "[TEMPUNAVAIL]" stand for none. */
#include "restrict.h"
#include "base/codec.h"

#define VALUE_MAX 255

struct attr {
	struct span name, value;
	bool none, temp;
};

/* Takes the next NAME=value off *rest, decoded into the session's arena. NULL: fine; else the reply. */
static const char *next_attr(struct session *s, struct span *rest, struct attr *out, bool *end)
{
	struct span word, v;
	ptrdiff_t eq;
	struct buf b;
	bool ok;

	*end = !span_next_word(rest, " \t", &word);
	if (*end)
		return NULL;
	if ((eq = span_chr(word, '=')) < 0)
		return "501 5.5.4 Error: attribute=value expected";
	*out = (struct attr){ .name = span_head(word, (size_t)eq) };
	v = span_skip(word, (size_t)eq + 1);
	if (v.n == 0)
		return "501 5.5.4 Error: attribute=value expected";
	if (v.n > VALUE_MAX)
		return "501 5.5.4 Error: attribute value too long";
	buf_init(&b, VALUE_MAX);
	ok = xtext_decode(&b, v) == RC_OK;
	for (size_t i = 0; ok && i < b.n; i++)
		ok = ascii_isprint(b.p[i]) || ((unsigned char)b.p[i] >= 0x80 && conf.smtputf8);
	out->value = span_dup(&s->arena, buf_span(&b));
	buf_release(&b);
	if (!ok)
		return arena_printf(&s->tx_arena, "501 5.5.4 Bad " SPAN_FMT " syntax: " SPAN_FMT,
				    SPAN_ARG(span_head(out->name, 50)), SPAN_ARG(span_head(v, 100)));
	out->temp = span_is_ci(out->value, "[TEMPUNAVAIL]");
	out->none = out->temp || span_is_ci(out->value, "[UNAVAILABLE]");
	return NULL;
}

static const char *bad(struct session *s, const char *what, struct span value)
{
	return arena_printf(&s->tx_arena, "501 5.5.4 Bad %s syntax: " SPAN_FMT, what,
			    SPAN_ARG(span_head(value, 100)));
}

/* ---- XCLIENT ---- */

static const char *x_name(struct session *s, const struct attr *a)
{
	if (!a->none && !domain_valid(a->value, conf.smtputf8))
		return bad(s, "NAME", a->value);
	s->client.name = a->none ? SPAN("unknown") : a->value;
	s->client.name_code = a->temp ? 4 : a->none ? 5 : 2;
	if (s->client.name_code == 2) { /* unless REVERSE_NAME says otherwise */
		s->client.rname = s->client.name;
		s->client.rname_code = s->client.name_code;
	}
	return NULL;
}

static const char *x_rname(struct session *s, const struct attr *a)
{
	if (!a->none && !domain_valid(a->value, conf.smtputf8))
		return bad(s, "REVERSE_NAME", a->value);
	s->client.rname = a->none ? SPAN("unknown") : a->value;
	s->client.rname_code = a->temp ? 4 : a->none ? 5 : 2;
	return NULL;
}

static const char *x_addr(struct session *s, const struct attr *a)
{
	char text[INET_TEXT_MAX];

	if (a->none) {
		s->client.addr = SPAN("unknown");
		s->client.ip.family = AF_UNSPEC;
		return NULL;
	}
	if ((span_chr(a->value, ':') >= 0 && !span_starts_ci(a->value, SPAN("IPv6:"))) ||
	    inet_addr_parse(a->value, &s->client.ip) != RC_OK)
		return bad(s, "ADDR", a->value);
	inet_addr_text(&s->client.ip, text);
	s->client.addr = span_str(arena_strdup(&s->arena, text));
	return NULL;
}

static const char *port(struct session *s, const struct attr *a, const char *what, unsigned *out)
{
	uint64_t v = 0;

	if (!a->none && span_to_u64(a->value, 65535, &v) != RC_OK)
		return bad(s, what, a->value);
	*out = (unsigned)v;
	return NULL;
}

static const char *x_port(struct session *s, const struct attr *a)
{
	return port(s, a, "PORT", &s->client.port);
}

static const char *x_destport(struct session *s, const struct attr *a)
{
	return port(s, a, "DESTPORT", &s->client.local_port);
}

static const char *x_destaddr(struct session *s, const struct attr *a)
{
	struct inet_addr ip;

	if (!a->none && inet_addr_parse(a->value, &ip) != RC_OK)
		return bad(s, "DESTADDR", a->value);
	s->client.local_addr = a->none ? SPAN_NONE : a->value;
	return NULL;
}

static const char *x_helo(struct session *s, const struct attr *a)
{
	s->client.helo = a->none ? SPAN_NONE : neutral_name(&s->arena, a->value);
	return NULL;
}

static const char *x_proto(struct session *s, const struct attr *a)
{
	if (!span_is_ci(a->value, "SMTP") && !span_is_ci(a->value, "ESMTP"))
		return bad(s, "PROTO", a->value);
	s->client.esmtp = span_is_ci(a->value, "ESMTP");
	return NULL;
}

static const char *x_login(struct session *s, const struct attr *a)
{
	s->client.sasl_user = a->none ? SPAN_NONE : a->value;
	s->client.sasl_method = a->none ? SPAN_NONE : SPAN("XCLIENT");
	return NULL;
}

static const struct {
	const char *name;
	const char *(*set)(struct session *, const struct attr *);
} x_attrs[] = { { "NAME", x_name },   { "REVERSE_NAME", x_rname }, { "ADDR", x_addr },
		{ "PORT", x_port },   { "HELO", x_helo },	   { "PROTO", x_proto },
		{ "LOGIN", x_login }, { "DESTADDR", x_destaddr },  { "DESTPORT", x_destport } };

static const char *x_set(struct session *s, const struct attr *a)
{
	for (size_t i = 0; i < ARRAY_LEN(x_attrs); i++)
		if (span_is_ci(a->name, x_attrs[i].name))
			return x_attrs[i].set(s, a);
	return arena_printf(&s->tx_arena, "501 5.5.4 Bad XCLIENT attribute name: " SPAN_FMT,
			    SPAN_ARG(span_head(a->name, 50)));
}

/* After a change the session is as new: 220 and the restrictions of a client that connects. */
bool cmd_xclient(struct session *s, struct span arg)
{
	struct client before = s->client;
	const char *text = NULL;
	struct attr a;
	bool end = false;

	if (s->tx != NULL) {
		reply(s, "503 5.5.1 Error: MAIL transaction in progress");
		return false;
	}
	if (arg.n == 0) {
		reply(s, "501 5.5.4 Syntax: XCLIENT attribute=value...");
		return false;
	}
	if (!session_in_list(s, conf.xclient)) {
		reply(s, "550 5.7.0 Error: insufficient authorization");
		return false;
	}
	s->client.helo = SPAN_NONE;
	s->client.esmtp = false;
	while (text == NULL && !end)
		if ((text = next_attr(s, &arg, &a, &end)) == NULL && !end)
			text = x_set(s, &a);
	if (text != NULL) {
		s->client = before;
		reply(s, "%s", text);
		transaction_end(s);
		return false;
	}
	limit_disconnect(s);
	s->fwd = (struct forward){ .name = SPAN_NONE };
	s->wish[0] = s->wish[1] = (struct verdict){ 0 };
	session_identify(s);
	if (!limit_connect(s))
		return false;
	s->denied = false;
	if (!conf.delay_reject && !check_connect(s)) {
		s->denied = true;
		return false;
	}
	reply(s, "220 %s", conf.banner);
	return true;
}

/* ---- XFORWARD ---- */

static const char *f_set(struct session *s, struct forward *f, const struct attr *a)
{
	static const struct {
		const char *name;
		size_t at;
	} fields[] = {
		{ "NAME", offsetof(struct forward, name) }, { "ADDR", offsetof(struct forward, addr) },
		{ "PORT", offsetof(struct forward, port) }, { "PROTO", offsetof(struct forward, proto) },
		{ "HELO", offsetof(struct forward, helo) }, { "IDENT", offsetof(struct forward, ident) }
	};
	bool none = a->none && !a->temp; /* a name is known or not, here */
	struct inet_addr ip;
	uint64_t port;

	if (span_is_ci(a->name, "SOURCE")) {
		if (!span_is_ci(a->value, "LOCAL") && !span_is_ci(a->value, "REMOTE"))
			return bad(s, "SOURCE", a->value);
		f->local = span_is_ci(a->value, "LOCAL");
		f->sourced = true;
		return NULL;
	}
	if (span_is_ci(a->name, "NAME") && !none && !domain_valid(a->value, conf.smtputf8))
		return bad(s, "NAME", a->value);
	if (span_is_ci(a->name, "PORT") && !none && span_to_u64(a->value, 65535, &port) != RC_OK)
		return bad(s, "PORT", a->value);
	if (span_is_ci(a->name, "ADDR") && !none && inet_addr_parse(a->value, &ip) != RC_OK)
		return bad(s, "ADDR", a->value);
	for (size_t i = 0; i < ARRAY_LEN(fields); i++)
		if (span_is_ci(a->name, fields[i].name)) {
			memcpy((char *)f + fields[i].at, none ? &SPAN("unknown") : &a->value,
			       sizeof(struct span));
			return NULL;
		}
	return arena_printf(&s->tx_arena, "501 5.5.4 Bad XFORWARD attribute name: " SPAN_FMT,
			    SPAN_ARG(span_head(a->name, 50)));
}

bool cmd_xforward(struct session *s, struct span arg)
{
	struct forward f = s->fwd;
	const char *text = NULL;
	struct attr a = { .none = false };
	bool end = false;

	if (s->tx != NULL) {
		reply(s, "503 5.5.1 Error: MAIL transaction in progress");
		return false;
	}
	if (arg.n == 0) {
		reply(s, "501 5.5.4 Syntax: XFORWARD attribute=value...");
		return false;
	}
	if (!s->may_xforward) {
		reply(s, "550 5.7.0 Error: insufficient authorization");
		return false;
	}
	while (text == NULL && !end)
		if ((text = next_attr(s, &arg, &a, &end)) == NULL && !end)
			text = f_set(s, &f, &a);
	if (text != NULL) {
		reply(s, "%s", text);
		transaction_end(s);
		return false;
	}
	s->fwd = f;
	reply(s, "250 2.0.0 Ok");
	return true;
}
