/* auth/protocol.c - reading and writing lines of the authentication protocol. */
#include "protocol.h"

void protocol_put_value(struct buf *b, struct span v)
{
	static const char from[] = { '\t', '\n', '\r', '\001', '\0' }, to[] = { 't', 'n', 'r', '1', '0' };

	for (size_t i = 0; i < v.n; i++) {
		const char *p = memchr(from, v.p[i], sizeof(from));

		if (p) {
			(void)buf_putc(b, '\001');
			(void)buf_putc(b, to[p - from]);
		} else {
			(void)buf_putc(b, v.p[i]);
		}
	}
}

static bool take_number(struct span *rest, uint32_t *out)
{
	struct span word;
	uint64_t v;

	if (!span_next(rest, '\t', &word) || span_to_u64(word, UINT32_MAX, &v) != RC_OK)
		return false;
	*out = (uint32_t)v;
	return true;
}

static bool take_text(struct span word, const char *name, char *out, size_t size, bool *ok)
{
	struct span key = span_str(name);

	if (!span_starts(word, key))
		return false;
	*ok = span_cstr(span_skip(word, key.n), out, size) == RC_OK;
	return true;
}

/* False: malformed. Unknown parameters are passed over, as the protocol asks. */
static bool take_param(struct request *r, struct span word)
{
	bool ok = true;

	if (take_text(word, "service=", r->service, sizeof(r->service), &ok) ||
	    take_text(word, "rip=", r->rip, sizeof(r->rip), &ok) ||
	    take_text(word, "lip=", r->lip, sizeof(r->lip), &ok))
		return ok;
	if (span_is(word, "secured") || span_starts(word, SPAN("secured=")))
		r->secured = true;
	if (span_starts(word, SPAN("resp="))) {
		r->has_data = true;
		r->base64 = span_skip(word, 5);
	}
	return true;
}

static enum rc parse_auth(struct span rest, struct request *r)
{
	struct span mech, word;

	if (!take_number(&rest, &r->id) || r->id == 0)
		return RC_SYNTAX;
	if (!span_next(&rest, '\t', &mech) || mech.n == 0 ||
	    span_cstr(mech, r->mech, sizeof(r->mech)) != RC_OK)
		return RC_DENIED;
	while (!r->has_data && span_next(&rest, '\t', &word)) /* resp= is the last one, by the protocol */
		if (!take_param(r, word))
			return RC_DENIED;
	return RC_OK;
}

static enum rc parse_cont(struct span rest, struct request *r)
{
	if (!take_number(&rest, &r->id))
		return RC_SYNTAX;
	r->has_data = true;
	r->base64 = rest;
	return RC_OK;
}

static enum rc parse_id(struct span rest, struct request *r) /* CANCEL, CPID */
{
	return take_number(&rest, &r->id) ? RC_OK : RC_SYNTAX;
}

static enum rc parse_redeem(struct span rest, struct request *r)
{
	uint32_t cpid;

	return take_number(&rest, &r->rid) && take_number(&rest, &cpid) && take_number(&rest, &r->id) &&
		       span_next(&rest, '\t', &r->cookie)
		   ? RC_OK
		   : RC_SYNTAX;
}

static enum rc parse_version(struct span rest, struct request *r)
{
	struct span major;

	(void)r;
	return span_next(&rest, '\t', &major) && span_is(major, "1") ? RC_OK : RC_SYNTAX;
}

static const struct {
	const char *verb;
	enum request_kind kind;
	enum rc (*parse)(struct span rest, struct request *r);
} verbs[] = {
	{ "VERSION", REQ_VERSION, parse_version }, { "CPID", REQ_CPID, parse_id },
	{ "AUTH", REQ_AUTH, parse_auth },	   { "CONT", REQ_CONT, parse_cont },
	{ "CANCEL", REQ_CANCEL, parse_id },	   { "REQUEST", REQ_REDEEM, parse_redeem },
};

enum rc request_parse(struct span line, struct request *out)
{
	struct span verb;

	memset(out, 0, sizeof(*out));
	if (!span_next(&line, '\t', &verb))
		return RC_OK;
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
		if (!span_is(verb, verbs[i].verb))
			continue;
		out->kind = verbs[i].kind;
		return verbs[i].parse(line, out);
	}
	return RC_OK;
}
