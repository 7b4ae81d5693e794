/* conf/port.c - see port.h. */
#include "conf/port.h"
#include "base/arena.h"
#include "log/log.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <string.h>

struct named {
	struct span name;
	uint16_t port;
};
struct names {
	struct named *v;
	size_t n, cap;
	struct arena a;
};

static struct names known, services;
static bool services_loaded;

static void add(struct names *t, struct span name, uint16_t port)
{
	if (t->n == t->cap)
		t->v = arena_grow(&t->a, t->v, t->n, &t->cap, sizeof *t->v);
	t->v[t->n++] = (struct named){ span_dup(&t->a, name), port };
}

static bool find(const struct names *t, struct span name, uint16_t *out)
{
	for (size_t i = 0; i < t->n; i++)
		if (span_eq(t->v[i].name, name)) {
			*out = t->v[i].port;
			return true;
		}
	return false;
}

static bool number(struct span text, uint16_t *out)
{
	uint64_t n;
	if (span_to_u64(text, 65535, &n) != RC_OK || n == 0)
		return false;
	*out = (uint16_t)n;
	return true;
}

/* "smtps=submissions=465": the names before the number. */
static void add_known(struct span entry)
{
	ptrdiff_t last = span_rchr(entry, '=');
	struct span names = last < 0 ? SPAN_NONE : span_head(entry, (size_t)last), name;
	uint16_t port;
	if (last <= 0 || !number(span_skip(entry, (size_t)last + 1), &port)) {
		log_warning("known_tcp_ports: bad entry \"" SPAN_FMT "\"", SPAN_ARG(entry));
		return;
	}
	while (span_next(&names, '=', &name))
		add(&known, name, port);
}

void port_set_known(struct span list)
{
	struct span entry;
	if (known.v == NULL)
		arena_init(&known.a);
	else
		arena_reset(&known.a);
	known.v = NULL;
	known.n = known.cap = 0;
	while (span_next_word(&list, ", \t\r\n", &entry))
		add_known(entry);
}

void port_load_services(void)
{
	const struct servent *s;
	if (services_loaded)
		return;
	services_loaded = true;
	arena_init(&services.a);
	setservent(1);
	while ((s = getservent()) != NULL) {
		if (strcmp(s->s_proto, "tcp") != 0)
			continue;
		add(&services, span_str(s->s_name), ntohs((uint16_t)s->s_port));
		for (char **alias = s->s_aliases; *alias != NULL; alias++)
			add(&services, span_str(*alias), ntohs((uint16_t)s->s_port));
	}
	endservent();
}

enum rc port_parse(struct span text, uint16_t *out)
{
	struct servent entry, *s = NULL;
	char name[64], room[4096];
	if (number(text, out) || find(&known, text, out) || find(&services, text, out))
		return RC_OK;
	if (services_loaded || text.n == 0 || ascii_isdigit(text.p[0]) ||
	    span_cstr(text, name, sizeof name) != RC_OK ||
	    getservbyname_r(name, "tcp", &entry, room, sizeof room, &s) != 0 || s == NULL)
		return RC_SYNTAX;
	*out = ntohs((uint16_t)s->s_port);
	return RC_OK;
}
