/* sandbox/users.c - becoming somebody for good, chroot, descriptors. */
#include "sandbox/sandbox.h"
#include "sandbox/caps.h"
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

enum rc sandbox_user(const char *name, uid_t *uid, gid_t *gid, struct err *e)
{
	errno = 0;
	const struct passwd *pw = getpwnam(name);
	if (pw == NULL && errno != 0 && errno != ENOENT && errno != ESRCH)
		return err_sys(e, "user %s", name);
	if (pw == NULL)
		return err_set(e, RC_NOTFOUND, "unknown user name: \"%s\"", name);
	*uid = pw->pw_uid;
	*gid = pw->pw_gid;
	return RC_OK;
}

#define RESERVED_MAX 16

static uid_t reserved[RESERVED_MAX];
static size_t reserved_n;

void sandbox_reserve(uid_t uid)
{
	INVARIANT(reserved_n < RESERVED_MAX);
	reserved[reserved_n++] = uid;
}

bool sandbox_reserved(uid_t uid)
{
	for (size_t i = 0; i < reserved_n; i++)
		if (reserved[i] == uid)
			return true;
	return false;
}

enum rc sandbox_chroot(const char *dir, struct err *e)
{
	if (chdir(dir) < 0 || chroot(".") < 0 || chdir("/") < 0)
		return err_sys(e, "chroot %s", dir);
	return RC_OK;
}

/* True when every id is the wanted one and none of the former ones can be had again. */
static bool no_way_back(uid_t uid, gid_t gid)
{
	uid_t r, f, s;
	gid_t gr, gf, gs;
	if (getresuid(&r, &f, &s) < 0 || getresgid(&gr, &gf, &gs) < 0)
		return false;
	if (r != uid || f != uid || s != uid || gr != gid || gf != gid || gs != gid)
		return false;
	if (uid != 0 && (setuid(0) == 0 || setreuid(0, 0) == 0))
		return false;
	if (uid != 0 && gid != 0 && (setgid(0) == 0 || setregid(0, 0) == 0))
		return false;
	return true;
}

enum rc sandbox_become(uid_t uid, gid_t gid, const gid_t *groups, size_t ngroups, struct err *e)
{
	if (geteuid() != 0)
		return RC_OK;
	gid_t own[1] = { gid };
	enum rc rc = uid != 0 ? caps_drop_bounding(NULL, e) : RC_OK;
	if (rc != RC_OK)
		return rc;
	if (setgroups(ngroups > 0 ? ngroups : 1, ngroups > 0 ? groups : own) < 0)
		return err_sys(e, "setgroups");
	if (setresgid(gid, gid, gid) < 0)
		return err_sys(e, "setresgid %ld", (long)gid);
	if (setresuid(uid, uid, uid) < 0)
		return err_sys(e, "setresuid %ld", (long)uid);
	if (!no_way_back(uid, gid))
		return err_set(e, RC_DENIED, "uid %ld gid %ld: former rights are still there", (long)uid,
			       (long)gid);
	return RC_OK;
}

void sandbox_close_fds_from(int first)
{
	if (syscall(SYS_close_range, (unsigned)first, ~0U, 0U) == 0)
		return;
	long max = sysconf(_SC_OPEN_MAX);
	for (int fd = first; fd < (max > 0 && max < 65536 ? (int)max : 65536); fd++)
		close(fd);
}
