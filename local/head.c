/* local/head.c - header lines that a final delivery puts in front, and the loop they detect. */
#include "agent.h"
#include "mime/header.h"
#include "service/service.h"
#include <time.h>

/* An address is one line, whatever was in it. */
static struct span one_line(struct arena *a, struct span addr)
{
	char *p = arena_cstr(a, addr);

	for (size_t i = 0; i < addr.n; i++)
		if ((unsigned char)p[i] < 0x20 || p[i] == 0x7f)
			p[i] = '?';
	return span_make(p, addr.n);
}

static void put_from_line(struct buf *b, struct arena *a, struct span sender)
{
	char date[64];
	time_t now = (time_t)wall_s(wall_now());
	struct tm tm;
	struct span s = sender.n ? one_line(a, sender) : SPAN("MAILER-DAEMON");

	localtime_r(&now, &tm);
	strftime(date, sizeof date, "%a %b %e %H:%M:%S %Y", &tm);
	(void)buf_printf(b, "From " SPAN_FMT "  %s\n", SPAN_ARG(s), date);
}

struct span agent_head(struct agent *m, unsigned what, struct span sender, struct span original,
		       struct span delivered)
{
	struct buf b;
	struct span out;

	buf_init(&b, 4096);
	if (what & HEAD_FROM)
		put_from_line(&b, m->a, sender);
	if (what & HEAD_RETURN)
		(void)buf_printf(&b, "Return-Path: <" SPAN_FMT ">\n", SPAN_ARG(one_line(m->a, sender)));
	if ((what & HEAD_ORIGINAL) && original.n && conf_bool(service_conf(), "enable_original_recipient"))
		(void)buf_printf(&b, "X-Original-To: " SPAN_FMT "\n", SPAN_ARG(one_line(m->a, original)));
	if (what & HEAD_DELIVERED)
		(void)buf_printf(&b, "Delivered-To: " SPAN_FMT "\n", SPAN_ARG(one_line(m->a, delivered)));
	out = span_dup(m->a, buf_span(&b));
	buf_release(&b);
	return out;
}

bool agent_was_delivered(struct span header, struct span addr)
{
	struct header_field f;

	while (header_next(&header, &f) == RC_OK)
		if (span_is_ci(f.name, "Delivered-To") && span_eq_ci(span_trim(f.body), addr))
			return true;
	return false;
}
