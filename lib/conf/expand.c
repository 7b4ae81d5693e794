/* conf/expand.c - $name, ${name}, ${name?{a}:{b}} and comparisons (postconf(5)).
 *
 * A value is expanded when somebody asks for it, by descent: text -> reference -> text of the name. Three
 * bounds hold whatever the file says: depth (CONF_DEPTH_MAX), size of the result (CONF_VALUE_MAX), and names
 * looked up (CONF_STEPS_MAX), because names that double each other into nothing cost time without making
 * text. */
#include "conf/conf_int.h"

struct active { /* names being expanded, innermost first */
	const struct active *outer;
	struct span name;
};

struct expansion {
	const struct conf *c;
	bool (*extra)(void *arg, struct span name, struct span *value);
	void *arg;
	struct arena *a; /* of operands of comparisons */
	unsigned steps;
	struct err *e;
};

static enum rc expand_text(struct expansion *x, struct span text, const struct active *on, unsigned depth,
			   struct buf *out);

static struct span skip_space(struct span s)
{
	while (s.n > 0 && ascii_isspace(s.p[0]))
		s = span_skip(s, 1);
	return s;
}

static struct span trim(struct span s)
{
	s = skip_space(s);
	while (s.n > 0 && ascii_isspace(s.p[s.n - 1]))
		s.n--;
	return s;
}

static struct span take_name(struct span *s)
{
	size_t n = 0;
	struct span name;

	while (n < s->n && conf_name_char(s->p[n]))
		n++;
	name = span_head(*s, n);
	*s = span_skip(*s, n);
	return name;
}

/* The length of s up to the bracket that closes the one it starts with, or 0. Other kinds of brackets do not
 * count. */
static size_t closing(struct span s, char open, char close)
{
	unsigned level = 0;

	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == open)
			level++;
		else if (s.p[i] == close && --level == 0)
			return i;
	}
	return 0;
}

/* Inside a reference blanks within the braces are part of the text. */
static enum rc braces(struct span *rest, struct span *inner)
{
	size_t end = closing(*rest, '{', '}');

	if (end == 0)
		return RC_SYNTAX;
	*inner = span_make(rest->p + 1, end - 1);
	*rest = span_skip(*rest, end + 1);
	return RC_OK;
}

enum rc conf_braces(struct span *rest, struct span *inner)
{
	enum rc rc = braces(rest, inner);

	if (rc == RC_OK)
		*inner = trim(*inner);
	return rc;
}

static enum rc bad(struct expansion *x, const char *what, struct span where)
{
	return err_set(x->e, RC_SYNTAX, "%s in \"" SPAN_FMT "\"", what, SPAN_ARG(span_head(where, 100)));
}

static enum rc loop(struct expansion *x, struct span name, const struct active *on)
{
	char path[300];
	size_t n = 0;

	for (; on != NULL && n < sizeof(path); on = on->outer) {
		n += (size_t)snprintf(path + n, sizeof(path) - n, " <- " SPAN_FMT,
				      SPAN_ARG(span_head(on->name, 64)));
		if (span_eq(on->name, name))
			break;
	}
	return err_set(x->e, RC_SYNTAX, "parameter " SPAN_FMT " refers to itself: " SPAN_FMT "%s",
		       SPAN_ARG(span_head(name, 64)), SPAN_ARG(span_head(name, 64)), n > 0 ? path : "");
}

/* The unexpanded value of `name`; *final when it comes from the caller and is not to be expanded. */
static enum rc look_up(struct expansion *x, struct span name, struct span *raw, bool *final)
{
	char cname[256];
	const char *text = NULL;

	*raw = SPAN_NONE;
	*final = false;
	if (++x->steps > CONF_STEPS_MAX)
		return err_set(x->e, RC_LIMIT, "a value is limited to %d references to other parameters",
			       CONF_STEPS_MAX);
	if (x->extra != NULL && x->extra(x->arg, name, raw)) {
		*final = true;
		return RC_OK;
	}
	if (span_cstr(name, cname, sizeof(cname)) == RC_OK)
		text = conf_raw(x->c, cname);
	*raw = span_str(text);
	return RC_OK;
}

static enum rc put(struct expansion *x, struct buf *out, struct span s)
{
	if (buf_append(out, s) != RC_OK)
		return err_set(x->e, RC_LIMIT, "an expanded value is limited to %zu bytes", CONF_VALUE_MAX);
	return RC_OK;
}

static enum rc expand_name(struct expansion *x, struct span name, const struct active *on, unsigned depth,
			   struct buf *out)
{
	struct active me = { on, name };
	struct span raw;
	bool final;
	enum rc rc;

	for (const struct active *a = on; a != NULL; a = a->outer)
		if (span_eq(a->name, name))
			return loop(x, name, on);
	if ((rc = look_up(x, name, &raw, &final)) != RC_OK)
		return rc;
	if (final)
		return put(x, out, raw);
	return expand_text(x, raw, &me, depth + 1, out);
}

static bool all_digits(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!ascii_isdigit(s.p[i]))
			return false;
	return s.n > 0;
}

/* Numbers of any length: without leading zeros the longer one is greater. */
static int compare_numbers(struct span a, struct span b)
{
	while (a.n > 1 && a.p[0] == '0')
		a = span_skip(a, 1);
	while (b.n > 1 && b.p[0] == '0')
		b = span_skip(b, 1);
	if (a.n != b.n)
		return a.n < b.n ? -1 : 1;
	return a.n == 0 ? 0 : memcmp(a.p, b.p, a.n);
}

static int compare_texts(struct span a, struct span b)
{
	size_t n = a.n < b.n ? a.n : b.n;
	int d = n == 0 ? 0 : memcmp(a.p, b.p, n);

	return d != 0 ? d : a.n < b.n ? -1 : a.n > b.n;
}

/* "3.10" comes after "3.6": major.minor.patch, missing parts are 0. */
static bool compare_levels(struct span a, struct span b, int *d)
{
	*d = 0;
	if (a.n == 0 || b.n == 0)
		return false;
	for (int part = 0; part < 3; part++) {
		struct span pa = SPAN("0"), pb = SPAN("0");

		if (a.n > 0 && !span_next(&a, '.', &pa))
			return false;
		if (b.n > 0 && !span_next(&b, '.', &pb))
			return false;
		if (!all_digits(pa) || !all_digits(pb))
			return false;
		if (*d == 0)
			*d = compare_numbers(pa, pb);
	}
	return a.n == 0 && b.n == 0;
}

static const struct relation {
	const char *op;
	bool level, lt, eq, gt;
} relations[] = {
	{ "==", false, false, true, false },	 { "!=", false, true, false, true },
	{ "<", false, true, false, false },	 { "<=", false, true, true, false },
	{ ">=", false, false, true, true },	 { ">", false, false, false, true },
	{ "==level", true, false, true, false }, { "!=level", true, true, false, true },
	{ "<level", true, true, false, false },	 { "<=level", true, true, true, false },
	{ ">=level", true, false, true, true },	 { ">level", true, false, false, true },
};

static const struct relation *take_relation(struct span *rest)
{
	size_t n = 0;
	struct span op;

	while (n < rest->n && (strchr("=!<>", rest->p[n]) != NULL || ascii_isalpha(rest->p[n])))
		n++;
	op = span_head(*rest, n);
	for (size_t i = 0; i < ARRAY_LEN(relations); i++)
		if (span_is(op, relations[i].op)) {
			*rest = span_skip(*rest, n);
			return &relations[i];
		}
	return NULL;
}

static enum rc operand(struct expansion *x, struct span text, const struct active *on, unsigned depth,
		       struct span *out)
{
	struct buf b;
	enum rc rc;

	buf_init(&b, CONF_VALUE_MAX);
	if ((rc = expand_text(x, text, on, depth + 1, &b)) == RC_OK)
		*out = span_dup(x->a, buf_span(&b));
	buf_release(&b);
	return rc;
}

/* {left} op {right} at the start of *rest. */
static enum rc comparison(struct expansion *x, struct span *rest, const struct active *on, unsigned depth,
			  bool *truth)
{
	struct span whole = *rest, left, right;
	const struct relation *r;
	enum rc rc;
	int d;

	if (braces(rest, &left) != RC_OK)
		return bad(x, "missing '}'", whole);
	*rest = skip_space(*rest);
	if ((r = take_relation(rest)) == NULL)
		return bad(x, "comparison operator expected", whole);
	*rest = skip_space(*rest);
	if (rest->n == 0 || rest->p[0] != '{')
		return bad(x, "'{' expected after the comparison operator", whole);
	if (braces(rest, &right) != RC_OK)
		return bad(x, "missing '}'", whole);
	if ((rc = operand(x, left, on, depth, &left)) != RC_OK ||
	    (rc = operand(x, right, on, depth, &right)) != RC_OK)
		return rc;
	if (r->level) {
		if (!compare_levels(left, right, &d))
			return bad(x, "compatibility level expected", whole);
	} else if (all_digits(left) && all_digits(right)) {
		d = compare_numbers(left, right);
	} else {
		d = compare_texts(left, right);
	}
	*truth = d < 0 ? r->lt : d == 0 ? r->eq : r->gt;
	return RC_OK;
}

/* One alternative: {text}, or all that is left. */
static enum rc alternative(struct expansion *x, struct span *rest, struct span *text)
{
	struct span whole = *rest;

	*rest = skip_space(*rest);
	if (rest->n > 0 && rest->p[0] == '{') {
		if (braces(rest, text) != RC_OK)
			return bad(x, "missing '}'", whole);
		*rest = skip_space(*rest);
		return RC_OK;
	}
	*text = whole;
	*rest = SPAN_NONE;
	return RC_OK;
}

/* ?yes, ?{yes}, ?{yes}:{no}, :no, :{no} - `rest` starts with the '?' or ':'. */
static enum rc choose(struct expansion *x, struct span rest, bool truth, struct span *chosen)
{
	struct span whole = rest, yes = SPAN_NONE, no = SPAN_NONE;
	enum rc rc;

	if (rest.p[0] == '?') {
		rest = span_skip(rest, 1);
		if ((rc = alternative(x, &rest, &yes)) != RC_OK)
			return rc;
	}
	if (rest.n > 0 && rest.p[0] == ':') {
		rest = span_skip(rest, 1);
		if ((rc = alternative(x, &rest, &no)) != RC_OK)
			return rc;
	}
	if (rest.n > 0)
		return bad(x, "':' or '}' expected", whole);
	*chosen = truth ? yes : no;
	return RC_OK;
}

/* What stands between ${ and }. */
static enum rc expand_reference(struct expansion *x, struct span inner, const struct active *on,
				unsigned depth, struct buf *out)
{
	struct span rest = skip_space(inner), name = SPAN_NONE, chosen;
	bool truth = false, final;
	enum rc rc;

	if (rest.n > 0 && rest.p[0] == '{') {
		if ((rc = comparison(x, &rest, on, depth, &truth)) != RC_OK)
			return rc;
	} else {
		name = take_name(&rest);
		if (name.n == 0)
			return bad(x, "parameter name expected", inner);
	}
	rest = skip_space(rest);
	if (rest.n == 0)
		return name.n > 0 ? expand_name(x, name, on, depth, out)
				  : put(x, out, span_str(truth ? "true" : ""));
	if (rest.p[0] != '?' && rest.p[0] != ':')
		return bad(x, "'?', ':' or the end of the reference expected", inner);
	if (name.n > 0) { /* the value as written decides: one that expands to nothing counts as set */
		struct span raw;

		if ((rc = look_up(x, name, &raw, &final)) != RC_OK)
			return rc;
		truth = raw.n > 0;
	}
	if ((rc = choose(x, rest, truth, &chosen)) != RC_OK)
		return rc;
	return expand_text(x, chosen, on, depth + 1, out);
}

static enum rc expand_text(struct expansion *x, struct span text, const struct active *on, unsigned depth,
			   struct buf *out)
{
	struct span rest = text;
	enum rc rc = RC_OK;

	if (depth > CONF_DEPTH_MAX)
		return err_set(x->e, RC_LIMIT, "references are nested more than %d deep", CONF_DEPTH_MAX);
	while (rc == RC_OK && rest.n > 0) {
		ptrdiff_t dollar = span_chr(rest, '$');
		struct span name;
		size_t end;

		if (dollar < 0)
			return put(x, out, rest);
		if ((rc = put(x, out, span_head(rest, (size_t)dollar))) != RC_OK)
			return rc;
		rest = span_skip(rest, (size_t)dollar + 1);
		if (rest.n == 0)
			return bad(x, "parameter name expected after '$'", text);
		switch (rest.p[0]) {
		case '$':
			rc = put(x, out, SPAN("$"));
			rest = span_skip(rest, 1);
			break;
		case '{':
		case '(':
			end = closing(rest, rest.p[0], rest.p[0] == '{' ? '}' : ')');
			if (end == 0)
				return bad(x, "unfinished reference", text);
			rc = expand_reference(x, span_make(rest.p + 1, end - 1), on, depth, out);
			rest = span_skip(rest, end + 1);
			break;
		default:
			name = take_name(&rest);
			if (name.n == 0)
				return bad(x, "parameter name expected after '$'", text);
			rc = expand_name(x, name, on, depth, out);
			break;
		}
	}
	return rc;
}

enum rc conf_expand_with(const struct conf *c, struct span text,
			 bool (*extra)(void *arg, struct span name, struct span *value), void *arg,
			 struct arena *a, struct span *out, struct err *e)
{
	struct expansion x = { .c = c, .extra = extra, .arg = arg, .a = a, .e = e };
	struct buf b;
	enum rc rc;

	buf_init(&b, CONF_VALUE_MAX);
	if ((rc = expand_text(&x, text, NULL, 0, &b)) == RC_OK)
		*out = span_make(arena_cstr(a, buf_span(&b)), b.n);
	buf_release(&b);
	return rc;
}

enum rc conf_expand(const struct conf *c, struct span text, struct arena *a, struct span *out, struct err *e)
{
	return conf_expand_with(c, text, NULL, NULL, a, out, e);
}
