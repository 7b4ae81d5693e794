/* Any bytes as the small grammars of main.cf's values: ports, times, words of the environment, ids, restrictions and what stands behind them. */
#include "asuser/attributes.h"
#include "conf/ports.h"
#include "smtp/restriction.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void as_restriction(struct span text)
{
	uint8_t allowed[DNSBL_BYTES][32];
	struct policy_settings set = { 0 };
	enum restriction_arg arg;

	if (restriction_find(text, &arg))
		INVARIANT(span_eq_ci(restriction_nearest(text), text));
	(void)restriction_is_final(text);
	(void)dnsbl_filter_parse(text, allowed);
	(void)policy_attribute(text, &set);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span text = span_make((const char *)data, size), name, value, *word;
	struct arena a;
	struct err e = { .text = "" };
	int64_t seconds;
	uint16_t port;
	uint32_t id;
	size_t n;

	arena_init(&a);
	if (conf_parse_time(text, 's', &seconds) == RC_OK)
		INVARIANT(seconds >= 0);
	if (account_id_parse(text, 1, &id) == RC_OK)
		INVARIANT(id >= 1 && id < UINT32_MAX);
	(void)port_parse(text, &port);
	as_restriction(text);
	if (conf_words(text, false, &a, &word, &n, &e) == RC_OK)
		for (size_t i = 0; i < n; i++) {
			bool given = conf_environment_word(word[i], &name, &value);

			INVARIANT(name.n + value.n + given <= word[i].n);
		}
	arena_release(&a);
	return 0;
}
