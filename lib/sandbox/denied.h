/* sandbox/denied.h - what happens when a system call is denied. Private to sandbox. */
#ifndef SANDBOX_DENIED_H
#define SANDBOX_DENIED_H

#include "base/rc.h"

/* Installs the SIGSYS handler: it logs "sandbox: denied CALL" and makes the call return EPERM. */
MUST_CHECK enum rc denied_install(struct err *e);

#endif
