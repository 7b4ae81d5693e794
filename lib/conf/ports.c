/* conf/ports.c - see ports.h. */
#include "conf/ports.h"
#include "base/arena.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <string.h>

#define NAMES_MAX 200
#define NAME_MAX  40 /* with its NUL */

struct known {
	char name[NAME_MAX];
	uint16_t port;
};
static struct known known[NAMES_MAX];
static size_t known_n;
static struct {
	struct service {
		struct span name;
		uint16_t port;
	} * v;
	size_t n, cap;
	struct arena a;
	bool loaded;
} services;

static enum rc bad_name(struct span group, struct err *e)
{
	return err_set(e, RC_SYNTAX, "bad name of a port in \"" SPAN_FMT "\"", SPAN_ARG(group));
}

/* "a=b=25" adds a and b. */
static enum rc add_group(struct span group, struct known *v, size_t *n, struct err *e)
{
	ptrdiff_t last = span_rchr(group, '=');
	struct span names = span_head(group, last < 0 ? 0 : (size_t)last), name;
	uint64_t port;
	if (last < 0 || span_to_u64(span_trim(span_skip(group, (size_t)last + 1)), 65535, &port) != RC_OK)
		return err_set(e, RC_SYNTAX, "name=port expected, not \"" SPAN_FMT "\"", SPAN_ARG(group));
	if (names.n == 0 || names.p[names.n - 1] == '=')
		return bad_name(group, e);
	while (span_next(&names, '=', &name)) {
		name = span_trim(name);
		if (name.n == 0 || span_chr(name, ' ') >= 0 || ascii_isdigit(name.p[0]))
			return bad_name(group, e);
		if (*n == NAMES_MAX || span_cstr(name, v[*n].name, NAME_MAX) != RC_OK)
			return err_set(e, RC_LIMIT, "too many or too long names");
		v[(*n)++].port = (uint16_t)port;
	}
	return RC_OK;
}

static enum rc read_list(const char *list, struct known *v, size_t *n, struct err *e)
{
	struct span rest = span_str(list), group;
	enum rc rc = RC_OK;
	*n = 0;
	while (rc == RC_OK && span_next(&rest, ',', &group)) {
		group = span_trim(group);
		if (group.n > 0)
			rc = add_group(group, v, n, e);
	}
	return rc == RC_OK ? rc : err_prefix(e, "known_tcp_ports");
}

enum rc port_names_check(const char *list, struct err *e)
{
	struct known fresh[NAMES_MAX];
	size_t n;
	return read_list(list, fresh, &n, e);
}

enum rc port_names_set(const char *list, struct err *e)
{
	struct known fresh[NAMES_MAX];
	size_t n;
	enum rc rc = read_list(list, fresh, &n, e);
	if (rc != RC_OK)
		return rc;
	memcpy(known, fresh, n * sizeof *fresh);
	known_n = n;
	return RC_OK;
}

static void add_service(const char *name, uint16_t port)
{
	if (services.n == services.cap)
		services.v =
		    arena_grow(&services.a, services.v, services.n, &services.cap, sizeof *services.v);
	services.v[services.n++] = (struct service){ span_str(arena_strdup(&services.a, name)), port };
}

void port_load_services(void)
{
	const struct servent *s;
	if (services.loaded)
		return;
	services.loaded = true;
	arena_init(&services.a);
	setservent(1);
	while ((s = getservent()) != NULL) {
		if (strcmp(s->s_proto, "tcp") != 0)
			continue;
		add_service(s->s_name, ntohs((uint16_t)s->s_port));
		for (char **alias = s->s_aliases; *alias != NULL; alias++)
			add_service(*alias, ntohs((uint16_t)s->s_port));
	}
	endservent();
}

static bool find_service(struct span text, uint16_t *out)
{
	char name[NAME_MAX];
	const struct servent *s;
	for (size_t i = 0; i < services.n; i++)
		if (span_eq(text, services.v[i].name)) {
			*out = services.v[i].port;
			return true;
		}
	if (services.loaded || span_cstr(text, name, sizeof name) != RC_OK ||
	    (s = getservbyname(name, "tcp")) == NULL)
		return false;
	*out = ntohs((uint16_t)s->s_port);
	return true;
}

bool port_parse(struct span text, uint16_t *out)
{
	uint64_t n = 0;
	if (span_to_u64(text, 65535, &n) == RC_OK) {
		*out = (uint16_t)n;
		return true;
	}
	for (size_t i = 0; i < known_n; i++)
		if (span_is(text, known[i].name)) {
			*out = known[i].port;
			return true;
		}
	return find_service(text, out);
}
