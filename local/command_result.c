/* local/command_result.c - the end of a command as a delivery status, and the environment it starts with. */
#include "command.h"
#include "base/codec.h"
#include "service/service.h"
#include "smtp/dsn.h"
#include <stdlib.h>

/* sysexits(3) with RFC 3463 codes. */
static const struct {
	uint16_t status;
	const char *dsn, *text;
} exits[] = {
	{ 64, "5.3.0", "command line usage error" },  { 65, "5.6.0", "data format error" },
	{ 66, "5.3.0", "cannot open input" },	      { 67, "5.1.1", "user unknown" },
	{ 68, "5.1.2", "host name unknown" },	      { 69, "5.3.0", "service unavailable" },
	{ 70, "5.3.0", "internal software error" },   { 71, "4.3.0", "system resource problem" },
	{ 72, "5.3.0", "critical OS file missing" },  { 73, "5.2.0", "can't create user output file" },
	{ 74, "4.3.0", "input/output error" },	      { 75, "4.3.0", "temporary failure" },
	{ 76, "5.5.0", "remote error in protocol" },  { 77, "5.7.0", "permission denied" },
	{ 78, "5.3.5", "local configuration error" },
};

static enum deliver_status status_of(const char *dsn)
{
	return dsn[0] == '4' ? DS_DEFERRED : DS_BOUNCED;
}

/* What the frame of a daemon sets when it was started without TZ (lib/service): nothing to pass on. */
#define NO_TZ ":/etc/localtime"

/* Bytes of the character at the start of `s`, 1 to 4. */
static size_t character(struct span s)
{
	unsigned char c = (unsigned char)s.p[0];
	size_t n = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc0 ? 2 : 1;

	return n <= s.n && utf8_valid(span_head(s, n)) ? n : 1;
}

/* One line for the log and the report, with all that was said: a blank stands for each line end, also the last one. */
static struct span one_line(struct span s, struct arena *a)
{
	char *p = arena_cstr(a, span_head(s, AGENT_REASON_MAX));

	s = span_head(s, AGENT_REASON_MAX);
	for (size_t i = 0, n; i < s.n; i += n) {
		struct span rest = span_skip(s, i);

		n = character(rest);
		if (ascii_isspace(p[i]))
			p[i] = ' ';
		else if (n == 1 && !(p[i] > ' ' && p[i] < 0x7f))
			p[i] = '_';
	}
	return span_make(p, s.n);
}

static struct span without_first_blanks(struct span s)
{
	while (s.n > 0 && s.p[0] == ' ')
		s = span_skip(s, 1);
	return s;
}

static struct span without_last_blanks(struct span s)
{
	while (s.n > 0 && s.p[s.n - 1] == ' ')
		s.n--;
	return s;
}

static void ended_badly(const struct user_run_reply *r, const char *shown, struct span output,
			struct arena *a, struct outcome *o)
{
	const char *label = output.n ? ". Command output: " : "";
	size_t n = output.n > 0 && output.p[0] != '2' ? dsn_length(output) : 0;
	struct span text = without_first_blanks(span_skip(output, n));

	if (n > 0 && text.n > 0) {
		const char *code = arena_cstr(a, span_head(output, n));
		outcome_set(o, status_of(code), code, a, SPAN_FMT, SPAN_ARG(text));
		o->unix = text;
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(exits); i++)
		if (r->exit_status == exits[i].status) {
			outcome_set(o, status_of(exits[i].dsn), exits[i].dsn, a, "%s%s" SPAN_FMT,
				    exits[i].text, label, SPAN_ARG(output));
			o->unix = output.n ? output : span_str(exits[i].text);
			return;
		}
	outcome_set(o, DS_BOUNCED, "5.3.0", a, "Command died with status %u: \"%.300s\"%s" SPAN_FMT,
		    r->exit_status, shown, label, SPAN_ARG(output));
	o->unix = output.n ? output : span_printf(a, "unknown mail system error %u", r->exit_status);
}

void command_outcome(const struct user_run_reply *r, const char *shown, const char *done, struct arena *a,
		     struct outcome *o)
{
	struct span output = one_line(r->output, a);
	const char *label = output.n ? ". Command output: " : "";

	if (r->rc != RC_OK)
		outcome_set(o, DS_DEFERRED, "4.3.0", a, "cannot run the command: " SPAN_FMT,
			    SPAN_ARG(r->text));
	else if (r->timed_out)
		outcome_set(o, DS_DEFERRED, "4.3.0", a, "Command time limit exceeded: \"%.300s\"%s" SPAN_FMT,
			    shown, label, SPAN_ARG(output));
	else if (r->signal != 0)
		outcome_set(o, DS_DEFERRED, "4.3.0", a, "Command died with signal %u: \"%.300s\"%s" SPAN_FMT,
			    r->signal, shown, label, SPAN_ARG(output));
	else if (r->exit_status != 0)
		ended_badly(r, shown, output, a, o);
	else if ((output = without_last_blanks(output)).n > 0)
		outcome_set(o, DS_SENT, "2.0.0", a, "%s (" SPAN_FMT ")", done, SPAN_ARG(output));
	else
		outcome_set(o, DS_SENT, "2.0.0", a, "%s", done);
}

void command_env_add(struct command_env *env, const char *name, struct span value)
{
	char *p = arena_printf(env->a, "%s=" SPAN_FMT, name, SPAN_ARG(value));

	for (char *c = p + strlen(name) + 1; env->allowed != NULL && *c != '\0'; c++)
		if (strchr(env->allowed, *c) == NULL)
			*c = '_';
	if (env->n == env->cap)
		env->v = arena_grow(env->a, env->v, env->n, &env->cap, sizeof *env->v);
	env->v[env->n++] = (struct text_item){ span_head(span_str(p), 8000) };
}

void command_env_start(struct command_env *env, struct arena *a, const char *allowed)
{
	struct span *word, name, value;
	size_t n;

	*env = (struct command_env){ .a = a };
	command_env_add(env, "PATH", SPAN("/usr/bin:/bin"));
	if (conf_words(span_str(conf_str(service_conf(), "export_environment")), false, a, &word, &n, NULL) !=
	    RC_OK)
		n = 0;
	for (size_t i = 0; i < n; i++) {
		bool given = conf_environment_word(word[i], &name, &value);
		const char *key = arena_cstr(a, name), *mine = getenv(key);
		if (given)
			command_env_add(env, key, value);
		else if (mine != NULL && !(strcmp(key, "TZ") == 0 && strcmp(mine, NO_TZ) == 0))
			command_env_add(env, key, span_str(mine));
	}
	env->allowed = allowed;
}
