/* cmd_xclient.c - XCLIENT and XFORWARD: what a trusted front-end or filter says of the real client. */
#include "restrict.h"

/* After a change the session is as new: 220 and the restrictions of a client that connects. */
bool cmd_xclient(struct session *s, struct span arg)
{
	struct client told = s->client;
	const char *text;

	if (session_in_mail(s)) {
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
	told.helo = SPAN_NONE;
	told.esmtp = false;
	if ((text = xclient_take(arg, conf.smtputf8, &s->arena, &told)) != NULL) {
		reply(s, "%s", text);
		transaction_end(s);
		return false;
	}
	limit_disconnect(s); /* of the client as it was */
	s->client = told;
	s->fwd = (struct forward){ .name = SPAN_NONE };
	s->bdat_failed = BDAT_FINE;
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

bool cmd_xforward(struct session *s, struct span arg)
{
	const char *text;

	if (session_in_mail(s)) {
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
	if ((text = xforward_take(arg, conf.smtputf8, &s->arena, &s->fwd)) != NULL) {
		reply(s, "%s", text);
		transaction_end(s);
		return false;
	}
	reply(s, "250 2.0.0 Ok");
	return true;
}
