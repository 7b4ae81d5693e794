/* hostname.h - the name that gethostname(2) gives in this process. */
#ifndef CLIENT_HOSTNAME_H
#define CLIENT_HOSTNAME_H

#include <stddef.h>

void hostname_set(const char *name);
int gethostname(char *name, size_t size);

#endif
