/* asuser/root.c - the child that delivers to root's mailbox: uid 0, and nothing that makes root of it. All
 * capabilities are gone before anything is opened; what is left of root is the owner of root's files, and
 * landlock leaves one mailbox of these. */
#include "asuser/private.h"
#include "log/log.h"
#include <sys/stat.h>
#include <unistd.h>

#define PATHS_MAX 8

static void must(enum rc rc, const struct err *e)
{
	if (rc == RC_OK)
		return;
	log_error("root's mailbox: %s", e->text);
	_exit(75);
}

void asuser_root_confine(int fd, const struct asuser_conf *c)
{
	struct err e = { .text = "" };
	struct sandbox_path directory = { c->root_dir, SB_READ | SB_WRITE }, paths[PATHS_MAX];
	size_t n = 0;

	umask(077);
	must(sandbox_become(0, 0, NULL, 0, &e), &e);
	if (chdir("/") < 0)
		log_debug("chdir: %m");
	must(sandbox_confine(c->root_rights, &directory, 1, NULL, &e), &e);
	must(c->root_enter(fd, paths, PATHS_MAX, &n, &e), &e);
	must(sandbox_enter(c->root_rights, paths, n, NULL, &e), &e);
}
