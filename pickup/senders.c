/* senders.c - local_login_sender_maps: which envelope senders a login name may use. Asked through proxymap(8), as the user
 * database is asked before the sandbox only. */
#include "pickup.h"
#include "map/map.h"
#include "mime/address.h"

static struct maps *login_senders; /* NULL: everybody may use any */
static struct span null_key, origin;
static const char *delimiters;

void senders_prepare(void)
{
	const struct conf *c = service_conf();
	struct span list = span_trim(span_str(conf_str(c, "local_login_sender_maps")));
	struct err e;

	if (span_is(list, "static:*"))
		return;
	map_set_remote(true);
	if (maps_open("local_login_sender_maps", list, 0, &login_senders, &e) != RC_OK)
		log_warning("%s", e.text); /* that table answers "try again" */
	null_key = span_str(conf_str(c, "empty_address_local_login_sender_maps_lookup_key"));
	delimiters = conf_str(c, "recipient_delimiter");
	origin = span_str(conf_str(c, "myorigin"));
	users_read();
}

/* "user", "user@domain", "@domain", "*", or what stands for the null sender. */
static bool pattern_fits(struct span pattern, struct span sender)
{
	struct address s = address_split(sender), p = address_split(pattern);
	struct span user = s.local, ext;

	if (span_is(pattern, "*"))
		return true;
	if (sender.n == 0 || span_eq(pattern, null_key))
		return sender.n == 0 && span_eq(pattern, null_key);
	if (pattern.p[0] == '@')
		return span_eq_ci(s.domain, p.domain);
	(void)address_split_extension(s.local, delimiters, &user, &ext);
	if (!span_eq_ci(s.local, p.local) && !span_eq_ci(user, p.local))
		return false;
	return span_eq_ci(s.domain, p.domain) || (p.domain.n == 0 && span_eq_ci(s.domain, origin));
}

enum rc sender_allowed(uid_t uid, struct span sender, struct arena *a, const char **name, struct err *e)
{
	struct span value, pattern;

	*name = user_name(uid);
	if (login_senders == NULL)
		return RC_OK;
	struct span key = *name != NULL ? span_str(*name) : span_printf(a, "uid:%lu", (unsigned long)uid);
	enum rc rc = maps_lookup(login_senders, key, a, &value, e);

	if (rc != RC_OK)
		return rc == RC_NOTFOUND ? RC_DENIED : rc;
	while (span_next_word(&value, ", \t\r\n", &pattern))
		if (pattern_fits(pattern, sender))
			return RC_OK;
	return RC_DENIED;
}
