/* filters.c - smtpd_command_filter and smtpd_reject_filter_maps: tables, mostly of patterns, that put another text in the
 * place of a command or of a refusal. */
#include "smtpd.h"

static bool replaced(struct maps *m, const char *param, struct span text, struct arena *a, struct span *out)
{
	struct err e;
	enum rc rc;

	if (maps_empty(m))
		return false;
	rc = maps_lookup(m, text, a, out, &e);
	if (rc != RC_OK && rc != RC_NOTFOUND)
		log_warning("%s: %s", param, e.text);
	return rc == RC_OK;
}

struct span command_filter(struct session *s, struct span line, struct arena *a)
{
	struct span text = SPAN_NONE, key = line;

	while (key.n > 0 && (*key.p == ' ' || *key.p == '\t'))
		key = span_skip(key, 1);
	if (!replaced(conf.command_filter, "smtpd_command_filter", key, a, &text))
		return line;
	log_info("%s: replacing command \"" SPAN_FMT "\" with \"" SPAN_FMT "\"", session_client(s),
		 SPAN_ARG(span_head(line, 100)), SPAN_ARG(span_head(text, 200)));
	return text;
}

struct span reject_filter(struct span text, struct arena *a)
{
	struct span out = SPAN_NONE;

	if (!replaced(conf.reject_filter, "smtpd_reject_filter_maps", text, a, &out))
		return text;
	if (out.n < 4 || (out.p[0] != '4' && out.p[0] != '5') || !ascii_isdigit(out.p[1]) ||
	    !ascii_isdigit(out.p[2]) || out.p[3] != ' ') {
		log_warning("smtpd_reject_filter_maps: no reply to a command: " SPAN_FMT,
			    SPAN_ARG(span_head(out, 200)));
		return text;
	}
	return out;
}

struct span reject_footer(struct span text, struct arena *a)
{
	struct span out = SPAN_NONE;

	return replaced(conf.footer_maps, "smtpd_reject_footer_maps", text, a, &out)
		   ? out
		   : span_str(conf.reject_footer);
}
