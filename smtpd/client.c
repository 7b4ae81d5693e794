/* client.c - see client.h. Values are xtext; "[UNAVAILABLE]" and "[TEMPUNAVAIL]" stand for none. */
#include "client.h"
#include "base/codec.h"
#include "mime/address.h"

#define VALUE_MAX 255

struct attr {
	struct span name, value;
	bool none, temp;
	bool utf8;
	struct arena *a;
};

struct span neutral_name(struct arena *a, struct span name, bool utf8)
{
	size_t n = span_head(name, VALUE_MAX).n;
	char *p = arena_cstr(a, span_head(name, n));

	for (size_t i = 0; i < n; i++)
		if ((!ascii_isprint(p[i]) && !((unsigned char)p[i] >= 0x80 && utf8)) ||
		    strchr(" <>()\\\";@", p[i]) != NULL)
			p[i] = '?';
	return span_make(p, n);
}

static const char *bad(struct arena *a, const char *what, struct span value)
{
	return arena_printf(a, "501 5.5.4 Bad %s syntax: " SPAN_FMT, what, SPAN_ARG(span_head(value, 100)));
}

/* Takes the next NAME=value off *rest. NULL: fine; else the reply. */
static const char *next_attr(struct span *rest, struct attr *out, bool *end)
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
	out->name = span_head(word, (size_t)eq);
	v = span_skip(word, (size_t)eq + 1);
	if (v.n == 0)
		return "501 5.5.4 Error: attribute=value expected";
	if (v.n > VALUE_MAX)
		return "501 5.5.4 Error: attribute value too long";
	buf_init(&b, VALUE_MAX);
	ok = xtext_decode(&b, v) == RC_OK;
	for (size_t i = 0; ok && i < b.n; i++)
		ok = ascii_isprint(b.p[i]) || ((unsigned char)b.p[i] >= 0x80 && out->utf8);
	out->value = span_dup(out->a, buf_span(&b));
	buf_release(&b);
	if (!ok)
		return bad(out->a, arena_cstr(out->a, span_head(out->name, 50)), v);
	out->temp = span_is_ci(out->value, "[TEMPUNAVAIL]");
	out->none = out->temp || span_is_ci(out->value, "[UNAVAILABLE]");
	return NULL;
}

/* "192.0.2.1", "IPv6:2001:db8::1" -> the address alone, in its usual form. */
static bool address_of(const struct attr *at, struct inet_addr *ip, struct span *text)
{
	char s[INET_TEXT_MAX];

	if (at->value.n == 0 || at->value.p[0] == '[' ||
	    (span_chr(at->value, ':') >= 0 && !span_starts_ci(at->value, SPAN("IPv6:"))) ||
	    inet_addr_parse(at->value, ip) != RC_OK)
		return false;
	inet_addr_text(ip, s);
	*text = span_str(arena_strdup(at->a, s));
	return true;
}

static const char *unknown_name(const char *what, const struct attr *at)
{
	return arena_printf(at->a, "501 5.5.4 Bad %s attribute name: " SPAN_FMT, what,
			    SPAN_ARG(span_head(at->name, 50)));
}

static bool names_host(const struct attr *at)
{
	return domain_valid(at->value, at->utf8) && !domain_is_numeric(at->value);
}

/* ---- XCLIENT ---- */

static const char *x_name(struct client *c, const struct attr *at)
{
	if (!at->none && !names_host(at))
		return bad(at->a, "NAME", at->value);
	c->name = at->none ? SPAN("unknown") : at->value;
	c->name_code = at->temp ? 4 : at->none ? 5 : 2;
	if (c->name_code == 2) { /* unless REVERSE_NAME says otherwise */
		c->rname = c->name;
		c->rname_code = c->name_code;
	}
	return NULL;
}

static const char *x_rname(struct client *c, const struct attr *at)
{
	if (!at->none && !names_host(at))
		return bad(at->a, "REVERSE_NAME", at->value);
	c->rname = at->none ? SPAN("unknown") : at->value;
	c->rname_code = at->temp ? 4 : at->none ? 5 : 2;
	return NULL;
}

static const char *x_addr(struct client *c, const struct attr *at)
{
	if (at->none) {
		c->addr = SPAN("unknown");
		c->ip = (struct inet_addr){ .family = AF_UNSPEC };
		return NULL;
	}
	return address_of(at, &c->ip, &c->addr) ? NULL : bad(at->a, "ADDR", at->value);
}

static const char *port(const struct attr *at, const char *what, unsigned *out)
{
	uint64_t v = 0;

	if (!at->none && span_to_u64(at->value, 65535, &v) != RC_OK)
		return bad(at->a, what, at->value);
	*out = (unsigned)v;
	return NULL;
}

static const char *x_port(struct client *c, const struct attr *at)
{
	return port(at, "PORT", &c->port);
}

static const char *x_destport(struct client *c, const struct attr *at)
{
	return port(at, "DESTPORT", &c->local_port);
}

static const char *x_destaddr(struct client *c, const struct attr *at)
{
	struct inet_addr ip;

	c->local_addr = SPAN_NONE;
	return at->none || address_of(at, &ip, &c->local_addr) ? NULL : bad(at->a, "DESTADDR", at->value);
}

static const char *x_helo(struct client *c, const struct attr *at)
{
	c->helo = at->none ? SPAN_NONE : neutral_name(at->a, at->value, at->utf8);
	return NULL;
}

static const char *x_proto(struct client *c, const struct attr *at)
{
	if (!span_is_ci(at->value, "SMTP") && !span_is_ci(at->value, "ESMTP"))
		return bad(at->a, "PROTO", at->value);
	c->esmtp = span_is_ci(at->value, "ESMTP");
	return NULL;
}

static const char *x_login(struct client *c, const struct attr *at)
{
	c->sasl_user = at->none ? SPAN_NONE : at->value;
	c->sasl_method = at->none ? SPAN_NONE : SPAN("XCLIENT");
	return NULL;
}

static const struct {
	const char *name;
	const char *(*set)(struct client *, const struct attr *);
} x_attrs[] = { { "NAME", x_name },   { "REVERSE_NAME", x_rname }, { "ADDR", x_addr },
		{ "PORT", x_port },   { "HELO", x_helo },	   { "PROTO", x_proto },
		{ "LOGIN", x_login }, { "DESTADDR", x_destaddr },  { "DESTPORT", x_destport } };

static const char *x_set(struct client *c, const struct attr *at)
{
	for (size_t i = 0; i < ARRAY_LEN(x_attrs); i++)
		if (span_is_ci(at->name, x_attrs[i].name))
			return x_attrs[i].set(c, at);
	return unknown_name("XCLIENT", at);
}

const char *xclient_take(struct span args, bool utf8, struct arena *a, struct client *c)
{
	struct attr at = { .a = a, .utf8 = utf8 };
	struct client now = *c;
	const char *text;
	bool end;

	while ((text = next_attr(&args, &at, &end)) == NULL && !end)
		if ((text = x_set(&now, &at)) != NULL)
			return text;
	if (text == NULL)
		*c = now;
	return text;
}

/* ---- XFORWARD ---- */

static const char *f_text(const struct attr *at, const char *what, struct span *out)
{
	(void)what;
	*out = neutral_name(at->a, at->value, at->utf8);
	return NULL;
}

static const char *f_name(const struct attr *at, const char *what, struct span *out)
{
	*out = at->value;
	return names_host(at) ? NULL : bad(at->a, what, at->value);
}

static const char *f_addr(const struct attr *at, const char *what, struct span *out)
{
	struct inet_addr ip;

	return address_of(at, &ip, out) ? NULL : bad(at->a, what, at->value);
}

static const char *f_port(const struct attr *at, const char *what, struct span *out)
{
	unsigned v;

	*out = at->value;
	return port(at, what, &v);
}

static const char *f_source(struct forward *f, const struct attr *at)
{
	if (!span_is_ci(at->value, "LOCAL") && !span_is_ci(at->value, "REMOTE"))
		return bad(at->a, "SOURCE", at->value);
	f->local = span_is_ci(at->value, "LOCAL");
	f->sourced = true;
	return NULL;
}

static const char *f_set(struct forward *f, const struct attr *at)
{
	const struct {
		const char *name;
		struct span *to;
		const char *(*set)(const struct attr *at, const char *what, struct span *out);
	} fields[] = { { "NAME", &f->name, f_name }, { "ADDR", &f->addr, f_addr },
		       { "PORT", &f->port, f_port }, { "PROTO", &f->proto, f_text },
		       { "HELO", &f->helo, f_text }, { "IDENT", &f->ident, f_text } };

	if (span_is_ci(at->name, "SOURCE"))
		return f_source(f, at);
	for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
		if (!span_is_ci(at->name, fields[i].name))
			continue;
		if (!at->none || at->temp) /* a name is known or not, here */
			return fields[i].set(at, fields[i].name, fields[i].to);
		*fields[i].to = SPAN("unknown");
		return NULL;
	}
	return unknown_name("XFORWARD", at);
}

const char *xforward_take(struct span args, bool utf8, struct arena *a, struct forward *f)
{
	struct attr at = { .a = a, .utf8 = utf8 };
	struct forward now = *f;
	const char *text;
	bool end;

	while ((text = next_attr(&args, &at, &end)) == NULL && !end)
		if ((text = f_set(&now, &at)) != NULL)
			return text;
	if (text == NULL)
		*f = now;
	return text;
}
