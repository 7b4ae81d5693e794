/* cmd/postern/check.c - what is wrong with the configuration and the directories: errors end the command,
 * warnings do not. */
#include "control.h"
#include "lint.h"
#include "log/log.h"
#include "sandbox/sandbox.h"
#include <grp.h>
#include <sys/stat.h>
#include <unistd.h>

#define LEVEL "3.6" /* compatibility_level of new installations (conf/main.cf) */

static void report(void *arg, bool error, const char *text)
{
	(void)arg;
	if (error)
		log_error("%s", text);
	else
		log_warning("%s", text);
}

static void check_files(const struct control *c)
{
	struct err e;
	struct mastercf *m;
	if (conf_check(c->conf, report, NULL) != RC_OK)
		die("%s/main.cf: the errors above must be repaired first", c->dir);
	if (mastercf_load(c->dir, c->conf, &m, &e) != RC_OK)
		die("%s", e.text);
	mastercf_free(&m);
}

static void check_group(const struct lint *l)
{
	const char *name = conf_str(l->conf, "setgid_group");
	const struct group *gr = getgrnam(name);

	if (gr == NULL || gr->gr_gid == 0)
		lint_say(l, "setgid_group", "%s: %s: the name of a group of its own expected", name,
			 gr == NULL ? "unknown group name" : "group id 0");
}

static void check_users(const struct control *c)
{
	static const char *const owners[] = { "mail_owner", "net_owner", "aux_owner", "key_owner" };
	unsigned refused = 0;
	const struct lint l = { .dir = c->dir, .conf = c->conf, .refused = &refused };
	struct err e;
	uid_t uid[ARRAY_LEN(owners)];
	gid_t gid;
	if (geteuid() != 0)
		return;
	for (size_t i = 0; i < ARRAY_LEN(owners); i++) {
		uid[i] = (uid_t)-1 - (uid_t)i; /* nobody, and unlike the others */
		if (sandbox_user(conf_str(c->conf, owners[i]), &uid[i], &gid, &e) != RC_OK)
			lint_say(&l, owners[i], "%s: the name of a user of its own expected", e.text);
		else if (uid[i] == 0)
			lint_say(&l, owners[i], "must not be root: the name of a user of its own expected");
		for (size_t k = 0; k < i; k++)
			if (uid[k] == uid[i])
				log_warning("%s and %s are the same user: what one of them runs is not "
					    "protected from the other",
					    owners[k], owners[i]);
	}
	check_group(&l);
	if (refused > 0)
		die("%s/main.cf: the errors above must be repaired first", c->dir);
}

static void check_directory(const char *path, bool root_owned)
{
	struct stat st;
	if (lstat(path, &st) < 0)
		return; /* made at start */
	if (!S_ISDIR(st.st_mode))
		log_warning("not a directory: %s", path);
	if (root_owned && geteuid() == 0 && st.st_uid != 0)
		log_warning("not owned by root: %s", path);
	if ((st.st_mode & 022) != 0 && (st.st_mode & S_ISVTX) == 0)
		log_warning("group or other writable: %s", path);
}

static void check_directories(const struct control *c)
{
	struct arena a;
	arena_init(&a);
	const char *queue = conf_str(c->conf, "queue_directory");
	check_directory(queue, true);
	check_directory(arena_printf(&a, "%s/pid", queue), true);
	check_directory(c->dir, true);
	check_directory(conf_str(c->conf, "daemon_directory"), true);
	check_directory(conf_str(c->conf, "data_directory"), false);
	arena_release(&a);
}

/* A main.cf from before Postfix 3.0 names no level, and means what it meant then. */
static void tell_old_defaults(const struct control *c)
{
	struct span answer;
	struct arena a;
	struct err e;

	arena_init(&a);
	if (conf_expand(c->conf, SPAN("${{$compatibility_level} <level {" LEVEL "} ? {old} : {new}}"), &a,
			&answer, &e) == RC_OK &&
	    span_is(answer, "old")) {
		log_info("Postfix is using backwards-compatible default settings");
		log_info("See compatibility_level in main.cf(5) for details");
		log_info("To disable backwards compatibility use \"postconf compatibility_level=" LEVEL
			 "\" and \"postfix reload\"");
	}
	arena_release(&a);
}

void check_configuration(const struct control *c, bool start)
{
	check_files(c);
	tell_old_defaults(c);
	check_users(c);
	check_directories(c);
	lint_refusals(c, start);
}
