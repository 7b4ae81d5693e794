/* identity.c - who calls. */
#include "sendmail.h"
#include "map/local_users.h"
#include <pwd.h>
#include <unistd.h>

static const struct passwd *user(void)
{
	static struct passwd *pw;

	if (pw == NULL)
		pw = getpwuid(getuid());
	return pw;
}

const char *login_name(void)
{
	const struct passwd *pw = user();

	return pw != NULL ? pw->pw_name : "unknown";
}

const char *who(void)
{
	return arena_printf(&memory, "%s(%lu)", login_name(), (unsigned long)getuid());
}

const char *for_whom(struct span sender)
{
	return sender.n == 0
		   ? who()
		   : arena_printf(&memory, SPAN_FMT "(%lu)", SPAN_ARG(sender), (unsigned long)getuid());
}

/* NAME, else the first part of GECOS, in which '&' stands for the login name with a capital. */
static const char *full_name_of_user(void)
{
	const char *env = getenv("NAME");
	const struct passwd *pw = user();
	struct buf b;
	const char *out;

	if (env != NULL && env[0] != '\0')
		return env;
	if (pw == NULL || pw->pw_gecos == NULL)
		return "";
	buf_init(&b, ENV_TEXT_MAX);
	for (const char *p = pw->pw_gecos; *p != '\0' && strchr(",;%", *p) == NULL; p++) {
		if (*p != '&') {
			(void)buf_putc(&b, *p);
			continue;
		}
		(void)buf_putc(&b, ascii_upper(pw->pw_name[0]));
		(void)buf_puts(&b, pw->pw_name[0] != '\0' ? pw->pw_name + 1 : "");
	}
	out = arena_cstr(&memory, buf_span(&b));
	buf_release(&b);
	return out;
}

struct span full_name(const struct options *o)
{
	char *p = arena_strdup(&memory, o->full_name != NULL ? o->full_name : full_name_of_user());
	struct span s = span_head(span_str(p), ENV_TEXT_MAX);

	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)p[i] < 0x20 || p[i] == 0x7f)
			p[i] = ' ';
	return s;
}

/* Said before the message is read. Who takes it asks again, with rights that this program has not: what cannot be looked up here is
 * for them to judge. */
void require_submit_user(void)
{
	struct err e;

	if (local_user_listed(config, "authorized_submit_users", login_name(), &e) == RC_NOTFOUND)
		fatal("User %s is not allowed to submit mail", who());
}
