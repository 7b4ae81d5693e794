/* submit.c - one local message to cleanup(8): the envelope reduced to what a local user may say, a Received:
 * field in front. */
#include "pickup.h"
#include "log/event.h"
#include "mime/address_log.h"
#include <errno.h>
#include <unistd.h>

#define MEMORY_MAX   (88 * 1024) /* larger ones go through a file; fits a record with a large envelope */
#define ENVELOPE_MAX (60 * 1024)
#define COPY_CHUNK   (128 * 1024)
#define CALL_S	     3600

static const char *myhostname, *mail_name, *content_filter;
static uint32_t override_flags;

static uint32_t overrides(void)
{
	static const struct {
		const char *word;
		uint32_t flag;
	} words[] = { { "no_header_body_checks", ENVF_NO_HEADERBODY },
		      { "no_address_mappings", ENVF_NO_CANONICAL },
		      { "no_milters", ENVF_NO_MILTERS },
		      { "no_unknown_recipient_checks", 0 } };
	struct span rest = span_str(conf_str(service_conf(), "receive_override_options")), w;
	uint32_t flags = 0;

	while (span_next_word(&rest, ", \t\r\n", &w)) {
		size_t i = 0;

		while (i < ARRAY_LEN(words) && !span_is_ci(w, words[i].word))
			i++;
		if (i == ARRAY_LEN(words))
			die("receive_override_options: unknown option: " SPAN_FMT, SPAN_ARG(w));
		flags |= words[i].flag;
	}
	return flags;
}

void submit_prepare(void)
{
	myhostname = conf_str(service_conf(), "myhostname");
	mail_name = conf_str(service_conf(), "mail_name");
	content_filter = conf_str(service_conf(), "content_filter");
	override_flags = overrides();
	qid_configure(service_conf());
}

/* What a user may not say is forgotten: where the message came from, how far it got, where it shall go
 * instead. */
static void restrict_envelope(struct pickup_message *m, const struct qid *id)
{
	const uint32_t allowed =
	    ENVF_SMTPUTF8 | ENVF_TRACE | ENVF_VERIFY_ONLY | ENVF_EXTRACT | ENVF_MIME_CONVERT;
	const uint32_t context = m->env.flags & ENVF_GATEWAY ? 0 : ENVF_LOCAL;
	struct envelope *e = &m->env, was = m->env;

	*e = (struct envelope){ .qid = qid_span(id),
				.arrival_us = m->arrival_us,
				.sender = was.sender,
				.ret = was.ret,
				.body = was.body,
				.envid = was.envid,
				.verp = was.verp,
				.full_name = was.full_name,
				.content_filter = span_str(content_filter),
				.rcpts = was.rcpts };
	e->flags = (was.flags & allowed) | context | override_flags;
	for (size_t i = 0; i < e->rcpts.n; i++) {
		struct env_rcpt *r = envelope_rcpt(e, i);

		r->orig = SPAN_NONE;
		r->state = RCPT_TODO;
	}
}

/* postsuper -r: all of it is ours, so it keeps where it came from; the settings for local mail of now count. */
static void renew_envelope(struct pickup_message *m, const struct qid *id)
{
	m->env.qid = qid_span(id);
	m->env.content_filter = span_str(content_filter);
	m->env.flags |= override_flags | ENVF_NO_MILTERS | ENVF_RESUBMITTED;
}

static struct span received(struct pickup_message *m, const struct qid *id, struct arena *a)
{
	char date[DATE_MAX];

	wall_rfc5322(m->requeued != NULL ? wall_now() : (wall_t){ m->arrival_us }, date);
	return span_printf(a, "Received: by %s (%s, from userid %lu)\n\tid %s; %s\n", myhostname, mail_name,
			   (unsigned long)m->uid, id->s, date);
}

static void refuse(struct cleanup_submit_reply *r, unsigned code, const char *dsn, const char *text)
{
	*r = (struct cleanup_submit_reply){ .code = (uint16_t)code,
					    .dsn = span_str(dsn),
					    .text = span_str(text) };
}

static void call_submit(const struct cleanup_submit *q, struct arena *a, struct cleanup_submit_reply *r)
{
	struct err e;

	/* not repeated when the channel breaks: cleanup may have it already */
	if (service_request(conf_str(service_conf(), "cleanup_service_name"), false, IPC_CLEANUP_SUBMIT, q, r,
			    a, deadline_s(CALL_S), &e) != RC_OK) {
		log_warning("cleanup: %s", e.text);
		refuse(r, 451, "4.3.0", "mail system is not available");
	}
}

/* ---- content in memory ---- */

struct read_call {
	int fd;
	char *p;
	size_t n;
	int64_t off;
	bool ok;
};

static void read_all(void *arg)
{
	struct read_call *c = arg;
	size_t done = 0;

	while (done < c->n) {
		ssize_t r = pread(c->fd, c->p + done, c->n - done, c->off + (int64_t)done);

		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return;
		done += (size_t)r;
	}
	c->ok = true;
}

static void submit_small(struct pickup_message *m, struct span head, struct span envelope, struct arena *a,
			 struct cleanup_submit_reply *r)
{
	struct cleanup_submit q = { .envelope = envelope };
	size_t n = (size_t)m->content_bytes;
	char *p = arena_alloc(a, head.n + n + 1);

	memcpy(p, head.p, head.n);
	if (m->fd >= 0) {
		struct read_call c = { m->fd, p + head.n, n, m->content_off, false };

		task_offload(read_all, &c);
		if (!c.ok) {
			refuse(r, 451, "4.3.0", "the message cannot be read");
			return;
		}
	} else if (n > 0)
		memcpy(p + head.n, m->content.p, n);
	q.content = span_make(p, head.n + n);
	call_submit(&q, a, r);
}

/* ---- content through a file ---- */

struct copy_call {
	int from, to;
	int64_t off;
	uint64_t n;
	struct span head, content;
	int sys; /* 0: well done */
};

static int write_at(int fd, const char *p, size_t n, int64_t off)
{
	while (n > 0) {
		ssize_t w = pwrite(fd, p, n, off);

		if (w < 0 && errno == EINTR)
			continue;
		if (w < 0)
			return errno;
		p += w;
		n -= (size_t)w;
		off += w;
	}
	return 0;
}

static void copy_all(void *arg)
{
	struct copy_call *c = arg;
	int64_t to = QFILE_CONTENT_OFF + (int64_t)c->head.n;
	char *chunk = xmalloc(COPY_CHUNK);

	c->sys = write_at(c->to, c->head.p, c->head.n, QFILE_CONTENT_OFF);
	if (c->from < 0 && c->sys == 0)
		c->sys = write_at(c->to, c->content.p, c->content.n, to);
	while (c->from >= 0 && c->n > 0 && c->sys == 0) {
		size_t want = c->n < COPY_CHUNK ? (size_t)c->n : COPY_CHUNK;
		ssize_t r = pread(c->from, chunk, want, c->off);

		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0) {
			c->sys = r < 0 ? errno : EIO;
			break;
		}
		c->sys = write_at(c->to, chunk, (size_t)r, to);
		to += r;
		c->off += r;
		c->n -= (uint64_t)r;
	}
	free(chunk);
}

static void submit_large(struct pickup_message *m, struct span head, struct span envelope, struct arena *a,
			 struct cleanup_submit_reply *r)
{
	struct cleanup_file fq = { .qid = m->env.qid };
	struct cleanup_file_reply fr;
	struct cleanup_submit q = { .envelope = envelope,
				    .file = true,
				    .content_bytes = head.n + m->content_bytes };
	struct copy_call c = { .from = m->fd,
			       .off = m->content_off,
			       .n = m->content_bytes,
			       .head = head,
			       .content = m->content };
	struct err e;

	if (service_request(conf_str(service_conf(), "cleanup_service_name"), true, IPC_CLEANUP_FILE, &fq,
			    &fr, a, deadline_s(CALL_S), &e) != RC_OK) {
		log_warning("cleanup: %s", e.text);
		refuse(r, 451, "4.3.0", "mail system is not available");
		return;
	}
	if (fr.code != 0 || fr.fd < 0) {
		*r =
		    (struct cleanup_submit_reply){ fr.code != 0 ? fr.code : 451, fr.dsn, fr.text, SPAN_NONE };
		return;
	}
	c.to = fr.fd;
	task_offload(copy_all, &c);
	close(fr.fd);
	if (c.sys == 0) {
		call_submit(&q, a, r);
		return;
	}
	log_warning(SPAN_FMT ": copying the message: %s", SPAN_ARG(m->env.qid), strerror(c.sys));
	if (c.sys == ENOSPC || c.sys == EDQUOT)
		refuse(r, 452, "4.3.1", "Insufficient system storage");
	else
		refuse(r, 451, "4.3.0", "queue file write error");
}

/* local_login_sender_maps */
static bool may_send_as(const struct pickup_message *m, struct arena *a, struct cleanup_submit_reply *r)
{
	const char *name;
	struct err e;
	enum rc rc = sender_allowed(m->uid, m->env.sender, a, &name, &e);

	if (rc == RC_OK)
		return true;
	if (rc != RC_DENIED) {
		log_warning("local_login_sender_maps: %s", e.text);
		refuse(r, 451, "4.3.0", "sender ownership cannot be looked up now");
		return false;
	}
	log_warning("uid=%lu: not authorized to use sender='" SPAN_FMT "'", (unsigned long)m->uid,
		    SPAN_ARG(m->env.sender));
	*r = (struct cleanup_submit_reply){
		.code = 553,
		.dsn = SPAN("5.7.1"),
		.text = span_printf(a, "not authorized to use sender='" SPAN_FMT "'", SPAN_ARG(m->env.sender))
	};
	return false;
}

void submit(struct pickup_message *m, struct arena *a, struct cleanup_submit_reply *r)
{
	struct qid *id = arena_alloc(a, sizeof(*id));
	struct span head;
	struct buf b;

	*id = qid_new(service_lane());
	*r = (struct cleanup_submit_reply){ .code = 0 };
	if (m->env.rcpts.n == 0) {
		refuse(r, 550, "5.1.0", "no recipients specified");
		return;
	}
	if (!m->judged && !may_send_as(m, a, r))
		return;
	if (m->requeued != NULL)
		renew_envelope(m, id);
	else
		restrict_envelope(m, id);
	struct span from = address_log(m->env.sender);
	log_info("%s: uid=%lu from=<" SPAN_FMT ">%s%s", id->s, (unsigned long)m->uid, SPAN_ARG(from),
		 m->requeued != NULL ? " orig_id=" : "", m->requeued != NULL ? m->requeued->s : "");
	EVENT("message", EV_TEXT("queue_id", qid_span(id)), EV_NUMBER("uid", m->uid),
	      EV_TEXT("sender", m->env.sender),
	      EV_TEXT("orig_queue_id", m->requeued != NULL ? qid_span(m->requeued) : SPAN_NONE));
	head = received(m, id, a);
	buf_init(&b, 128 * 1024); /* what a record of IPC_CLEANUP_SUBMIT may carry */
	if (envelope_encode(&m->env, &b) != RC_OK)
		refuse(r, 552, "5.5.3", "too many recipients for one submission");
	else if (head.n + m->content_bytes <= MEMORY_MAX && b.n <= ENVELOPE_MAX)
		submit_small(m, head, buf_span(&b), a, r);
	else
		submit_large(m, head, buf_span(&b), a, r);
	buf_release(&b);
}
