/* bounce/main_bounce.c - bounce(8), also as defer and trace: makes delivery status notifications and hands
 * them to cleanup. qmgr sends everything there is to say in one request; nothing is kept here. */
#include "dsn.h"
#include "log/event.h"
#include "log/log.h"
#include "base/codec.h"
#include "mime/address.h"
#include "mime/header.h"
#include "queue/qid.h"
#include "service/service.h"
#include <stdio.h>
#include <unistd.h>

#define CONTENT_MAX (64 * 1024) /* of the original: what fits a record together with the report */

#define TEMPLATE_FILE_MAX (1 << 20)

static struct bounce_template templates[BT_COUNT];

static enum rc read_whole(const char *path, struct arena *a, struct span *out, struct err *e)
{
	char *p = arena_alloc(a, TEMPLATE_FILE_MAX);
	FILE *f = fopen(path, "re");
	size_t n;

	if (f == NULL)
		return err_sys(e, "open");
	n = fread(p, 1, TEMPLATE_FILE_MAX, f);
	fclose(f);
	*out = span_make(p, n);
	return n < TEMPLATE_FILE_MAX ? RC_OK : err_set(e, RC_LIMIT, "too long");
}

struct work {
	const struct bounce_send *q;
	struct arena *a;
	struct envelope env;
	struct bounce_rcpt *rcpt;
	size_t rcpts;
	struct span content;
	bool cut;
};

/* ---- who gets what ---- */
static bool wants(enum bounce_kind kind, const struct bounce_rcpt *r)
{
	switch (kind) {
	case BK_FAILURE: /* RFC 3461 4.1: without NOTIFY failures are reported */
		return r->notify == 0 || (r->notify & NOTIFY_FAILURE);
	case BK_DELAY:
		return r->notify == 0 || (r->notify & NOTIFY_DELAY);
	case BK_SUCCESS:
		return r->notify & NOTIFY_SUCCESS;
	case BK_TRACE:
		return true;
	}
	return false;
}

static void choose_recipients(struct work *w)
{
	const struct bounce_rcpt *v = w->q->rcpts.v;

	w->rcpt = arena_array(w->a, w->q->rcpts.n + 1, sizeof(*w->rcpt));
	for (size_t i = 0; i < w->q->rcpts.n; i++)
		if (wants((enum bounce_kind)w->q->kind, &v[i]))
			w->rcpt[w->rcpts++] = v[i];
}

static bool has_word(const char *param, const char *word)
{
	struct span rest = span_str(conf_str(service_conf(), param)), w;

	while (span_next_word(&rest, ", \t\n", &w))
		if (span_is_ci(w, word))
			return true;
	return false;
}

/* ---- the original ---- */
struct read_job {
	struct work *w;
	char *bytes;
	size_t n, max;
};

static void read_extents(void *arg)
{
	struct read_job *j = arg;
	const struct extent_item *x = j->w->q->extents.v;

	for (size_t i = 0; i < j->w->q->extents.n && j->n < j->max; i++) {
		size_t want = x[i].len < j->max - j->n ? (size_t)x[i].len : j->max - j->n;
		ssize_t got = pread(j->w->q->fd, j->bytes + j->n, want, (off_t)x[i].off);

		if (got <= 0)
			return;
		j->n += (size_t)got;
		if ((size_t)got < x[i].len)
			j->w->cut = true;
	}
}

static void take_content(struct work *w)
{
	struct read_job j = { .w = w, .max = CONTENT_MAX };

	w->content = w->q->content;
	w->cut = w->q->content_cut;
	if (w->q->fd < 0 || w->content.n)
		return;
	j.bytes = arena_alloc(w->a, CONTENT_MAX);
	task_offload(read_extents, &j);
	w->content = span_make(j.bytes, j.n);
	for (size_t i = 0, sum = 0; i < w->q->extents.n; i++)
		if ((sum += ((const struct extent_item *)w->q->extents.v)[i].len) > j.n)
			w->cut = true;
}

/* ---- sending ---- */
static uint16_t submit(struct work *w, struct span from, struct span to, struct qid id, struct span content,
		       struct span *text)
{
	struct env_rcpt rcpt = { .addr = to, .notify = from.n ? NOTIFY_NEVER : 0 };
	struct envelope env = {
		.qid = qid_span(&id), .arrival_us = wall_now().us, .sender = from, .size = content.n
	};
	struct cleanup_submit q = { .content = content };
	struct cleanup_submit_reply r = { .code = 451 };
	struct buf b;
	struct err e = { .text = "" };
	enum rc rc;

	env.flags = ENVF_BOUNCE | (w->env.flags & ENVF_SMTPUTF8);
	if (!has_word("internal_mail_filter_classes", from.n ? "notify" : "bounce"))
		env.flags |= ENVF_NO_HEADERBODY | ENVF_NO_MILTERS;
	env.body = span_is_ascii(content) ? BODY_7BIT : BODY_8BITMIME;
	env.rcpts = (struct ipc_list){ &rcpt, 1 };
	buf_init(&b, IPC_FRAME_MAX);
	rc = envelope_encode(&env, &b);
	q.envelope = buf_span(&b);
	if (rc == RC_OK)
		rc = service_request(conf_str(service_conf(), "cleanup_service_name"), true,
				     IPC_CLEANUP_SUBMIT, &q, &r, w->a, deadline_s(300), &e);
	buf_release(&b);
	*text = rc == RC_OK ? r.text : span_str(arena_strdup(w->a, e.text));
	return rc == RC_OK ? r.code : 451;
}

static const enum bounce_text text_of[] = {
	[BK_FAILURE] = BT_FAILURE,
	[BK_DELAY] = BT_DELAY,
	[BK_SUCCESS] = BT_SUCCESS,
	[BK_TRACE] = BT_VERIFY,
};

/* Who gets a report, in whose name, how it is logged. */
struct notice {
	struct span to, from;
	const char *what;
	bool copy; /* beside the sender's own */
};

/* The report as large as allowed: with the original, else with its header only. */
static struct span compose(struct work *w, const struct notice *n, struct qid id, struct buf *b)
{
	struct dsn d = { .kind = (enum bounce_kind)w->q->kind,
			 .text = &templates[text_of[w->q->kind]],
			 .copy = n->copy,
			 .env = &w->env,
			 .rcpt = w->rcpt,
			 .rcpts = w->rcpts,
			 .to = n->to,
			 .content = w->content,
			 .cut = w->cut,
			 .retry_until_us = w->q->retry_until_us,
			 .qid = qid_span(&id),
			 .now_us = wall_now().us };
	int64_t limit = conf_int(service_conf(), "bounce_size_limit");

	d.headers_only = w->env.ret == RET_HDRS || w->q->kind != BK_FAILURE || n->copy;
	if (limit > 0 && (int64_t)w->content.n > limit)
		d.cut = true;
	if (dsn_write(service_conf(), &d, b) != RC_OK && !d.headers_only) {
		buf_reset(b);
		d.headers_only = true;
		if (dsn_write(service_conf(), &d, b) != RC_OK)
			return SPAN_NONE;
	}
	return buf_span(b);
}

static const char *const log_words[] = {
	[BK_FAILURE] = "sender non-delivery notification",
	[BK_DELAY] = "sender delay notification",
	[BK_SUCCESS] = "sender delivery status notification",
	[BK_TRACE] = "sender delivery status notification",
};

/* Mail from the address that notices about undeliverable bounces come from: nobody to tell any more. Whatever
 * the domain: rewriting may have changed it. */
static bool from_double_bounce(struct span sender)
{
	return span_is_ci(address_split(sender).local, conf_str(service_conf(), "double_bounce_sender"));
}

static struct span double_bounce(struct arena *a)
{
	const struct conf *c = service_conf();

	return span_printf(a, "%s@%s", conf_str(c, "double_bounce_sender"), conf_str(c, "myorigin"));
}

/* A bounce that cannot be delivered goes to the postmaster when notify_classes says 2bounce, or bounce, which
 * implies it, and nowhere else: never back. */
static struct notice to_sender(struct work *w)
{
	struct notice n = { .what = log_words[w->q->kind] };

	if (w->env.sender.n) {
		n.to = from_double_bounce(w->env.sender) ? SPAN_NONE : w->env.sender;
	} else if (w->q->kind == BK_FAILURE &&
		   (has_word("notify_classes", "2bounce") || has_word("notify_classes", "bounce"))) {
		n.copy = true;
		n.from = double_bounce(w->a);
		n.what = "postmaster non-delivery notification";
		n.to = span_str(conf_str(service_conf(), "2bounce_notice_recipient"));
	}
	return n;
}

/* The postmaster's copy of what the sender is told (notify_classes: bounce, delay). Its sender is the one whose
 * mail is never reported on. */
static struct notice to_postmaster(struct work *w)
{
	static const struct {
		const char *class, *param, *what;
	} kinds[] = {
		[BK_FAILURE] = { "bounce", "bounce_notice_recipient",
				 "postmaster non-delivery notification" },
		[BK_DELAY] = { "delay", "delay_notice_recipient", "postmaster delay notification" },
		[BK_SUCCESS] = { NULL, NULL, NULL },
		[BK_TRACE] = { NULL, NULL, NULL },
	};
	struct notice n = { .copy = true, .what = kinds[w->q->kind].what };

	if (kinds[w->q->kind].class && has_word("notify_classes", kinds[w->q->kind].class) &&
	    w->env.sender.n && !from_double_bounce(w->env.sender)) {
		n.to = span_str(conf_str(service_conf(), kinds[w->q->kind].param));
		n.from = double_bounce(w->a);
	}
	return n;
}

static void log_sent(const struct work *w, const char *what, const struct qid *id)
{
	log_info(SPAN_FMT ": %s: %s", SPAN_ARG(w->env.qid), what, id->s);
	EVENT("notification", EV_TEXT("queue_id", w->env.qid), EV_CSTR("kind", what),
	      EV_TEXT("sent_as", qid_span(id)));
}

static uint16_t send_notice(struct work *w, const struct notice *n, struct span *text)
{
	struct qid id = qid_new(service_lane());
	struct span content;
	struct buf b;
	uint16_t code;

	buf_init(&b, CONTENT_MAX + 28 * 1024);
	content = compose(w, n, id, &b);
	code = content.n ? submit(w, n->from, n->to, id, content, text) : 452;
	if (code == 0)
		log_sent(w, n->what, &id);
	buf_release(&b);
	return code;
}

static void answer_send(struct ipc_call *call, const void *request)
{
	struct work w = { .q = request, .a = ipc_call_arena(call) };
	struct bounce_send_reply r = { .code = 0 };
	struct notice sender, postmaster;
	struct span ignored;
	struct err e;

	if (w.q->kind < BK_FAILURE || w.q->kind > BK_TRACE ||
	    envelope_decode(w.q->envelope, w.a, &w.env, &e) != RC_OK) {
		r.code = 501;
		r.text = SPAN("unreadable request");
	} else {
		choose_recipients(&w);
		sender = to_sender(&w);
		postmaster = to_postmaster(&w);
		if (w.rcpts > 0 && w.q->kind == BK_FAILURE && from_double_bounce(w.env.sender))
			log_warning(SPAN_FMT ": undeliverable postmaster notification discarded",
				    SPAN_ARG(w.env.qid));
		else if (w.rcpts > 0 && sender.to.n == 0)
			log_debug(SPAN_FMT ": undeliverable, and no sender to tell: discarded",
				  SPAN_ARG(w.env.qid));
		if (w.rcpts > 0)
			take_content(&w);
		if (w.rcpts > 0 && sender.to.n > 0)
			r.code = send_notice(&w, &sender, &r.text);
		if (w.rcpts > 0 && postmaster.to.n > 0 && r.code == 0 &&
		    send_notice(&w, &postmaster, &ignored) !=
			0) /* the report itself must not be repeated for this */
			log_warning(SPAN_FMT ": the postmaster's copy could not be queued",
				    SPAN_ARG(w.env.qid));
	}
	if (w.q->fd >= 0)
		close(w.q->fd);
	ipc_reply(call, &r);
}

/* bounce_template_file, read while files can be; what it says wrongly is warned of, and the built-in text used. */
static void prepare(void)
{
	const char *path = conf_str(service_conf(), "bounce_template_file");
	static struct arena a;
	struct span text;
	struct err e;
	enum rc rc;

	qid_configure(service_conf());
	arena_init(&a);
	memcpy(templates, bounce_templates, sizeof(templates));
	if (path[0] == '\0')
		return;
	rc = read_whole(path, &a, &text, &e);
	if (rc == RC_OK)
		rc = bounce_template_parse(text, &a, templates, &e);
	if (rc != RC_OK) {
		log_warning("%s: %s; built-in texts are used", path, e.text);
		memcpy(templates, bounce_templates, sizeof(templates));
	}
}

static const struct ipc_handler handlers[] = {
	{ IPC_BOUNCE_SEND, "*", answer_send },
	{ 0, NULL, NULL },
};

static const struct service bounce = {
	.name = "bounce",
	.kind = SV_IPC,
	.user = "mail_owner",
	.rights = "stdio accept recvfd",
	.chroot_empty = true,
	.prepare = prepare,
	.handlers = handlers,
};

int main(int argc, char **argv)
{
	return service_main(argc, argv, &bounce);
}
