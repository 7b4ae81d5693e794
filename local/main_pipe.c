/* local/main_pipe.c - pipe(8): delivery by a command that stands in master.cf. The command is started
 * directly; addresses are single arguments. */
#include "command.h"
#include "asuser/pipe_macro.h"
#include "log/log.h"
#include "service/service.h"
#include "setup.h"
#include "workers.h"

static struct attributes self;
static struct asuser_id who = { .tag = "pipe" };
static struct arena forever;
static int64_t time_limit_s;
static struct address_extensions extensions;

/* What the letters of flags= ask for. */
static unsigned head;	   /* HEAD_ bits */
static unsigned run_flags; /* USER_RUN_ bits */
static unsigned fold;	   /* PIPE_ bits */
static bool final;	   /* delivered, not relayed */

static void take_flags(void)
{
	static const struct {
		char letter;
		unsigned head, run, fold;
		bool final;
	} letters[] = {
		{ 'B', 0, USER_RUN_BLANK, 0, false },	{ 'D', HEAD_DELIVERED, 0, 0, false },
		{ 'F', HEAD_FROM, 0, 0, false },	{ 'O', HEAD_ORIGINAL, 0, 0, false },
		{ 'R', HEAD_RETURN, 0, 0, false },	{ 'X', 0, 0, 0, true },
		{ 'h', 0, 0, PIPE_FOLD_DOMAIN, false }, { 'q', 0, 0, PIPE_QUOTE, false },
		{ 'u', 0, 0, PIPE_FOLD_LOCAL, false },	{ '.', 0, USER_RUN_DOT, 0, false },
		{ '>', 0, USER_RUN_QUOTE, 0, false },
	};

	_Static_assert(ARRAY_LEN(letters) == sizeof(ATTRIBUTE_FLAGS) - 1, "a letter has no meaning");
	for (size_t k = 0; k < ARRAY_LEN(letters); k++) {
		if (span_chr(self.flags, letters[k].letter) < 0)
			continue;
		head |= letters[k].head;
		run_flags |= letters[k].run;
		fold |= letters[k].fold;
		final = final || letters[k].final;
	}
}

static void prepare(void)
{
	const struct conf *c = service_conf();

	setup_command(false, &forever, &self, &who);
	take_flags();
	dlog_settings(c);
	time_limit_s = conf_transport_int(c, service_name(), "_time_limit", "command_time_limit");
	extensions = address_extensions_of(c);
	map_set_remote(true);
	agent_filter_open("pipe_delivery_status_filter");
	workers_chroot(self.chroot);
	workers_prepare("pipe", 1, NULL, 0, NULL);
}

/* ---- arguments ---- */
struct arguments {
	struct text_item *v;
	size_t n, cap;
};

static void add(struct arena *a, struct arguments *to, struct span s)
{
	if (to->n == to->cap)
		to->v = arena_grow(a, to->v, to->n, &to->cap, sizeof *to->v);
	to->v[to->n++].text = s;
}

/* An argument that names the recipient is there once for each of them. */
static enum rc add_argument(struct agent *m, struct span arg, const struct pipe_value *common, size_t n,
			    struct arguments *to, struct err *e)
{
	size_t times = pipe_is_per_rcpt(arg) ? m->d->rcpts.n : 1;
	struct span out;
	enum rc rc = RC_OK;

	for (size_t i = 0; i < times && rc == RC_OK; i++) {
		struct pipe_value values[PIPE_RCPT_VALUES];
		const struct deliver_rcpt *r = agent_rcpt(m, i);
		pipe_rcpt_values(r->addr, r->orig, fold, extensions, m->a, values);
		if ((rc = pipe_expand(arg, common, n, values, PIPE_RCPT_VALUES, m->a, &out, e)) == RC_OK)
			add(m->a, to, out);
	}
	return rc;
}

static struct span null_sender_quoted(struct agent *m)
{
	return self.null_sender.n > 0 ? address_quote(m->a, self.null_sender) : SPAN_NONE;
}

static struct span sender_argument(struct agent *m)
{
	if (m->env.sender.n > 0)
		return pipe_address(m->env.sender, fold & PIPE_QUOTE, m->a);
	return fold & PIPE_QUOTE ? null_sender_quoted(m) : self.null_sender;
}

static struct span nexthop_argument(struct agent *m)
{
	char *p = arena_cstr(m->a, m->d->nexthop);

	for (char *c = p; (fold & PIPE_FOLD_DOMAIN) && *c != '\0'; c++)
		*c = ascii_lower(*c);
	return span_str(p);
}

static uint64_t content_size(const struct agent *m)
{
	const struct extent_item *x = m->d->extents.v;
	uint64_t n = m->d->content.n;

	for (size_t i = 0; m->d->fd >= 0 && i < m->d->extents.n; i++)
		n += x[i].len;
	return n;
}

static enum rc make_arguments(struct agent *m, struct ipc_list *out, struct err *e)
{
	const struct envelope *v = &m->env;
	const struct span values[PIPE_COMMON_VALUES] = {
		sender_argument(m),
		nexthop_argument(m),
		v->qid,
		span_printf(m->a, "%llu", (unsigned long long)content_size(m)),
		v->client_addr,
		v->client_name,
		v->helo,
		v->client_port,
		v->protocol,
		v->sasl_method,
		v->sasl_sender,
		v->sasl_username,
		v->envid,
	};
	struct pipe_value common[PIPE_COMMON_VALUES];
	struct arguments args = { .n = 0 };
	enum rc rc = RC_OK;

	pipe_common_values(values, common);
	for (size_t i = 0; i < self.argc && rc == RC_OK; i++)
		rc = add_argument(m, self.argv[i], common, ARRAY_LEN(common), &args, e);
	*out = (struct ipc_list){ args.v, args.n };
	return rc;
}

/* ---- delivery ---- */
static bool looping(struct agent *m, struct outcome *o)
{
	struct span header = SPAN_NONE;
	struct err e = { .text = "" };

	if (!(head & HEAD_DELIVERED))
		return false;
	if (agent_header(m, &header, &e) != RC_OK) {
		outcome_set(o, DS_DEFERRED, "4.3.0", m->a, "message content cannot be read");
		return true;
	}
	if (!agent_was_delivered(header, agent_rcpt(m, 0)->addr))
		return false;
	outcome_set(o, DS_BOUNCED, "5.4.6", m->a, "mail forwarding loop for " SPAN_FMT,
		    SPAN_ARG(agent_rcpt(m, 0)->addr));
	return true;
}

static void run(struct agent *m, struct outcome *o)
{
	const struct deliver_rcpt *r = agent_rcpt(m, 0);
	struct command_env env;
	struct user_run_reply reply = { .rc = RC_OK };
	struct err e = { .text = "" };
	bool here = self.directory[0] == '\0' && self.chroot[0] == '\0';
	const char *queue = conf_str(service_conf(), "queue_directory");
	struct user_run q = { .cwd = span_str(here ? queue : self.directory),
			      .time_limit_s = time_limit_s,
			      .flags = (uint16_t)(run_flags | (here ? USER_RUN_TRY_CWD : 0)),
			      .eol = self.eol,
			      .content = m->d->content,
			      .fd = m->d->fd,
			      .extents = m->d->extents };
	const char *shown = arena_cstr(m->a, span_head(self.argv[0], 300));

	enum rc rc = make_arguments(m, &q.argv, &e);
	if (rc != RC_OK) {
		log_warning("argv=: %s", e.text);
		outcome_set(o, DS_DEFERRED, "4.3.5", m->a, "mail system configuration error");
		return;
	}
	command_env_start(&env, m->a, NULL);
	q.env = (struct ipc_list){ env.v, env.n };
	q.head = agent_head(m, head, m->env.sender.n > 0 ? m->env.sender : null_sender_quoted(m),
			    r->orig.n ? r->orig : r->addr, r->addr);
	rc = worker_run_alone(&who, IPC_USER_RUN, &q, &reply, m->a, time_limit_s + 60, &e);
	if (rc == RC_OK) {
		command_outcome(&reply, shown, arena_printf(m->a, "delivered via %s service", service_name()),
				m->a, o);
	} else {
		log_warning("%s", e.text);
		if (rc == RC_GONE)
			service_retire();
		outcome_set(o, DS_DEFERRED, "4.3.0", m->a, "cannot run the command: %s", e.text);
	}
	if (o->status == DS_SENT && !final)
		o->status = DS_RELAYED;
}

static void deliver_all(struct agent *m, struct outcome *o)
{
	uint64_t size = content_size(m);

	if ((head & (HEAD_DELIVERED | HEAD_ORIGINAL)) && m->d->rcpts.n > 1) {
		log_warning("flags D and O need %s_destination_recipient_limit = 1", service_name());
		outcome_set(o, DS_DEFERRED, "4.3.5", m->a, "mail system configuration error");
	} else if (self.size_limit != 0 && size > self.size_limit) {
		outcome_set(o, DS_BOUNCED, "5.2.3", m->a, "message too large");
	} else if (!looping(m, o)) {
		if (agent_probe(m))
			outcome_set(o, DS_SENT, "2.0.0", m->a, "delivers to command: " SPAN_FMT,
				    SPAN_ARG(self.argv[0]));
		else
			run(m, o);
	}
}

static void answer_deliver(struct ipc_call *call, const void *request)
{
	struct agent *m;
	struct outcome o = { .dsn = "4.3.0" };

	if (agent_begin(call, request, &m) != RC_OK)
		return;
	deliver_all(m, &o);
	for (size_t i = 0, n = m->d->rcpts.n; i < n; i++)
		agent_result(m, i, &o);
}

static void start(void)
{
	map_watch(false);
}

static const struct ipc_handler handlers[] = {
	{ IPC_DELIVER, "qmgr local", answer_deliver },
	{ 0, NULL, NULL },
};

static const struct service pipe_service = {
	.name = "pipe",
	.kind = SV_IPC,
	.user = "mail_owner",
	.rights = "stdio accept recvfd",
	.chroot_empty = true,
	.prepare = prepare,
	.start = start,
	.handlers = handlers,
};

int main(int argc, char **argv)
{
	return service_main(argc, argv, &pipe_service);
}
