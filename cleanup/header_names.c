/* header_names.c - the header fields that cleanup(8) knows (RFC 5322 section 3.6, RFC 2045 section 3). */
#include "cleanup.h"

static const struct header_kind kinds[] = {
	{ "apparently-to", HID_OTHER, HF_RCPT },
	{ "bcc", HID_BCC, HF_RCPT },
	{ "cc", HID_CC, HF_RCPT },
	{ "content-description", HID_MIME, HF_MIME },
	{ "content-disposition", HID_MIME, HF_MIME },
	{ "content-id", HID_MIME, HF_MIME },
	{ "content-length", HID_CONTENT_LENGTH, 0 },
	{ "content-transfer-encoding", HID_MIME, HF_MIME },
	{ "content-type", HID_MIME, HF_MIME },
	{ "date", HID_DATE, 0 },
	{ "disposition-notification-to", HID_SENDER_ADDR, HF_SENDER },
	{ "errors-to", HID_SENDER_ADDR, HF_SENDER },
	{ "from", HID_FROM, HF_SENDER },
	{ "mail-followup-to", HID_SENDER_ADDR, HF_SENDER },
	{ "message-id", HID_MESSAGE_ID, 0 },
	{ "mime-version", HID_MIME, HF_MIME },
	{ "received", HID_RECEIVED, 0 },
	{ "reply-to", HID_SENDER_ADDR, HF_SENDER },
	{ "resent-bcc", HID_RESENT_BCC, HF_RCPT | HF_RESENT },
	{ "resent-cc", HID_RESENT_CC, HF_RCPT | HF_RESENT },
	{ "resent-date", HID_RESENT_DATE, HF_RESENT },
	{ "resent-from", HID_RESENT_FROM, HF_SENDER | HF_RESENT },
	{ "resent-message-id", HID_RESENT_MESSAGE_ID, HF_RESENT },
	{ "resent-reply-to", HID_RESENT_OTHER, HF_SENDER | HF_RESENT },
	{ "resent-sender", HID_RESENT_OTHER, HF_SENDER | HF_RESENT },
	{ "resent-to", HID_RESENT_TO, HF_RCPT | HF_RESENT },
	{ "return-path", HID_RETURN_PATH, HF_SENDER },
	{ "return-receipt-to", HID_SENDER_ADDR, HF_SENDER },
	{ "sender", HID_SENDER_ADDR, HF_SENDER },
	{ "to", HID_TO, HF_RCPT },
};
static const struct header_kind other = { "", HID_OTHER, 0 };

const struct header_kind *header_kind_of(struct span name)
{
	size_t lo = 0, hi = ARRAY_LEN(kinds);

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		int d = span_cmp_ci(name, span_str(kinds[mid].name));

		if (d == 0)
			return &kinds[mid];
		if (d < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return &other;
}
