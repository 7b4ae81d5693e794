/* Fuzz target: a datagram to postlogd(8), and what an ordinary user may claim in it. */
#include "log/relay.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char again[RELAY_MAX], claim[RELAY_TAG_MAX + 1], own[RELAY_TAG_MAX];
	struct span datagram = span_make((const char *)data, size);
	struct relay_line l;

	if (relay_decode(datagram, &l) != RC_OK)
		return 0;
	if (l.text.n <= LOG_LINE_MAX)
		INVARIANT(span_eq(span_make(again, relay_encode(again, &l)), datagram));
	(void)relay_user_tag(&l.tag, "postfix", claim, own);
	for (size_t i = 0; i < l.tag.n; i++)
		INVARIANT(ascii_isalnum(l.tag.p[i]) || strchr("-_./?", l.tag.p[i]) != NULL);
	return 0;
}
