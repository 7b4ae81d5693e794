/* base/banned.h - functions whose use is a defect here; using one does not compile. */
#ifndef BASE_BANNED_H
#define BASE_BANNED_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Under clang _FORTIFY_SOURCE makes these macros, and poisoning a macro warns. */
#undef sprintf
#undef vsprintf
#pragma GCC poison strcpy strcat sprintf vsprintf strtok atoi atol atoll system popen gets strncat mktemp    \
    tmpnam

#endif
