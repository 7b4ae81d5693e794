/* conf/bounce_template.c - texts of delivery status notifications. */
#include "conf/bounce_template.h"
#include "base/codec.h"

#define FROM	SPAN_CONST("Mail Delivery System <MAILER-DAEMON>")
#define CHARSET SPAN_CONST("us-ascii")
#define SPAN_CONST(s)                                                                                        \
	{                                                                                                    \
		s, sizeof(s) - 1                                                                             \
	}

const struct bounce_template bounce_templates[BT_COUNT] = {
	[BT_FAILURE] = { "failure_template", CHARSET, FROM, SPAN_CONST("Undelivered Mail Returned to Sender"),
			 SPAN_CONST("Postmaster Copy: Undelivered Mail"),
			 SPAN_CONST(
			     "This is the mail system at host $myhostname.\n"
			     "\n"
			     "Your message could not be delivered to everybody it was addressed to. It is\n"
			     "returned below, and nothing more will be done about the addresses named here.\n"
			     "\n"
			     "Write to the postmaster when you need help, and include this report.\n") },
	[BT_DELAY] = { "delay_template", CHARSET, FROM, SPAN_CONST("Delayed Mail (still being retried)"),
		       SPAN_CONST("Postmaster Warning: Delayed Mail"),
		       SPAN_CONST("This is the mail system at host $myhostname.\n"
				  "\n"
				  "This is only a notice: you need not send your message again.\n"
				  "\n"
				  "For $delay_warning_time_hours hour(s) your message could not be delivered "
				  "to the\n"
				  "addresses named here. It goes on being tried for "
				  "$maximal_queue_lifetime_days day(s).\n") },
	[BT_SUCCESS] = { "success_template", CHARSET, FROM, SPAN_CONST("Successful Mail Delivery Report"),
			 SPAN_CONST(""),
			 SPAN_CONST(
			     "This is the mail system at host $myhostname.\n"
			     "\n"
			     "Your message was delivered, or passed to a system that sends no such reports,\n"
			     "for the addresses named here.\n") },
	[BT_VERIFY] = { "verify_template", CHARSET, FROM, SPAN_CONST("Mail Delivery Status Report"),
			SPAN_CONST(""),
			SPAN_CONST("This is the mail system at host $myhostname.\n"
				   "\n"
				   "This is the report on your message that you asked for.\n") },
};

/* ---- the file ---- */
static bool next_line(struct span *rest, struct span *line, unsigned *number)
{
	ptrdiff_t lf = span_chr(*rest, '\n');

	if (rest->n == 0)
		return false;
	*line = lf < 0 ? *rest : span_head(*rest, (size_t)lf);
	*rest = span_skip(*rest, lf < 0 ? rest->n : (size_t)lf + 1);
	if (line->n > 0 && line->p[line->n - 1] == '\r')
		line->n--;
	++*number;
	return true;
}

static enum rc take_header(struct bounce_template *t, struct span line, unsigned number, struct err *e)
{
	const struct {
		const char *name;
		struct span *to;
	} fields[] = {
		{ "Charset", &t->charset },
		{ "From", &t->from },
		{ "Subject", &t->subject },
		{ "Postmaster-Subject", &t->postmaster_subject },
	};
	ptrdiff_t colon = span_chr(line, ':');
	struct span name = span_trim(span_head(line, colon < 0 ? 0 : (size_t)colon)), value;

	for (size_t i = 0; i < ARRAY_LEN(fields); i++)
		if (span_is_ci(name, fields[i].name)) {
			if (!span_is_ascii(line))
				return err_set(e, RC_SYNTAX, "line %u: %s: has a character that is not ASCII",
					       number, fields[i].name);
			value = span_trim(span_skip(line, (size_t)colon + 1));
			if (value.n == 0 && fields[i].to != &t->postmaster_subject)
				return err_set(e, RC_SYNTAX, "line %u: %s: has no value", number,
					       fields[i].name);
			*fields[i].to = value;
			return RC_OK;
		}
	return err_set(e, RC_SYNTAX, "line %u: not a header of a template: " SPAN_FMT, number,
		       SPAN_ARG(span_head(line, 60)));
}

/* From the line after "name = <<WORD" to the one that is WORD. Headers that are not there stay as built in; the text
 * begins behind an empty line, or with the first line that cannot be a header. */
static enum rc take_block(struct span *rest, struct span word, unsigned *number,
			  const struct bounce_template *built_in, struct bounce_template *t, struct err *e)
{
	struct bounce_template new = *built_in;
	bool body = false;
	unsigned first = *number;
	struct span line;
	enum rc rc;

	new.body = SPAN_NONE;
	while (next_line(rest, &line, number)) {
		if (span_eq(line, word)) {
			new.body.n = body ? (size_t)(line.p - new.body.p) : 0;
			if (new.body.n == 0)
				return err_set(e, RC_SYNTAX, "line %u: %s: missing message text", first,
					       t->name);
			*t = new;
			return RC_OK;
		}
		if (!body && (line.n == 0 || span_chr(line, ':') < 0)) {
			body = true;
			new.body = line.n == 0 ? *rest : line;
		} else if (!body && (rc = take_header(&new, line, *number, e)) != RC_OK) {
			return rc;
		}
	}
	return err_set(e, RC_SYNTAX, "line %u: %s: missing " SPAN_FMT " at its end", first, t->name,
		       SPAN_ARG(word));
}

/* "name = <<WORD" */
static enum rc take_start(struct span line, struct bounce_template out[BT_COUNT], unsigned number,
			  struct bounce_template **t, struct span *word, struct err *e)
{
	ptrdiff_t eq = span_chr(line, '=');
	struct span name = span_trim(span_head(line, eq < 0 ? 0 : (size_t)eq));
	struct span value = eq < 0 ? SPAN_NONE : span_trim(span_skip(line, (size_t)eq + 1));

	if (!span_starts(value, SPAN("<<")) || value.n == 2)
		return err_set(e, RC_SYNTAX, "line %u: need template_name = <<WORD", number);
	*word = span_trim(span_skip(value, 2));
	for (size_t i = 0; i < BT_COUNT; i++)
		if (span_is(name, out[i].name)) {
			*t = &out[i];
			return RC_OK;
		}
	return err_set(e, RC_SYNTAX, "line %u: unknown template name " SPAN_FMT, number, SPAN_ARG(name));
}

enum rc bounce_template_parse(struct span file, struct arena *a, struct bounce_template out[BT_COUNT],
			      struct err *e)
{
	struct span rest = span_dup(a, file), line, word;
	struct bounce_template *t = NULL;
	unsigned number = 0;
	enum rc rc;

	while (next_line(&rest, &line, &number)) {
		struct span text = span_trim(line);

		if (text.n == 0 || text.p[0] == '#')
			continue;
		if ((rc = take_start(text, out, number, &t, &word, e)) != RC_OK ||
		    (rc = take_block(&rest, word, &number, &bounce_templates[t - out], t, e)) != RC_OK)
			return rc;
	}
	return RC_OK;
}

/* ---- expansion ---- */
static const struct {
	const char *suffix;
	int64_t seconds;
} units[] = {
	{ "_seconds", 1 }, { "_minutes", 60 }, { "_hours", 3600 }, { "_days", 86400 }, { "_weeks", 604800 },
};

struct names {
	const struct conf *c;
	struct arena *a;
};

/* $delay_warning_time_hours and the like. */
static bool in_unit(void *arg, struct span name, struct span *value)
{
	const struct names *n = arg;

	for (size_t i = 0; i < ARRAY_LEN(units); i++) {
		size_t len = strlen(units[i].suffix);
		const struct param *p;

		if (name.n <= len || !span_ends_ci(name, span_str(units[i].suffix)))
			continue;
		p = conf_param_find(span_head(name, name.n - len));
		if (p == NULL || p->type != P_TIME)
			continue;
		*value = span_printf(
		    n->a, "%lld",
		    (long long)((conf_int(n->c, p->name) + units[i].seconds - 1) / units[i].seconds));
		return true;
	}
	return false;
}

enum rc bounce_template_body(const struct conf *c, const struct bounce_template *t, struct arena *a,
			     struct span *out, struct err *e)
{
	struct names n = { c, a };

	return conf_expand_with(c, t->body, in_unit, &n, a, out, e);
}
