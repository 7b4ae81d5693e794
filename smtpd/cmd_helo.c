/* cmd_helo.c - HELO, EHLO, LHLO (RFC 5321 section 4.1.1.1, RFC 2033 section 4.1). */
#include "restrict.h"

static const struct {
	const char *name;
	unsigned bit;
} keywords[] = {
	{ "8bitmime", KW_8BITMIME },	   { "auth", KW_AUTH },		{ "etrn", KW_ETRN },
	{ "pipelining", KW_PIPELINING },   { "size", KW_SIZE },		{ "vrfy", KW_VRFY },
	{ "xclient", KW_XCLIENT },	   { "xforward", KW_XFORWARD }, { "starttls", KW_STARTTLS },
	{ "enhancedstatuscodes", KW_ESC }, { "dsn", KW_DSN },		{ "smtputf8", KW_SMTPUTF8 },
	{ "chunking", KW_CHUNKING },	   { "xverp", KW_XVERP },	{ "silent-discard", KW_SILENT }
};

unsigned ehlo_keyword(struct span name)
{
	for (size_t i = 0; i < ARRAY_LEN(keywords); i++)
		if (span_is_ci(name, keywords[i].name))
			return keywords[i].bit;
	return 0;
}

/* Also after HELO, and SIZE and BODY also when they are not announced: clients exist that use what they were not offered,
 * and Postfix takes it. */
unsigned extensions(const struct session *s)
{
	unsigned off = s->discard_ehlo;

	return EXT_SIZE | EXT_8BITMIME | (off & KW_DSN ? 0 : EXT_DSN) | (auth_offered(s) ? EXT_AUTH : 0) |
	       (!conf.smtputf8 || (off & KW_SMTPUTF8) ? 0 : EXT_SMTPUTF8) |
	       (session_in_list(s, conf.verp_clients) && !(off & KW_XVERP) ? EXT_XVERP : 0);
}

/* A greeting in the middle ends the transaction; one that is refused changes nothing (RFC 5321 section 4.1.4). */
static bool hello(struct session *s, struct span arg, bool esmtp)
{
	struct span former = s->client.helo;
	struct verdict wish = s->wish[1];

	s->wish[1] = (struct verdict){ 0 };
	if (!conf.delay_reject) { /* judged as it came */
		s->client.helo = arg;
		if (!check_helo(s)) {
			s->client.helo = former;
			s->wish[1] = wish;
			if (s->tx == NULL)
				transaction_end(s); /* its memory */
			return false;
		}
	}
	transaction_end(s);
	s->fwd = (struct forward){ .name = SPAN_NONE };
	s->bdat_failed = BDAT_FINE;
	if (!span_eq(former, arg) &&
	    s->arena.used_bytes < 64 * 1024) /* a client that greets for ever gets no memory */
		former = neutral_name(&s->arena, arg, conf.smtputf8);
	s->client.helo = former;
	s->client.esmtp |= esmtp; /* what was told in EHLO holds after a HELO, too */
	return true;
}

bool cmd_helo(struct session *s, struct span arg)
{
	if (arg.n == 0) {
		reply(s, "501 Syntax: HELO hostname");
		return false;
	}
	if (!hello(s, arg, false))
		return false;
	reply(s, "250 %s", conf.myhostname);
	return true;
}

static void announce(struct session *s, struct buf *b, unsigned bit, const char *line)
{
	if (s->discard_ehlo & bit)
		return;
	(void)buf_printf(b, "\n%s", line);
}

static void announce_size(struct session *s, struct buf *b)
{
	char line[40];

	(void)snprintf(line, sizeof(line), "SIZE %lld", (long long)conf.message_size_limit);
	announce(s, b, KW_SIZE, conf.message_size_limit > 0 ? line : "SIZE");
}

static void announce_auth(struct session *s, struct buf *b)
{
	struct buf mechs;

	if (!auth_offered(s) || (s->discard_ehlo & KW_AUTH))
		return;
	buf_init(&mechs, 512);
	auth_mechs(s, &mechs);
	if (mechs.n > 0) {
		(void)buf_printf(b, "\nAUTH%s", buf_cstr(&mechs));
		if (conf.auth_broken_clients)
			(void)buf_printf(b, "\nAUTH=%s", buf_cstr(&mechs) + 1);
	}
	buf_release(&mechs);
}

static void list_extensions(struct session *s, struct buf *b)
{
	announce(s, b, KW_PIPELINING, "PIPELINING");
	announce_size(s, b);
	if (!conf.disable_vrfy)
		announce(s, b, KW_VRFY, "VRFY");
	if (!conf.lmtp)
		announce(s, b, KW_ETRN, "ETRN");
	if (conf.tls != TLS_NONE && conf.tls_server != NULL && s->tls == NULL)
		announce(s, b, KW_STARTTLS, "STARTTLS");
	announce_auth(s, b);
	if (extensions(s) & EXT_XVERP)
		announce(s, b, KW_XVERP, "XVERP");
	if (session_in_list(s, conf.xclient))
		announce(s, b, KW_XCLIENT,
			 "XCLIENT NAME ADDR PROTO HELO REVERSE_NAME PORT LOGIN DESTADDR DESTPORT");
	if (s->may_xforward)
		announce(s, b, KW_XFORWARD, "XFORWARD NAME ADDR PROTO HELO SOURCE PORT IDENT");
	announce(s, b, KW_ESC, "ENHANCEDSTATUSCODES");
	announce(s, b, KW_8BITMIME, "8BITMIME");
	announce(s, b, KW_DSN, "DSN");
	if (conf.smtputf8)
		announce(s, b, KW_SMTPUTF8, "SMTPUTF8");
	announce(s, b, KW_CHUNKING, "CHUNKING");
}

static void log_discarded(const struct session *s)
{
	struct buf b;

	if (s->discard_ehlo == 0 || (s->discard_ehlo & KW_SILENT))
		return;
	buf_init(&b, 300);
	for (size_t i = 0; i < ARRAY_LEN(keywords); i++)
		if (s->discard_ehlo & keywords[i].bit)
			(void)buf_printf(&b, " %s", keywords[i].name);
	for (size_t i = 0; i < b.n; i++)
		b.p[i] = ascii_upper(b.p[i]);
	log_info("discarding EHLO keywords:%s", buf_cstr(&b));
	buf_release(&b);
}

static bool extended(struct session *s, struct span arg, const char *syntax)
{
	struct buf b;

	if (arg.n == 0) {
		reply(s, "%s", syntax);
		return false;
	}
	if (!hello(s, arg, true))
		return false;
	buf_init(&b, 1024);
	log_discarded(s);
	(void)buf_printf(&b, "250 %s", conf.myhostname);
	list_extensions(s, &b);
	reply(s, "%s", buf_cstr(&b));
	buf_release(&b);
	return true;
}

bool cmd_ehlo(struct session *s, struct span arg)
{
	return extended(s, arg, "501 Syntax: EHLO hostname");
}

bool cmd_lhlo(struct session *s, struct span arg)
{
	return extended(s, arg, "501 Syntax: LHLO hostname");
}
