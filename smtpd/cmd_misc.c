/* cmd_misc.c - RSET, NOOP, VRFY, ETRN, QUIT (RFC 5321 sections 4.1.1.5 to 4.1.1.10, RFC 1985). */
#include "restrict.h"
#include "base/codec.h"

bool cmd_rset(struct session *s, struct span arg)
{
	if (arg.n > 0) {
		reply(s, "501 5.5.4 Syntax: RSET");
		return false;
	}
	transaction_end(s);
	s->bdat_failed = BDAT_FINE;
	reply(s, "250 2.0.0 Ok");
	return true;
}

bool cmd_noop(struct session *s, struct span arg)
{
	(void)arg;
	reply(s, "250 2.0.0 Ok");
	return true;
}

bool cmd_quit(struct session *s, struct span arg)
{
	(void)arg;
	reply(s, "221 2.0.0 Bye");
	s->hangup = true;
	return true;
}

/* Asks what RCPT would say, without touching a transaction (252: RFC 5321 section 3.5.3). */
bool cmd_vrfy(struct session *s, struct span arg)
{
	struct span addr, path = arg, said, rest = SPAN_NONE;
	bool own = s->tx != NULL, smtputf8, ok;

	if (conf.disable_vrfy) {
		reply(s, "502 5.5.1 VRFY command is disabled");
		return false;
	}
	if ((smtputf8 = arg.n > 9 && span_ends_ci(arg, SPAN(" SMTPUTF8"))))
		path = span_trim(span_head(arg, arg.n - 9));
	said = path;
	if (path.n > 1 && path.p[0] == '<' && path.p[path.n - 1] == '>')
		path = span_make(path.p + 1, path.n - 2);
	if (path.n == 0 || rest.n > 0) {
		reply(s, "501 5.5.4 Syntax: VRFY address [SMTPUTF8]");
		return false;
	}
	if (take_path(s, path, conf.smtputf8, false, &addr) != NULL || undeclared_domain(addr, smtputf8)) {
		log_bad_address(s, "VRFY", said);
		reply(s, "501 5.1.3 Bad recipient address syntax");
		return false;
	}
	if (conf.strict_utf8 && !smtputf8 && !span_is_ascii(addr)) {
		reply(s, "553 5.6.7 Must declare SMTPUTF8 to send unicode address");
		return false;
	}
	ok = check_rcpt(s, addr, "VRFY");
	if (ok)
		reply(s, "252 2.0.0 " SPAN_FMT, SPAN_ARG(span_head(said, 500)));
	if (!own)
		transaction_end(s);
	return ok;
}

/* Deliver what waits for a domain: flush(8) knows which those are. */
bool cmd_etrn(struct session *s, struct span arg)
{
	struct flush_query q = { .op = 2 };
	struct flush_reply r;
	struct err e;
	enum rc rc;

	if (session_in_mail(s)) {
		reply(s, "503 Error: MAIL transaction in progress");
		return false;
	}
	if (conf.helo_required && s->client.helo.n == 0) {
		reply(s, "503 Error: send HELO/EHLO first");
		return false;
	}
	if (arg.n == 0 || span_chr(arg, ' ') >= 0) {
		reply(s, "500 Syntax: ETRN domain");
		return false;
	}
	if (arg.p[0] == '@' || arg.p[0] == '#') /* RFC 1985 section 5.3: node forms */
		arg = span_skip(arg, 1);
	if (!domain_valid(arg, conf.smtputf8) && !domain_literal_valid(arg)) {
		reply(s, "501 Error: invalid parameter syntax");
		return false;
	}
	if (!check_etrn(s, arg))
		return false;
	q.site = arg;
	rc = service_request(conf_str(service_conf(), "flush_service_name"), true, IPC_FLUSH, &q, &r,
			     &s->tx_arena, deadline_s(conf.ipc_timeout_s), &e);
	if (rc == RC_OK && r.status == 0)
		reply(s, "250 Queuing started");
	else if (rc == RC_OK && r.status == 1)
		reply(s, "459 <" SPAN_FMT ">: service unavailable", SPAN_ARG(arg));
	else
		reply(s, "458 Unable to queue messages");
	if (rc == RC_OK && r.status == 1)
		log_warning("reject: ETRN " SPAN_FMT "... from %s", SPAN_ARG(span_head(arg, 100)),
			    session_client(s));
	else if (rc != RC_OK)
		log_warning("flush: %s", e.text);
	return rc == RC_OK && r.status == 0;
}
