/* The parser of IMAP commands takes any bytes: every token function, in the order that commands use them (RFC
 * 3501 section 9). */
#include "../../imapd/names.c"
#include "../../imapd/parse.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void after_name(struct parse *p, struct span name)
{
	struct span s;
	struct numset set;
	struct flag_list flags;
	int64_t t;
	uint64_t n;
	bool nil;
	if (span_is_ci(name, "LIST")) {
		struct span pattern;
		if (parse_sp(p) && parse_mailbox(p, &s) && parse_sp(p) && parse_list_mailbox(p, &pattern))
			(void)list_match(span_head(pattern, 600), s, '.');
	} else if (span_is_ci(name, "APPEND")) {
		if (parse_sp(p) && parse_mailbox(p, &s) && parse_sp(p) && parse_flags(p, false, &flags) &&
		    parse_sp(p))
			(void)parse_date_time(p, &t);
	} else if (span_is_ci(name, "STORE") || span_is_ci(name, "FETCH")) {
		if (parse_sp(p) && parse_numset(p, &set)) {
			numset_resolve(&set, 1000);
			(void)numset_has(&set, 17);
			if (parse_sp(p))
				(void)parse_flags(p, true, &flags);
		}
	} else {
		for (unsigned i = 0; i < 100 && parse_sp(p); i++)
			if (!parse_nstring(p, &s, &nil) && !parse_astring(p, &s) && !parse_date(p, &t) &&
			    !parse_number(p, 1000, &n))
				break;
	}
	(void)parse_end(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena a;
	struct parse p;
	struct span tag, name, text = span_make((const char *)data, size);
	uint64_t n;
	bool nonsync;
	arena_init(&a);
	(void)literal_announced(text, &n, &nonsync);
	parse_start(&p, text, &a);
	if (parse_tag(&p, &tag) && parse_sp(&p) && parse_atom(&p, &name))
		after_name(&p, name);
	arena_release(&a);
	return 0;
}
