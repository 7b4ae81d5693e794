/* conf/params.c - the table of parameters, and finding a name in it. The rows stand in params.def. */
#include "conf/conf_int.h"

#define P(name, type, def, least, greatest, programs, state, meaning)                                        \
	{ name, type, def, least, greatest, programs, meaning, state },
const struct param conf_params[] = {
#include "conf/params.def"
	{ NULL, P_STR, NULL, NULL, NULL, NULL, NULL, PS_IGNORED }
};
#undef P

#define PARAM_COUNT  (ARRAY_LEN(conf_params) - 1)
#define NEAREST_NAME 64 /* longer names get no suggestion */

static int name_cmp(struct span a, const char *b)
{
	size_t n = strlen(b);
	int d = memcmp(a.p, b, a.n < n ? a.n : n);

	if (d != 0)
		return d;
	return a.n < n ? -1 : a.n > n;
}

const struct param *conf_param_find(struct span name)
{
	size_t lo = 0, hi = PARAM_COUNT;

	if (name.n == 0)
		return NULL;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int d = name_cmp(name, conf_params[mid].name);

		if (d == 0)
			return &conf_params[mid];
		if (d < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return NULL;
}

static unsigned min_of(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

/* Edits (insertion, deletion, replacement, exchange of neighbours) that make `b` of `a`. Both at most
 * NEAREST_NAME. */
static unsigned distance(struct span a, struct span b)
{
	unsigned row[3][NEAREST_NAME + 1];
	unsigned *before = row[0], *last = row[1], *now = row[2];

	for (size_t j = 0; j <= b.n; j++)
		last[j] = (unsigned)j;
	memset(before, 0, sizeof(row[0]));
	for (size_t i = 1; i <= a.n; i++) {
		unsigned *recycled = before;

		now[0] = (unsigned)i;
		for (size_t j = 1; j <= b.n; j++) {
			unsigned cost = ascii_lower(a.p[i - 1]) != b.p[j - 1];

			now[j] = min_of(min_of(last[j], now[j - 1]) + 1, last[j - 1] + cost);
			if (i > 1 && j > 1 && a.p[i - 1] == b.p[j - 2] && a.p[i - 2] == b.p[j - 1])
				now[j] = min_of(now[j], before[j - 2] + 1);
		}
		before = last;
		last = now;
		now = recycled;
	}
	return last[b.n];
}

/* A name whose end was forgotten: the shortest that goes on where `name` stops at a word. */
static const struct param *longer(struct span name)
{
	const struct param *best = NULL;

	for (size_t i = 0; name.n >= 8 && i < PARAM_COUNT; i++) {
		const char *other = conf_params[i].name;

		if (span_starts(span_str(other), name) && other[name.n] == '_' &&
		    (best == NULL || strlen(other) < strlen(best->name)))
			best = &conf_params[i];
	}
	return best;
}

const struct param *conf_param_nearest(struct span name)
{
	const struct param *best = NULL;
	unsigned allowed = name.n < 5 ? 1 : name.n < 12 ? 2 : 3;

	if (name.n < 3 || name.n > NEAREST_NAME)
		return NULL;
	for (size_t i = 0; i < PARAM_COUNT; i++) {
		struct span other = span_str(conf_params[i].name);
		unsigned d;

		if (other.n > NEAREST_NAME || other.n > name.n + allowed || name.n > other.n + allowed)
			continue;
		d = distance(name, other);
		if (d <= allowed && (best == NULL || d < allowed)) {
			best = &conf_params[i];
			if (d == 0)
				break;
			allowed = d;
		}
	}
	return best != NULL ? best : longer(name);
}

/* What master.cf services add to the names: <service><suffix>, and where the default comes from. */
const struct service_param conf_service_params[] = {
	{ "_delivery_slot_cost", "$default_delivery_slot_cost", false },
	{ "_delivery_slot_discount", "$default_delivery_slot_discount", false },
	{ "_delivery_slot_loan", "$default_delivery_slot_loan", false },
	{ "_destination_concurrency_failed_cohort_limit",
	  "$default_destination_concurrency_failed_cohort_limit", false },
	{ "_destination_concurrency_limit", "$default_destination_concurrency_limit", false },
	{ "_destination_concurrency_negative_feedback", "$default_destination_concurrency_negative_feedback",
	  false },
	{ "_destination_concurrency_positive_feedback", "$default_destination_concurrency_positive_feedback",
	  false },
	{ "_destination_rate_delay", "$default_destination_rate_delay", false },
	{ "_destination_recipient_limit", "$default_destination_recipient_limit", false },
	{ "_extra_recipient_limit", "$default_extra_recipient_limit", false },
	{ "_initial_destination_concurrency", "$initial_destination_concurrency", false },
	{ "_minimum_delivery_slots", "$default_minimum_delivery_slots", false },
	{ "_recipient_limit", "$default_recipient_limit", false },
	{ "_recipient_refill_delay", "$default_recipient_refill_delay", false },
	{ "_recipient_refill_limit", "$default_recipient_refill_limit", false },
	{ "_time_limit", "$command_time_limit", true },
	{ "_transport_rate_delay", "$default_transport_rate_delay", false },
	{ NULL, NULL, false },
};
