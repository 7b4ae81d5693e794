/* Any bytes as the argument of MAIL or RCPT: typed values within their limits, or a reply of one line (RFC
 * 5321 section 4.1.2, RFC 3461 section 4). */
#include "mime/address.h"
#include "smtp/params.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void printable(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		INVARIANT((unsigned char)s.p[i] >= ' ' && s.p[i] != 0x7f);
}

static void is_reply(const char *text)
{
	INVARIANT(text[0] == '5' && ascii_isdigit(text[1]) && ascii_isdigit(text[2]) && text[3] == ' ');
}

static void mail(struct span rest, unsigned ext, struct arena *a)
{
	struct mail_params p;
	const char *bad = params_mail(rest, ext, a, &p);

	if (bad != NULL) {
		is_reply(bad);
		return;
	}
	INVARIANT(p.size <= INT64_MAX && p.envid.n <= ENVID_TEXT_MAX);
	printable(p.envid);
	printable(p.auth);
}

static void rcpt(struct span rest, unsigned ext, struct arena *a)
{
	struct rcpt_params p;
	const char *bad = params_rcpt(rest, ext, a, &p);

	if (bad != NULL) {
		is_reply(bad);
		return;
	}
	INVARIANT(p.orcpt.n <= ORCPT_TEXT_MAX && !((p.notify & NOTIFY_NEVER) && p.notify != NOTIFY_NEVER));
	if (!span_starts_ci(p.orcpt, SPAN("utf-8;")))
		printable(p.orcpt);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span text, path, rest, addr;
	struct arena a;
	bool routed;

	if (size < 1)
		return 0;
	arena_init(&a);
	text = span_make((const char *)data + 1, size - 1);
	if (params_path(text, data[0] & 1 ? "FROM:" : "TO:", data[0] & 2, &path, &rest) == NULL) {
		INVARIANT(path.n + rest.n <= text.n);
		if (address_parse_path(path, data[0] & 4, &a, &addr, &routed) == RC_OK)
			INVARIANT(addr.n > 0 && addr.n <= path.n);
		mail(rest, data[0] >> 3, &a);
		rcpt(rest, data[0] >> 3, &a);
	}
	mail(text, data[0] >> 3, &a);
	rcpt(text, data[0] >> 3, &a);
	arena_release(&a);
	return 0;
}
