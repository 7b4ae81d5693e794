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

/* Whether `word` is in the list that parameter `param` holds. */
static bool param_has(const char *param, const char *word)
{
	struct span *w;
	size_t n;
	struct err e;

	if (conf_words(span_str(conf_str(service_conf(), param)), false, &conf_arena, &w, &n, &e) != RC_OK)
		die("%s: %s", param, e.text);
	for (size_t i = 0; i < n; i++)
		if (span_is_ci(w[i], word))
			return true;
	return false;
}

/* "envelope_sender, header_sender ..." as ROLE_ bits. */
static unsigned roles_of(const char *param)
{
	return (param_has(param, "envelope_sender") ? ROLE_ENV_SENDER : 0u) |
	       (param_has(param, "envelope_recipient") ? ROLE_ENV_RCPT : 0u) |
	       (param_has(param, "header_sender") ? ROLE_HDR_SENDER : 0u) |
	       (param_has(param, "header_recipient") ? ROLE_HDR_RCPT : 0u);
}

static void words_of(const char *param, struct span **v, size_t *n)
{
	struct err e;

	if (conf_words(span_str(conf_str(service_conf(), param)), true, &conf_arena, v, n, &e) != RC_OK)
		die("%s: %s", param, e.text);
}

static void read_strings(const struct conf *c)
{
	router.myorigin = conf_str(c, "myorigin");
	router.mydomain = conf_str(c, "mydomain");
	router.myhostname = conf_str(c, "myhostname");
	router.delimiter = conf_str(c, "recipient_delimiter");
	address_owner_requests(conf_bool(c, "owner_request_special"));
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
	router.show_table = conf_bool(c, "show_user_unknown_table_name");
	router.transport_parents = param_has("parent_domain_matches_subdomains", "transport_maps");
	router.relay_parents = param_has("parent_domain_matches_subdomains", "relay_domains");
	router.ext_canonical = param_has("propagate_unmatched_extensions", "canonical");
	router.ext_virtual = param_has("propagate_unmatched_extensions", "virtual");
	router.canonical_roles = roles_of("canonical_classes");
	router.sender_canonical_roles = roles_of("sender_canonical_classes");
	router.rcpt_canonical_roles = roles_of("recipient_canonical_classes");
	router.masquerade_roles = roles_of("masquerade_classes");
	router.recursion_limit = conf_int(c, "virtual_alias_recursion_limit");
	router.expansion_limit = conf_int(c, "virtual_alias_expansion_limit");
	router.address_length_limit = conf_int(c, "virtual_alias_address_length_limit");
	router.unknown_local_code = (uint16_t)conf_int(c, "unknown_local_recipient_reject_code");
	router.unknown_valias_code = (uint16_t)conf_int(c, "unknown_virtual_alias_reject_code");
	router.unknown_vmailbox_code = (uint16_t)conf_int(c, "unknown_virtual_mailbox_reject_code");
	router.unknown_relay_code = (uint16_t)conf_int(c, "unknown_relay_recipient_reject_code");
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
 * (ADDRESS_CLASS_README). */
static void warn_of_shared_domains(const struct conf *c)
{
	const struct {
		const char *param;
		struct match_list *list;
	} class[] = { { "mydestination", router.mydestination },
		      { "virtual_alias_domains", router.valias_domains },
		      { "virtual_mailbox_domains", router.vmailbox_domains },
		      { "relay_domains", router.relay_domains } };
	struct err e;

	for (size_t i = 1; i < ARRAY_LEN(class); i++) {
		struct span rest = span_str(conf_str(c, class[i].param)), w;

		while (span_next_word(&rest, ", \t\r\n", &w)) {
			if (span_chr(w, ':') >= 0 || span_chr(w, '/') >= 0 || w.p[0] == '!')
				continue; /* what tables hold is not known before it is asked for */
			for (size_t k = 0; k < i; k++)
				if (match_domain(class[k].list, w, &e) == RC_OK)
					log_warning("do not list domain " SPAN_FMT " in BOTH %s and %s",
						    SPAN_ARG(w), class[k].param, class[i].param);
		}
	}
}

void router_prepare(void)
{
	const struct conf *c = service_conf();

	arena_init(&conf_arena);
	map_set_remote(false); /* files are read here; servers are the lookup daemon's to talk to */
	read_strings(c);
	read_switches(c);
	words_of("masquerade_domains", &router.masq_domain, &router.masq_domains);
	words_of("masquerade_exceptions", &router.masq_exception, &router.masq_exceptions);
	router.mydestination = open_list("mydestination", MATCH_EXACT);
	router.valias_domains = open_list("virtual_alias_domains", MATCH_EXACT);
	router.vmailbox_domains = open_list("virtual_mailbox_domains", MATCH_EXACT);
	router.relay_domains = open_list("relay_domains", router.relay_parents ? MATCH_PARENT : 0);
	router.interfaces = open_interfaces(c);
	open_routes(c, &router.mail, "");
	open_routes(c, &router.probe, "address_verify_");
	warn_of_shared_domains(c);
	router.relocated = open_maps("relocated_maps", MAP_PARTIAL);
	router.local_rcpt = open_maps("local_recipient_maps", MAP_PARTIAL);
	router.valias = open_maps("virtual_alias_maps", MAP_PARTIAL);
	router.vmailbox = open_maps("virtual_mailbox_maps", MAP_PARTIAL);
	router.relay_rcpt = open_maps("relay_recipient_maps", MAP_PARTIAL);
	router.canonical = open_maps("canonical_maps", MAP_PARTIAL);
	router.sender_canonical = open_maps("sender_canonical_maps", MAP_PARTIAL);
	router.rcpt_canonical = open_maps("recipient_canonical_maps", MAP_PARTIAL);
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
		"local_recipient_maps",
		"virtual_alias_maps",
		"virtual_mailbox_maps",
		"relay_recipient_maps",
		"canonical_maps",
		"sender_canonical_maps",
		"recipient_canonical_maps",
		"sender_dependent_relayhost_maps",
		"sender_dependent_default_transport_maps",
		"address_verify_transport_maps",
		"address_verify_sender_dependent_relayhost_maps",
		"address_verify_sender_dependent_default_transport_maps",
	};
	static const char *const for_users[] = { "/etc/passwd", "/etc/group", "/etc/nsswitch.conf" };
	size_t n = 0, cap = 0;

	*out = NULL;
	for (size_t i = 0; i < ARRAY_LEN(params) + ARRAY_LEN(for_users); i++) {
		struct span rest = span_str(i < ARRAY_LEN(params) ? conf_str(service_conf(), params[i])
								  : for_users[i - ARRAY_LEN(params)]);
		struct span word;

		while (span_next_word(&rest, ", \t\n{}", &word)) {
			ptrdiff_t slash = span_chr(word, '/'), last = span_rchr(word, '/');
			bool user_file = i >= ARRAY_LEN(params);

			if (slash < 0 || (!user_file && slash > 0 && word.p[slash - 1] != ':'))
				continue;
			if (n == cap)
				*out = arena_grow(a, *out, n, &cap, sizeof(**out));
			(*out)[n].path =
			    user_file ? for_users[i - ARRAY_LEN(params)]
				      : arena_cstr(a, span_make(word.p + slash,
								(size_t)(last > slash ? last - slash : 1)));
			(*out)[n++].access = SB_READ;
		}
	}
	return n;
}

enum rc router_domain_local(struct span domain, struct err *e)
{
	enum rc rc;

	if (domain.n > 2 && domain.p[0] == '[') {
		struct span ip = span_make(domain.p + 1, domain.n - 2);

		if (span_starts_ci(ip, SPAN("ipv6:")))
			ip = span_skip(ip, 5);
		return router.interfaces ? match_host(router.interfaces, SPAN_NONE, ip, e) : RC_NOTFOUND;
	}
	rc = match_domain(router.mydestination, domain, e);
	if (rc == RC_NOTFOUND && (!span_is_ascii(domain) || span_find_ci(domain, SPAN("xn--")) >= 0)) {
		struct span other;
		struct arena a;

		arena_init(&a);
		if (idna_other_form(domain, &a, &other))
			rc = match_domain(router.mydestination, other, e);
		arena_release(&a);
	}
	return rc;
}
