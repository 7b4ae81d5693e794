/* router/router.h - trivial-rewrite(8): addresses to standard form, and from an address to class, transport,
 * next hop, recipient. One file a question: rewrite.c, resolve.c, validate.c, expand.c; tables.c holds what
 * was read in prepare(). */
#ifndef ROUTER_ROUTER_H
#define ROUTER_ROUTER_H

#include "conf/conf.h"
#include "ipc/proto.h"
#include "map/map.h"
#include "mime/address.h"
#include "sandbox/sandbox.h"

/* ---- tables.c: configuration and tables, opened once; a process whose tables changed retires ---- */
/* Where mail goes; probes of verify(8) may go other ways (address_verify_*). */
struct routes {
	const char *local_transport, *virtual_transport, *relay_transport, *default_transport, *relayhost;
	struct maps *transport, *sender_relayhost, *sender_transport;
};
/* What is ours: see own_is_local(), own_has(). */
struct own {
	const char *myorigin;
	struct match_list *mydestination, *interfaces;
};
struct router {
	struct routes mail, probe;
	struct own own;
	const char *mydomain, *myhostname;
	struct address_extensions extensions;
	const char *empty_address_recipient, *double_bounce_sender;
	const char *null_relayhost_key, *null_transport_key; /* empty_address_*_maps_lookup_key */
	const char *remote_domain;			     /* remote_header_rewrite_domain or "" */
	bool old_append; /* append_dot_mydomain has its default of an older compatibility_level */
	bool append_at_myorigin, append_dot_mydomain, swap_bangpath, percent_hack, allow_untrusted_routing;
	bool resolve_dequoted, resolve_null_domain, resolve_numeric_domain, transport_parents, relay_parents;
	bool relocated_prefix;
	struct match_list *valias_domains, *vmailbox_domains, *relay_domains;
	struct maps *relocated;
};
extern struct router router;
void router_prepare(void); /* dies when a table has wrong syntax */
size_t router_paths(struct arena *a, struct sandbox_path **out);
/* Whether `word` is in the list that parameter `param` holds. */
MUST_CHECK enum rc list_has(const struct conf *c, const char *param, const char *word, bool *has,
			    struct err *e);
/* Once for each `c`: *out lives as long as that. */
MUST_CHECK enum rc own_read(const struct conf *c, struct own *out, struct err *e);
/* RC_OK the domain is final here (mydestination, or a literal of our own), RC_NOTFOUND, RC_AGAIN. */
enum rc own_is_local(const struct own *own, struct span domain, struct err *e);
/* May a table name the addresses of this domain by their local part alone? ($myorigin, or local) */
enum rc own_has(const struct own *own, struct span domain, struct err *e);

/* ---- views.c: the settings of the service that asks: main.cf with the -o settings of its entry in master.cf ---- */
struct view {
	struct conf *conf;
	const char *fault; /* NULL, or why nothing can be answered by these settings */
	struct own own;
	struct address_extensions extensions;
	const char *empty_address_recipient;
	bool ext_canonical, ext_virtual; /* propagate_unmatched_extensions */
	/* ROLE_ bits: canonical_classes, sender_canonical_classes, recipient_canonical_classes,
	 * masquerade_classes */
	unsigned canonical_roles, sender_canonical_roles, rcpt_canonical_roles, masquerade_roles;
	int64_t recursion_limit, expansion_limit, address_length_limit;
	uint16_t unknown_local_code, unknown_valias_code, unknown_vmailbox_code, unknown_relay_code;
	struct maps *local_rcpt, *valias, *vmailbox, *relay_rcpt;
	struct maps *canonical, *sender_canonical, *rcpt_canonical;
	struct span *masq_domain, *masq_exception;
	size_t masq_domains, masq_exceptions;
};
void views_prepare(void);
/* Never NULL: who is no service of master.cf that asks by settings of its own has main.cf's. */
const struct view *view_of(const struct ipc_peer *who);
/* Of the service behind a question. */
static inline const struct view *view_of_call(struct ipc_call *call)
{
	return view_of(ipc_chan_peer(ipc_call_chan(call)));
}
/* The lists of all views that may have tables in them. */
void views_each_list(void (*each)(void *arg, struct span list), void *arg);

/* ---- rewrite.c ---- */
/* To standard form user@domain.tld (external form in, external out). `local`: complete with myorigin and
 * mydomain. */
/* How most tables of addresses are asked (maps_find_addr()). */
#define FORMS_ADDR                                                                                           \
	(MAPS_FIND_FULL | MAPS_FIND_NOEXT | MAPS_FIND_LOCALPART_EXT | MAPS_FIND_LOCALPART |                  \
	 MAPS_FIND_AT_DOMAIN)
struct span rewrite_address(bool local, struct span addr, struct arena *a);
/* With an extension, whose delimiter is included. */
struct span router_add_extension(struct span addr, struct span ext, struct arena *a);
/* canonical tables and masquerading of a view for one ROLE_; `addr` in standard form. RC_AGAIN: a table failed. */
enum rc rewrite_mapped(const struct view *v, unsigned role, struct span addr, struct arena *a,
		       struct span *out, struct err *e);

/* ---- resolve.c ---- */
struct resolved {
	enum addr_class class;
	struct span transport, nexthop, rcpt;
	bool routed;   /* the local part asks for another hop */
	bool final;    /* no table says otherwise: notices of notices end here */
	bool moved;    /* relocated_maps knows where to */
	uint16_t code; /* 0, 451, or 5xx with dsn and text */
	struct span dsn, text;
};
/* `addr` in standard form, or "". `probe`: by the routes of address verification. */
void resolve_address(struct span sender, struct span addr, bool probe, struct arena *a, struct resolved *out);

/* ---- the questions ---- */
void answer_rewrite(struct ipc_call *call, const void *request);
void answer_resolve(struct ipc_call *call, const void *request);
void answer_validate(struct ipc_call *call, const void *request);
void answer_expand(struct ipc_call *call, const void *request);

#endif
