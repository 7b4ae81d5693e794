/* local/forward.c - addresses elsewhere: collected while the recipient is expanded, then one new message per
 * sender. */
#include "local.h"
#include "log/log.h"
#include "queue/qfile.h"
#include "queue/qid.h"
#include "service/service.h"
#include <errno.h>
#include <unistd.h>

#define RCPTS_PER_MESSAGE 1000
#define RCPT_BYTES	  (80 * 1024) /* of one envelope */
#define SMALL_MAX	  (90 * 1024)
#define CALL_S		  3600

void local_forward(struct local *l, const struct place *p, struct span addr)
{
	struct forward *f = l->forwards;
	struct outcome o;

	if (agent_probe(l->m)) {
		outcome_set(&o, DS_SENT, "2.0.0", l->a, "forwards to " SPAN_FMT, SPAN_ARG(addr));
		local_report(l, p, &o);
		return;
	}
	while (f != NULL && !(span_eq(f->sender, p->sender) && span_eq(f->delivered, p->delivered)))
		f = f->next;
	if (f == NULL) {
		f = arena_alloc(l->a, sizeof *f);
		*f = (struct forward){
			.sender = p->sender, .delivered = p->delivered, .place = p, .next = l->forwards
		};
		l->forwards = f;
	}
	if (f->n == f->cap)
		f->addr = arena_grow(l->a, f->addr, f->n, &f->cap, sizeof *f->addr);
	f->addr[f->n++] = addr;
}

static struct span head_of(struct local *l, const struct forward *f, const struct qid *id)
{
	char date[DATE_MAX];

	wall_rfc5322(wall_now(), date);
	struct span delivered = local_conf.delivered_forward
				    ? agent_head(l->m, HEAD_DELIVERED, f->sender, SPAN_NONE, f->delivered)
				    : SPAN_NONE;
	return span_printf(l->a, "Received: by %s (%s)\n\tid %s; %s\n" SPAN_FMT,
			   conf_str(service_conf(), "myhostname"), conf_str(service_conf(), "mail_name"),
			   id->s, date, SPAN_ARG(delivered));
}

static enum rc make_envelope(struct local *l, const struct forward *f, size_t first, size_t n,
			     const struct qid *id, struct span *out)
{
	const struct deliver_rcpt *was = agent_rcpt(l->m, l->i), *from = &f->place->rcpt;
	struct envelope env = l->m->env;
	struct env_rcpt *v = arena_array(l->a, n, sizeof *v);
	struct buf b;

	for (size_t i = 0; i < n; i++)
		v[i] = (struct env_rcpt){ .addr = f->addr[first + i],
					  .orig = f->place->owned ? SPAN_NONE
						  : was->orig.n	  ? was->orig
								  : was->addr,
					  .orcpt = from->orcpt,
					  .notify = from->notify };
	env.qid = qid_span(id);
	env.arrival_us = wall_now().us;
	env.sender = f->sender;
	env.flags &= ENVF_SMTPUTF8 | ENVF_MIME_CONVERT;
	env.content_filter = env.redirect = env.verp = env.full_name = SPAN_NONE;
	env.rcpts = (struct ipc_list){ v, n };
	buf_init(&b, IPC_FRAME_MAX);
	enum rc rc = envelope_encode(&env, &b);
	*out = span_dup(l->a, buf_span(&b));
	buf_release(&b);
	return rc;
}

/* ---- content ---- */
struct copy_job {
	const struct agent *m;
	int fd;
	struct span head;
	uint64_t written;
	enum rc rc;
	struct err e;
};

static enum rc put(struct copy_job *j, struct span s)
{
	while (s.n > 0) {
		ssize_t n = pwrite(j->fd, s.p, s.n, (off_t)(QFILE_CONTENT_OFF + j->written));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return err_sys(&j->e, "write queue file");
		j->written += (uint64_t)n;
		s = span_skip(s, (size_t)n);
	}
	return RC_OK;
}

static void copy_content(void *arg)
{
	struct copy_job *j = arg;
	char *bytes = xmalloc(65536);
	size_t got = 0;
	uint64_t off = 0;

	j->rc = put(j, j->head);
	while (j->rc == RC_OK && (j->rc = agent_pread(j->m, off, bytes, 65536, &got, &j->e)) == RC_OK) {
		off += got;
		j->rc = put(j, span_make(bytes, got));
	}
	if (j->rc == RC_EOF)
		j->rc = RC_OK;
	free(bytes);
}

static enum rc fill_file(struct local *l, const struct qid *id, struct span head, struct cleanup_submit *q,
			 struct err *e)
{
	const char *cleanup = conf_str(service_conf(), "cleanup_service_name");
	struct cleanup_file fq = { .qid = qid_span(id) };
	struct cleanup_file_reply fr = { .fd = -1 };
	enum rc rc = service_request(cleanup, true, IPC_CLEANUP_FILE, &fq, &fr, l->a, deadline_s(CALL_S), e);
	struct copy_job j = { .m = l->m, .head = head };

	if (rc != RC_OK || fr.code != 0 || fr.fd < 0)
		return rc != RC_OK ? rc : err_set(e, RC_AGAIN, SPAN_FMT, SPAN_ARG(fr.text));
	j.fd = fr.fd;
	task_offload(copy_content, &j);
	close(fr.fd);
	if (j.rc != RC_OK)
		return err_set(e, j.rc, "%s", j.e.text);
	q->file = true;
	q->content_bytes = j.written;
	return RC_OK;
}

static enum rc submit(struct local *l, const struct forward *f, size_t first, size_t n, struct qid *id,
		      struct err *e)
{
	struct cleanup_submit q = { .file = false };
	struct cleanup_submit_reply r = { .code = 0 };
	const char *cleanup = conf_str(service_conf(), "cleanup_service_name");

	*id = qid_new(service_lane());
	struct span head = head_of(l, f, id);
	enum rc rc = make_envelope(l, f, first, n, id, &q.envelope);
	if (rc == RC_OK && l->m->d->fd < 0 && head.n + l->m->d->content.n <= SMALL_MAX) {
		char *p = arena_alloc(l->a, head.n + l->m->d->content.n + 1);
		memcpy(p, head.p, head.n);
		if (l->m->d->content.n > 0)
			memcpy(p + head.n, l->m->d->content.p, l->m->d->content.n);
		q.content = span_make(p, head.n + l->m->d->content.n);
	} else if (rc == RC_OK) {
		rc = fill_file(l, id, head, &q, e);
	}
	if (rc == RC_OK)
		rc = service_request(cleanup, false, IPC_CLEANUP_SUBMIT, &q, &r, l->a, deadline_s(CALL_S), e);
	if (rc == RC_OK && r.code != 0)
		rc = err_set(e, r.code >= 500 ? RC_DENIED : RC_AGAIN, SPAN_FMT, SPAN_ARG(r.text));
	return rc;
}

/* How many of the recipients from `first` on fit one envelope. */
static size_t batch(const struct forward *f, size_t first)
{
	size_t bytes = 0, n = 0;

	while (first + n < f->n && n < RCPTS_PER_MESSAGE && (bytes += f->addr[first + n].n + 64) < RCPT_BYTES)
		n++;
	return n > 0 ? n : 1;
}

static void send_one(struct local *l, const struct forward *f, size_t first, size_t n)
{
	struct qid id;
	struct err e = { .text = "" };
	struct place top = *f->place; /* that many went on is news of the recipient that it began with */
	struct outcome o;
	enum rc rc = submit(l, f, first, n, &id, &e);

	top.rcpt.addr = agent_rcpt(l->m, l->i)->addr;
	top.rcpt.orig = agent_rcpt(l->m, l->i)->orig;

	if (rc == RC_OK) {
		outcome_set(&o, DS_SENT, "2.0.0", l->a, "forwarded as %s", id.s);
	} else {
		log_warning(SPAN_FMT ": forward: %s", SPAN_ARG(l->m->env.qid), e.text);
		outcome_set(&o, rc == RC_DENIED ? DS_BOUNCED : DS_DEFERRED,
			    rc == RC_DENIED ? "5.3.0" : "4.3.0", l->a, "unable to forward message: %s",
			    e.text);
	}
	local_report(l, &top, &o);
}

/* cancel: something else of this recipient has to be tried again, and then the forwarding is done with it. */
void local_forward_finish(struct local *l, bool cancel)
{
	for (struct forward *f = cancel ? NULL : l->forwards; f != NULL; f = f->next)
		for (size_t first = 0, n; first < f->n; first += n) {
			n = batch(f, first);
			send_one(l, f, first, n);
		}
}
