/* json.c - one JSON object per line (postconf -j), as postqueue -j prints them. */
#include "postconf.h"

static bool first;

static void text(struct span s)
{
	putchar('"');
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (c == '"' || c == '\\')
			printf("\\%c", c);
		else if (c < 0x20 || c == 0x7f)
			printf("\\u%04x", c);
		else
			putchar(c);
	}
	putchar('"');
}

void json_begin(void)
{
	first = true;
	putchar('{');
}

void json_member(const char *name, struct span value)
{
	printf("%s\"%s\": ", first ? "" : ", ", name);
	first = false;
	text(value);
}

void json_end(void)
{
	printf("}\n");
}
