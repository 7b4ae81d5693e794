/* store_deliver(): the way in. */
#include "store/paths.h"
#include <unistd.h>

enum rc store_deliver(const struct store_loc *loc, const char *folder, const struct store_delivery *m,
		      struct store_delivered *out, struct err *e)
{
	char path[STORE_FILE_MAX], sub[STORE_FILE_MAX];
	struct store_delivery dated = *m;
	struct span name = span_str(folder);
	struct stat st;
	memset(out, 0, sizeof(*out));
	if (!dated.arrival_us)
		dated.arrival_us = wall_now().us;
	enum rc rc = folder_path(loc, name, path, e);
	if (rc != RC_OK)
		return rc;
	if (!folder_is_inbox(name)) {
		if (!path_join(sub, path, "cur") || stat(loc->kind == STORE_MAILDIR ? sub : path, &st) != 0)
			return err_set(e, RC_NOTFOUND, "no mailbox %s", folder);
	} else if (loc->kind == STORE_MAILDIR && (rc = maildir_make(path, e)) != RC_OK) {
		return rc;
	}
	return loc->kind == STORE_MAILDIR ? maildir_deliver(path, &dated, out, e)
					  : mbox_deliver(path, &dated, out, e);
}
