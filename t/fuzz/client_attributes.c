/* Any bytes as the arguments of XCLIENT and XFORWARD (smtpd/client.h): all of them count or none does, with a reply of one line; what is taken has
 * addresses in their usual form, ports and codes within bounds, and nothing that makes more than a word of it. The first byte selects. */
#include "../../smtpd/client.c" /* a daemon's file: not in the archive */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void is_reply(const char *text)
{
	INVARIANT(strncmp(text, "501 5.5.4 ", 10) == 0 && strchr(text, '\n') == NULL);
}

static void is_address(struct span text, const struct inet_addr *ip)
{
	struct inet_addr a;
	char s[INET_TEXT_MAX];

	if (span_is(text, "unknown") || text.n == 0)
		return;
	INVARIANT(inet_addr_parse(text, &a) == RC_OK && (ip == NULL || inet_addr_eq(&a, ip)));
	inet_addr_text(&a, s);
	INVARIANT(span_is(text, s));
}

/* In headers and logs: `helo=<x>`, "(helo)". */
static void is_word(struct span text)
{
	INVARIANT(text.n <= VALUE_MAX);
	for (size_t i = 0; i < text.n; i++)
		INVARIANT((unsigned char)text.p[i] > ' ' && text.p[i] != 0x7f &&
			  strchr("<>()\\\";@", text.p[i]) == NULL);
}

static void is_name(struct span name, unsigned code, bool utf8)
{
	INVARIANT(code == 2 || code == 4 || code == 5);
	INVARIANT(code == 2 ? domain_valid(name, utf8) : span_is(name, "unknown"));
}

static void as_xclient(struct span text, bool utf8, struct arena *a)
{
	const struct client before = { .name = SPAN("here.test"),
				       .rname = SPAN("here.test"),
				       .addr = SPAN("192.0.2.1"),
				       .name_code = 2,
				       .rname_code = 2,
				       .ip = { .family = AF_INET, .b = { 192, 0, 2, 1 } } };
	struct client c = before, twice;
	const char *bad = xclient_take(text, utf8, a, &c);

	if (bad != NULL) {
		is_reply(bad);
		INVARIANT(memcmp(&c, &before, sizeof c) == 0);
		return;
	}
	is_name(c.name, c.name_code, utf8);
	is_name(c.rname, c.rname_code, utf8);
	is_address(c.addr, &c.ip);
	INVARIANT(span_is(c.addr, "unknown") == (c.ip.family == AF_UNSPEC));
	is_address(c.local_addr, NULL);
	INVARIANT(c.port <= 65535 && c.local_port <= 65535);
	is_word(c.helo);
	INVARIANT(c.sasl_user.n <= VALUE_MAX && (c.sasl_method.n > 0) == (c.sasl_user.p != NULL));
	twice = c;
	INVARIANT(xclient_take(text, utf8, a, &twice) == NULL && span_eq(twice.addr, c.addr) &&
		  span_eq(twice.helo, c.helo) && span_eq(twice.rname, c.rname) && twice.esmtp == c.esmtp);
}

static void as_xforward(struct span text, bool utf8, struct arena *a)
{
	const struct forward before = { .name = SPAN("here.test") };
	struct forward f = before;
	const char *bad = xforward_take(text, utf8, a, &f);

	if (bad != NULL) {
		is_reply(bad);
		INVARIANT(memcmp(&f, &before, sizeof f) == 0);
		return;
	}
	INVARIANT(f.sourced || !f.local);
	INVARIANT(span_is(f.name, "unknown") || domain_valid(f.name, utf8));
	is_address(f.addr, NULL);
	is_word(f.port);
	is_word(f.proto);
	is_word(f.helo);
	is_word(f.ident);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span text = span_skip(span_make((const char *)data, size), 1);
	struct arena a;

	if (size < 1 || size > 16384 || span_chr(text, '\n') >= 0) /* of a command line */
		return 0;
	arena_init(&a);
	(*data & 1 ? as_xclient : as_xforward)(text, *data & 2, &a);
	arena_release(&a);
	return 0;
}
