/* master/child.h - between child.c and exec.c. */
#ifndef MASTER_CHILD_H
#define MASTER_CHILD_H

#include "master.h"

/* In the forked child: puts the descriptors in their places (masterproto.h) and runs the program. lock may be
 * -1. */
NORETURN void exec_child(const struct service *s, int chan, int lock, unsigned lane);

#endif
