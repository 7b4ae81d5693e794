/* router/tables.c - what trivial-rewrite(8) knows: parameters and tables, read while the process may still
 * open files. */
#include "router.h"
#include "base/codec.h"
#include "net/interfaces.h"
#include "log/log.h"
#include "net/idna.h"
#include "service/service.h"

struct router router;
static struct arena conf_arena;

static struct maps *open_maps(const char *param, unsigned flags)
{
	struct maps *m = NULL;
	struct err e;

	if (maps_open(param, span_str(conf_str(service_conf(), param)), MAP_FOLD_KEY | flags, &m, &e) !=
	    RC_OK)
		die("%s: %s", param, e.text);
	return m;
}

static struct match_list *open_list(const char *param, unsigned flags)
{
	struct match_list *l = NULL;
	struct err e;

	if (match_list_open(param, span_str(conf_str(service_conf(), param)), flags, &l, &e) != RC_OK)
		die("%s: %s", param, e.text);
	return l;
}

enum rc list_has(const struct conf *c, const char *param, const char *word, bool *has, struct err *e)
{
	struct span *w;
	size_t n;
	enum rc rc = conf_words(span_str(conf_str(c, param)), false, &conf_arena, &w, &n, e);

	*has = false;
	if (rc != RC_OK)
		return err_prefix(e, "%s", param);
	for (size_t i = 0; i < n; i++)
		*has |= span_is_ci(w[i], word);
	return RC_OK;
}

static bool param_has(const char *param, const char *word)
{
	struct err e;
	bool has;

	if (list_has(service_conf(), param, word, &has, &e) != RC_OK)
		die("%s", e.text);
	return has;
}

static void read_strings(const struct conf *c)
{
	router.mydomain = conf_str(c, "mydomain");
	router.myhostname = conf_str(c, "myhostname");
	router.extensions = address_extensions_of(c);
	router.empty_address_recipient = conf_str(c, "empty_address_recipient");
	router.double_bounce_sender = conf_str(c, "double_bounce_sender");
	router.null_relayhost_key = conf_str(c, "empty_address_relayhost_maps_lookup_key");
	router.null_transport_key = conf_str(c, "empty_address_default_transport_maps_lookup_key");
	router.remote_domain = conf_str(c, "remote_header_rewrite_domain");
}

static void read_switches(const struct conf *c)
{
	router.append_at_myorigin = conf_bool(c, "append_at_myorigin");
	router.append_dot_mydomain = conf_bool(c, "append_dot_mydomain");
	router.old_append = conf_is_old_default(c, "append_dot_mydomain", "yes");
	router.swap_bangpath = conf_bool(c, "swap_bangpath");
	router.percent_hack = conf_bool(c, "allow_percent_hack");
	router.allow_untrusted_routing = conf_bool(c, "allow_untrusted_routing");
	router.resolve_dequoted = conf_bool(c, "resolve_dequoted_address");
	router.resolve_null_domain = conf_bool(c, "resolve_null_domain");
	router.resolve_numeric_domain = conf_bool(c, "resolve_numeric_domain");
	router.relocated_prefix = conf_bool(c, "relocated_prefix_enable");
	router.transport_parents = param_has("parent_domain_matches_subdomains", "transport_maps");
	router.relay_parents = param_has("parent_domain_matches_subdomains", "relay_domains");
}

/* inet_interfaces and proxy_interfaces as addresses: "user@[192.0.2.1]" is local when the address is ours. */
static struct match_list *open_interfaces(const struct conf *c)
{
	struct match_list *l = NULL;
	struct buf b;
	struct err e;

	buf_init(&b, 1 << 20);
	own_addresses(c, &b);
	proxy_addresses(c, &b);
	if (match_list_open("inet_interfaces", buf_span(&b), 0, &l, &e) != RC_OK)
		die("%s", e.text);
	buf_release(&b);
	return l;
}

enum rc own_read(const struct conf *c, struct own *out, struct err *e)
{
	out->myorigin = conf_str(c, "myorigin");
	out->interfaces = open_interfaces(c);
	return match_list_open("mydestination", span_str(conf_str(c, "mydestination")), MATCH_EXACT,
			       &out->mydestination, e);
}

/* `prefix`: "" or "address_verify_". Tables of the same name are the same table (map/map.h). */
static void open_routes(const struct conf *c, struct routes *v, const char *prefix)
{
#define PARAM(name) arena_printf(&conf_arena, "%s%s", prefix, name)
	v->local_transport = conf_str(c, PARAM("local_transport"));
	v->virtual_transport = conf_str(c, PARAM("virtual_transport"));
	v->relay_transport = conf_str(c, PARAM("relay_transport"));
	v->default_transport = conf_str(c, PARAM("default_transport"));
	v->relayhost = conf_str(c, PARAM("relayhost"));
	/* where mail goes is not for those to say who write its addresses */
	v->transport = open_maps(PARAM("transport_maps"), MAP_PARTIAL | MAP_NO_REGSUB);
	v->sender_relayhost =
	    open_maps(PARAM("sender_dependent_relayhost_maps"), MAP_PARTIAL | MAP_NO_REGSUB);
	v->sender_transport =
	    open_maps(PARAM("sender_dependent_default_transport_maps"), MAP_PARTIAL | MAP_NO_REGSUB);
#undef PARAM
}

/* A domain of two address classes has the first of them; its owner most likely meant another
 * (ADDRESS_CLASS_README). Only relay_domains have always been allowed to hold mydestination. */
static void warn_of_shared_domains(const struct conf *c)
{
	const struct {
		const char *param;
		struct match_list *list;
	} class[] = { { "mydestination", router.own.mydestination },
		      { "virtual_alias_domains", router.valias_domains },
		      { "virtual_mailbox_domains", router.vmailbox_domains },
		      { "relay_domains", router.relay_domains } };
	struct err e;

	for (size_t i = 1; i < ARRAY_LEN(class); i++) {
		struct span rest = span_str(conf_str(c, class[i].param)), w;

		while (span_next_word(&rest, ", \t\r\n", &w)) {
			if (span_chr(w, ':') >= 0 || span_chr(w, '/') >= 0 || w.p[0] == '!')
				continue; /* what tables hold is not known before it is asked for */
			size_t k = 0;
			while (k < i && match_domain(class[k].list, w, &e) != RC_OK)
				k++;
			if (k < i && (k > 0 || class[i].list != router.relay_domains))
				log_warning("do not list domain " SPAN_FMT " in BOTH %s and %s", SPAN_ARG(w),
					    class[k].param, class[i].param);
		}
	}
}

void router_prepare(void)
{
	const struct conf *c = service_conf();
	struct err e;

	arena_init(&conf_arena);
	map_set_remote(false); /* files are read here; servers are the lookup daemon's to talk to */
	read_strings(c);
	read_switches(c);
	if (own_read(c, &router.own, &e) != RC_OK)
		die("%s", e.text);
	router.valias_domains = open_list("virtual_alias_domains", MATCH_EXACT);
	router.vmailbox_domains = open_list("virtual_mailbox_domains", MATCH_EXACT);
	router.relay_domains = open_list("relay_domains", router.relay_parents ? MATCH_PARENT : 0);
	open_routes(c, &router.mail, "");
	open_routes(c, &router.probe, "address_verify_");
	if (conf_bool(c, "helpful_warnings"))
		warn_of_shared_domains(c);
	router.relocated = open_maps("relocated_maps", MAP_PARTIAL);
	views_prepare();
}

struct path_list {
	struct arena *a;
	struct sandbox_path *v;
	size_t n, cap;
};

static void add_path(struct path_list *l, const char *path)
{
	if (l->n == l->cap)
		l->v = arena_grow(l->a, l->v, l->n, &l->cap, sizeof(*l->v));
	l->v[l->n++] = (struct sandbox_path){ path, SB_READ };
}

/* "type:/dir/file" and "/dir/file": the directory, for a table is replaced by a new file of its name. */
static void add_directories(void *arg, struct span list)
{
	struct path_list *l = arg;
	struct span word;

	while (span_next_word(&list, ", \t\n{}", &word)) {
		ptrdiff_t slash = span_chr(word, '/'), last = span_rchr(word, '/');

		if (slash < 0 || (slash > 0 && word.p[slash - 1] != ':'))
			continue;
		add_path(l, arena_cstr(l->a,
				       span_make(word.p + slash, (size_t)(last > slash ? last - slash : 1))));
	}
}

/* The directories of all tables: they are looked at again (has the file been replaced?) while the process is
 * confined. */
size_t router_paths(struct arena *a, struct sandbox_path **out)
{
	static const char *const params[] = {
		"mydestination",
		"virtual_alias_domains",
		"virtual_mailbox_domains",
		"relay_domains",
		"transport_maps",
		"relocated_maps",
		"sender_dependent_relayhost_maps",
		"sender_dependent_default_transport_maps",
		"address_verify_transport_maps",
		"address_verify_sender_dependent_relayhost_maps",
		"address_verify_sender_dependent_default_transport_maps",
	};
	static const char *const for_users[] = { "/etc/passwd", "/etc/group", "/etc/nsswitch.conf" };
	struct path_list l = { .a = a };

	for (size_t i = 0; i < ARRAY_LEN(params); i++)
		add_directories(&l, span_str(conf_str(service_conf(), params[i])));
	views_each_list(add_directories, &l);
	for (size_t i = 0; i < ARRAY_LEN(for_users); i++)
		add_path(&l, for_users[i]);
	*out = l.v;
	return l.n;
}

enum rc own_is_local(const struct own *own, struct span domain, struct err *e)
{
	enum rc rc;

	if (domain.n > 2 && domain.p[0] == '[') {
		struct span ip = span_make(domain.p + 1, domain.n - 2);

		if (span_starts_ci(ip, SPAN("ipv6:")))
			ip = span_skip(ip, 5);
		return own->interfaces ? match_host(own->interfaces, SPAN_NONE, ip, e) : RC_NOTFOUND;
	}
	rc = match_domain(own->mydestination, domain, e);
	if (rc == RC_NOTFOUND && (!span_is_ascii(domain) || span_find_ci(domain, SPAN("xn--")) >= 0)) {
		struct span other;
		struct arena a;

		arena_init(&a);
		if (idna_other_form(domain, &a, &other))
			rc = match_domain(own->mydestination, other, e);
		arena_release(&a);
	}
	return rc;
}

enum rc own_has(const struct own *own, struct span domain, struct err *e)
{
	return span_is_ci(domain, own->myorigin) ? RC_OK : own_is_local(own, domain, e);
}
