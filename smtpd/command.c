/* command.c - the commands, as a table: what each needs, and what it counts as. */
#include "smtpd.h"

#define SMTP  1u  /* known to SMTP */
#define LMTP  2u  /* known to LMTP (RFC 2033 section 4.1: no HELO, no EHLO) */
#define CLEAR 4u  /* allowed before TLS where TLS is demanded (RFC 3207 section 4) */
#define LAST  8u  /* ends a pipelined group (RFC 2920 section 3.1) */
#define JUNK  16u /* does nothing for mail: counted, smtpd_junk_command_limit */
#define ANEW  32u /* success begins the session anew: Postfix counts it as tried only */
#define BOTH  (SMTP | LMTP)

static const struct command {
	const char *verb, *count; /* as clients say it; as "disconnect from" counts it */
	unsigned flags;
	bool (*run)(struct session *, struct span arg);
} commands[] = {
	{ "HELO", "helo", SMTP | CLEAR | LAST | JUNK, cmd_helo },
	{ "EHLO", "ehlo", SMTP | CLEAR | LAST | JUNK, cmd_ehlo },
	{ "LHLO", "lhlo", LMTP | CLEAR | LAST | JUNK, cmd_lhlo },
	{ "XCLIENT", "xclient", BOTH | CLEAR | ANEW, cmd_xclient },
	{ "XFORWARD", "xforward", BOTH, cmd_xforward },
	{ "STARTTLS", "starttls", BOTH | CLEAR | LAST, cmd_starttls },
	{ "AUTH", "auth", BOTH, cmd_auth },
	{ "MAIL", "mail", BOTH, cmd_mail },
	{ "RCPT", "rcpt", BOTH, cmd_rcpt },
	{ "DATA", "data", BOTH | LAST, cmd_data },
	{ "BDAT", "bdat", BOTH, cmd_bdat },
	{ "RSET", "rset", BOTH | JUNK, cmd_rset },
	{ "NOOP", "noop", BOTH | CLEAR | LAST | JUNK, cmd_noop },
	{ "VRFY", "vrfy", BOTH | LAST | JUNK, cmd_vrfy },
	{ "ETRN", "etrn", SMTP | JUNK, cmd_etrn },
	{ "QUIT", "quit", BOTH | CLEAR, cmd_quit },
};
#define UNKNOWN ARRAY_LEN(commands)
_Static_assert(ARRAY_LEN(commands) < CMD_ROWS, "counters of struct session");

static size_t find(struct span verb)
{
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (span_is_ci(verb, commands[i].verb) && (commands[i].flags & (conf.lmtp ? LMTP : SMTP)))
			return i;
	return UNKNOWN;
}

static bool listed(const struct span *v, size_t n, struct span verb)
{
	for (size_t i = 0; i < n; i++)
		if (span_eq_ci(v[i], verb))
			return true;
	return false;
}

/* "Subject: x", "From : y": the header of a message that was not asked for, as clients send it that do not look at
 * replies (RFC 5322 section 2.2). */
static bool header_like(struct span line)
{
	ptrdiff_t colon = span_chr(line, ':');
	struct span name = span_trim(span_head(line, colon > 0 ? (size_t)colon : 0));

	for (size_t i = 0; i < name.n; i++)
		if (name.p[i] <= ' ' || name.p[i] > '~')
			return false;
	return name.n > 0;
}

/* Somebody speaks another protocol to us, mostly a web browser that was made to (smtpd_forbidden_commands), or lost its
 * place in this one. */
static bool forbidden(struct session *s, struct span verb, struct span line)
{
	bool hit = header_like(line) || listed(conf.forbidden_cmd, conf.forbidden, verb);
	struct arena a;
	struct span value;
	struct buf b;
	struct err e;

	arena_init(&a);
	ptrdiff_t nul =
	    span_chr(verb, '\0'); /* what is behind it is no UTF-8 in most cases, and never looked up then */
	verb = nul >= 0 ? span_head(verb, (size_t)nul) : verb;
	if (!hit && !maps_empty(conf.forbidden_table))
		hit = maps_lookup(conf.forbidden_table, verb, &a, &value, &e) == RC_OK;
	arena_release(&a);
	if (!hit)
		return false;
	buf_init(&b, 500);
	log_warning("non-SMTP command from %s: %.100s", session_client(s),
		    session_visible(span_head(line, 100), &b));
	buf_release(&b);
	reply(s, "221 2.7.0 Error: I can break rules, too. Goodbye.");
	s->hangup = true;
	return true;
}

static bool run_known(struct session *s, const struct command *c, struct span arg)
{
	const char *before = s->where;

	s->where = c->verb;
	/* RFC 2920 section 3.1: only a client that was told may pipeline, and nothing may follow some
	 * commands. */
	if ((!s->client.esmtp || (c->flags & LAST)) && session_bad_pipelining(s))
		return false;
	if (conf.tls == TLS_ENCRYPT && s->tls == NULL && !(c->flags & CLEAR)) {
		reply(s, "530 5.7.0 Must issue a STARTTLS command first");
		s->where = before; /* this was none */
		return false;
	}
	if ((c->flags & JUNK) && s->junk++ > (unsigned)conf.junk_limit)
		s->errors++;
	return c->run(s, arg);
}

static bool run_unknown(struct session *s, struct span verb, struct span line)
{
	if (listed(conf.noop_cmd, conf.noops, verb)) { /* in no count */
		s->tried[UNKNOWN]--;
		s->done[UNKNOWN]--;
		return cmd_noop(s, SPAN_NONE);
	}
	s->where = "UNKNOWN";
	if (forbidden(s, verb, line))
		return false;
	reply(s, memchr(line.p, '\0', line.n) != NULL ? "500 5.5.2 Error: bad syntax"
						      : "500 5.5.2 Error: command not recognized");
	return false;
}

void command_run(struct session *s, struct span line)
{
	struct span rest = line, verb = SPAN_NONE;
	size_t row;
	bool ok = false;

	if (!span_next_word(&rest, " \t", &verb)) {
		reply(s, "500 5.5.2 Error: bad syntax");
		s->errors++;
		return;
	}
	row = find(verb);
	s->tried[row]++;
	if (s->denied && !span_is_ci(verb, "QUIT")) {
		reply(s, "503 5.7.0 Error: access denied for %s", session_client(s));
		s->errors++;
		return;
	}
	if (row == UNKNOWN) /* it may be TLS, with a NUL in it */
		ok = run_unknown(s, verb, line);
	else if (memchr(line.p, '\0', line.n) != NULL)
		reply(s, "500 5.5.2 Error: bad syntax");
	else
		ok = run_known(s, &commands[row], span_trim(rest));
	if (!ok)
		s->errors++;
	else if (row == UNKNOWN || !(commands[row].flags & ANEW))
		s->done[row]++;
}

void command_log_counts(const struct session *s, struct buf *out)
{
	unsigned done = 0, tried = 0;

	for (size_t i = 0; i <= UNKNOWN; i++) {
		const char *name = i == UNKNOWN ? "unknown" : commands[i].count;

		done += s->done[i];
		tried += s->tried[i];
		if (s->tried[i] == 0)
			continue;
		if (s->done[i] == s->tried[i])
			(void)buf_printf(out, " %s=%u", name, s->tried[i]);
		else
			(void)buf_printf(out, " %s=%u/%u", name, s->done[i], s->tried[i]);
	}
	if (done == tried && tried > 0)
		(void)buf_printf(out, " commands=%u", tried);
	else
		(void)buf_printf(out, " commands=%u/%u", done, tried);
}
