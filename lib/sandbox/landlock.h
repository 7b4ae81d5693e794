/* sandbox/landlock.h - landlock by its system calls, as far as the kernel's ABI goes. Not for daemons: they
 * use sandbox_enter(). */
#ifndef SANDBOX_LANDLOCK_H
#define SANDBOX_LANDLOCK_H

#include "sandbox/sandbox.h"

struct landlock_wish {
	const struct sandbox_path *paths; /* exactly these; n may be 0 */
	size_t n;
	bool any_path;	       /* leave the file system alone */
	bool tcp_connect;      /* allowed */
	bool tcp_bind;	       /* allowed */
	bool signals;	       /* allowed to processes outside */
	bool abstract_sockets; /* allowed */
};
/* Restricts the calling thread. A kernel without landlock, or with less of it, is no error: logged once. */
MUST_CHECK enum rc landlock_enter(const struct landlock_wish *w, struct err *e);

#endif
