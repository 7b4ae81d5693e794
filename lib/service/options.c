/* service/options.c - see options.h. */
#include "service/options.h"
#include "log/log.h"
#include <string.h>
#include <sys/resource.h>

int64_t option_number(const char *text, int64_t least, int64_t most, const char *what)
{
	uint64_t n;

	if (span_to_u64(span_str(text), (uint64_t)most, &n) != RC_OK || (int64_t)n < least)
		die("bad %s: %s", what, text);
	return (int64_t)n;
}

static void take(const struct option_row *row, const char *arg)
{
	switch (row->kind) {
	case OPT_FLAG:
		*(bool *)row->to = true;
		break;
	case OPT_COUNT:
		++*(unsigned *)row->to;
		break;
	case OPT_TEXT:
		*(const char **)row->to = arg;
		break;
	case OPT_NUMBER:
		*(int64_t *)row->to = option_number(arg, row->least, row->most, row->what);
		break;
	}
}

bool option_take(const struct option_row *rows, size_t n, int letter, const char *arg)
{
	for (size_t i = 0; i < n; i++)
		if (rows[i].letter == letter) {
			take(&rows[i], arg);
			return true;
		}
	return false;
}

const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash != NULL ? slash + 1 : path;
}

void raise_descriptors(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
		r.rlim_cur = r.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &r);
	}
}
