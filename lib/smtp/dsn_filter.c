/* smtp/dsn_filter.c - delivery status filters. */
#include "smtp/dsn_filter.h"
#include "log/log.h"
#include "smtp/dsn.h"

bool dsn_filter(struct maps *m, struct arena *a, uint16_t *status, struct span *dsn, struct span *reason)
{
	struct span key, value, code, text;
	bool failure = *status == DS_DEFERRED || *status == DS_BOUNCED;
	struct err e;
	enum rc rc;

	if (maps_empty(m) || *status == DS_SKIPPED)
		return false;
	key = span_printf(a, SPAN_FMT " " SPAN_FMT, SPAN_ARG(*dsn), SPAN_ARG(*reason));
	rc = maps_lookup(m, key, a, &value, &e);
	if (rc == RC_NOTFOUND)
		return false;
	if (rc != RC_OK) {
		log_warning("delivery status filter: %s", e.text);
		return false;
	}
	text = value;
	if (!dsn_take(&text, failure ? "45" : "2", &code)) {
		log_warning("delivery status filter: result \"" SPAN_FMT "\" does not fit \"" SPAN_FMT "\"",
			    SPAN_ARG(value), SPAN_ARG(key));
		return false;
	}
	if (failure)
		*status = code.p[0] == '4' ? DS_DEFERRED : DS_BOUNCED;
	*dsn = code;
	*reason = text;
	return true;
}

bool soft_bounce(const struct conf *c, bool probe, struct arena *a, uint16_t *status, struct span *dsn)
{
	if (*status != DS_BOUNCED || probe || !conf_bool(c, "soft_bounce"))
		return false;
	*status = DS_DEFERRED;
	if (dsn->n > 0)
		*dsn = span_printf(a, "4" SPAN_FMT, SPAN_ARG(span_skip(*dsn, 1)));
	return true;
}
