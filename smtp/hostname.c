/* hostname.c - what libsasl2 takes for the name of this host. It asks gethostname(2), and when that has no
 * dot, the name service, from inside sasl_client_new(): a blocking look-up that the sandbox partly denies.
 * This definition, which comes before libc's, gives it myhostname, with a dot in any case. No other code of
 * this process asks. */
#include "hostname.h"

#include <string.h>
#include <sys/utsname.h>

static char own[256]; /* "" until hostname_set() */

void hostname_set(const char *name)
{
	size_t n = strnlen(name, sizeof own - sizeof ".localdomain");
	memcpy(own, name, n);
	own[n] = '\0';
	if (memchr(own, '.', n) == NULL)
		memcpy(own + n, ".localdomain", sizeof ".localdomain");
}

int gethostname(char *name, size_t size)
{
	struct utsname u;
	const char *answer = own;
	if (own[0] == '\0') {
		if (uname(&u) < 0)
			return -1;
		answer = u.nodename;
	}
	size_t n = strlen(answer) + 1;
	if (size < n)
		return -1;
	memcpy(name, answer, n);
	return 0;
}
