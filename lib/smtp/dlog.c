/* smtp/dlog.c - delivery log lines. */
#include "smtp/dlog.h"
#include "log/event.h"
#include "log/log.h"
#include "mime/address_log.h"

#define SIGNIFICANT 2
#define DIGITS_MAX  6

static unsigned digits_limit = 2;
static const char *undeliverable = "undeliverable";

void dlog_settings(const struct conf *c)
{
	digits_limit = (unsigned)conf_int(c, "delay_logging_resolution_limit");
	if (!conf_bool(c, "address_verify_negative_cache"))
		undeliverable = "undeliverable-but-not-cached";
}

const char *dlog_status(enum deliver_status status, bool probe)
{
	switch (status) {
	case DS_SENT:
	case DS_RELAYED:
	case DS_EXPANDED:
	case DS_PASSED:
		return probe ? "deliverable" : "sent";
	case DS_BOUNCED:
		return probe ? undeliverable : "bounced";
	case DS_DEFERRED:
	case DS_SKIPPED:
		break;
	}
	return probe ? undeliverable : "deferred";
}

void dlog_format_delay(int64_t us, unsigned digits, char out[DLOG_DELAY_MAX])
{
	/* The unit of the last digit shown: 1 s from 10 s on, 0.1 s from 1 s on, and so forth down to the
	 * limit. */
	int64_t unit = 1000000, least = 1000000, shown = 10 * unit;
	unsigned n = 0;
	if (us < 0)
		us = 0;
	for (unsigned i = 0; i < digits && i < DIGITS_MAX; i++)
		least /= 10;
	for (; us < shown && unit > least; shown /= 10, n++)
		unit /= 10;
	us = (us + unit / 2) / unit * unit;
	int len = snprintf(out, DLOG_DELAY_MAX, "%lld.%06lld", (long long)(us / 1000000),
			   (long long)(us % 1000000));
	out[len -= DIGITS_MAX - (int)n] = '\0';
	while (len > 0 && out[len - 1] == '0' && n > 0) {
		out[--len] = '\0';
		n--;
	}
	if (out[len - 1] == '.')
		out[len - 1] = '\0';
}

/* The four parts of delays=: before the active queue, in it, connecting, sending. */
static void spans_of(const struct dlog_times *t, int64_t now, int64_t part[4])
{
	int64_t active = t->active_us != 0 ? t->active_us : t->arrival_us;
	int64_t handoff = t->handoff_us != 0 ? t->handoff_us : active;
	int64_t connected = t->connected_us != 0 ? t->connected_us : handoff;
	part[0] = active - t->arrival_us;
	part[1] = handoff - active;
	part[2] = connected - handoff;
	part[3] = now - connected;
}

void dlog_delivery(const struct dlog *l)
{
	char delay[DLOG_DELAY_MAX], part[4][DLOG_DELAY_MAX], use[32] = "";
	int64_t span_us[4], now = l->times.done_us != 0 ? l->times.done_us : wall_now().us;
	const struct deliver_rcpt *r = l->rcpt;
	bool orig = r->orig.n > 0 && !span_eq_ci(r->orig, r->addr);
	struct span to = address_log(r->addr), orig_to = orig ? address_log(r->orig) : SPAN_NONE;
	spans_of(&l->times, now, span_us);
	for (int i = 0; i < 4; i++)
		dlog_format_delay(span_us[i], digits_limit, part[i]);
	dlog_format_delay(now - l->times.arrival_us, digits_limit, delay);
	if (l->conn_use > 1)
		snprintf(use, sizeof use, ", conn_use=%u", l->conn_use);
	log_info(SPAN_FMT ": to=<" SPAN_FMT ">%s" SPAN_FMT "%srelay=" SPAN_FMT
			  "%s, delay=%s, delays=%s/%s/%s/%s, %s%s%sdsn=" SPAN_FMT ", status=%s (" SPAN_FMT
			  ")",
		 SPAN_ARG(l->qid), SPAN_ARG(to), orig ? ", orig_to=<" : "", SPAN_ARG(orig_to),
		 orig ? ">, " : ", ", SPAN_ARG(l->relay), use, delay, part[0], part[1], part[2], part[3],
		 l->tls != NULL ? "tls=" : "", l->tls != NULL ? l->tls : "", l->tls != NULL ? ", " : "",
		 SPAN_ARG(l->dsn), l->status, SPAN_ARG(l->reason));
	EVENT("delivery", EV_TEXT("queue_id", l->qid), EV_TEXT("recipient", r->addr),
	      EV_TEXT("orig_recipient", orig ? r->orig : SPAN_NONE), EV_TEXT("relay", l->relay),
	      EV_NUMBER("conn_use", l->conn_use > 1 ? l->conn_use : 1),
	      EV_SECONDS("delay", now - l->times.arrival_us), EV_SECONDS("delay_before_queue", span_us[0]),
	      EV_SECONDS("delay_in_queue", span_us[1]), EV_SECONDS("delay_connect", span_us[2]),
	      EV_SECONDS("delay_transfer", span_us[3]), EV_TEXT("dsn", l->dsn), EV_CSTR("status", l->status),
	      EV_TEXT("reason", l->reason));
}
