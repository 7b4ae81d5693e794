/* json.c - one JSON object per line (postconf -j), as postqueue -j prints them. */
#include "base/codec.h"
#include "postconf.h"

static bool first;

void json_begin(void)
{
	first = true;
	putchar('{');
}

void json_member(const char *name, struct span value)
{
	printf("%s\"%s\": ", first ? "" : ", ", name);
	first = false;
	json_print(stdout, value);
}

void json_end(void)
{
	printf("}\n");
}
