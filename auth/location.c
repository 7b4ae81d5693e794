/* auth/location.c - from the credential store's entry to ids and mailbox. What the entry does not say comes from
 * mail_uid, mail_gid, mail_home and mail_location, else from where local(8) and virtual(8) deliver, so that nothing
 * has to be said twice. */
#include "auth.h"
#include "log/log.h"
#include "map/map.h"
#include "service/service.h"
#include "store/store.h"

static struct {
	const char *home_mailbox, *spool, *virtual_base;
	struct maps *mailboxes, *uids, *gids;
} set;

static struct maps *open_maps(const char *param)
{
	struct maps *m = NULL;
	struct err e;

	if (maps_open(param, span_str(conf_str(service_conf(), param)), MAP_FOLD_KEY, &m, &e) != RC_OK)
		die("%s: %s", param, e.text);
	return m;
}

void location_prepare(void)
{
	const struct conf *c = service_conf();

	set.home_mailbox = conf_str(c, "home_mailbox");
	set.spool = conf_str(c, "mail_spool_directory");
	set.virtual_base = conf_str(c, "virtual_mailbox_base");
	map_set_remote(true);
	set.mailboxes = open_maps("virtual_mailbox_maps");
	set.uids = open_maps("virtual_uid_maps");
	set.gids = open_maps("virtual_gid_maps");
}

/* As virtual(8) asks: user@domain, then @domain. */
static enum rc ask(struct maps *m, const char *user, struct arena *a, struct span *value, struct err *e)
{
	struct span ext;

	return maps_find_addr(m, span_str(user), MAPS_FIND_FULL | MAPS_FIND_NOEXT | MAPS_FIND_AT_DOMAIN,
			      address_extensions_of(service_conf()), false, false, a, value, &ext, e);
}

static enum rc ask_id(struct maps *m, const char *user, struct arena *a, uint32_t *id, struct err *e)
{
	struct span value;
	uint64_t v;
	enum rc rc;

	if (*id != UINT32_MAX || !strchr(user, '@'))
		return RC_OK;
	rc = ask(m, user, a, &value, e);
	if (rc == RC_OK && span_to_u64(value, UINT32_MAX - 1, &v) != RC_OK)
		return err_set(e, RC_SYNTAX, "%s: \"" SPAN_FMT "\" is not an id", user, SPAN_ARG(value));
	if (rc == RC_OK)
		*id = (uint32_t)v;
	return rc == RC_NOTFOUND ? RC_OK : rc;
}

/* Where local(8) delivers. */
static void local_mailbox(struct asuser_id *id)
{
	size_t n = strlen(set.spool);
	bool dir = n && set.spool[n - 1] == '/';

	if (*set.home_mailbox && id->home[0])
		snprintf(id->mail, sizeof(id->mail), "~/%s", set.home_mailbox);
	else if (dir)
		snprintf(id->mail, sizeof(id->mail), "maildir:%s%s/", set.spool, id->user);
	else if (id->home[0]) /* folders need a place, too */
		snprintf(id->mail, sizeof(id->mail), "mbox:~/mail:INBOX=%s/%s", set.spool, id->user);
	else
		snprintf(id->mail, sizeof(id->mail), "%s/%s", set.spool, id->user);
}

static enum rc virtual_mailbox(struct asuser_id *id, struct arena *a, struct err *e)
{
	struct span value;
	enum rc rc = ask(set.mailboxes, id->user, a, &value, e);
	int n;

	if (rc == RC_NOTFOUND)
		return err_set(e, rc,
			       "no mailbox is known for %s: neither its entry, nor mail_location, nor "
			       "virtual_mailbox_maps names one",
			       id->user);
	if (rc != RC_OK)
		return rc;
	n = snprintf(id->mail, sizeof(id->mail), "%s%s" SPAN_FMT, set.virtual_base,
		     *set.virtual_base ? "/" : "", SPAN_ARG(value));
	return n > 0 && (size_t)n < sizeof(id->mail) ? RC_OK
						     : err_set(e, RC_LIMIT, "path of a mailbox too long");
}

static enum rc mailbox(const struct keeper_answer *u, struct asuser_id *id, struct arena *a, struct err *e)
{
	if (*u->mail || *auth_conf.mail_location)
		return span_cstr(span_str(*u->mail ? u->mail : auth_conf.mail_location), id->mail,
				 sizeof(id->mail));
	if (strchr(id->user, '@'))
		return virtual_mailbox(id, a, e);
	local_mailbox(id);
	return RC_OK;
}

/* Made by the monitor when it is missing: the user may have no right to do that. */
static enum rc mail_dir(struct asuser_id *id, struct err *e)
{
	struct store_loc l;
	enum rc rc = store_loc_parse(span_str(id->mail), id->home, id->user, &l, e);

	if (rc != RC_OK || !l.root[0])
		return rc;
	id->make_dir = 1;
	if (span_cstr(span_str(l.root), id->dir, sizeof(id->dir)) != RC_OK)
		return err_set(e, RC_LIMIT, "path of a mailbox too long");
	return RC_OK;
}

enum rc location_find(const struct keeper_answer *u, const char *user, const char *service,
		      struct asuser_id *id, struct err *e)
{
	struct arena a;
	enum rc rc;

	memset(id, 0, sizeof(*id));
	snprintf(id->tag, sizeof(id->tag), "%s", service);
	id->uid = u->uid != UINT32_MAX ? u->uid : (uint32_t)auth_conf.mail_uid; /* -1 stays "none" */
	id->gid = u->gid != UINT32_MAX ? u->gid : (uint32_t)auth_conf.mail_gid;
	if (span_cstr(span_str(user), id->user, sizeof(id->user)) != RC_OK ||
	    span_cstr(span_str(*u->home ? u->home : auth_conf.mail_home), id->home, sizeof(id->home)) !=
		RC_OK)
		return err_set(e, RC_LIMIT, "name or home directory too long");
	arena_init(&a);
	if ((rc = mailbox(u, id, &a, e)) == RC_OK &&
	    (rc = ask_id(set.uids, id->user, &a, &id->uid, e)) == RC_OK)
		rc = ask_id(set.gids, id->user, &a, &id->gid, e);
	arena_release(&a);
	if (rc == RC_OK && (id->uid == UINT32_MAX || id->gid == UINT32_MAX))
		rc = err_set(
		    e, RC_NOTFOUND,
		    "no uid and gid are known for %s: neither its entry, nor mail_uid and mail_gid, nor "
		    "virtual_uid_maps and virtual_gid_maps name them",
		    id->user);
	return rc == RC_OK ? mail_dir(id, e) : rc;
}
