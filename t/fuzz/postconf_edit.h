/* What stands in for main.c and replace.c of postconf(1) in fuzz targets of its editors: a request that is refused jumps to `refused`. */
#include <setjmp.h>

#define REQUESTS_MAX 4

static jmp_buf refused;

void fatal(const char *fmt, ...)
{
	INVARIANT(fmt[0] != '\0');
	longjmp(refused, 1);
}

void warn(const char *fmt, ...)
{
	INVARIANT(fmt[0] != '\0');
}

void edit_needs_argument(const struct options *o)
{
	INVARIANT(o->args > 0);
}

void target_open(struct target *t, const struct options *o, const char *name)
{
	(void)t, (void)o, (void)name;
}

void target_finish(struct target *t, struct span text)
{
	(void)t, (void)text;
}

/* Takes the requests, each ended by a line end, and the empty line behind them off *rest, which is the file then. */
static void take_requests(struct options *o, char *arg[REQUESTS_MAX], struct span *rest, struct arena *a)
{
	struct span line;

	o->arg = arg;
	o->dir = "/etc";
	while (o->args < REQUESTS_MAX && span_next(rest, '\n', &line) && line.n > 0)
		arg[o->args++] = arena_cstr(a, line);
}
