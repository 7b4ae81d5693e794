/* Any bytes as what tables and policy servers say of mail - delivery status filters, header_checks(5), access(5), DNS reply filters: an action
 * whose argument fits it, or a story; and no answer of the DNS makes a filter do more than it says. The first byte selects. */
#include "../../lib/map/dns_filter.c"
#include "../../smtpd/access_action.c" /* a daemon's file: not in the archive */
#include "log/log.h"
#include "mime/header.h"
#include "smtp/check_action.h"
#include "smtp/dsn.h"
#include "smtp/dsn_filter.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool within(struct span part, struct span whole)
{
	return part.n == 0 || (part.p >= whole.p && part.p + part.n <= whole.p + whole.n);
}

/* RFC 3463 section 2, without the parser of the suite. */
static bool is_status(struct span s)
{
	struct span part;
	size_t parts = 0;
	uint64_t v;

	while (span_next(&s, '.', &part)) {
		if (span_to_u64(part, 999, &v) != RC_OK || part.n > 3 ||
		    (parts == 0 && (part.n != 1 || (v != 2 && v != 4 && v != 5))))
			return false;
		parts++;
	}
	return parts == 3;
}

static void as_check(struct span value, bool header)
{
	struct check_action out, again;
	struct err e = { .text = "" };

	if (check_action_parse(value, "header_checks", header, &out, &e) != RC_OK) {
		INVARIANT(e.text[0] != '\0');
		return;
	}
	INVARIANT(out.verb < CHECK_VERBS && within(out.text, value) && within(out.dsn, value));
	INVARIANT(out.dsn.n == 0 || (out.verb == CHECK_REJECT && is_status(out.dsn) && out.dsn.p[0] != '2'));
	if (header && (out.verb == CHECK_PREPEND || out.verb == CHECK_REPLACE)) {
		struct span rest = out.text;
		struct header_field f;

		INVARIANT(header_next(&rest, &f) == RC_OK && rest.n == 0 && f.name.n > 0);
		INVARIANT(header_length(out.text) == out.text.n);
	}
	INVARIANT(check_action_parse(value, "body_checks", false, &again, &e) == RC_OK &&
		  again.verb == out.verb);
}

static void as_access(struct span value, bool utf8)
{
	struct access_action out;
	struct err e = { .text = "" };

	if (access_action_parse(value, utf8, &out, &e) != RC_OK) {
		INVARIANT(e.text[0] != '\0' && out.verb == ACCESS_DUNNO);
		return;
	}
	INVARIANT(out.verb < ACCESS_VERBS && within(out.text, value) && within(out.dsn, value));
	INVARIANT(out.code == 0 || (out.verb == ACCESS_REFUSE && out.code >= 400 && out.code <= 599));
	INVARIANT(out.dsn.n == 0 || is_status(out.dsn));
	INVARIANT(out.verb != ACCESS_PREPEND || header_length(out.text) == out.text.n);
	INVARIANT(out.verb != ACCESS_RULES || span_eq(out.text, value));
}

static struct maps *table_of(struct span result, struct arena *a)
{
	struct maps *m = NULL;
	struct err e;
	struct span list = span_printf(a, "static:{" SPAN_FMT "}", SPAN_ARG(result));

	INVARIANT(maps_open("filter", list, 0, &m, &e) == RC_OK);
	return m;
}

/* A success stays one and a failure stays one, with a status of the class that goes with it. */
static void as_status_filter(struct span value, uint16_t was, struct arena *a)
{
	struct span dsn = was == DS_SENT ? SPAN("2.0.0") : was == DS_DEFERRED ? SPAN("4.4.1") : SPAN("5.1.1");
	struct span reason = SPAN("as logged");
	struct maps *m = table_of(value, a);
	uint16_t now = was;

	if (dsn_filter(m, a, &now, &dsn, &reason))
		INVARIANT(is_status(dsn) && (now == DS_SENT) == (was == DS_SENT));
	else
		INVARIANT(now == was && span_is(reason, "as logged"));
	INVARIANT(dsn.p[0] == (now == DS_SENT ? '2' : now == DS_DEFERRED ? '4' : '5'));
	maps_close(&m);
}

/* "RESULT LF TYPE ANSWER" */
static void as_dns_filter(struct span text, struct arena *a)
{
	static const enum dns_type types[] = { DNS_A, DNS_AAAA, DNS_MX, DNS_TXT, DNS_SRV, DNS_TLSA, DNS_PTR };
	struct span action;
	struct dns_answer ans;
	struct err e = { .text = "" };

	if (!span_next(&text, '\n', &action) || text.n == 0 ||
	    dns_parse(span_skip(text, 1), types[(unsigned char)text.p[0] % ARRAY_LEN(types)], a, &ans, &e) !=
		RC_OK)
		return;
	size_t before = ans.n;
	e.text[0] = '\0';
	parameter = "smtp_dns_reply_filter";
	filter = table_of(action, a);
	if (apply(&ans, a, &e) != RC_OK)
		INVARIANT(e.text[0] != '\0');
	else /* the table says the same of each: all records or none */
		INVARIANT(ans.n == before && type_name(ans.rr[0].type)[0] == '\0');
	for (size_t i = 0; i < ans.n; i++)
		(void)value_text(&ans.rr[i], a);
	maps_close(&filter);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint16_t results[] = { DS_SENT, DS_DEFERRED, DS_BOUNCED };
	static bool quiet;
	struct span text = span_make((const char *)data, size), dsn;
	struct arena a;

	if (!quiet)
		log_init(&(struct log_conf){ .service = "fuzz", .file_fd = -1 });
	quiet = true;
	if (size < 2 || size > 16384)
		return 0;
	text = span_skip(text, 1);
	arena_init(&a);
	INVARIANT(dsn_length(text) <= DSN_TEXT_MAX &&
		  (dsn_length(text) == 0 || is_status(span_head(text, dsn_length(text)))));
	struct span rest = text;
	INVARIANT(dsn_take(&rest, "45", &dsn) ? is_status(dsn) && rest.n + dsn.n <= text.n
					      : span_eq(rest, text));
	switch (*data % 4) {
	case 0:
		as_check(text, *data & 4);
		break;
	case 1:
		as_access(text, *data & 4);
		break;
	case 2:
		as_status_filter(text, results[(*data >> 2) % ARRAY_LEN(results)], &a);
		break;
	default:
		as_dns_filter(text, &a);
	}
	arena_release(&a);
	return 0;
}
