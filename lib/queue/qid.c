/* queue/qid.c - making and reading queue ids (qid.h). */
#include "queue/qid.h"

#define LONG_MIN_SECOND_DIGITS 6

static int64_t last_us; /* of the newest id: the next one is later, even when the clock steps back */
static bool long_form;

void qid_set_long(bool on)
{
	long_form = on;
}

/* Digits of the long form: no vowels, so that no id spells a word. The last part is to base 51: the last "z"
 * parts it off. */
static const char base52[] = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz";

static char *put_base(char *end, uint64_t v, unsigned base, unsigned min_digits)
{
	unsigned n = 0;

	do {
		*--end = base52[v % base];
		v /= base;
	} while (++n < min_digits || v != 0);
	return end;
}

static void write_long(char out[QID_MAX + 1], int64_t us, unsigned lane)
{
	char tmp[64], *end = tmp + sizeof(tmp), *p;
	size_t n;

	p = put_base(end, lane & 0xff, 51, 1);
	*--p = 'z';
	p = put_base(p, (uint64_t)(us % 1000000), 52, 4);
	p = put_base(p, (uint64_t)(us / 1000000), 52, LONG_MIN_SECOND_DIGITS);
	n = (size_t)(end - p);
	INVARIANT(n <= QID_MAX);
	memcpy(out, p, n);
	out[n] = '\0';
}

struct qid qid_new(unsigned lane)
{
	int64_t us = wall_now().us;
	struct qid id = { "" };

	if (us <= last_us)
		us = last_us + 1;
	last_us = us;
	if (long_form)
		write_long(id.s, us, lane);
	else
		snprintf(id.s, sizeof(id.s), "%05X%07X%02X", (unsigned)(us % 1000000),
			 (unsigned)(us / 1000000 & 0xfffffff), lane & 0xff);
	return id;
}

bool qid_parse(struct span s, struct qid *out)
{
	*out = (struct qid){ "" };
	if (s.n < 6 || s.n > QID_MAX)
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (!ascii_isalnum(s.p[i]))
			return false;
	memcpy(out->s, s.p, s.n);
	return true;
}

bool qid_plausible(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!ascii_isalnum(s.p[i]) && s.p[i] != '_')
			return false;
	return s.n > 0 && s.n <= 100;
}
