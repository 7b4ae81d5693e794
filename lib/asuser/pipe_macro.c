/* asuser/pipe_macro.c - one pass over an argument; values are put in as they are and not looked at again. */
#include "asuser/pipe_macro.h"

#define ARGUMENT_MAX 8000

static const char *const common_names[PIPE_COMMON_VALUES] = {
	"sender",      "nexthop",     "queue_id",	 "size",	"client_address", "client_hostname",
	"client_helo", "client_port", "client_protocol", "sasl_method", "sasl_sender",	  "sasl_username",
	"envid"
};
static const char *const rcpt_names[PIPE_RCPT_VALUES] = { "recipient", "user",	 "extension",
							  "mailbox",   "domain", "original_recipient" };

static struct span lower(struct arena *a, struct span s)
{
	char *p = arena_cstr(a, s);

	for (size_t i = 0; i < s.n; i++)
		p[i] = ascii_lower(p[i]);
	return span_make(p, s.n);
}

struct span pipe_address(struct span addr, unsigned flags, struct arena *a)
{
	struct address ad = address_split(addr);
	struct span local = flags & PIPE_QUOTE ? ad.local : address_unquote(a, ad.local), domain = ad.domain;

	if (flags & PIPE_FOLD_LOCAL)
		local = lower(a, local);
	if (flags & PIPE_FOLD_DOMAIN)
		domain = lower(a, domain);
	return domain.n ? span_printf(a, SPAN_FMT "@" SPAN_FMT, SPAN_ARG(local), SPAN_ARG(domain)) : local;
}

void pipe_rcpt_values(struct span addr, struct span orig, unsigned flags, struct address_extensions x,
		      struct arena *a, struct pipe_value out[PIPE_RCPT_VALUES])
{
	struct span full = pipe_address(addr, flags, a), domain = address_split(addr).domain;
	struct span mailbox = address_unquote(a, address_split(addr).local), user, ext;

	if (flags & PIPE_FOLD_LOCAL)
		mailbox = lower(a, mailbox);
	if (flags & PIPE_FOLD_DOMAIN)
		domain = lower(a, domain);
	(void)address_split_extension(mailbox, x, &user, &ext);
	const struct span v[PIPE_RCPT_VALUES] = { full,	  user,
						  ext,	  mailbox,
						  domain, pipe_address(orig.n ? orig : addr, flags, a) };
	for (size_t i = 0; i < PIPE_RCPT_VALUES; i++)
		out[i] = (struct pipe_value){ rcpt_names[i], v[i] };
}

void pipe_common_values(const struct span v[PIPE_COMMON_VALUES], struct pipe_value out[PIPE_COMMON_VALUES])
{
	for (size_t i = 0; i < PIPE_COMMON_VALUES; i++)
		out[i] = (struct pipe_value){ common_names[i], v[i] };
}

static bool name_char(char c)
{
	return ascii_isalnum(c) || c == '_';
}

/* Behind a '$': the name, and for ${name?text} what stands behind it with its mark. Takes it off *rest. */
static enum rc take_name(struct span *rest, struct span *name, char *mark, struct span *text, struct err *e)
{
	bool brace = rest->n > 0 && (rest->p[0] == '{' || rest->p[0] == '(');
	char close = brace && rest->p[0] == '(' ? ')' : '}';
	struct span s = brace ? span_skip(*rest, 1) : *rest;
	size_t n = 0;

	while (n < s.n && name_char(s.p[n]))
		n++;
	*name = span_head(s, n);
	*mark = 0;
	*text = SPAN_NONE;
	s = span_skip(s, n);
	if (n == 0)
		return err_set(e, RC_SYNTAX, "a name is missing behind $");
	if (brace) {
		ptrdiff_t end = span_chr(s, close);
		if (end < 0 || (end > 0 && s.p[0] != '?' && s.p[0] != ':'))
			return err_set(e, RC_SYNTAX, "truncated macro reference");
		*mark = end > 0 ? s.p[0] : 0;
		*text = end > 0 ? span_make(s.p + 1, (size_t)end - 1) : SPAN_NONE;
		s = span_skip(s, (size_t)end + 1);
	}
	*rest = s;
	return RC_OK;
}

static bool is_one_of(struct span name, const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (span_is(name, names[i]))
			return true;
	return false;
}

static enum rc unknown(struct span name, struct err *e)
{
	return err_set(e, RC_NOTFOUND, "unknown macro name: \"" SPAN_FMT "\"",
		       SPAN_ARG(span_head(name, 100)));
}

/* The next reference in `arg`, which is left behind it. RC_EOF: there is none. */
static enum rc next_reference(struct span *arg, struct span *name, struct err *e)
{
	struct span text;
	char mark;

	for (ptrdiff_t at; (at = span_chr(*arg, '$')) >= 0;) {
		*arg = span_skip(*arg, (size_t)at + 1);
		if (arg->n == 0 || arg->p[0] != '$')
			return take_name(arg, name, &mark, &text, e);
		*arg = span_skip(*arg, 1);
	}
	return RC_EOF;
}

enum rc pipe_check(struct span arg, struct err *e)
{
	struct span name;
	enum rc rc;

	while ((rc = next_reference(&arg, &name, e)) == RC_OK)
		if (!is_one_of(name, common_names, PIPE_COMMON_VALUES) &&
		    !is_one_of(name, rcpt_names, PIPE_RCPT_VALUES))
			return unknown(name, e);
	return rc == RC_EOF ? RC_OK : rc;
}

static const struct pipe_value *find(const struct pipe_value *v, size_t n, struct span name)
{
	for (size_t i = 0; i < n; i++)
		if (span_is(name, v[i].name))
			return &v[i];
	return NULL;
}

bool pipe_is_per_rcpt(struct span arg)
{
	struct span name;
	enum rc rc;

	while ((rc = next_reference(&arg, &name, NULL)) != RC_EOF)
		if (rc == RC_OK && is_one_of(name, rcpt_names, PIPE_RCPT_VALUES))
			return true;
	return false;
}

enum rc pipe_expand(struct span arg, const struct pipe_value *common, size_t n, const struct pipe_value *rcpt,
		    size_t m, struct arena *a, struct span *out, struct err *e)
{
	struct buf b;
	enum rc rc = RC_OK;

	buf_init(&b, ARGUMENT_MAX);
	while (arg.n > 0 && rc == RC_OK) {
		struct span name, text;
		char mark;
		ptrdiff_t at = span_chr(arg, '$');
		(void)buf_append(&b, span_head(arg, at < 0 ? arg.n : (size_t)at));
		arg = span_skip(arg, at < 0 ? arg.n : (size_t)at + 1);
		if (at < 0)
			break;
		if (arg.n > 0 && arg.p[0] == '$') {
			(void)buf_putc(&b, '$');
			arg = span_skip(arg, 1);
			continue;
		}
		if ((rc = take_name(&arg, &name, &mark, &text, e)) != RC_OK)
			break;
		const struct pipe_value *v = find(common, n, name);
		if (v == NULL)
			v = find(rcpt, m, name);
		if (v == NULL)
			rc = unknown(name, e);
		else if (mark == 0)
			(void)buf_append(&b, v->value);
		else if ((mark == '?') == (v->value.n > 0))
			(void)buf_append(&b, text);
	}
	if (rc == RC_OK && !buf_ok(&b))
		rc = err_set(e, RC_LIMIT, "argument is too long");
	if (rc == RC_OK)
		*out = span_dup(a, buf_span(&b));
	buf_release(&b);
	return rc;
}
