/* mime_rules.c - what no message may hold: characters that are refused or removed, 8-bit data where it is not
 * announced (RFC 2045 section 2.7 to 2.9); and mail that needs RFC 6531 without saying so. */
#include "cleanup.h"

void mime_refuse(struct job *j, const char *why, struct span what)
{
	if (job_refused(j))
		return;
	check_log(j, "reject", "mime-error",
		  span_printf(&j->a, "%s: " SPAN_FMT, why, SPAN_ARG(span_head(what, 100))), SPAN_NONE);
	job_refuse_span(j, 550, SPAN("5.6.0"), span_str(why));
}

static bool is_one_of(struct span set, char c)
{
	return set.n > 0 && memchr(set.p, c, set.n) != NULL;
}

/* The line that holds the byte at `i`. */
static struct span line_around(struct span text, size_t i)
{
	size_t from = i, to = i;

	while (from > 0 && text.p[from - 1] != '\n')
		from--;
	while (to < text.n && text.p[to] != '\n')
		to++;
	return span_make(text.p + from, to - from);
}

struct span chars_filter(struct job *j, struct span text)
{
	size_t n = 0, bad = 0;
	char *p;

	for (size_t i = 0; i < text.n; i++) {
		if (is_one_of(settings.reject_chars, text.p[i])) {
			check_log(j, "reject", "content", line_around(text, i),
				  SPAN("5.7.1 disallowed character"));
			job_refuse(j, 550, "5.7.1", "disallowed character");
			return text;
		}
		bad += is_one_of(settings.strip_chars, text.p[i]);
	}
	if (bad == 0)
		return text;
	p = arena_alloc(&j->a, text.n + 1);
	for (size_t i = 0; i < text.n; i++)
		if (!is_one_of(settings.strip_chars, text.p[i]))
			p[n++] = text.p[i];
	return span_make(p, n);
}

/* ---- RFC 6531 ---- */
static bool class_is_searched(const struct job *j)
{
	const struct {
		const char *peer, *class;
	} classes[] = {
		{ "pickup", "sendmail" }, { "smtpd", "smtpd" },	  { "lmtpd", "smtpd" },
		{ "local", "forward" },	  { "bounce", "bounce" }, { "verify", "verify" },
	};
	struct span rest = settings.autodetect, w;

	while (span_next_word(&rest, ", \t\r\n", &w)) {
		if (span_is_ci(w, "all"))
			return true;
		for (size_t i = 0; i < ARRAY_LEN(classes); i++)
			if (span_is_ci(w, classes[i].class) && strcmp(j->peer, classes[i].peer) == 0)
				return true;
	}
	return false;
}

void smtputf8_detect(struct job *j, struct span header)
{
	bool needed = !span_is_ascii(j->env.sender) || (!span_is_ascii(header) && utf8_valid(header));

	if (!settings.smtputf8 || (j->env.flags & ENVF_SMTPUTF8) || !class_is_searched(j))
		return;
	for (size_t i = 0; i < j->env.rcpts.n && !needed; i++)
		needed = !span_is_ascii(envelope_rcpt(&j->env, i)->addr);
	if (needed)
		j->env.flags |= ENVF_SMTPUTF8;
}
