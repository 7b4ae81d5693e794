/* asuser/attributes.c - flags= user= argv= and the other attributes of pipe(8). */
#include "asuser/attributes.h"
#include "asuser/pipe_macro.h"
#include <grp.h>
#include <pwd.h>

#define EOL_MAX 16

static enum rc read_flags(struct attributes *t, struct span value, struct arena *a, struct err *e)
{
	(void)a;
	for (size_t i = 0; i < value.n; i++)
		if (span_chr(SPAN(ATTRIBUTE_FLAGS), value.p[i]) < 0)
			return err_set(e, RC_SYNTAX,
				       "unknown flag: %c (flags= has the letters " ATTRIBUTE_FLAGS ")",
				       value.p[i]);
	t->flags = value;
	return RC_OK;
}

static enum rc read_user(struct attributes *t, struct span value, struct arena *a, struct err *e)
{
	struct span group = value, user = SPAN_NONE;

	(void)a;
	(void)span_next(&group, ':', &user);
	if (user.n == 0 || span_cstr(user, t->user, sizeof(t->user)) != RC_OK ||
	    span_cstr(group, t->group, sizeof(t->group)) != RC_OK)
		return err_set(e, RC_SYNTAX,
			       "user=" SPAN_FMT ": the name of a user expected, perhaps with :group",
			       SPAN_ARG(span_head(value, 200)));
	return RC_OK;
}

/* \n \r \t \0octal and the like, as C has them. */
static enum rc read_eol(struct attributes *t, struct span v, struct arena *a, struct err *e)
{
	char *p = arena_alloc(a, v.n + 1);
	size_t n = 0;

	for (size_t i = 0; i < v.n; i++) {
		char c = v.p[i];
		if (c == '\\' && i + 1 < v.n) {
			c = v.p[++i];
			if (c >= '0' && c <= '7') {
				unsigned octal = 0;
				for (int k = 0; k < 3 && i < v.n && v.p[i] >= '0' && v.p[i] <= '7'; k++)
					octal = octal * 8 + (unsigned)(v.p[i++] - '0');
				i--;
				c = (char)octal;
			} else
				c = c == 'n' ? '\n' : c == 'r' ? '\r' : c == 't' ? '\t' : c;
		}
		p[n++] = c;
	}
	if (n == 0 || n > EOL_MAX)
		return err_set(e, RC_SYNTAX, "eol=: 1 to %d characters expected", EOL_MAX);
	t->eol = span_make(p, n);
	return RC_OK;
}

static enum rc read_directory(struct attributes *t, struct span value, struct arena *a, struct err *e)
{
	(void)e;
	t->directory = arena_cstr(a, value);
	return RC_OK;
}

static enum rc read_chroot(struct attributes *t, struct span value, struct arena *a, struct err *e)
{
	if (value.n == 0 || value.p[0] != '/')
		return err_set(e, RC_SYNTAX, "chroot=" SPAN_FMT ": an absolute path expected",
			       SPAN_ARG(value));
	t->chroot = arena_cstr(a, value);
	return RC_OK;
}

static enum rc read_null_sender(struct attributes *t, struct span value, struct arena *a, struct err *e)
{
	(void)a, (void)e;
	t->null_sender = value;
	return RC_OK;
}

static enum rc read_size(struct attributes *t, struct span value, struct arena *a, struct err *e)
{
	(void)a;
	t->size_limit = 0;
	if (value.n > 0 && span_to_u64(value, INT64_MAX, &t->size_limit) != RC_OK)
		return err_set(e, RC_SYNTAX, "size=" SPAN_FMT ": a number of bytes expected",
			       SPAN_ARG(value));
	return RC_OK;
}

static const struct {
	const char *name;
	enum rc (*read)(struct attributes *t, struct span value, struct arena *a, struct err *e);
	bool spawn; /* spawn(8) has it, too: it knows of no mail */
} attributes[] = {
	{ "flags", read_flags, false },
	{ "user", read_user, true },
	{ "directory", read_directory, true },
	{ "chroot", read_chroot, false },
	{ "eol", read_eol, false },
	{ "null_sender", read_null_sender, false },
	{ "size", read_size, false },
};

static enum rc unknown(const struct attributes *t, struct span word, struct err *e)
{
	return err_set(e, RC_SYNTAX, "unknown attribute name: " SPAN_FMT " (%s expected)",
		       SPAN_ARG(span_head(word, 200)),
		       t->spawn ? "user= directory= argv="
				: "flags= user= directory= chroot= eol= null_sender= size= argv=");
}

/* One that is not argv=. */
static enum rc one(struct attributes *t, struct span word, struct arena *a, struct err *e)
{
	struct span value = word, name = SPAN_NONE;

	if (span_chr(word, '=') < 0 || !span_next(&value, '=', &name))
		return unknown(t, word, e);
	for (size_t i = 0; i < ARRAY_LEN(attributes); i++)
		if (span_is_ci(name, attributes[i].name) && (attributes[i].spawn || !t->spawn))
			return attributes[i].read(t, value, a, e);
	return unknown(t, word, e);
}

static enum rc read_argv(struct attributes *t, const struct span *words, size_t n, struct arena *a,
			 struct err *e)
{
	enum rc rc = RC_OK;
	struct span *argv = arena_array(a, n, sizeof(*argv));

	for (size_t i = 0; i < n; i++)
		argv[i] = words[i];
	argv[0] = span_skip(words[0], strlen("argv="));
	t->argv = argv;
	t->argc = n;
	if (argv[0].n == 0)
		return err_set(e, RC_SYNTAX, "argv=: no command: argv=/path/of/command expected");
	for (size_t i = 0; i < n && !t->spawn && rc == RC_OK; i++)
		rc = pipe_check(argv[i], e);
	return rc;
}

enum rc attributes_parse(const struct span *words, size_t n, bool spawn, struct arena *a,
			 struct attributes *out, struct err *e)
{
	enum rc rc = RC_OK;

	*out = (struct attributes){
		.spawn = spawn, .directory = "", .chroot = "", .null_sender = SPAN("MAILER-DAEMON")
	};
	for (size_t i = 0; i < n && out->argc == 0 && rc == RC_OK; i++)
		rc = span_starts_ci(words[i], SPAN("argv=")) ? read_argv(out, words + i, n - i, a, e)
							     : one(out, words[i], a, e);
	if (rc == RC_OK && out->argc == 0)
		rc = err_set(
		    e, RC_SYNTAX,
		    "missing argv= command-line attribute: argv=/path/of/command ... expected, as the last");
	if (rc == RC_OK && out->user[0] == '\0')
		rc = err_set(e, RC_SYNTAX,
			     "missing user= command-line attribute: the user that the command runs as");
	return rc;
}

/* ---- whose rights ---- */

static enum rc find(const char *user, const char *group, uint32_t *uid, uint32_t *gid, struct err *e)
{
	const struct group *gr;
	enum rc rc = sandbox_user(user, uid, gid, e);

	if (rc != RC_OK || group[0] == '\0')
		return rc;
	if ((gr = getgrnam(group)) == NULL)
		return err_set(e, RC_NOTFOUND, "unknown group name: \"%s\"", group);
	*gid = gr->gr_gid;
	return RC_OK;
}

/* Of pipe's commands: they could leave mail in maildrop/ themselves. */
static enum rc not_setgid_group(const struct conf *c, uint32_t gid, struct err *e)
{
	const char *name = conf_str(c, "setgid_group");
	const struct group *gr = getgrnam(name);

	return gr != NULL && gr->gr_gid == gid
		   ? err_set(e, RC_DENIED, "mail system %s group id %u", name, gid)
		   : RC_OK;
}

static enum rc owner(const struct conf *c, const char *param, uint32_t uid, uint32_t gid, struct err *e)
{
	const char *name = conf_str(c, param);
	uid_t owner_uid;
	gid_t owner_gid;

	if (sandbox_user(name, &owner_uid, &owner_gid, NULL) != RC_OK)
		return RC_OK; /* said elsewhere */
	if (uid == owner_uid)
		return err_set(e, RC_DENIED, "mail system owner %s (%s)", name, param);
	if (gid == owner_gid && strcmp(param, "mail_owner") == 0)
		return err_set(e, RC_DENIED, "mail system owner %s group id %u", name, gid);
	return RC_OK;
}

enum rc account_may_work(const struct conf *c, const char *user, const char *group, bool one_uid,
			 uint32_t *uid, uint32_t *gid, struct err *e)
{
	static const char *const owners[] = { "mail_owner", "net_owner", "aux_owner", "key_owner" };
	enum rc rc = find(user, group, uid, gid, e);

	if (rc != RC_OK)
		return rc;
	if (*uid == 0)
		return err_set(e, RC_DENIED, "root privileges");
	if (one_uid)
		return RC_OK;
	if (*gid == 0)
		return err_set(e, RC_DENIED, "privileged group id 0");
	for (size_t i = 0; i < ARRAY_LEN(owners) && rc == RC_OK; i++)
		rc = owner(c, owners[i], *uid, *gid, e);
	return rc;
}

enum rc account_id_parse(struct span text, uint64_t least, uint32_t *id)
{
	uint64_t n = 0;

	if (span_to_u64(span_trim(text), UINT32_MAX - 1, &n) != RC_OK || n < least)
		return RC_SYNTAX;
	*id = (uint32_t)n;
	return RC_OK;
}

enum rc attributes_account(const struct conf *c, const struct attributes *t, bool one_uid, uint32_t *uid,
			   uint32_t *gid, struct err *e)
{
	struct err why = { .text = "" };
	enum rc rc = account_may_work(c, t->user, t->group, one_uid, uid, gid, &why);

	if (rc == RC_OK && !t->spawn && !one_uid)
		rc = not_setgid_group(c, *gid, &why);
	if (rc == RC_DENIED)
		return err_set(e, rc, "user= command-line attribute specifies %s", why.text);
	return rc == RC_OK ? rc : err_set(e, rc, "user= command-line attribute: %s", why.text);
}
