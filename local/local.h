/* local/local.h - local(8): one recipient is expanded by aliases, .forward and :include: files until only
 * final destinations are left. No recursion: what an expansion gives goes to the end of a list, and carries
 * with it the place it was found in. */
#ifndef LOCAL_LOCAL_H
#define LOCAL_LOCAL_H

#include "account.h"
#include "base/table.h"
#include "dest_list.h"
#include "mailbox.h"
#include "root.h"
#include "setup.h"

#define LOCAL_DEPTH_MAX 100    /* an alias that leads on and on is a loop */
#define LOCAL_ITEMS_MAX 100000 /* destinations of one recipient */

#define FROM_ALIAS   1
#define FROM_FORWARD 2
#define FROM_INCLUDE 4

struct local_conf {
	struct maps *aliases, *transports, *fallbacks, *commands;
	struct address_extensions extensions;
	const char *domain;
	bool frozen_delivered; /* Delivered-To: is the recipient that the delivery began with */
	size_t duplicates;     /* duplicate_filter_limit; 0: any number */
	struct store_lock lock;
	uint64_t limit;
	unsigned commands_from, files_from;			       /* FROM_ bits */
	unsigned delivered_command, delivered_file, delivered_forward; /* prepend_delivered_header */
	unsigned propagate;	 /* FROM_ bits: an extension that matched nothing goes on to the result */
	struct asuser_id nobody; /* default_privs */
};
extern struct local_conf local_conf;
void local_conf_read(void);	    /* in prepare() */
bool local_alias_owner(uid_t *uid); /* the first alias file that belongs to somebody else than root */

/* Where a destination was found. Never changed once made. */
struct place {
	const struct place *up;
	struct deliver_rcpt rcpt;	      /* as logged */
	struct span alias;		      /* name that was expanded here; "" none */
	struct span user, local, ext, domain; /* of the recipient; ext without delimiter */
	struct span delivered;		      /* Delivered-To: */
	struct span sender;		      /* owner-NAME replaces it */
	bool owned;			      /* it did: bounces go there */
	unsigned from;			      /* FROM_ */
	const struct account *as;	      /* whose rights; NULL: default_privs */
	struct span ext_left;		      /* the part of ext that matched nothing yet */
	unsigned depth;
};
struct item {
	struct dest dest;
	const struct place *place;
};
struct forward { /* new messages: one per sender */
	struct span sender, delivered;
	const struct place *place; /* of the first */
	struct span *addr;
	size_t n, cap;
	struct forward *next;
};
struct local {
	struct agent *m;
	size_t i;
	struct arena *a;
	struct span header;
	struct item *item;
	size_t items, cap, next;
	struct table *seen;
	struct forward *forwards;
	struct outcome worst;
	uint16_t
	    expansion; /* of an alias or .forward whose expansion the sender wants to hear of: struct deliver_result */
	bool any;
};

/* local.c */
void local_deliver_recipient(struct agent *m, size_t i);
/* Logs one outcome and keeps the worst of all: deferred before bounced before sent. */
void local_report(struct local *l, const struct place *p, const struct outcome *o);
void local_add(struct local *l, const struct place *p, const struct dest *d);
bool local_seen(struct local *l, const char *what, struct span text); /* marks it, too */
/* The recipient at p stands for others, who are found there: what reports they are the reason of, RFC 3461 section 5.2.7. */
void local_expanded(struct local *l, struct place *p);
struct place *local_place(struct local *l, const struct place *up);
struct span local_lower(struct arena *a, struct span s);
/* recipient.c: a recipient of this host, found at p */
void local_recipient(struct local *l, struct place *p, bool plain);
/* alias.c: true when there was one (done, in whatever way) */
bool local_alias(struct local *l, const struct place *p);
/* Nobody is known by that name, and it led here by another alias: it is reported for the name that it led to
 * first. */
bool local_alias_loop(struct local *l, const struct place *p);
/* All of the list, with the extension that matched nothing where propagate_unmatched_extensions says so. */
void local_add_all(struct local *l, const struct place *p, struct dest_list *list);
/* forwardfile.c */
bool local_forward_file(struct local *l, const struct place *p, const struct account *u);
void local_include(struct local *l, const struct place *p, struct span path);
/* final.c: mailboxes and files */
void local_mailbox(struct local *l, const struct place *p);
/* Where the configuration puts u's mailbox: a final slash makes it a Maildir. `id` gets the directory that its
 * child may write to. */
bool local_mailbox_path(struct arena *a, const struct account *u, struct asuser_id *id, struct span *path);
void local_file(struct local *l, const struct place *p, struct span path);
/* command.c */
void local_command(struct local *l, const struct place *p, struct span command, const struct account *as);
/* forward.c: mail that goes on as a new message */
void local_forward(struct local *l, const struct place *p, struct span addr);
void local_forward_finish(struct local *l, bool cancel);
/* pass.c: another transport takes it. "transport:nexthop" */
void local_pass(struct local *l, const struct place *p, struct span transport);
/* expand.c: $name of a recipient, characters outside `filter` (NULL: any) become '_'. */
MUST_CHECK enum rc local_expand(struct local *l, const struct place *p, const struct account *u,
				struct span text, const char *filter, struct span *out, struct err *e);
/* address.c: rewritten to standard form and resolved; `ours` when this very service delivers it. RC_AGAIN:
 * later. */
MUST_CHECK enum rc local_resolve(struct local *l, const struct place *p, struct span addr, struct span *out,
				 bool *ours, struct err *e);
struct asuser_id local_id_of(const struct account *u);

#endif
