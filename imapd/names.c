/* Mailbox names: modified UTF-7, and the one name that has no case. */
#include "names.h"

static int base64_digit(char c)
{
	return c >= 'A' && c <= 'Z'   ? c - 'A'
	       : c >= 'a' && c <= 'z' ? c - 'a' + 26
	       : c >= '0' && c <= '9' ? c - '0' + 52
	       : c == '+'	      ? 62
	       : c == ','	      ? 63
				      : -1;
}

/* One UTF-16 unit after another. */
struct units {
	bool high; /* the last one was the first half of a pair */
};

static bool take_unit(struct units *u, unsigned unit)
{
	bool high = unit >= 0xd800 && unit < 0xdc00, low = unit >= 0xdc00 && unit < 0xe000;

	if (low != u->high || unit < 0x20 || (unit >= 0x20 && unit <= 0x7f))
		return false;
	u->high = high;
	return true;
}

/* What stands between "&" and "-", which is not empty. */
static bool shifted_ok(struct span s)
{
	struct units u = { false };
	unsigned bits = 0, n = 0;

	for (size_t i = 0; i < s.n; i++) {
		int digit = base64_digit(s.p[i]);

		if (digit < 0)
			return false;
		bits = (bits << 6 | (unsigned)digit) & 0xffffff;
		n += 6;
		if (n < 16)
			continue;
		n -= 16;
		if (!take_unit(&u, bits >> n & 0xffff))
			return false;
	}
	return !u.high && n < 6 && (bits & ((1u << n) - 1)) == 0;
}

bool name_is_utf7(struct span name)
{
	bool after_shift = false; /* "&..-&..-" should have been one (RFC 3501 5.1.3) */

	for (size_t i = 0; i < name.n; i++) {
		unsigned char c = (unsigned char)name.p[i];

		if (c < 0x20 || c > 0x7e)
			return false;
		if (c != '&') {
			after_shift = false;
			continue;
		}
		struct span rest = span_skip(name, i + 1);
		ptrdiff_t end = span_chr(rest, '-');

		if (end < 0 || (end > 0 && (after_shift || !shifted_ok(span_head(rest, (size_t)end)))))
			return false;
		after_shift = end > 0;
		i += (size_t)end + 1;
	}
	return true;
}

struct span name_canonical(struct span name, char sep, struct arena *a)
{
	if (!span_is_ci(span_head(name, 5), "INBOX") || (name.n > 5 && name.p[5] != sep))
		return name;
	return span_printf(a, "INBOX" SPAN_FMT, SPAN_ARG(span_skip(name, 5)));
}
