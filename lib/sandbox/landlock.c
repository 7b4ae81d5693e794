/* sandbox/landlock.c - landlock by its system calls, as far as the kernel's ABI goes. The numbers are the
 * kernel's (linux/landlock.h); they stand here because the header of the build host may know fewer than the
 * running kernel. */
#include "sandbox/landlock.h"
#include "log/log.h"
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule	    445
#define SYS_landlock_restrict_self  446
#endif

#define LL_VERSION	  1U
#define LL_RULE_PATH	  1
#define LL_EXECUTE	  (1ULL << 0)
#define LL_WRITE_FILE	  (1ULL << 1)
#define LL_READ_FILE	  (1ULL << 2)
#define LL_READ_DIR	  (1ULL << 3)
#define LL_REMOVE_DIR	  (1ULL << 4)
#define LL_REMOVE_FILE	  (1ULL << 5)
#define LL_MAKE_CHAR	  (1ULL << 6)
#define LL_MAKE_DIR	  (1ULL << 7)
#define LL_MAKE_REG	  (1ULL << 8)
#define LL_MAKE_SOCK	  (1ULL << 9)
#define LL_MAKE_FIFO	  (1ULL << 10)
#define LL_MAKE_BLOCK	  (1ULL << 11)
#define LL_MAKE_SYM	  (1ULL << 12)
#define LL_REFER	  (1ULL << 13) /* ABI 2 */
#define LL_TRUNCATE	  (1ULL << 14) /* ABI 3 */
#define LL_IOCTL_DEV	  (1ULL << 15) /* ABI 5 */
#define LL_BIND_TCP	  (1ULL << 0)  /* ABI 4 */
#define LL_CONNECT_TCP	  (1ULL << 1)
#define LL_SCOPE_ABSTRACT (1ULL << 0) /* ABI 6 */
#define LL_SCOPE_SIGNAL	  (1ULL << 1)

#define LL_READ (LL_READ_FILE | LL_READ_DIR)
#define LL_WRITE                                                                                             \
	(LL_WRITE_FILE | LL_REMOVE_DIR | LL_REMOVE_FILE | LL_MAKE_DIR | LL_MAKE_REG | LL_MAKE_SOCK |         \
	 LL_MAKE_FIFO | LL_MAKE_SYM | LL_REFER | LL_TRUNCATE)
#define LL_OF_FILE (LL_EXECUTE | LL_WRITE_FILE | LL_READ_FILE | LL_TRUNCATE | LL_IOCTL_DEV)

struct ll_ruleset {
	uint64_t fs, net, scoped;
};
struct ll_path_rule {
	uint64_t allowed;
	int32_t fd;
} __attribute__((packed));

int sandbox_landlock_abi(void)
{
	long v = syscall(SYS_landlock_create_ruleset, NULL, 0, LL_VERSION);
	return v > 0 ? (int)v : 0;
}

static uint64_t fs_of_abi(int abi)
{
	uint64_t all = (1ULL << 13) - 1;
	if (abi >= 2)
		all |= LL_REFER;
	if (abi >= 3)
		all |= LL_TRUNCATE;
	if (abi >= 5)
		all |= LL_IOCTL_DEV;
	return all;
}

/* What to ask of this kernel, and how many bytes of the structure it knows. */
static size_t plan(const struct landlock_wish *w, int abi, struct ll_ruleset *r)
{
	*r = (struct ll_ruleset){ w->any_path ? 0 : fs_of_abi(abi), 0, 0 };
	if (abi >= 4)
		r->net = (w->tcp_bind ? 0 : LL_BIND_TCP) | (w->tcp_connect ? 0 : LL_CONNECT_TCP);
	if (abi >= 6)
		r->scoped =
		    (w->abstract_sockets ? 0 : LL_SCOPE_ABSTRACT) | (w->signals ? 0 : LL_SCOPE_SIGNAL);
	return abi >= 6 ? 24 : abi >= 4 ? 16 : 8;
}

static void log_missing(int abi)
{
	static bool told;
	if (told || abi >= 6)
		return;
	told = true;
	if (abi == 0)
		log_info(
		    "sandbox: this kernel has no landlock; file access is limited by owner and chroot only");
	else
		log_info("sandbox: landlock ABI %d: no rules for %s%s", abi, abi < 4 ? "TCP, " : "",
			 "signals and abstract sockets");
}

static enum rc add_path(int ruleset, const struct sandbox_path *p, uint64_t handled, struct err *e)
{
	struct stat st;
	struct ll_path_rule rule = { 0, -1 };
	if (p->access & SB_READ)
		rule.allowed |= LL_READ;
	if (p->access & SB_WRITE)
		rule.allowed |= LL_WRITE;
	if (p->access & SB_EXEC)
		rule.allowed |= LL_EXECUTE;
	int fd = open(p->path, O_PATH | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR || errno == EACCES
			   ? RC_OK
			   : err_sys(e, "open %s", p->path);
	if (fstat(fd, &st) == 0 && !S_ISDIR(st.st_mode))
		rule.allowed &= LL_OF_FILE;
	rule.allowed &= handled;
	rule.fd = fd;
	enum rc rc = RC_OK;
	if (rule.allowed != 0 && syscall(SYS_landlock_add_rule, ruleset, LL_RULE_PATH, &rule, 0) < 0)
		rc = err_sys(e, "landlock rule for %s", p->path);
	close(fd);
	return rc;
}

/* A rule set that does not name LL_REFER denies it, to all rule sets that are entered later, too: whoever
 * leaves the file system alone has to allow renames between directories in so many words. */
static const struct sandbox_path anywhere = { "/", SB_WRITE };

enum rc landlock_enter(const struct landlock_wish *w, struct err *e)
{
	enum rc rc = RC_OK;
	struct ll_ruleset want;
	int abi = sandbox_landlock_abi();
	log_missing(abi);
	size_t size = plan(w, abi, &want);
	if (abi == 0 || (want.fs | want.net | want.scoped) == 0)
		return RC_OK;
	if (w->any_path && abi >= 2)
		want.fs = LL_REFER;
	int fd = (int)syscall(SYS_landlock_create_ruleset, &want, size, 0);
	if (fd < 0)
		return err_sys(e, "landlock_create_ruleset");
	if (w->any_path && want.fs != 0)
		rc = add_path(fd, &anywhere, want.fs, e);
	for (size_t i = 0; rc == RC_OK && !w->any_path && i < w->n; i++)
		rc = add_path(fd, &w->paths[i], want.fs, e);
	if (rc == RC_OK && syscall(SYS_landlock_restrict_self, fd, 0) < 0)
		rc = err_sys(e, "landlock_restrict_self");
	close(fd);
	return rc;
}

enum rc sandbox_restrict_paths(const struct sandbox_path *paths, size_t n, struct err *e)
{
	struct landlock_wish w = { .paths = paths,
				   .n = n,
				   .tcp_connect = true,
				   .tcp_bind = true,
				   .signals = true,
				   .abstract_sockets = true };
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_sys(e, "no_new_privs");
	return landlock_enter(&w, e);
}
