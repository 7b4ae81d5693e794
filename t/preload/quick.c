/* t/preload/quick.c - for programs of others that tests run: sleep(3) that does not, since Debian's Postfix commands sleep a second before they
 * end with "fatal:", and flushes that do nothing, since dpkg-divert(1) makes some for every file. */
#include <unistd.h>

unsigned sleep(unsigned seconds)
{
	(void)seconds;
	return 0;
}

int fsync(int fd)
{
	(void)fd;
	return 0;
}

int fdatasync(int fd)
{
	(void)fd;
	return 0;
}
