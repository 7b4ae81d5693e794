/* users.c - authorized_submit_users. The user database is read while it can be (before the sandbox), and only
 * when the list is not the default, which lets everybody pass. A user made later is "unknown" until pickup
 * starts again. */
#include "pickup.h"
#include "base/table.h"
#include "map/map.h"
#include <pwd.h>

#define USERS_MAX 100000

static struct match_list *allowed; /* NULL: everybody */
static struct table *names;	   /* uid in decimal -> name */

static struct span uid_key(uid_t uid, char out[24])
{
	return span_make(out, (size_t)snprintf(out, 24, "%lu", (unsigned long)uid));
}

void users_read(void)
{
	struct passwd *pw;
	char key[24];

	if (names != NULL)
		return;
	names = table_new();
	setpwent();
	while ((pw = getpwent()) != NULL && table_count(names) < USERS_MAX)
		if (table_get(names, uid_key(pw->pw_uid, key)) == NULL)
			table_set(names, uid_key(pw->pw_uid, key), xstrdup(pw->pw_name));
	endpwent();
}

void users_prepare(void)
{
	const char *list = conf_str(service_conf(), "authorized_submit_users");
	struct err e;

	if (span_is(span_trim(span_str(list)), "static:anyone") ||
	    span_is(span_trim(span_str(list)), "static:all"))
		return;
	if (match_list_open("authorized_submit_users", span_str(list), MATCH_EXACT, &allowed, &e) != RC_OK)
		die("authorized_submit_users: %s", e.text);
	users_read();
}

const char *user_name(uid_t uid)
{
	char key[24];

	return names != NULL ? table_get(names, uid_key(uid, key)) : NULL;
}

enum rc user_allowed(uid_t uid, const char **name, struct err *e)
{
	const char *n = user_name(uid);

	*name = "unknown";
	if (allowed == NULL)
		return RC_OK;
	if (n != NULL)
		*name = n;
	return match_domain(allowed, span_str(*name), e);
}
