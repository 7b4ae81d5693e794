/* log/relay.c - lines between commands and postlogd(8). */
#include "log/relay.h"

static const char magic[] = "L1";

size_t relay_encode(char *dst, const struct relay_line *l)
{
	struct span tag = span_head(l->tag, RELAY_TAG_MAX), text = span_head(l->text, LOG_LINE_MAX);
	size_t n = 0;

	dst[n++] = magic[0];
	dst[n++] = magic[1];
	dst[n++] = (char)('0' + l->level);
	if (tag.n > 0)
		memcpy(dst + n, tag.p, tag.n);
	n += tag.n;
	dst[n++] = '\0';
	if (text.n > 0)
		memcpy(dst + n, text.p, text.n);
	return n + text.n;
}

enum rc relay_decode(struct span datagram, struct relay_line *out)
{
	struct span rest = span_skip(datagram, 3);
	ptrdiff_t end;

	if (datagram.n < 4 || datagram.n > RELAY_MAX || !span_starts(datagram, SPAN("L1")) ||
	    datagram.p[2] < '0' || datagram.p[2] > '0' + LOG_LEVEL_PANIC)
		return RC_SYNTAX;
	end = span_chr(rest, '\0');
	if (end < 0 || end > RELAY_TAG_MAX)
		return RC_SYNTAX;
	out->level = (enum log_level)(datagram.p[2] - '0');
	out->tag = span_head(rest, (size_t)end);
	out->text = span_skip(rest, (size_t)end + 1);
	return RC_OK;
}

/* ---- what users may claim ---- */

static bool is_command(struct span name)
{
	static const char *const commands[] = { "sendmail",  "mailq",	  "newaliases", "rmail",
						"postdrop",  "postqueue", "postlog",	"postmap",
						"postalias", "postlock",  "postkick",	"postcat",
						"postconf",  "postmulti", "postsuper",	"postfix-script" };

	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (span_is(name, commands[i]))
			return true;
	return false;
}

bool relay_user_tag(struct span *tag, const char *suite, char *claim, char *own)
{
	size_t n = tag->n < RELAY_TAG_MAX ? tag->n : RELAY_TAG_MAX;
	ptrdiff_t slash;
	bool of_suite;

	for (size_t i = 0; i < n; i++)
		claim[i] = ascii_isalnum(tag->p[i]) || strchr("-_./", tag->p[i]) != NULL ? tag->p[i] : '?';
	claim[n] = '\0';
	*tag = span_make(claim, n);
	slash = span_rchr(*tag, '/');
	of_suite = span_starts(*tag, span_str(suite)) || span_starts(*tag, SPAN("postfix"));
	if (!of_suite || (slash >= 0 && is_command(span_skip(*tag, (size_t)slash + 1))))
		return true;
	snprintf(own, RELAY_TAG_MAX, "%s/postlog", suite);
	*tag = span_str(own);
	return false;
}
