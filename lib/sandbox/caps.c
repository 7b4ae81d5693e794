/* sandbox/caps.c - capability sets by the system calls themselves. */
#include "sandbox/caps.h"
#include <errno.h>
#include <linux/capability.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool listed(const int *keep, int cap)
{
	for (; keep != NULL && *keep >= 0; keep++)
		if (*keep == cap)
			return true;
	return false;
}

/* Dropping from the bounding set takes CAP_SETPCAP. Who lacks it also has no_new_privs: the set is without
 * effect. */
enum rc caps_drop_bounding(const int *keep, struct err *e)
{
	for (int cap = 0; cap < 64; cap++) {
		if (listed(keep, cap) || prctl(PR_CAPBSET_READ, cap, 0, 0, 0) != 1)
			continue;
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0 && errno != EPERM)
			return err_sys(e, "PR_CAPBSET_DROP %d", cap);
	}
	return RC_OK;
}

enum rc caps_keep(const int *keep, struct err *e)
{
	enum rc rc = caps_drop_bounding(keep, e);
	if (rc != RC_OK)
		return rc;
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);

	struct __user_cap_header_struct h = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct d[2] = { { 0, 0, 0 }, { 0, 0, 0 } };
	if (syscall(SYS_capget, &h, d) < 0)
		return err_sys(e, "capget");
	for (int cap = 0; cap < 64; cap++) {
		uint32_t bit = 1U << (cap % 32);
		if (listed(keep, cap))
			continue;
		d[cap / 32].effective &= ~bit;
		d[cap / 32].permitted &= ~bit;
	}
	d[0].inheritable = d[1].inheritable = 0;
	if (syscall(SYS_capset, &h, d) < 0)
		return err_sys(e, "capset");
	return RC_OK;
}
