/* qmgr/window.c - concurrency feedback. What is half a step away counts as there: six times 1/6 is one, and five times 1/6 and 1/5 is. */
#include "window.h"

#define ROUNDING 1e-6

static bool number(struct span s, double *out)
{
	char text[32], *end = text;

	if (s.n == 0 || span_cstr(s, text, sizeof text) != RC_OK)
		return false;
	*out = strtod(text, &end);
	return *end == '\0';
}

bool feedback_parse(struct span s, struct feedback *out)
{
	ptrdiff_t slash = span_chr(s, '/');
	struct span by = slash < 0 ? SPAN_NONE : span_trim(span_skip(s, (size_t)slash + 1));
	double v, divisor = 1;

	*out = (struct feedback){ 1, FEEDBACK_FIXED };
	if (!number(span_trim(slash < 0 ? s : span_head(s, (size_t)slash)), &v))
		return false;
	if (span_is(by, "concurrency"))
		out->by = FEEDBACK_LINEAR;
	else if (slash >= 0 && !number(by, &divisor))
		return false;
	v /= divisor;
	if (!(v >= 0 && v <= 1)) {
		out->by = FEEDBACK_FIXED;
		return false;
	}
	out->number = v;
	return true;
}

double feedback_value(const struct feedback *f, int64_t concurrency)
{
	return f->by == FEEDBACK_FIXED || concurrency < 1 ? f->number : f->number / (double)concurrency;
}

void window_init(struct window *w, const struct window_rules *r)
{
	*w = (struct window){ .concurrency = r->initial < 1 ? 1 : r->initial };
}

void window_succeeded(struct window *w, const struct window_rules *r, size_t busy)
{
	w->failed_cohorts = 0;
	if ((r->limit > 0 && w->concurrency >= r->limit) || w->concurrency >= (int64_t)busy + r->initial)
		return;
	double step = feedback_value(&r->positive, w->concurrency);
	w->success += step;
	if (w->success + step / 2 >= 1) {
		w->concurrency++;
		w->success -= 1;
		w->failure = 0;
	}
	if (r->limit > 0 && w->concurrency > r->limit)
		w->concurrency = r->limit;
}

/* The step down comes at the beginning of a series of failures, not at its end. */
bool window_failed(struct window *w, const struct window_rules *r)
{
	w->failed_cohorts += 1.0 / (double)w->concurrency;
	if (r->cohorts > 0 && w->failed_cohorts >= (double)r->cohorts - ROUNDING) {
		window_init(w, r);
		return true;
	}
	double step = feedback_value(&r->negative, w->concurrency);
	w->failure -= step;
	if (step > 0 && w->failure - step / 2 < 0) {
		w->concurrency--;
		w->failure += 1;
		w->success = 0;
	}
	if (w->concurrency < 1)
		w->concurrency = 1;
	return false;
}
