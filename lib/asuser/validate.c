/* asuser/validate.c - what the monitor believes: one record, and nothing that it cannot check. */
#include "asuser/private.h"
#include "base/span.h"
#include <unistd.h>

static bool is_refused(uint32_t uid, const struct asuser_conf *c)
{
	if (uid == 0 || uid == UINT32_MAX)
		return true;
	if (geteuid() != 0)
		return uid != geteuid();
	return sandbox_reserved(uid) || uid < c->min_uid || (c->max_uid != 0 && uid > c->max_uid);
}

static bool text_ok(const char *s, size_t size)
{
	size_t n = strnlen(s, size);
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f)
			return false;
	return n < size;
}

static bool path_ok(const char *s, size_t size)
{
	if (!text_ok(s, size))
		return false;
	if (s[0] == '\0')
		return true;
	struct span rest = span_str(s), part;
	if (s[0] != '/')
		return false;
	while (span_next(&rest, '/', &part))
		if (span_is(part, ".."))
			return false;
	return true;
}

/* Root's mailbox, or the files of root's that may be read: nothing in the record says more than that. Without landlock
 * the child could reach all that root owns, so it takes one. */
static enum rc root_request(const struct asuser_id *id, const struct asuser_conf *c, struct err *e)
{
	bool known = (id->root == ASUSER_ROOT_MAILBOX && c->root_dir != NULL) ||
		     (id->root == ASUSER_ROOT_FILES && c->root_files != NULL);
	if (!known || geteuid() != 0)
		return err_set(e, RC_DENIED, "uid 0 is not allowed");
	if (id->uid != 0 || id->gid != 0 || id->allow_exec || id->make_dir || id->home[0] != '\0' ||
	    id->dir[0] != '\0' || id->mail[0] != '\0')
		return err_set(e, RC_DENIED, "malformed request for what is root's");
	if (sandbox_landlock_abi() == 0)
		return err_set(e, RC_DENIED, "no delivery as root: this kernel has no landlock");
	return RC_OK;
}

enum rc asuser_validate(const struct asuser_request *r, const struct asuser_conf *c, struct err *e)
{
	const struct asuser_id *id = &r->id;
	if (r->magic != ASUSER_MAGIC || r->want_status > 1 || id->make_dir > 1 || id->allow_exec > 1)
		return err_set(e, RC_DENIED, "malformed request");
	if (!text_ok(id->user, sizeof id->user) || id->user[0] == '\0' || !text_ok(id->tag, sizeof id->tag) ||
	    !text_ok(id->mail, sizeof id->mail))
		return err_set(e, RC_DENIED, "malformed user name");
	if (!path_ok(id->home, sizeof id->home) || !path_ok(id->dir, sizeof id->dir))
		return err_set(e, RC_DENIED, "malformed path");
	if (id->root != 0)
		return root_request(id, c, e);
	if (is_refused(id->uid, c))
		return err_set(e, RC_DENIED, "uid %lu is not allowed", (unsigned long)id->uid);
	if ((id->gid == 0 && geteuid() == 0) || id->gid == UINT32_MAX)
		return err_set(e, RC_DENIED, "gid %lu is not allowed", (unsigned long)id->gid);
	if (id->allow_exec && !sandbox_has(asuser_exec_rights(c), "exec"))
		return err_set(e, RC_DENIED, "execution is not allowed");
	return RC_OK;
}
