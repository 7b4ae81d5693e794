/* queue/msgsize.c - see msgsize.h. */
#include "queue/msgsize.h"

#define RECORD_MAX 2048
#define ONE_OCTET  128 /* lengths below fit into one */

/* What a line of `n` octets counts beside them. */
static size_t overhead(size_t n)
{
	return 3 * (n / RECORD_MAX) + (n % RECORD_MAX < ONE_OCTET ? 2 : 3);
}

void msgsize_add(struct msgsize *m, struct span s)
{
	while (s.n > 0) {
		const char *lf = memchr(s.p, '\n', s.n);
		size_t text = lf == NULL ? s.n : (size_t)(lf - s.p);

		m->line += text;
		m->bytes += text;
		if (lf == NULL)
			return;
		m->bytes += overhead(m->line);
		m->line = 0;
		s = span_skip(s, text + 1);
	}
}
