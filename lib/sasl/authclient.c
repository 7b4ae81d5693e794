/* The client's side of the Dovecot authentication protocol. One reader task takes replies off the shared
 * connection and hands each to the exchange that waits for it. */
#include "sasl/authclient.h"
#include "base/codec.h"
#include "task/outbox.h"
#include "task/stream.h"
#include <sys/socket.h>
#include <unistd.h>

#define LINE_MAX_BYTES (AUTH_DATA_MAX * 2)
#define FIELDS_MAX     64
#define OUTBOX_BYTES   (4u << 20) /* not yet taken by the server */
#define STALL_S	       60
#define IDLE_DEADLINE  DEADLINE_NEVER

struct auth_exchange {
	struct list link;
	struct authclient *ac;
	uint32_t id;
	unsigned epoch; /* of the connection it began on */
	bool answered, broken;
	struct buf reply; /* one line, without its end */
	struct waitq wait;
};

enum conn_state { CONN_NONE, CONN_HANDSHAKE, CONN_READY };

struct authclient {
	struct authclient_conf conf;
	struct stream *io; /* for reading; written through `out`: many tasks do */
	struct outbox out;
	enum conn_state state;
	unsigned epoch;
	uint32_t next_id;
	struct auth_mech mech[AUTH_MECHS_MAX];
	size_t mechs;
	char cookie[128];
	struct list exchanges;
	struct waitq ready; /* the handshake ended, one way or the other */
	char trouble[512];
	bool freed, reading, connecting;
};

struct authclient *authclient_new(const struct authclient_conf *c)
{
	struct authclient *ac = xcalloc(1, sizeof(*ac));
	ac->conf = *c;
	list_init(&ac->exchanges);
	waitq_init(&ac->ready);
	return ac;
}

/* ---- values on the wire ---- */

static void put_value(struct buf *b, struct span s)
{
	for (size_t i = 0; i < s.n; i++) {
		const char *rep = s.p[i] == '\t'     ? "\001t"
				  : s.p[i] == '\n'   ? "\001n"
				  : s.p[i] == '\r'   ? "\001r"
				  : s.p[i] == '\001' ? "\0011"
				  : s.p[i] == '\0'   ? "\0010"
						     : NULL;
		if (rep)
			buf_puts(b, rep);
		else
			buf_putc(b, s.p[i]);
	}
}

static struct span get_value(struct arena *a, struct span s)
{
	char *out = arena_alloc(a, s.n + 1);
	size_t n = 0;
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];
		if (c == '\001' && i + 1 < s.n) {
			c = s.p[++i];
			c = (char)(c == 't' ? '\t' : c == 'n' ? '\n' : c == 'r' ? '\r' : c == '0' ? '\0' : c);
			if (c == '1')
				c = '\001';
		}
		out[n++] = c;
	}
	return span_make(out, n);
}

static struct span get_base64(struct arena *a, struct span s, bool *ok)
{
	struct buf b;
	buf_init(&b, AUTH_DATA_MAX);
	*ok = base64_decode(&b, s) == RC_OK;
	struct span r = *ok ? span_dup(a, buf_span(&b)) : SPAN_NONE;
	buf_release(&b);
	return r;
}

/* ---- the connection ---- */

static void disconnected(struct authclient *ac, const char *why)
{
	ac->state = CONN_NONE;
	ac->mechs = 0;
	ac->cookie[0] = '\0';
	snprintf(ac->trouble, sizeof(ac->trouble), "%s", why);
	LIST_EACH(it, &ac->exchanges)
	{
		struct auth_exchange *x = LIST_ENTRY(it, struct auth_exchange, link);
		if (x->epoch == ac->epoch) {
			x->broken = true;
			waitq_wake_all(&x->wait);
		}
	}
	waitq_wake_all(&ac->ready);
	outbox_end(&ac->out);
	stream_close(&ac->io);
}

static void learn_mech(struct authclient *ac, struct span rest)
{
	static const struct {
		const char *word;
		unsigned flag;
	} words[] = { { "plaintext", AUTHMECH_PLAINTEXT },   { "anonymous", AUTHMECH_ANONYMOUS },
		      { "private", AUTHMECH_PRIVATE },	     { "active", AUTHMECH_ACTIVE },
		      { "dictionary", AUTHMECH_DICTIONARY }, { "forward-secrecy", AUTHMECH_SECRECY },
		      { "mutual-auth", AUTHMECH_MUTUAL } };
	struct span name, w;
	if (!span_next(&rest, '\t', &name) || ac->mechs == AUTH_MECHS_MAX)
		return;
	struct auth_mech m = { .flags = 0 };
	for (size_t i = 0; i < name.n; i++)
		if (!ascii_isalnum(name.p[i]) && name.p[i] != '-' && name.p[i] != '_')
			return;
	if (!name.n || span_cstr(name, m.name, sizeof(m.name)) != RC_OK)
		return;
	for (char *p = m.name; *p; p++)
		*p = ascii_upper(*p);
	while (span_next(&rest, '\t', &w))
		for (size_t i = 0; i < ARRAY_LEN(words); i++)
			if (span_is(w, words[i].word))
				m.flags |= words[i].flag;
	ac->mech[ac->mechs++] = m;
}

/* True as long as the line makes sense. */
static bool handshake_line(struct authclient *ac, struct span line)
{
	struct span word, major;
	if (!span_next(&line, '\t', &word))
		return true;
	if (span_is(word, "VERSION"))
		return span_next(&line, '\t', &major) && span_is(major, "1");
	if (span_is(word, "MECH"))
		learn_mech(ac, line);
	else if (span_is(word, "COOKIE"))
		return span_cstr(line, ac->cookie, sizeof(ac->cookie)) == RC_OK;
	else if (span_is(word, "DONE")) {
		ac->state = CONN_READY;
		waitq_wake_all(&ac->ready);
	}
	return true;
}

static void reply_line(struct authclient *ac, struct span line)
{
	struct span rest = line, word, id;
	uint64_t n;
	if (!span_next(&rest, '\t', &word) || !span_next(&rest, '\t', &id) ||
	    span_to_u64(id, UINT32_MAX, &n) != RC_OK)
		return;
	LIST_EACH(it, &ac->exchanges)
	{
		struct auth_exchange *x = LIST_ENTRY(it, struct auth_exchange, link);
		if (x->id != n || x->epoch != ac->epoch || x->answered)
			continue;
		buf_reset(&x->reply);
		x->answered = buf_append(&x->reply, line) == RC_OK;
		x->broken = !x->answered;
		waitq_wake_all(&x->wait);
		return;
	}
}

static void release(struct authclient *ac)
{
	if (ac->freed && !ac->reading && !ac->connecting && list_empty(&ac->exchanges))
		free(ac);
}

static void reader(void *arg)
{
	struct authclient *ac = arg;
	struct span line;
	struct err e = { .text = "" };
	bool sane = true;
	while (sane && !ac->freed &&
	       stream_line(ac->io, &line, LINE_MAX_BYTES, NULL, IDLE_DEADLINE, &e) == RC_OK) {
		if (ac->state == CONN_HANDSHAKE)
			sane = handshake_line(ac, line);
		else
			reply_line(ac, line);
	}
	disconnected(ac, sane ? "authentication server closed the connection"
			      : "authentication server is no such");
	ac->reading = false;
	release(ac);
}

static enum rc connect_now(struct authclient *ac, deadline_t d, struct err *e)
{
	char hello[64];
	int fd = -1;
	ac->connecting = true;
	enum rc rc = ac->conf.connect(ac->conf.service, &fd, d, e);
	ac->connecting = false;
	if (rc != RC_OK) {
		snprintf(ac->trouble, sizeof(ac->trouble), "%s", e ? e->text : "no authentication server");
		waitq_wake_all(&ac->ready);
		return rc == RC_TIMEOUT ? rc : RC_AGAIN;
	}
	ac->io = stream_new(fd);
	ac->state = CONN_HANDSHAKE;
	ac->epoch++;
	ac->mechs = 0;
	outbox_init(&ac->out, fd, OUTBOX_BYTES, STALL_S);
	snprintf(hello, sizeof(hello), "VERSION\t1\t2\nCPID\t%ld\n", (long)getpid());
	ac->reading = true;
	task_spawn(reader, ac);
	if (outbox_put(&ac->out, span_str(hello), e) != RC_OK)
		return err_set(e, RC_AGAIN, "cannot write to the authentication server");
	return RC_OK;
}

static enum rc ensure(struct authclient *ac, deadline_t d, struct err *e)
{
	/* A reader whose connection just ended leaves at its next turn. */
	while (ac->state == CONN_NONE && ac->reading)
		task_yield();
	if (ac->state == CONN_NONE && !ac->connecting) {
		enum rc rc = connect_now(ac, d, e);
		if (rc != RC_OK)
			return rc;
	}
	while (ac->connecting || ac->state == CONN_HANDSHAKE) {
		enum rc rc = waitq_wait(&ac->ready, d);
		if (rc != RC_OK)
			return err_set(e, rc, "the authentication server does not answer");
	}
	return ac->state == CONN_READY ? RC_OK : err_set(e, RC_AGAIN, "%s", ac->trouble);
}

enum rc authclient_mechs(struct authclient *ac, const struct auth_mech **v, size_t *n, deadline_t d,
			 struct err *e)
{
	enum rc rc = ensure(ac, d, e);
	*v = ac->mech;
	*n = rc == RC_OK ? ac->mechs : 0;
	return rc;
}

void authclient_free(struct authclient **acp)
{
	struct authclient *ac = *acp;
	if (!ac)
		return;
	*acp = NULL;
	ac->freed = true;
	if (ac->io)
		shutdown(stream_fd(ac->io), SHUT_RDWR);
	release(ac);
}

/* ---- exchanges ---- */

static struct auth_exchange *exchange_new(struct authclient *ac)
{
	struct auth_exchange *x = xcalloc(1, sizeof(*x));
	x->ac = ac;
	x->id = ++ac->next_id ? ac->next_id : ++ac->next_id;
	x->epoch = ac->epoch;
	buf_init(&x->reply, LINE_MAX_BYTES);
	waitq_init(&x->wait);
	list_add_tail(&ac->exchanges, &x->link);
	return x;
}

static void exchange_free(struct auth_exchange **xp)
{
	struct auth_exchange *x = *xp;
	if (!x)
		return;
	*xp = NULL;
	list_del(&x->link);
	buf_release(&x->reply);
	release(x->ac);
	free(x);
}

static bool alive(const struct auth_exchange *x)
{
	return x->ac->state == CONN_READY && x->epoch == x->ac->epoch && !x->broken;
}

/* Sends one line and waits for the reply, which is then in x->reply. */
static enum rc ask(struct auth_exchange *x, struct buf *line, deadline_t d, struct err *e)
{
	if (!buf_ok(line) || !alive(x))
		return err_set(e, RC_AGAIN, "the connection to the authentication server is lost");
	x->answered = false;
	if (outbox_put(&x->ac->out, buf_span(line), e) != RC_OK)
		return RC_AGAIN;
	while (!x->answered && !x->broken)
		if (waitq_wait(&x->wait, d) == RC_TIMEOUT)
			return err_set(e, RC_TIMEOUT, "the authentication server does not answer");
	return x->answered ? RC_OK
			   : err_set(e, RC_AGAIN, "the connection to the authentication server is lost");
}

static void secret_release(struct buf *b)
{
	if (b->p)
		explicit_bzero(b->p, b->cap);
	buf_release(b);
}

/* OK and FAIL carry key=value fields. */
static void take_field(struct span f, struct arena *a, struct auth_outcome *out)
{
	ptrdiff_t eq = span_chr(f, '=');
	struct span key = eq < 0 ? f : span_head(f, (size_t)eq), value = SPAN_NONE;
	bool ok;
	if (eq >= 0)
		value = get_value(a, span_skip(f, (size_t)eq + 1));
	if (span_is(key, "user"))
		out->user = value;
	else if (span_is(key, "reason"))
		out->reason = value;
	else if (span_is(key, "code"))
		out->code = value;
	else if (span_is(key, "temp"))
		out->status = AUTH_TEMP;
	else if (span_is(key, "user_disabled") || span_is(key, "pass_expired") || span_is(key, "authz"))
		out->code = out->code.n ? out->code : key;
	else if (span_is(key, "resp"))
		out->final = get_base64(a, value, &ok);
}

static enum auth_status judge(struct auth_exchange **x, struct arena *a, struct auth_outcome *out,
			      struct err *e)
{
	struct span line = span_dup(a, buf_span(&(*x)->reply)), word, id, f;
	bool ok = true;
	if (!span_next(&line, '\t', &word) || !span_next(&line, '\t', &id))
		ok = false;
	else if (span_is(word, "CONT")) {
		out->status = AUTH_CONTINUE;
		out->challenge = get_base64(a, line, &ok);
	} else if (span_is(word, "OK") || span_is(word, "FAIL")) {
		out->status = span_is(word, "OK") ? AUTH_OK : AUTH_FAIL;
		for (unsigned n = 0; n < FIELDS_MAX && span_next(&line, '\t', &f); n++)
			take_field(f, a, out);
		ok = out->status != AUTH_OK || out->user.n;
	} else {
		ok = false;
	}
	if (!ok) {
		out->status = AUTH_TEMP;
		err_set(e, RC_SYNTAX, "the authentication server sent nonsense");
	}
	if (out->status == AUTH_FAIL || out->status == AUTH_TEMP)
		exchange_free(x);
	return out->status;
}

static enum auth_status give_up(struct auth_exchange **x, struct auth_outcome *out)
{
	authclient_cancel(x);
	return out->status = AUTH_TEMP;
}

static void put_param(struct buf *b, const char *key, const char *value)
{
	if (!value || !*value)
		return;
	buf_printf(b, "\t%s=", key);
	put_value(b, span_str(value));
}

static const struct auth_mech *find_mech(const struct authclient *ac, struct span name)
{
	for (size_t i = 0; i < ac->mechs; i++)
		if (span_is_ci(name, ac->mech[i].name))
			return &ac->mech[i];
	return NULL;
}

enum auth_status authclient_start(struct authclient *ac, struct span mech, const struct auth_about *about,
				  bool has_initial, struct span initial, struct arena *a,
				  struct auth_exchange **x, struct auth_outcome *out, deadline_t d,
				  struct err *e)
{
	struct buf b;
	*x = NULL;
	memset(out, 0, sizeof(*out));
	if (ensure(ac, d, e) != RC_OK)
		return out->status = AUTH_TEMP;
	const struct auth_mech *m = find_mech(ac, mech);
	if (!m || initial.n > AUTH_DATA_MAX * 3 / 4) {
		out->reason =
		    m ? SPAN("Authentication data too long") : SPAN("Unsupported authentication mechanism");
		return out->status = AUTH_FAIL;
	}
	*x = exchange_new(ac);
	buf_init(&b, LINE_MAX_BYTES);
	buf_printf(&b, "AUTH\t%u\t%s\tservice=%s", (*x)->id, m->name, ac->conf.protocol);
	if (about->secured)
		buf_puts(&b, "\tsecured");
	put_param(&b, "rip", about->rip);
	put_param(&b, "lip", about->lip);
	if (about->rport)
		buf_printf(&b, "\trport=%u", about->rport);
	if (about->lport)
		buf_printf(&b, "\tlport=%u", about->lport);
	put_param(&b, "session", about->session);
	put_param(&b, "local_name", about->local_name);
	if (has_initial) {
		buf_puts(&b, "\tresp=");
		base64_encode(&b, initial);
	}
	buf_putc(&b, '\n');
	enum rc rc = ask(*x, &b, d, e);
	secret_release(&b);
	return rc == RC_OK ? judge(x, a, out, e) : give_up(x, out);
}

enum auth_status authclient_continue(struct auth_exchange **x, struct span response, struct arena *a,
				     struct auth_outcome *out, deadline_t d, struct err *e)
{
	struct buf b;
	memset(out, 0, sizeof(*out));
	if (response.n > AUTH_DATA_MAX * 3 / 4) {
		authclient_cancel(x);
		out->reason = SPAN("Authentication data too long");
		return out->status = AUTH_FAIL;
	}
	buf_init(&b, LINE_MAX_BYTES);
	buf_printf(&b, "CONT\t%u\t", (*x)->id);
	base64_encode(&b, response);
	buf_putc(&b, '\n');
	enum rc rc = ask(*x, &b, d, e);
	secret_release(&b);
	return rc == RC_OK ? judge(x, a, out, e) : give_up(x, out);
}

void authclient_cancel(struct auth_exchange **x)
{
	char line[32];
	struct err e;
	if (!*x)
		return;
	if (alive(*x)) {
		snprintf(line, sizeof(line), "CANCEL\t%u\n", (*x)->id);
		if (outbox_put(&(*x)->ac->out, span_str(line), &e) != RC_OK)
			(*x)->broken = true; /* the reader finds out, too */
	}
	exchange_free(x);
}

static void take_user_field(struct span f, struct arena *a, struct auth_user *out)
{
	ptrdiff_t eq = span_chr(f, '=');
	if (eq < 0)
		return;
	struct span key = span_head(f, (size_t)eq), value = get_value(a, span_skip(f, (size_t)eq + 1));
	if (span_is(key, "ticket"))
		out->ticket = value;
	else if (span_is(key, "noticket"))
		out->noticket = value;
}

static enum rc judge_user(struct auth_exchange *x, struct arena *a, struct auth_user *out, struct err *e)
{
	struct span line = span_dup(a, buf_span(&x->reply)), word, id, user, f;
	if (!span_next(&line, '\t', &word) || !span_next(&line, '\t', &id))
		return err_set(e, RC_SYNTAX, "the authentication server sent nonsense");
	if (span_is(word, "NOTFOUND"))
		return err_set(e, RC_NOTFOUND, "unknown user");
	if (!span_is(word, "USER") || !span_next(&line, '\t', &user))
		return err_set(e, RC_AGAIN, "the authentication server cannot tell who the user is");
	out->user = get_value(a, user);
	for (unsigned n = 0; n < FIELDS_MAX && span_next(&line, '\t', &f); n++)
		take_user_field(f, a, out);
	return RC_OK;
}

enum rc authclient_redeem(struct auth_exchange **x, struct arena *a, struct auth_user *out, deadline_t d,
			  struct err *e)
{
	struct authclient *ac = (*x)->ac;
	struct buf b;
	memset(out, 0, sizeof(*out));
	if (!alive(*x)) {
		exchange_free(x);
		return err_set(e, RC_AGAIN, "the connection to the authentication server is lost");
	}
	uint32_t ticket = (*x)->id;
	(*x)->id = ++ac->next_id; /* replies to REQUEST carry an id of their own */
	buf_init(&b, LINE_MAX_BYTES);
	buf_printf(&b, "REQUEST\t%u\t%ld\t%u\t%s\n", (*x)->id, (long)getpid(), ticket, ac->cookie);
	enum rc rc = ask(*x, &b, d, e);
	buf_release(&b);
	if (rc == RC_OK)
		rc = judge_user(*x, a, out, e);
	exchange_free(x);
	return rc;
}
