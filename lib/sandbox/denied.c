/* sandbox/denied.c - what happens when a system call is denied: SIGSYS comes to the thread that made it. The
 * handler runs where that call stood, so the log is safe to use as long as the log itself makes no denied
 * call (it has its descriptors open, and service_main sets TZ so that localtime() reads no file); `inside`
 * covers the case that it does. */
#include "sandbox/denied.h"
#include "log/log.h"
#include <errno.h>
#include <seccomp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <ucontext.h>

#define CALLS	     512 /* system call numbers kept apart */
#define LINES_A_CALL 3

static _Thread_local volatile sig_atomic_t inside;
static atomic_uchar told[CALLS];
static const char *names[CALLS]; /* resolved at installation: the resolver allocates */

static void set_result(ucontext_t *uc, long value)
{
#if defined(__x86_64__)
	uc->uc_mcontext.gregs[REG_RAX] = value;
#elif defined(__aarch64__)
	uc->uc_mcontext.regs[0] = (unsigned long long)value;
#else
#error "sandbox/denied.c: where does this processor return a system call's result?"
#endif
}

static void on_sigsys(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	int saved = errno, nr = info->si_syscall;
	unsigned slot = (unsigned)nr % CALLS;
	if (!inside && atomic_load(&told[slot]) < LINES_A_CALL) {
		inside = 1;
		atomic_fetch_add(&told[slot], 1);
		if (names[slot] != NULL)
			log_warning("sandbox: denied %s", names[slot]);
		else
			log_warning("sandbox: denied system call %d", nr);
		inside = 0;
	}
	errno = saved;
	set_result(context, -EPERM);
}

enum rc denied_install(struct err *e)
{
	for (int nr = 0; nr < CALLS; nr++)
		if (names[nr] == NULL)
			names[nr] = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, nr);
	struct sigaction sa = { 0 };
	sa.sa_sigaction = on_sigsys;
	sa.sa_flags = SA_SIGINFO | SA_NODEFER;
	sigemptyset(&sa.sa_mask);
	if (sigaction(SIGSYS, &sa, NULL) < 0)
		return err_sys(e, "sigaction SIGSYS");
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGSYS);
	if (sigprocmask(SIG_UNBLOCK, &set, NULL) < 0)
		return err_sys(e, "sigprocmask");
	return RC_OK;
}
