/* local/expand.c - $user, $home ... in parameters that speak of a recipient. */
#include "local.h"
#include "service/service.h"

struct names {
	const struct place *p;
	const struct account *u;
	const char *filter;
	struct arena *a;
};

static struct span filtered(const struct names *n, struct span s)
{
	char *p = arena_cstr(n->a, s);

	for (size_t i = 0; i < s.n; i++)
		if (p[i] == '\0' || (n->filter != NULL && strchr(n->filter, p[i]) == NULL))
			p[i] = '_';
	return span_make(p, s.n);
}

/* The one that was found, or the one that would be. */
static struct span delimiter(const struct place *p)
{
	if (p->ext.n > 0 && p->local.n > p->user.n)
		return span_make(p->local.p + p->user.n, 1);
	return span_head(span_str(local_conf.extensions.delimiters), 1);
}

static bool name_value(void *arg, struct span name, struct span *value)
{
	const struct names *n = arg;
	const struct place *p = n->p;
	const struct {
		const char *name;
		struct span value;
	} all[] = {
		{ "user", p->user },
		{ "local", p->local },
		{ "domain", p->domain },
		{ "recipient", p->rcpt.addr },
		{ "extension", p->ext },
		{ "recipient_delimiter", delimiter(p) },
		{ "home", n->u != NULL ? span_str(n->u->home) : SPAN_NONE },
		{ "shell", n->u != NULL ? span_str(n->u->shell) : SPAN_NONE },
	};

	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		if (span_is(name, all[i].name)) {
			*value = filtered(n, all[i].value);
			return true;
		}
	return false;
}

enum rc local_expand(struct local *l, const struct place *p, const struct account *u, struct span text,
		     const char *filter, struct span *out, struct err *e)
{
	struct names n = { p, u, filter, l->a };

	return conf_expand_with(service_conf(), text, name_value, &n, l->a, out, e);
}
