/* map/local_users.c - what local users may do (local_users.h). */
#include "map/local_users.h"
#include "mime/address.h"

enum rc local_user_listed(const struct conf *c, const char *param, const char *name, struct err *e)
{
	struct span list = span_trim(span_str(conf_str(c, param)));
	struct match_list *users;
	enum rc rc;

	if (span_is(list, "static:anyone") || span_is(list, "static:all"))
		return RC_OK;
	if ((rc = match_list_open(param, list, MATCH_EXACT, &users, e)) != RC_OK)
		return rc;
	rc = match_domain(users, span_str(name), e);
	match_list_close(&users);
	return rc;
}

struct login_senders {
	struct maps *maps;
	struct span null_key, origin;
	struct address_extensions extensions;
};

enum rc login_senders_open(const struct conf *c, struct login_senders **out, struct err *e)
{
	struct span list = span_trim(span_str(conf_str(c, "local_login_sender_maps")));
	struct login_senders *ls;
	enum rc rc;

	*out = NULL;
	if (span_is(list, "static:*"))
		return RC_OK;
	ls = xcalloc(1, sizeof(*ls));
	if ((rc = maps_open("local_login_sender_maps", list, 0, &ls->maps, e)) != RC_OK) {
		free(ls);
		return rc;
	}
	ls->null_key = span_str(conf_str(c, "empty_address_local_login_sender_maps_lookup_key"));
	ls->extensions = address_extensions_of(c);
	ls->origin = span_str(conf_str(c, "myorigin"));
	*out = ls;
	return RC_OK;
}

void login_senders_close(struct login_senders **ls)
{
	if (*ls != NULL)
		maps_close(&(*ls)->maps);
	free(*ls);
	*ls = NULL;
}

/* "user", "user@domain", "@domain", "*", or what stands for the null sender. */
static bool pattern_fits(const struct login_senders *ls, struct span pattern, struct span sender)
{
	struct address s = address_split(sender), p = address_split(pattern);
	struct span user = s.local, ext;

	if (span_is(pattern, "*"))
		return true;
	if (sender.n == 0 || span_eq(pattern, ls->null_key))
		return sender.n == 0 && span_eq(pattern, ls->null_key);
	if (pattern.p[0] == '@')
		return span_eq_ci(s.domain, p.domain);
	(void)address_split_extension(s.local, ls->extensions, &user, &ext);
	if (!span_eq_ci(s.local, p.local) && !span_eq_ci(user, p.local))
		return false;
	return span_eq_ci(s.domain, p.domain) || (p.domain.n == 0 && span_eq_ci(s.domain, ls->origin));
}

enum rc login_senders_match(const struct login_senders *ls, const char *name, uid_t uid, struct span sender,
			    struct arena *a, struct err *e)
{
	struct span value, pattern;
	enum rc rc;

	if (ls == NULL)
		return RC_OK;
	rc = maps_lookup(ls->maps,
			 name != NULL ? span_str(name) : span_printf(a, "uid:%lu", (unsigned long)uid), a,
			 &value, e);
	if (rc != RC_OK)
		return rc == RC_NOTFOUND ? RC_DENIED : rc;
	while (span_next_word(&value, ", \t\r\n", &pattern))
		if (pattern_fits(ls, pattern, sender))
			return RC_OK;
	return RC_DENIED;
}
