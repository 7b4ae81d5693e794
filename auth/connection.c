/* auth/connection.c - one client of the Dovecot authentication protocol: smtpd, imapd, pop3d, or a program of
 * others. A task reads lines; each exchange is a task that answers when it can, so one slow check holds
 * nobody up. */
#include "connection.h"
#include "auth.h"
#include "base/codec.h"
#include "log/event.h"
#include "log/log.h"
#include "protocol.h"
#include "task/outbox.h"
#include "tickets.h"
#include <unistd.h>

#define EXCHANGES_MAX 1000 /* of one connection */
#define TICKET_S      120  /* a log-in's ticket is good so long */
#define LINE_BYTES    (3 * AUTH_DATA_MAX)
#define OUTBOX_BYTES  (4u << 20) /* answers that the client did not take yet */
#define STALL_S	      60
#define DRAIN_LOOK_S  2 /* how often an idle connection looks whether the process is to end */

struct exchange {
	struct list link;
	struct connection *c;
	uint32_t id;
	struct sasl_exchange *sasl; /* NULL once it is over */
	bool busy, cancelled, secured;
	char mech[24], service[16], rip[64], lip[64];
	char user[KEEPER_NAME_MAX]; /* of a success: the ticket */
	mono_t done_at;
	bool has_data;
	struct buf data; /* decoded input of the step at hand */
};
struct connection {
	struct stream *io; /* for reading; written through `out`: every exchange is a task */
	struct outbox out;
	struct service_conn *conn;
	struct list exchanges;
	size_t exchanges_n, running; /* tasks that still use this struct */
	bool closed;
	struct waitq idle;
	char cookie[33];
};

/* ---- writing ---- */
static void send_line(struct connection *c, struct buf *b)
{
	struct err e;

	(void)buf_putc(b, '\n');
	if (!c->closed && outbox_put(&c->out, buf_span(b), &e) != RC_OK)
		c->closed = true;
	explicit_bzero(b->p, b->n);
	buf_release(b);
}

static void put_user(struct buf *b, const char *user)
{
	if (!user || !*user)
		return;
	(void)buf_puts(b, "\tuser=");
	protocol_put_value(b, span_str(user));
}

static void greet(struct connection *c)
{
	static unsigned count;
	struct span rest = span_str(exchange_mechs()), mech;
	struct buf b;

	buf_init(&b, 8192);
	(void)buf_puts(&b, "VERSION\t1\t2\n");
	while (span_next_word(&rest, " ", &mech)) {
		bool plain = span_is(mech, "PLAIN") || span_is(mech, "LOGIN");

		(void)buf_printf(&b, "MECH\t" SPAN_FMT "%s\n", SPAN_ARG(mech),
				 plain				     ? "\tplaintext"
				 : span_starts(mech, SPAN("SCRAM-")) ? "\tmutual-auth"
								     : "\tdictionary\tactive");
	}
	(void)buf_printf(&b, "SPID\t%ld\nCUID\t%u\nCOOKIE\t%s\nDONE", (long)getpid(), ++count, c->cookie);
	send_line(c, &b);
}

/* ---- exchanges ---- */
static struct exchange *find(struct connection *c, uint32_t id)
{
	LIST_EACH(it, &c->exchanges)
	{
		struct exchange *x = LIST_ENTRY(it, struct exchange, link);

		if (x->id == id)
			return x;
	}
	return NULL;
}

static void drop(struct exchange *x)
{
	x->c->exchanges_n--;
	list_del(&x->link);
	exchange_free(&x->sasl);
	if (x->data.p)
		explicit_bzero(x->data.p, x->data.cap);
	buf_release(&x->data);
	free(x);
}

static void answer_fail(struct connection *c, uint32_t id, const char *user, const char *reason, bool temp)
{
	struct buf b;

	buf_init(&b, 4096);
	(void)buf_printf(&b, "FAIL\t%u", id);
	put_user(&b, user);
	if (temp)
		(void)buf_puts(&b, "\ttemp\tcode=temp_fail");
	if (reason) {
		(void)buf_puts(&b, "\treason=");
		protocol_put_value(&b, span_str(reason));
	}
	send_line(c, &b);
}

/* Everything of the exchange that the answer needs goes into it first: as soon as a byte is on its way the
 * client may use the exchange again, end it, or spend the ticket. */
static void answer_continue(struct exchange *x, const struct exchange_step *s)
{
	struct connection *c = x->c;
	struct buf b;

	buf_init(&b, LINE_BYTES);
	(void)buf_printf(&b, "CONT\t%u\t", x->id);
	base64_encode(&b, s->data);
	snprintf(x->user, sizeof(x->user), "?"); /* begun; no name yet */
	x->busy = false;
	send_line(c, &b);
}

static void answer_ok(struct exchange *x, const struct exchange_step *s)
{
	struct connection *c = x->c;
	struct buf b;

	buf_init(&b, LINE_BYTES);
	(void)buf_printf(&b, "OK\t%u", x->id);
	put_user(&b, s->user);
	if (s->data.n) {
		(void)buf_puts(&b, "\tresp=");
		base64_encode(&b, s->data);
	}
	guard_count(x->rip, s->user, false);
	snprintf(x->user, sizeof(x->user), "%s", s->user);
	x->done_at = loop_now();
	exchange_free(&x->sasl); /* from here on it is a ticket */
	x->busy = false;
	send_line(c, &b);
}

static void refused(struct exchange *x, const struct exchange_step *s)
{
	log_info("%s: authentication failure: user=<%s>, method=%s, rip=%s", x->service,
		 s->user ? s->user : "", x->mech, x->rip);
	EVENT("auth_failure", EV_CSTR("protocol", x->service), EV_CSTR("user", s->user ? s->user : ""),
	      EV_CSTR("method", x->mech), EV_CSTR("client_address", x->rip));
	guard_count(x->rip, s->user, true);
	if (auth_conf.failure_delay_s > 0)
		task_sleep_ms(1000 * auth_conf.failure_delay_s);
}

static void answer_failed(struct exchange *x, const struct exchange_step *s)
{
	struct connection *c = x->c;
	char user[KEEPER_NAME_MAX];
	uint32_t id = x->id;
	bool silent;

	if (s->status != AUTH_TEMP)
		refused(x, s);
	snprintf(user, sizeof(user), "%s", s->user ? s->user : "");
	silent = x->cancelled; /* perhaps while we waited */
	drop(x);
	if (!silent)
		answer_fail(c, id, user, NULL, s->status == AUTH_TEMP);
}

static void step_task(void *arg)
{
	struct exchange *x = arg; /* busy: nobody else touches it */
	struct connection *c = x->c;
	struct exchange_step s;
	bool first = !x->user[0];

	x->user[0] = '\0';
	exchange_step(x->sasl, first ? x->mech : NULL, x->has_data, buf_span(&x->data), &s);
	if (s.status != AUTH_CONTINUE)
		guard_wait(x->rip, s.user);
	if (x->cancelled || c->closed)
		drop(x);
	else if (s.status == AUTH_CONTINUE)
		answer_continue(x, &s);
	else if (s.status == AUTH_OK)
		answer_ok(x, &s);
	else
		answer_failed(x, &s);
	if (--c->running == 0)
		waitq_wake_all(&c->idle);
}

static void run_step(struct exchange *x)
{
	x->busy = true;
	x->c->running++;
	task_spawn(step_task, x);
}

/* Tickets that nobody came for. */
static void sweep(struct connection *c)
{
	/* The analyser does not see that drop() unlinks. NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
	LIST_EACH_SAFE(it, &c->exchanges)
	{
		struct exchange *x = LIST_ENTRY(it, struct exchange, link);

		if (!x->busy && !x->sasl && mono_diff_ms(loop_now(), x->done_at) > TICKET_S * 1000)
			drop(x);
	}
}

/* ---- commands ---- */
static bool take_data(struct exchange *x, struct span base64)
{
	buf_reset(&x->data);
	x->has_data = true;
	return base64_decode(&x->data, base64) == RC_OK;
}

static bool mech_offered(struct span mech)
{
	struct span rest = span_str(exchange_mechs()), m;

	while (span_next_word(&rest, " ", &m))
		if (span_eq_ci(m, mech))
			return true;
	return false;
}

static struct exchange *begin(struct connection *c, const struct request *r)
{
	struct exchange *x = xcalloc(1, sizeof(*x));

	buf_init(&x->data, AUTH_DATA_MAX);
	x->c = c;
	x->id = r->id;
	x->secured = r->secured;
	memcpy(x->mech, r->mech, sizeof(x->mech));
	memcpy(x->service, r->service, sizeof(x->service));
	memcpy(x->rip, r->rip, sizeof(x->rip));
	memcpy(x->lip, r->lip, sizeof(x->lip));
	list_add_tail(&c->exchanges, &x->link);
	c->exchanges_n++;
	return x;
}

static bool cmd_auth(struct connection *c, const struct request *r)
{
	struct exchange *x;
	struct exchange_about about;

	if (find(c, r->id)) { /* an id is used for one exchange at a time */
		answer_fail(c, r->id, NULL, "malformed request", false);
		return true;
	}
	if (c->exchanges_n >= EXCHANGES_MAX) {
		answer_fail(c, r->id, NULL, "too many exchanges", true);
		return true;
	}
	x = begin(c, r);
	about = (struct exchange_about){ x->service, x->rip, x->lip, x->secured };
	if (r->has_data && !take_data(x, r->base64)) {
		answer_fail(c, r->id, NULL, "malformed base64", false);
		drop(x);
	} else if (!mech_offered(span_str(x->mech)) || !(x->sasl = exchange_new(&about))) {
		answer_fail(c, r->id, NULL, "mechanism not available", false);
		drop(x);
	} else {
		run_step(x);
	}
	return true;
}

static bool cmd_cont(struct connection *c, const struct request *r)
{
	struct exchange *x = find(c, r->id);

	if (!x || x->busy || !x->sasl) {
		answer_fail(c, r->id, NULL, "no such exchange", false);
	} else if (!take_data(x, r->base64)) {
		answer_fail(c, r->id, NULL, "malformed base64", false);
		drop(x);
	} else {
		run_step(x);
	}
	return true;
}

static bool cmd_cancel(struct connection *c, const struct request *r)
{
	struct exchange *x = find(c, r->id);

	if (x && x->busy)
		x->cancelled = true;
	else if (x)
		drop(x);
	return true;
}

static void put_setting(struct buf *b, const char *name, const char *value)
{
	if (!*value)
		return;
	(void)buf_printf(b, "\t%s=", name);
	protocol_put_value(b, span_str(value));
}

static void put_setting_id(struct buf *b, const char *name, uint32_t id)
{
	if (id != UINT32_MAX)
		(void)buf_printf(b, "\t%s=%lu", name, (unsigned long)id);
}

/* The ids and places are for those who speak Dovecot's protocol; our own fronts use name and ticket alone, and what counts is in the
 * ticket. */
static void put_identity(struct buf *b, const char *user, const char *service, const struct keeper_answer *a)
{
	struct asuser_id id;
	char ticket[TICKET_TEXT_MAX];
	struct err e;
	enum rc rc = location_find(a, user, service, &id, &e);

	put_setting_id(b, "uid", id.uid);
	put_setting_id(b, "gid", id.gid);
	put_setting(b, "home", id.home);
	put_setting(b, "mail", id.mail);
	if (rc == RC_OK) {
		ticket_issue(&id, ticket);
		put_setting(b, "ticket", ticket);
	} else {
		put_setting(b, "noticket", e.text);
	}
}

static void answer_user(struct connection *c, uint32_t rid, const char *user, const char *service)
{
	struct keeper_question q = { .op = KEEPER_FIND };
	struct keeper_answer a;
	struct err e;
	struct buf b;
	enum rc rc;

	snprintf(q.user, sizeof(q.user), "%s", user);
	rc = keeper_ask(&q, &a, &e);
	buf_init(&b, 8192);
	if (rc != RC_OK || a.source == KEEPER_NOBODY) {
		if (rc != RC_OK)
			log_warning("%s: %s", user, e.text);
		(void)buf_printf(&b, "%s\t%u", rc == RC_OK ? "NOTFOUND" : "FAIL", rid);
	} else {
		(void)buf_printf(&b, "USER\t%u\t", rid);
		protocol_put_value(&b, span_str(user));
		put_identity(&b, user, service, &a);
	}
	explicit_bzero(&a, sizeof(a));
	send_line(c, &b);
}

/* ---- tickets ---- */
struct redeem {
	struct connection *c;
	uint32_t rid;
	char user[KEEPER_NAME_MAX], service[16];
};

static void redeem_task(void *arg)
{
	struct redeem *r = arg;

	answer_user(r->c, r->rid, r->user, r->service);
	if (--r->c->running == 0)
		waitq_wake_all(&r->c->idle);
	free(r);
}

/* Who a user is concerns those who serve mailboxes; one that connected by itself reached our socket by rights
 * of its own. */
static bool may_redeem(const struct connection *c)
{
	const char *program = c->conn->from.program;

	return !*program || strcmp(program, "imapd") == 0 || strcmp(program, "pop3d") == 0;
}

static bool cmd_redeem(struct connection *c, const struct request *q)
{
	struct exchange *x = find(c, q->id);
	struct redeem *r;
	struct buf b;

	if (!may_redeem(c) || !span_eq_secret(q->cookie, span_str(c->cookie)) || !x || x->busy || x->sasl ||
	    mono_diff_ms(loop_now(), x->done_at) > TICKET_S * 1000) {
		buf_init(&b, 256);
		(void)buf_printf(&b, "FAIL\t%u\treason=no such ticket", q->rid);
		send_line(c, &b);
		return true;
	}
	r = xcalloc(1, sizeof(*r));
	r->c = c;
	r->rid = q->rid;
	memcpy(r->user, x->user, sizeof(r->user));
	memcpy(r->service, x->service, sizeof(r->service));
	drop(x); /* good for once */
	c->running++;
	task_spawn(redeem_task, r);
	return true;
}

static bool (*const commands[])(struct connection *c, const struct request *r) = {
	[REQ_AUTH] = cmd_auth,
	[REQ_CONT] = cmd_cont,
	[REQ_CANCEL] = cmd_cancel,
	[REQ_REDEEM] = cmd_redeem,
};

/* False: the client sent nonsense, and the connection ends. */
static bool command(struct connection *c, struct span line)
{
	struct request r;

	switch (request_parse(line, &r)) {
	case RC_OK:
		break;
	case RC_DENIED:
		answer_fail(c, r.id, NULL, "malformed request", false);
		return true;
	default:
		return false;
	}
	return r.kind >= ARRAY_LEN(commands) || !commands[r.kind] || commands[r.kind](c, &r);
}

/* The process is to end, and this client has nothing under way. */
static bool idle_while_draining(const struct connection *c)
{
	return service_draining() && c->running == 0 && c->exchanges_n == 0;
}

static void read_lines(struct connection *c)
{
	struct span line;
	struct err e;

	while (!c->closed && !idle_while_draining(c)) {
		switch (stream_line(c->io, &line, LINE_BYTES, NULL, deadline_s(DRAIN_LOOK_S), &e)) {
		case RC_OK:
			if (!command(c, line)) {
				log_warning("client sent nonsense: disconnected");
				return;
			}
			break;
		case RC_TIMEOUT:
			break;
		default:
			return;
		}
		sweep(c);
	}
}

void connection_serve(struct service_conn *conn)
{
	struct connection *c = xcalloc(1, sizeof(*c));
	unsigned char random[16];

	c->conn = conn;
	c->io = conn->io;
	outbox_init(&c->out, stream_fd(c->io), OUTBOX_BYTES, STALL_S);
	list_init(&c->exchanges);
	waitq_init(&c->idle);
	random_bytes(random, sizeof(random));
	for (size_t i = 0; i < sizeof(random); i++)
		snprintf(c->cookie + 2 * i, 3, "%02x", random[i]);
	greet(c);
	read_lines(c);
	c->closed = true;
	while (c->running > 0)
		(void)!waitq_wait(&c->idle, deadline_s(60));
	while (!list_empty(&c->exchanges))
		drop(LIST_ENTRY(list_first(&c->exchanges), struct exchange, link));
	outbox_end(&c->out);
	free(c);
}
