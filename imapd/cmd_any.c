/* CAPABILITY, NOOP, LOGOUT, ID, NAMESPACE, ENABLE. */
#include "session.h"

COMMAND(cmd_capability)
{
	if (!parse_end(p)) {
		tagged_bad(s, p);
		return;
	}
	reply(s, "CAPABILITY %s", capability_after_login);
	tagged_ok(s, "Capability completed.");
}

COMMAND(cmd_noop)
{
	if (!parse_end(p))
		tagged_bad(s, p);
	else
		tagged_ok(s, "NOOP completed.");
}

COMMAND(cmd_logout)
{
	if (!parse_end(p)) {
		tagged_bad(s, p);
		return;
	}
	reply(s, "BYE Logging out");
	session_end(s, "Logged out");
	tagged_ok(s, "Logout completed.");
}

COMMAND(cmd_already)
{
	(void)p;
	parse_fail(p, "Already logged in");
	tagged_bad(s, p);
}

/* RFC 2971 */
COMMAND(cmd_id)
{
	if (!parse_sp(p) || !parse_id(p) || !parse_end(p)) {
		tagged_bad(s, p);
		return;
	}
	reply(s, "ID (\"name\" \"Postern\")");
	tagged_ok(s, "ID completed.");
}

/* RFC 2342: one personal namespace. */
COMMAND(cmd_namespace)
{
	if (!parse_end(p)) {
		tagged_bad(s, p);
		return;
	}
	reply(s, "NAMESPACE ((\"\" \"%c\")) NIL NIL", store_separator(s->store));
	tagged_ok(s, "Namespace completed.");
}

/* RFC 5161 */
COMMAND(cmd_enable)
{
	struct span name;
	bool condstore = false;
	do {
		if (!parse_sp(p) || !parse_atom(p, &name)) {
			tagged_bad(s, p);
			return;
		}
		condstore = condstore || span_is_ci(name, "CONDSTORE");
	} while (p->rest.n);
	s->condstore = s->condstore || condstore;
	reply(s, "ENABLED%s", condstore ? " CONDSTORE" : "");
	tagged_ok(s, "Enabled.");
}
