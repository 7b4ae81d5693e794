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
static const char hex[] = "0123456789ABCDEF";
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

/* n digits; -1: another character among them. */
static int64_t number(const char *s, size_t n, const char *digits, unsigned base)
{
	int64_t v = 0;

	for (size_t i = 0; i < n; i++) {
		const char *at = memchr(digits, s[i], base);

		if (at == NULL || v > INT64_MAX / 1000000 / 52 / 52)
			return -1;
		v = v * base + (at - digits);
	}
	return v;
}

static int64_t in_us(int64_t seconds, int64_t us)
{
	return seconds < 0 || us < 0 || us > 999999 ? 0 : seconds * 1000000 + us;
}

int64_t qid_made_us(const struct qid *id, int64_t now_us)
{
	const int64_t turn = INT64_C(1) << 28;
	size_t n = strlen(id->s);
	const char *z = strrchr(id->s, 'z');
	int64_t s;

	if (z != NULL && z - id->s >= LONG_MIN_SECOND_DIGITS + 4) {
		n = (size_t)(z - id->s) - 4;
		return in_us(number(id->s, n, base52, 52), number(id->s + n, 4, base52, 52));
	}
	if (n != 14 || (s = number(id->s + 5, 7, hex, 16)) < 0)
		return 0;
	s += now_us / 1000000 / turn * turn;
	return in_us(s > now_us / 1000000 ? s - turn : s, number(id->s, 5, hex, 16));
}

bool qid_plausible(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!ascii_isalnum(s.p[i]) && s.p[i] != '_')
			return false;
	return s.n > 0 && s.n <= 100;
}
