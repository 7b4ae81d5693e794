/* smtp/params.c - see params.h. */
#include "smtp/params.h"
#include "base/codec.h"

/* Length of "<...>" at the start of text, quoted strings inside respected; 0: not closed. */
static size_t bracketed_length(struct span text)
{
	bool quoted = false;

	for (size_t i = 1; i < text.n; i++) {
		if (quoted && text.p[i] == '\\')
			i++;
		else if (text.p[i] == '"')
			quoted = !quoted;
		else if (text.p[i] == '>' && !quoted)
			return i + 1;
	}
	return 0;
}

const char *params_path(struct span text, const char *keyword, bool strict, struct span *path,
			struct span *rest)
{
	struct span key = span_str(keyword); /* "FROM:" */
	const char *reply = keyword[0] == 'F' ? "501 5.5.4 Syntax: MAIL FROM:<address>"
					      : "501 5.5.4 Syntax: RCPT TO:<address>";
	const char *bad = keyword[0] == 'F' ? "501 5.1.7 Bad sender address syntax"
					    : "501 5.1.3 Bad recipient address syntax";
	size_t n;

	text = span_trim(text);
	if (!span_starts_ci(text, key))
		return reply;
	text = span_skip(text, key.n);
	text = span_trim(text); /* white space here is wrong and widespread */
	if (text.n == 0)
		return reply;
	if (strict && text.p[0] != '<')
		return bad;
	if (text.p[0] == '<') {
		if ((n = bracketed_length(text)) == 0)
			return bad;
		*path = span_make(text.p + 1, n - 2);
		if (n < text.n && text.p[n] == '>' && path->n > 0 && path->p[0] == '<')
			*path =
			    span_skip(*path, 1); /* "<<address>>": who put brackets around had some already */
		while (n < text.n && text.p[n] == '>')
			n++;
		if ((n < text.n && text.p[n] != ' ' && text.p[n] != '\t'))
			return bad;
		*rest = span_skip(text, n);
		return NULL;
	}
	*rest = text;
	return span_next_word(rest, " \t", path) ? NULL : reply;
}

/* "KEY=value"; true when the key matches and there is a value. */
static bool keyed(struct span word, const char *key, struct span *value)
{
	struct span k = span_str(key);

	if (!span_starts_ci(word, k) || word.n <= k.n || word.p[k.n] != '=')
		return false;
	*value = span_skip(word, k.n + 1);
	return true;
}

static const char *unsupported(struct arena *a, struct span word)
{
	return arena_printf(a, "555 5.5.4 Unsupported option: " SPAN_FMT, SPAN_ARG(span_head(word, 200)));
}

/* xtext of at most `max` bytes that means printable ASCII (RFC 3461 section 4), or with `utf8` also UTF-8. */
static bool xtext(struct span in, size_t max, bool utf8, struct arena *a, struct span *out)
{
	struct buf b;
	bool ok;

	buf_init(&b, max);
	ok = in.n > 0 && in.n <= max && xtext_decode(&b, in) == RC_OK;
	for (size_t i = 0; ok && i < b.n; i++)
		ok = ascii_isprint(b.p[i]) || (utf8 && (unsigned char)b.p[i] >= 0x80);
	ok = ok && utf8_valid(buf_span(&b));
	if (ok)
		*out = span_dup(a, buf_span(&b));
	buf_release(&b);
	return ok && out->n > 0;
}

/* RFC 1870 section 6.1: at most 20 digits, which may be more than any message has. */
static const char *size_param(struct span v, struct mail_params *out)
{
	enum rc rc = v.n <= 20 ? span_to_u64(v, INT64_MAX, &out->size) : RC_SYNTAX;

	if (rc == RC_LIMIT)
		return "552 5.3.4 Message size exceeds file system imposed limit";
	return rc == RC_SYNTAX ? "501 5.5.4 Bad message size syntax" : NULL;
}

static const char *mail_param(struct span word, unsigned ext, struct arena *a, struct mail_params *out)
{
	struct span v;

	if ((ext & EXT_SIZE) && keyed(word, "SIZE", &v))
		return size_param(v, out);
	if ((ext & EXT_8BITMIME) && keyed(word, "BODY", &v) &&
	    (span_is_ci(v, "7BIT") || span_is_ci(v, "8BITMIME"))) {
		out->body = span_is_ci(v, "7BIT") ? BODY_7BIT : BODY_8BITMIME;
		return NULL;
	}
	if (!(ext & EXT_DSN) && (keyed(word, "RET", &v) || keyed(word, "ENVID", &v)))
		return "501 5.7.1 DSN support is disabled";
	if ((ext & EXT_DSN) && keyed(word, "RET", &v)) {
		if (out->ret != RET_NONE || (!span_is_ci(v, "FULL") && !span_is_ci(v, "HDRS")))
			return "501 5.5.4 Bad RET parameter syntax";
		out->ret = span_is_ci(v, "FULL") ? RET_FULL : RET_HDRS;
		return NULL;
	}
	if ((ext & EXT_DSN) && keyed(word, "ENVID", &v))
		return out->envid.n > 0 || !xtext(v, ENVID_TEXT_MAX, false, a, &out->envid)
			   ? "501 5.5.4 Bad ENVID parameter syntax"
			   : NULL;
	if (keyed(word, "AUTH", &v) && !(ext & EXT_AUTH)) /* says nothing to us */
		return NULL;
	if (keyed(word, "AUTH", &v)) /* RFC 4954 section 5 */
		return xtext(v, 500, false, a, &out->auth) ? NULL : "501 5.5.4 Bad AUTH parameter syntax";
	if ((ext & EXT_XVERP) && (span_is_ci(word, "XVERP") || keyed(word, "XVERP", &out->verp))) {
		out->xverp = true;
		out->own_verp = word.n > 5; /* with "=" */
		return NULL;
	}
	if ((ext & EXT_SMTPUTF8) && span_is_ci(word, "SMTPUTF8")) {
		out->smtputf8 = true;
		return NULL;
	}
	return unsupported(a, word);
}

const char *params_mail(struct span rest, unsigned extensions, struct arena *a, struct mail_params *out)
{
	const char *reply = NULL;
	struct span word;

	*out = (struct mail_params){ 0 };
	while (reply == NULL && span_next_word(&rest, " \t", &word))
		reply = mail_param(word, extensions, a, out);
	return reply;
}

/* RFC 3461 section 4.1: NEVER stands alone. */
static uint16_t notify_bits(struct span list)
{
	uint16_t bits = 0;
	struct span word;

	while (span_next_word(&list, ",", &word)) {
		uint16_t bit = notify_bit(word);

		if (bit == 0)
			return 0;
		bits |= bit;
	}
	return (bits & NOTIFY_NEVER) && bits != NOTIFY_NEVER ? 0 : bits;
}

/* "type;xtext": the type is an atom (section 4.2). */
static bool orcpt(struct span in, struct arena *a, struct span *out)
{
	ptrdiff_t semi = span_chr(in, ';');
	struct span addr, type;

	if (semi <= 0 || in.n > ORCPT_TEXT_MAX)
		return false;
	type = span_head(in, (size_t)semi);
	for (size_t i = 0; i < type.n; i++)
		if (!ascii_isalnum(type.p[i]) && type.p[i] != '-')
			return false;
	if (span_is_ci(type, "utf-8")) { /* RFC 6533 section 3: utf-8-addr-xtext, or as it is */
		addr = span_skip(in, (size_t)semi + 1);
		if (addr.n == 0 || !utf8_valid(addr))
			return false;
		*out = span_dup(a, in);
		return true;
	}
	/* Postfix's client sends addresses beyond ASCII so, too */
	if (!xtext(span_skip(in, (size_t)semi + 1), ORCPT_TEXT_MAX, true, a, &addr))
		return false;
	*out = span_printf(a, SPAN_FMT ";" SPAN_FMT, SPAN_ARG(type), SPAN_ARG(addr));
	return true;
}

static const char *rcpt_param(struct span word, unsigned ext, struct arena *a, struct rcpt_params *out)
{
	struct span v;

	if (!(ext & EXT_DSN) && (keyed(word, "NOTIFY", &v) || keyed(word, "ORCPT", &v)))
		return "501 5.7.1 DSN support is disabled";
	if ((ext & EXT_DSN) && keyed(word, "NOTIFY", &v)) {
		if (out->notify != 0 || (out->notify = notify_bits(v)) == 0)
			return "501 5.5.4 Error: Bad NOTIFY parameter syntax";
		return NULL;
	}
	if ((ext & EXT_DSN) && keyed(word, "ORCPT", &v))
		return out->orcpt.n > 0 || !orcpt(v, a, &out->orcpt)
			   ? "501 5.5.4 Error: Bad ORCPT parameter syntax"
			   : NULL;
	return unsupported(a, word);
}

const char *params_rcpt(struct span rest, unsigned extensions, struct arena *a, struct rcpt_params *out)
{
	const char *reply = NULL;
	struct span word;

	*out = (struct rcpt_params){ 0 };
	while (reply == NULL && span_next_word(&rest, " \t", &word))
		reply = rcpt_param(word, extensions, a, out);
	return reply;
}
