/* cmd/smtp-sink/verbs.c - the commands of SMTP and LMTP by name, and what the options say about each. */
#include "sink.h"
#include "log/log.h"
#include <stdlib.h>

static struct verb verbs[] = {
	{ .name = "CONNECT", .run = run_connect },
	{ .name = "HELO", .run = run_hello },
	{ .name = "EHLO", .run = run_ehlo },
	{ .name = "LHLO", .run = run_ehlo },
	{ .name = "XCLIENT", .run = run_ok },
	{ .name = "XFORWARD", .run = run_ok },
	{ .name = "AUTH", .run = run_ok },
	{ .name = "MAIL", .run = run_mail },
	{ .name = "RCPT", .run = run_rcpt },
	{ .name = "DATA", .run = run_data },
	{ .name = ".", .run = run_ok },
	{ .name = "RSET", .run = run_rset },
	{ .name = "NOOP", .run = run_ok },
	{ .name = "VRFY", .run = run_ok },
	{ .name = "QUIT", .run = run_quit },
};

static struct verb *find(struct span name)
{
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
		if (span_is_ci(name, verbs[i].name))
			return &verbs[i];
	return NULL;
}

struct verb *verb_find(struct span name)
{
	struct verb *v = find(name);

	return v != NULL && !v->off ? v : NULL;
}

void verbs_mark(const char *list, size_t offset)
{
	struct span rest = span_str(list), name;

	while (span_next_word(&rest, ", \t\r\n", &name)) {
		struct verb *v = find(name);
		if (v == NULL)
			die("unknown command: " SPAN_FMT, SPAN_ARG(name));
		*(bool *)((char *)v + offset) = true;
	}
}

void verb_set_delay(const char *spec)
{
	struct span rest = span_str(spec), name, part;
	uint64_t delay, odds = 0;

	if (!span_next(&rest, ':', &name) || !span_next(&rest, ':', &part) ||
	    span_to_u64(part, 1000000, &delay) != RC_OK)
		die("invalid command delay argument: %s", spec);
	struct verb *v = find(name);
	if (v == NULL)
		die("unknown command: " SPAN_FMT, SPAN_ARG(name));
	if (rest.n > 0 && (span_to_u64(rest, 99, &odds) != RC_OK || odds < 1))
		die("delay odds for '" SPAN_FMT "' out of range", SPAN_ARG(name));
	v->delay_s = (int64_t)delay;
	v->odds = (int)odds;
}

void verbs_apply_conf(void)
{
	find(SPAN("HELO"))->off = conf.lmtp;
	find(SPAN("EHLO"))->off = conf.lmtp || conf.plain;
	find(SPAN("LHLO"))->off = !conf.lmtp;
	find(SPAN("XCLIENT"))->off = conf.no_xclient;
	find(SPAN("XFORWARD"))->off = conf.no_xforward;
}

int64_t verb_delay_s(const struct verb *v)
{
	int64_t delay = v->delay_s;

	if (v->odds > 0) /* one roll at least; `odds` in a hundred that another one follows */
		for (delay = v->delay_s; random() % 100 < v->odds; delay += v->delay_s)
			;
	return delay;
}
