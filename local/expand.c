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
		{ "recipient_delimiter",
		  p->ext.n ? span_make(p->local.p + p->user.n, p->local.n > p->user.n ? 1 : 0) : SPAN_NONE },
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
