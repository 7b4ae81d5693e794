/* service/args.c - the arguments that master gives a daemon (masterproto.h), and those of master.cf behind
 * them. */
#include "service/frame.h"
#include "log/log.h"
#include <fcntl.h>

/* Options that take a value; others of master.cf (-D, -V ...) are accepted and mean nothing. */
#define WITH_VALUE "ntSLloms"

static int64_t number(const char *text, int64_t max)
{
	uint64_t v;
	if (span_to_u64(span_str(text), (uint64_t)max, &v) != RC_OK)
		die("bad number in arguments: %s", text);
	return (int64_t)v;
}

static void option(char c, char *value, struct span **overrides, size_t *n, size_t *cap)
{
	switch (c) {
	case 'n':
		frame.name = value;
		break;
	case 't':
		frame.type = value;
		break;
	case 'S':
		frame.listeners = (unsigned)number(value, 1024);
		break;
	case 'L':
		frame.lane = (unsigned)number(value, MP_LANES - 1);
		break;
	case 'l':
		frame.maxproc = number(value, INT32_MAX);
		break;
	case 'c':
		frame.chroot = true;
		break;
	case 'u':
		frame.one_uid = true;
		break;
	case 'v':
		frame.verbose++;
		break;
	case 'o':
		if (*n == *cap)
			*overrides = arena_grow(&frame.arena, *overrides, *n, cap, sizeof **overrides);
		(*overrides)[(*n)++] = span_str(value);
		break;
	}
}

void args_parse(int argc, char **argv, struct span **overrides, size_t *n)
{
	size_t cap = 0;
	int i = 1;
	*overrides = NULL;
	*n = 0;
	for (; i < argc && argv[i][0] == '-' && argv[i][1] != '\0'; i++) {
		for (char *p = argv[i] + 1; *p != '\0'; p++) {
			char *value = NULL, c = *p;
			if (strchr(WITH_VALUE, c) != NULL) {
				value = p[1] != '\0' ? p + 1 : i + 1 < argc ? argv[++i] : NULL;
				if (value == NULL)
					die("option -%c needs a value", c);
			}
			option(c, value, overrides, n, &cap);
			if (value != NULL)
				break;
		}
	}
	frame.argv = argv + i;
	frame.argc = (size_t)(argc - i);
	if (frame.name == NULL || fcntl(MP_FD_MASTER, F_GETFD) < 0)
		die("this program is run by master(8), not by hand");
}
