/* map/map.h - look-up tables "type:name" (DATABASE_README's subject): one interface for every type.
 * Types of this build: hash btree lmdb cdb mysql pgsql sqlite ldap (modules), texthash static inline regexp pcre cidr unix
 * environ fail unionmap pipemap randmap internal debug, tcp socketmap memcache (servers), proxy (lookup daemon); maptype in
 * a chroot without files: those opened before stay open.
 *
 * Daemons that may not open tables set map_set_remote(): every table that is a file or a server is then asked
 * of the lookup daemon (as "proxy:" always is); tables that live in memory once read (inline static texthash
 * regexp pcre cidr) are read in prepare(). */
#ifndef MAP_MAP_H
#define MAP_MAP_H

#include "base/arena.h"
#include "ipc/proto.h"
#include "mime/address.h"

#define MAP_FOLD_KEY                                                                                         \
	1 /* keys are lower-cased (all types but regexp, pcre, cidr, unless the driver says otherwise) */
#define MAP_TRY0NULL  2 /* accept keys written without a terminating NUL */
#define MAP_TRY1NULL  4 /* ... and with it (hash, btree) */
#define MAP_NO_REGSUB 8 /* $1 in the result is refused: alias_maps, security-sensitive */
#define MAP_NO_UNAUTH                                                                                        \
	16		  /* refuse types that are not safe for security decisions (files others may write)  \
			   */
#define MAP_PARTIAL    32 /* the caller asks partial keys too: regexp/pcre answer full keys only */
#define MAP_READ_WRITE 64
#define MAP_UTF8       128
#define MAP_EMPTY_KEY                                                                                        \
	1024 /* postmap(1): types that can answer the empty key are asked (256 and 512: driver.h) */

struct map; /* opaque */

/* Opens "type:name". Errors name the table: RC_NOTFOUND no such type or file, RC_SYNTAX with file and line,
 * RC_AGAIN server away. A table whose source cannot be opened still gives a map that answers every look-up
 * with RC_AGAIN (as Postfix does), with *out set and the story in e. */
MUST_CHECK enum rc map_open(struct span type_name, unsigned flags, struct map **out, struct err *e);
void map_close(struct map **m);
const char *map_name(const struct map *m); /* "hash:/etc/aliases" */
/* RC_OK: *value lives in `a`. RC_NOTFOUND: no such key. RC_AGAIN: the table cannot answer now (story in e).
 * May wait (remote). */
MUST_CHECK enum rc map_lookup(struct map *m, struct span key, struct arena *a, struct span *value,
			      struct err *e);
/* Writable types: RC_DENIED for others. */
MUST_CHECK enum rc map_put(struct map *m, struct span key, struct span value, struct err *e);
MUST_CHECK enum rc map_del(struct map *m, struct span key, struct err *e);
/* Walks all pairs: *state starts NULL; RC_NOTFOUND at the end. */
MUST_CHECK enum rc map_next(struct map *m, void **state, struct arena *a, struct span *key,
			    struct span *value, struct err *e);
bool map_changed(const struct map *m); /* the file behind it was replaced or written since it was opened */
const char *map_within(const struct map *m); /* the backup table of a memcache:; NULL */
bool map_is_broken(const struct map *m);     /* it could not be opened; every look-up is RC_AGAIN */
/* Owner of the file behind it (local(8): commands of an alias file run as its owner); false: not a file. */
bool map_owner(const struct map *m, uid_t *uid);
bool map_is_pattern(const struct map *m); /* regexp pcre cidr: asked with the whole key only */

/* ---- a list of tables: "hash:/a, inline:{...} ldap:x"; first hit wins ---- */
struct maps; /* opaque */
/* `param` is the parameter's name, for messages. "" gives an empty list. What cannot be used stays in its place and answers
 * RC_AGAIN, with a line in the log: a mistake in a list keeps no daemon from starting. Errors: RC_LIMIT. */
MUST_CHECK enum rc maps_open(const char *param, struct span list, unsigned flags, struct maps **out,
			     struct err *e);
void maps_close(struct maps **m);
bool maps_empty(const struct maps *m);
MUST_CHECK enum rc maps_lookup(struct maps *m, struct span key, struct arena *a, struct span *value,
			       struct err *e);
/* A part of a key (a domain, a parent domain): tables of patterns are not asked. */
MUST_CHECK enum rc maps_lookup_partial(struct maps *m, struct span key, struct arena *a, struct span *value,
				       struct err *e);
bool maps_changed(const struct maps *m);
size_t maps_count(const struct maps *m);
struct map *maps_at(struct maps *m, size_t i);
/* The address order of virtual(5), canonical(5), aliases: user+ext@domain, user@domain, user+ext (when domain
 * is ours), user, @domain. *ext gets the extension with its delimiter ("+ext") that was not part of the key
 * (to be put back by the caller), or "". A local part that needs quotes is asked with them first, then
 * without. (Who maps to a result "@other" keeps the whole local part and puts nothing back.)
 * `ours`: domain equals myorigin/mydestination/ inet_interfaces; NULL: never. Key forms: flags as below. */
#define MAPS_FIND_FULL		1  /* user@domain with extension */
#define MAPS_FIND_NOEXT		2  /* without */
#define MAPS_FIND_LOCALPART_EXT 4  /* user+ext, if ours */
#define MAPS_FIND_LOCALPART	8  /* user, if ours */
#define MAPS_FIND_AT_DOMAIN	16 /* @domain */
#define MAPS_FIND_DOMAIN	32 /* domain */
#define MAPS_FIND_PARENT_DOMAINS                                                                             \
	64 /* .domain of parents (transport(5)); with parent_domain_matches_subdomains: domain of parents */
#define MAPS_FIND_LOCALPART_AT 128 /* user@ (access(5)) */
MUST_CHECK enum rc maps_find_addr(struct maps *m, struct span addr, unsigned forms,
				  struct address_extensions x, bool ours, bool dot_parents, struct arena *a,
				  struct span *value, struct span *ext, struct err *e);

/* ---- lists that name domains, hosts or networks, with tables among them: mydestination, mynetworks,
 * relay_domains ---- */
struct match_list;    /* opaque */
#define MATCH_EXACT 2 /* names match themselves alone: mydestination, virtual_mailbox_domains */
#define MATCH_PARENT                                                                                         \
	1 /* "example.com" matches its subdomains, too (parent_domain_matches_subdomains); else              \
	     ".example.com" does */
#define MATCH_EMPTY 4 /* tables are asked for the empty name, too: which "static:x" and patterns may have */
/* As maps_open(): RC_OK; what is wrong answers RC_AGAIN. */
MUST_CHECK enum rc match_list_open(const char *param, struct span list, unsigned flags,
				   struct match_list **out, struct err *e);
void match_list_close(struct match_list **l);
bool match_list_changed(const struct match_list *l); /* a table in it did */
bool match_list_empty(const struct match_list *l);
/* RC_OK matched, RC_NOTFOUND not, RC_AGAIN a table failed. */
MUST_CHECK enum rc match_domain(struct match_list *l, struct span domain, struct err *e);
MUST_CHECK enum rc match_host(struct match_list *l, struct span name, struct span addr,
			      struct err *e); /* mynetworks: "192.0.2.0/24", "[::1]/128", "!..." */

/* ---- mistakes that can be seen in main.cf alone (map/check.c): nothing is opened, no module loaded ---- */
/* "type:name": its form, a type that exists, and, where content stands in the name (inline static randmap) or other tables
 * do (unionmap pipemap proxy debug), these. */
MUST_CHECK enum rc map_check(struct span type_name, struct err *e);
MUST_CHECK enum rc maps_check(struct span list, struct err *e);
/* `nets`: of clients, so that networks among its words have to be right. Files that the list names are not read. */
MUST_CHECK enum rc match_list_check(struct span list, bool nets, struct err *e);

/* ---- for daemons ---- */
/* Names of all types, for postconf -m: unsorted; how many. */
#define MAP_TYPES_MAX 100
size_t map_types(const char **out, size_t max);
/* From now on all "proxy:" tables and servers (tcp: socketmap: memcache:, databases) are asked of service `proxymap` through the
 * service frame, and with `files` all others that are not in memory once read. */
void map_set_remote(bool files);
/* daemon_table_open_error_is_fatal: a table that cannot be opened ends the process. map_set_remote() reads the parameter. */
void map_failures_are_fatal(bool yes);
/* Looks at the files of all open tables once a second, and lets the process retire (service_retire()) when one has
 * changed: sessions go on with what they began with, new ones are for a fresh process. A table that could not be opened
 * is tried again so, too, every ten seconds, for only a fresh process may open it. Call it in start(). `rpath`: the
 * process may look at names. */
void map_watch(bool rpath);
/* The first open table that has changed, or NULL. */
const struct map *map_any_changed(void);
/* The first open table that could not be opened, or NULL. */
const struct map *map_any_broken(void);
/* socketmap_max_reply_size */
void map_socketmap_limit(int64_t bytes);
/* Module directory (default: next to the program, else PREFIX/lib/postern). */
void map_set_module_dir(const char *dir);
/* Where main.cf is, when a command was told another place than the usual one. */
void map_set_config_dir(const char *dir);

/* ---- drivers (map/driver.h) register themselves; the fifteen other types will use the same interface ----
 */

#endif
