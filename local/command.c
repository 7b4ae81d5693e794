/* local/command.c - delivery to "|command" and mailbox_command. The message's addresses reach the command by
 * its environment alone, with every character outside command_expansion_filter replaced: what a shell makes
 * of $RECIPIENT can be nothing but a word. */
#include "command.h"
#include "local.h"
#include "mime/address.h"
#include "service/service.h"

#define ARGV_MAX 500

/* What only a shell understands; without it the command is started directly. */
static bool needs_shell(struct span command)
{
	static const char *const builtins[] = { ".",	 ":",	  "break",    "case",	"cd",	  "continue",
						"echo",	 "eval",  "exec",     "exit",	"export", "for",
						"if",	 "read",  "readonly", "return", "set",	  "shift",
						"test",	 "times", "trap",     "type",	"ulimit", "umask",
						"unset", "until", "wait",     "while" };
	struct span rest = command, first;

	for (size_t i = 0; i < command.n; i++)
		if (!ascii_isalnum(command.p[i]) && memchr("@%-_=+:,./ \t", command.p[i], 12) == NULL)
			return true;
	if (!span_next_word(&rest, " \t", &first))
		return true;
	for (size_t i = 0; i < ARRAY_LEN(builtins); i++)
		if (span_is(first, builtins[i]))
			return true;
	return span_chr(first, '=') >= 0;
}

/* local_command_shell ("/usr/lib/smrsh -c") gets every command as its last argument; else sh those that need
 * one. */
static void make_argv(struct arena *a, struct span command, struct ipc_list *out)
{
	struct text_item *v = arena_array(a, ARGV_MAX + 1, sizeof *v);
	struct span word, rest = span_str(conf_str(service_conf(), "local_command_shell"));
	bool shell = rest.n > 0 || needs_shell(command);
	size_t n = 0;

	if (rest.n == 0)
		rest = shell ? SPAN("/bin/sh -c") : command;
	while (n < ARGV_MAX && span_next_word(&rest, " \t", &word))
		v[n++].text = word;
	if (shell)
		v[n++].text = command;
	*out = (struct ipc_list){ v, n };
}

static void make_environment(struct local *l, const struct place *p, const struct account *as,
			     struct command_env *env)
{
	const struct envelope *m = &l->m->env;
	struct span original = p->rcpt.orig.n ? p->rcpt.orig : p->rcpt.addr;

	command_env_start(env, l->a, conf_str(service_conf(), "command_expansion_filter"));
	if (as != NULL) {
		command_env_add(env, "HOME", span_str(as->home));
		command_env_add(env, "SHELL", span_str(as->shell));
	}
	const struct {
		const char *name;
		struct span value;
	} all[] = {
		/* without quotes: what a command compares and looks up */
		/* of the recipient, also where the command has the rights of nobody or of who owns the table */
		{ "USER", p->user },
		{ "LOGNAME", p->user },
		{ "SENDER", address_unquote(l->a, p->sender) },
		{ "RECIPIENT", address_unquote(l->a, p->rcpt.addr) },
		{ "ORIGINAL_RECIPIENT", address_unquote(l->a, original) },
		{ "LOCAL", p->local },
		{ "DOMAIN", p->domain },
		{ "EXTENSION", p->ext },
		{ "CLIENT_HOSTNAME", m->client_name },
		{ "CLIENT_ADDRESS", m->client_addr },
		{ "CLIENT_HELO", m->helo },
		{ "CLIENT_PROTOCOL", m->protocol },
		{ "SASL_METHOD", m->sasl_method },
		{ "SASL_SENDER", m->sasl_sender },
		{ "SASL_USERNAME", m->sasl_username },
		{ "ENVID", m->envid },
	};
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		if (i < 7 || all[i].value.n > 0)
			command_env_add(env, all[i].name, all[i].value);
}

static void run(struct local *l, const struct place *p, struct span command, const struct account *as,
		struct outcome *o)
{
	struct asuser_id id = local_id_of(as);
	struct command_env env;
	struct user_run_reply r = { .rc = RC_OK };
	struct err e = { .text = "" };
	const char *shown = arena_cstr(l->a, span_head(command, 300)),
		   *dir = conf_raw(service_conf(), "command_execution_directory");
	struct user_run q = { .time_limit_s = conf_int(service_conf(), "command_time_limit"),
			      .file_limit = local_conf.limit,
			      .content = l->m->d->content,
			      .fd = l->m->d->fd,
			      .extents = l->m->d->extents };

	id.allow_exec = 1;
	make_argv(l->a, command, &q.argv);
	make_environment(l, p, as, &env);
	q.env = (struct ipc_list){ env.v, env.n };
	q.head = agent_head(l->m,
			    HEAD_FROM | HEAD_RETURN | HEAD_ORIGINAL |
				(local_conf.delivered_command ? HEAD_DELIVERED : 0),
			    p->sender, p->rcpt.orig.n ? p->rcpt.orig : p->rcpt.addr, p->delivered);
	if (dir != NULL && dir[0] != '\0' &&
	    local_expand(l, p, as, span_str(dir),
			 conf_str(service_conf(), "execution_directory_expansion_filter"), &q.cwd,
			 &e) != RC_OK) {
		outcome_set(o, DS_DEFERRED, "4.3.5", l->a, "mail system configuration error");
		return;
	}
	enum rc rc = worker_run_alone(&id, IPC_USER_RUN, &q, &r, l->a, q.time_limit_s + 60, &e);
	if (rc != RC_OK)
		mailbox_no_child(o, rc, l->a, e.text);
	else
		command_outcome(&r, shown, arena_printf(l->a, "delivered to command: %s", shown), l->a, o);
	if (o->status == DS_SENT) /* what a command says when all is well is nobody's business */
		outcome_set(o, DS_SENT, "2.0.0", l->a, "delivered to command: %s", shown);
}

void local_command(struct local *l, const struct place *p, struct span command, const struct account *as)
{
	struct outcome o;

	if (as != NULL && as->uid == 0)
		as = NULL;
	if (local_seen(l, as != NULL ? arena_printf(l->a, "command %lu", (unsigned long)as->uid) : "command",
		       command))
		return;
	if (agent_probe(l->m))
		outcome_set(&o, DS_SENT, "2.0.0", l->a, "delivers to command: " SPAN_FMT, SPAN_ARG(command));
	else
		run(l, p, command, as, &o);
	local_report(l, p, &o);
}
