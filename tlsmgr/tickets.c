/* tickets.c - keys of session tickets (RFC 5077 section 5.5: replaced regularly). They exist in memory only,
 * and differ for each service of each program: a ticket of one is worthless at another. */
#include "tlsmgr.h"
#include "base/codec.h"
#include "base/table.h"

#define KEY_BYTES    80
#define SERVICES_MAX 200

struct keys {
	char current[KEY_BYTES], previous[KEY_BYTES];
	bool have_previous;
	mono_t until; /* `current` gives no tickets after that */
};
static struct table *by_service;

static int64_t life_ms(void)
{
	int64_t s = conf_int(service_conf(), "smtpd_tls_session_cache_timeout");
	return (s < 120 ? 120 : s > 86400 ? 86400 : s) * 1000;
}

static void rotate(struct keys *k, int64_t late_ms)
{
	memcpy(k->previous, k->current, KEY_BYTES);
	k->have_previous = late_ms < life_ms(); /* nobody came for so long that all its tickets are too old */
	random_bytes(k->current, KEY_BYTES);
	k->until = mono_after(mono_now(), life_ms());
}

void tickets_find(const char *program, struct span service, struct tls_ticket_keys_reply *out)
{
	char name[256];
	*out = (struct tls_ticket_keys_reply){ .valid_s = 3600 };
	if (by_service == NULL)
		by_service = table_new();
	if (conf_int(service_conf(), "smtpd_tls_session_cache_timeout") <= 0)
		return;
	int n = snprintf(name, sizeof name, "%s/" SPAN_FMT, program, SPAN_ARG(service));
	if (n < 0 || (size_t)n >= sizeof name)
		return;
	struct span key = span_make(name, (size_t)n);
	struct keys *k = table_get(by_service, key);
	if (k == NULL) {
		if (table_count(by_service) >= SERVICES_MAX)
			return;
		k = xcalloc(1, sizeof *k);
		random_bytes(k->current, KEY_BYTES);
		k->until = mono_after(mono_now(), life_ms());
		table_set(by_service, key, k);
	}
	int64_t late_ms = mono_diff_ms(mono_now(), k->until);
	if (late_ms >= 0)
		rotate(k, late_ms);
	out->current = span_make(k->current, KEY_BYTES);
	out->previous = k->have_previous ? span_make(k->previous, KEY_BYTES) : SPAN("");
	out->valid_s = mono_diff_ms(k->until, mono_now()) / 1000 + 1;
}
