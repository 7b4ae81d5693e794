/* queue/envelope.c - the envelope's table, its coding, and what makes an encoded one acceptable. */
#include "queue/envelope.h"
#include "queue/qid.h"

#define QID_BYTES 23

static const struct {
	const char *word;
	uint16_t bit;
} notify[] = {
	{ "NEVER", NOTIFY_NEVER },
	{ "SUCCESS", NOTIFY_SUCCESS },
	{ "FAILURE", NOTIFY_FAILURE },
	{ "DELAY", NOTIFY_DELAY },
};

uint16_t notify_bit(struct span word)
{
	for (size_t i = 0; i < ARRAY_LEN(notify); i++)
		if (span_is_ci(word, notify[i].word))
			return notify[i].bit;
	return 0;
}

const char *notify_words(uint16_t bits, char out[NOTIFY_TEXT])
{
	size_t n = 0;

	out[0] = '\0';
	for (size_t i = 0; i < ARRAY_LEN(notify); i++)
		if (bits & notify[i].bit)
			n += (size_t)snprintf(out + n, NOTIFY_TEXT - n, "%s%s", n > 0 ? "," : "",
					      notify[i].word);
	return out;
}

uint16_t notify_expanded(uint16_t bits)
{
	return bits == NOTIFY_SUCCESS ? NOTIFY_NEVER : (uint16_t)(bits & ~NOTIFY_SUCCESS);
}

const struct field env_rcpt_fields[] = {
	FIELD_SPAN(struct env_rcpt, addr, ENV_ADDR_MAX),
	FIELD_SPAN(struct env_rcpt, orig, ENV_ADDR_MAX),
	FIELD_SPAN(struct env_rcpt, orcpt, ENV_ADDR_MAX),
	FIELD(F_U16, struct env_rcpt, notify),
	FIELD(F_U16, struct env_rcpt, state),
	FIELD_END,
};
const struct field envelope_fields[] = {
	FIELD_SPAN(struct envelope, qid, QID_BYTES),
	FIELD(F_I64, struct envelope, arrival_us),
	FIELD_SPAN(struct envelope, sender, ENV_ADDR_MAX),
	FIELD(F_U32, struct envelope, flags),
	FIELD(F_U16, struct envelope, ret),
	FIELD(F_U16, struct envelope, body),
	FIELD_SPAN(struct envelope, envid, ENV_TEXT_MAX),
	FIELD_SPAN(struct envelope, message_id, ENV_TEXT_MAX),
	FIELD(F_U64, struct envelope, size),
	FIELD(F_U16, struct envelope, hops),
	FIELD_SPAN(struct envelope, client_name, ENV_TEXT_MAX),
	FIELD_SPAN(struct envelope, client_addr, ENV_TEXT_MAX),
	FIELD_SPAN(struct envelope, client_port, ENV_TEXT_MAX),
	FIELD_SPAN(struct envelope, helo, ENV_TEXT_MAX),
	FIELD_SPAN(struct envelope, protocol, ENV_TEXT_MAX),
	FIELD_SPAN(struct envelope, rev_client_name, ENV_TEXT_MAX),
	FIELD_SPAN(struct envelope, sasl_method, ENV_TEXT_MAX),
	FIELD_SPAN(struct envelope, sasl_username, ENV_TEXT_MAX),
	FIELD_SPAN(struct envelope, sasl_sender, ENV_TEXT_MAX),
	FIELD_SPAN(struct envelope, ident, ENV_TEXT_MAX),
	FIELD_SPAN(struct envelope, content_filter, ENV_TEXT_MAX),
	FIELD_SPAN(struct envelope, redirect, ENV_ADDR_MAX),
	FIELD_SPAN(struct envelope, verp, ENV_TEXT_MAX),
	FIELD_SPAN(struct envelope, full_name, ENV_TEXT_MAX),
	FIELD_LIST(struct envelope, rcpts, env_rcpt_fields, struct env_rcpt, ENV_RCPT_MAX),
	FIELD_END,
};

enum rc envelope_encode(const struct envelope *env, struct buf *out)
{
	int fds[IPC_FDS_MAX];
	size_t nfds;

	return ipc_encode(envelope_fields, env, out, fds, &nfds);
}

/* A line end or a NUL inside a text would become a second line of a header, a log or a protocol later on. */
static bool clean_text(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] == '\0' || s.p[i] == '\r' || s.p[i] == '\n')
			return false;
	return true;
}

static bool clean_addr(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f)
			return false;
	return true;
}

static enum rc check_rcpts(const struct envelope *env, struct err *e)
{
	for (size_t i = 0; i < env->rcpts.n; i++) {
		const struct env_rcpt *r = envelope_rcpt(env, i);

		if (!clean_addr(r->addr) || !clean_addr(r->orig) || !clean_addr(r->orcpt))
			return err_set(e, RC_SYNTAX, "recipient %zu holds a control character", i);
		if (r->notify > 31 || r->state > RCPT_BOUNCED)
			return err_set(e, RC_SYNTAX, "recipient %zu: notify %u, state %u", i, r->notify,
				       r->state);
	}
	return RC_OK;
}

static enum rc check(const struct envelope *env, struct err *e)
{
	struct qid id;

	if (env->qid.n != 0 && !qid_parse(env->qid, &id))
		return err_set(e, RC_SYNTAX, "bad queue id");
	if (env->ret > RET_HDRS || env->body > BODY_8BITMIME)
		return err_set(e, RC_SYNTAX, "ret %u, body %u", env->ret, env->body);
	if (!clean_addr(env->sender) || !clean_addr(env->redirect))
		return err_set(e, RC_SYNTAX, "an address holds a control character");
	for (const struct field *f = envelope_fields; f->kind != F_END; f++) {
		struct span s;

		if (f->kind != F_SPAN)
			continue;
		memcpy(&s, (const char *)env + f->offset, sizeof(s));
		if (!clean_text(s))
			return err_set(e, RC_SYNTAX, "field %zu holds a line end or NUL",
				       (size_t)(f - envelope_fields) + 1);
	}
	return check_rcpts(env, e);
}

enum rc envelope_decode(struct span bytes, struct arena *a, struct envelope *out, struct err *e)
{
	enum rc rc = ipc_decode(envelope_fields, bytes, NULL, 0, a, out, e);

	if (rc == RC_OK)
		rc = check(out, e);
	if (rc != RC_OK) {
		*out = (struct envelope){ 0 };
		return err_prefix(e, "envelope"), rc;
	}
	return RC_OK;
}
