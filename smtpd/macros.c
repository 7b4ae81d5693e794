/* macros.c - the words $client_address, $recipient ... of replies that administrators write: smtpd_reject_footer,
 * default_rbl_reply, rbl_reply_maps (postconf(5) lists them). */
#include "smtpd.h"
#include <time.h>

static struct span local_time(struct arena *a)
{
	time_t now = (time_t)(wall_now().us / 1000000);
	struct tm tm;
	char text[40];

	if (localtime_r(&now, &tm) == NULL || strftime(text, sizeof(text), "%b %d %H:%M:%S", &tm) == 0)
		return SPAN_NONE;
	return span_printf(a, "%s", text);
}

static struct span part(struct span addr, bool domain)
{
	struct address a = address_split(addr);

	return domain ? a.domain : a.local;
}

struct span expansion_filter(struct arena *a, struct span value)
{
	char *copy = arena_alloc(a, value.n + 1);

	for (size_t i = 0; i < value.n; i++)
		copy[i] = conf.expansion_ok[(unsigned char)value.p[i]] ? value.p[i] : '_';
	return span_make(copy, value.n);
}

static bool find_word(struct words_of *w, struct span name, struct span *value)
{
	struct session *s = w->s;
	struct span sender = s->tx != NULL ? address_unquote(&s->tx_arena, s->tx->sender) : SPAN_NONE;
	struct span rcpt = address_unquote(&s->tx_arena, w->rcpt);
	const struct {
		const char *name;
		struct span value;
	} known[] = {
		{ "client_address", s->client.addr },
		{ "client_name", s->client.name },
		{ "reverse_client_name", s->client.rname },
		{ "helo_name", s->client.helo },
		{ "server_name", span_str(conf.myhostname) },
		{ "server_address", s->client.local_addr },
		{ "sender", sender },
		{ "sender_name", part(sender, false) },
		{ "sender_domain", part(sender, true) },
		{ "recipient", rcpt },
		{ "recipient_name", part(rcpt, false) },
		{ "recipient_domain", part(rcpt, true) },
		{ "sasl_method", s->client.sasl_method },
		{ "sasl_username", s->client.sasl_user },
		{ "ccert_subject", s->tls != NULL ? span_str(s->tls->peer_subject) : SPAN_NONE },
		{ "ccert_issuer", s->tls != NULL ? span_str(s->tls->peer_issuer) : SPAN_NONE },
		{ "mail_name", span_str(conf.mail_name) },
	};

	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (span_is(name, known[i].name)) {
			*value = known[i].value;
			return true;
		}
	if (span_is(name, "client"))
		*value = span_printf(&s->tx_arena, "%s", session_client(s));
	else if (span_is(name, "localtime"))
		*value = local_time(&s->tx_arena);
	else if (span_is(name, "client_port"))
		*value = span_printf(&s->tx_arena, "%u", s->client.port);
	else if (span_is(name, "server_port"))
		*value = span_printf(&s->tx_arena, "%u", s->client.local_port);
	else
		return false;
	return true;
}

bool session_word(void *arg, struct span name, struct span *value)
{
	struct words_of *w = arg;

	if (!find_word(w, name, value))
		return false;
	*value = expansion_filter(&w->s->tx_arena, *value);
	return true;
}
