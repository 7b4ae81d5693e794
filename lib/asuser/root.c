/* asuser/root.c - the child that delivers to root's mailbox, or reads files of root's: uid 0, and nothing that makes root
 * of it. All capabilities are gone before anything is opened; what is left of root is the owner of root's files, and
 * landlock leaves one mailbox of these, or a few files to read. */
#include "asuser/private.h"
#include "log/log.h"
#include <sys/stat.h>
#include <unistd.h>

#define PATHS_MAX 8

static void must(enum rc rc, const struct err *e)
{
	if (rc == RC_OK)
		return;
	log_error("as root: %s", e->text);
	_exit(75);
}

/* Everything but reading those is over before the first request. */
static void for_files(const struct asuser_conf *c)
{
	struct err e = { .text = "" };
	struct sandbox_path paths[PATHS_MAX];
	size_t n = 0;

	for (; n < PATHS_MAX && c->root_files[n] != NULL; n++)
		paths[n] = (struct sandbox_path){ c->root_files[n], SB_READ };
	must(sandbox_enter("stdio recvfd rpath thread", paths, n, NULL, &e), &e);
}

static void for_mailbox(int fd, const struct asuser_conf *c)
{
	struct err e = { .text = "" };
	struct sandbox_path directory = { c->root_dir, SB_READ | SB_WRITE }, paths[PATHS_MAX];
	size_t n = 0;

	must(sandbox_confine(c->root_rights, &directory, 1, NULL, &e), &e);
	must(c->root_enter(fd, paths, PATHS_MAX, &n, &e), &e);
	must(sandbox_enter(c->root_rights, paths, n, NULL, &e), &e);
}

void asuser_root_confine(int fd, const struct asuser_id *id, const struct asuser_conf *c)
{
	struct err e = { .text = "" };

	umask(077);
	if (c->root_pick != NULL)
		must(c->root_pick(id, &e), &e);
	must(sandbox_become(0, 0, NULL, 0, &e), &e);
	if (chdir("/") < 0)
		log_debug("chdir: %m");
	if (id->root == ASUSER_ROOT_FILES)
		for_files(c);
	else
		for_mailbox(fd, c);
}
