/* map/check.c - what is wrong with names of tables and with lists before anything is opened: for who judges a main.cf. */
#include "map/driver.h"
#include "net/addr.h"

static enum rc check_at(struct span type_name, unsigned depth, struct err *e);

/* Types whose whole content is their name. */
static bool is_text(struct span type)
{
	return span_is(type, "inline") || span_is(type, "static") || span_is(type, "randmap");
}

/* Some of Postfix's types are not here: what they hold comes later, as of a server that is away. */
static bool may_come_later(struct span type)
{
	return span_is(type, "nis") || span_is(type, "nisplus") || span_is(type, "mongodb");
}

static enum rc check_text(struct span type_name, struct err *e)
{
	struct map *m;
	enum rc rc = map_open_at(type_name, 0, 0, true, &m, e);

	map_close(&m);
	return rc;
}

static enum rc check_group(struct span type, struct span name, unsigned depth, struct err *e)
{
	struct span list, word, inside;
	enum rc rc;
	size_t n = 0;

	if (!map_braces(name, &list))
		return err_set(e, RC_SYNTAX,
			       "bad syntax: \"" SPAN_FMT ":" SPAN_FMT "\"; need \"" SPAN_FMT
			       ":{type:name...}\"",
			       SPAN_ARG(type), SPAN_ARG(span_head(name, 200)), SPAN_ARG(type));
	for (; (rc = map_word_next(&list, &word, e)) == RC_OK; n++)
		if ((rc = check_at(map_braces(word, &inside) ? inside : word, depth + 1, e)) != RC_OK)
			return rc;
	if (rc == RC_NOTFOUND)
		rc = n > 0 ? RC_OK : err_set(e, RC_SYNTAX, SPAN_FMT ": no tables in { }", SPAN_ARG(type));
	return rc;
}

static enum rc check_at(struct span type_name, unsigned depth, struct err *e)
{
	ptrdiff_t colon = span_chr(type_name, ':');
	struct span type, name;

	if (colon <= 0 || (size_t)colon + 1 == type_name.n || depth > MAP_DEPTH_MAX)
		return err_set(e, RC_SYNTAX, "expecting \"type:name\" form instead of \"" SPAN_FMT "\"",
			       SPAN_ARG(span_head(type_name, 200)));
	type = span_head(type_name, (size_t)colon);
	name = span_skip(type_name, (size_t)colon + 1);
	if (!map_type_exists(type) && !may_come_later(type))
		return err_set(e, RC_SYNTAX,
			       "unknown table type \"" SPAN_FMT "\": \"postconf -m\" lists those that are",
			       SPAN_ARG(span_head(type, 60)));
	if (is_text(type))
		return check_text(type_name, e);
	if (span_is(type, "unionmap") || span_is(type, "pipemap"))
		return check_group(type, name, depth, e);
	if (span_is(type, "proxy") || span_is(type, "debug"))
		return check_at(name, depth + 1, e);
	return RC_OK;
}

enum rc map_check(struct span type_name, struct err *e)
{
	return check_at(type_name, 0, e);
}

enum rc maps_check(struct span list, struct err *e)
{
	struct span word;
	enum rc rc;

	while ((rc = map_word_next(&list, &word, e)) == RC_OK && (rc = map_check(word, e)) == RC_OK)
		;
	return rc == RC_NOTFOUND ? RC_OK : rc;
}

static enum rc check_element(struct span word, bool nets, struct err *e)
{
	struct inet_net net;

	for (; word.n && *word.p == '!'; word = span_skip(word, 1))
		;
	if (!word.n)
		return err_set(e, RC_SYNTAX, "no pattern after \"!\"");
	if (*word.p == '/')
		return RC_OK;
	if (*word.p != '[' && span_chr(word, ':') >= 0)
		return map_check(word, e);
	return nets && match_is_net(word) ? inet_net_parse(word, &net, e) : RC_OK;
}

enum rc match_list_check(struct span list, bool nets, struct err *e)
{
	struct span word;
	enum rc rc;

	while ((rc = map_word_next(&list, &word, e)) == RC_OK && (rc = check_element(word, nets, e)) == RC_OK)
		;
	return rc == RC_NOTFOUND ? RC_OK : rc;
}
