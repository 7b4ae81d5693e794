/* queue/verp.c - see verp.h. */
#include "queue/verp.h"
#include <string.h>

bool verp_delims_ok(struct span delims, const char *filter)
{
	return delims.n == 2 && delims.p[0] != '\0' && delims.p[1] != '\0' &&
	       strchr(filter, delims.p[0]) != NULL && strchr(filter, delims.p[1]) != NULL;
}

/* The last '@', or the length: a quoted local part may hold others. */
static size_t local_length(struct span address)
{
	for (size_t i = address.n; i > 0; i--)
		if (address.p[i - 1] == '@')
			return i - 1;
	return address.n;
}

struct span verp_sender(struct span sender, struct span delims, struct span rcpt, struct arena *a)
{
	size_t from = local_length(sender), to = local_length(rcpt);
	struct span origin = span_skip(sender, from), domain = span_skip(rcpt, to < rcpt.n ? to + 1 : to);

	if (sender.n == 0 || delims.n != 2)
		return sender;
	return span_printf(a, SPAN_FMT "%c" SPAN_FMT "%.*s" SPAN_FMT SPAN_FMT,
			   SPAN_ARG(span_head(sender, from)), delims.p[0], SPAN_ARG(span_head(rcpt, to)),
			   domain.n > 0, delims.p + 1, SPAN_ARG(domain),
			   SPAN_ARG(origin.n > 1 ? origin : SPAN_NONE));
}
