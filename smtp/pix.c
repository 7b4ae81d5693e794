/* pix.c - firewalls that read along and hide the greeting behind asterisks: their mail inspection has faults that
 * smtp_pix_workarounds avoids, by HELO in the place of EHLO and by sending the final dot in a packet of its own. */
#include "client.h"
#include "log/log.h"

static const struct {
	const char *word;
	unsigned flag;
} words[] = { { "disable_esmtp", PIX_NO_ESMTP }, { "delay_dotcrlf", PIX_DELAY_DOT } };

/* "220 ********": nothing else is left of what the server said. */
static bool hidden(const struct session *s)
{
	struct span text = buf_span(&s->reply.text);
	for (size_t i = 0; i < text.n; i++)
		if (memchr("20 *\t\n", text.p[i], 6) == NULL)
			return false;
	return true;
}

static struct span wanted(const struct session *s, struct arena *a)
{
	char addr[INET_TEXT_MAX];
	struct span value;
	struct err e;
	inet_addr_text(&s->addr, addr);
	if (!maps_empty(settings.pix_maps)) {
		enum rc rc = maps_lookup(settings.pix_maps, span_str(addr), a, &value, &e);
		if (rc == RC_OK)
			return value;
		if (rc != RC_NOTFOUND)
			log_warning("%s", e.text);
	}
	return span_str(settings.pix_workarounds);
}

void pix_detect(struct session *s, const struct delivery *dl)
{
	int64_t age_s = (wall_now().us - dl->env.arrival_us) / 1000000;
	struct span rest, word, names = SPAN("");
	s->pix = 0;
	if (!hidden(s))
		return;
	rest = wanted(s, dl->a);
	if (rest.n == 0)
		return;
	while (span_next_word(&rest, ", \t\r\n", &word))
		for (size_t i = 0; i < ARRAY_LEN(words); i++)
			if (span_is_ci(word, words[i].word))
				s->pix |= words[i].flag;
	if (age_s < settings.pix_threshold_s) /* the pause is for mail that failed to get through before */
		s->pix &= ~PIX_DELAY_DOT;
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (s->pix & words[i].flag)
			names = span_printf(dl->a, SPAN_FMT "%s%s", SPAN_ARG(names), names.n > 0 ? " " : "",
					    words[i].word);
	log_info(SPAN_FMT ": enabling PIX workarounds: " SPAN_FMT " for %s", SPAN_ARG(dl->env.qid),
		 SPAN_ARG(names), s->relay);
}
