/* senders.c - local_login_sender_maps: which envelope senders a login name may use. Asked through proxymap(8), as the user
 * database is asked before the sandbox only. */
#include "pickup.h"
#include "map/local_users.h"

static struct login_senders *login_senders; /* NULL: everybody may use any */
static struct err unusable;		    /* why the parameter cannot be used: nobody may use any */

void senders_prepare(void)
{
	const struct conf *c = service_conf();

	if (span_is(span_trim(span_str(conf_str(c, "local_login_sender_maps"))), "static:*"))
		return;
	map_set_remote(true);
	if (login_senders_open(c, &login_senders, &unusable) != RC_OK)
		log_warning("%s", unusable.text);
	users_read();
}

enum rc sender_allowed(uid_t uid, struct span sender, struct arena *a, const char **name, struct err *e)
{
	*name = user_name(uid);
	if (unusable.rc != RC_OK)
		return err_set(e, RC_AGAIN, "%s", unusable.text);
	return login_senders_match(login_senders, *name, uid, sender, a, e);
}
