/* local/agent.c - a delivery request from its arrival to its answer. */
#include "agent.h"
#include "base/clock.h"
#include "log/log.h"
#include "mime/header.h"
#include "setup.h"
#include "service/service.h"
#include "smtp/dsn_filter.h"
#include "smtp/results.h"
#include <errno.h>
#include <stdarg.h>
#include <unistd.h>

#define HEADER_MAX 65536

enum rc agent_begin(struct ipc_call *call, const void *request, struct agent **out)
{
	struct arena *a = ipc_call_arena(call);
	struct agent *m = arena_alloc(a, sizeof *m);
	struct deliver_reply none = { .destination_dead = false };
	struct err e;

	m->call = call;
	m->d = request;
	m->a = a;
	m->open = m->d->rcpts.n;
	m->out = arena_array(a, m->open + 1, sizeof *m->out);
	enum rc rc = envelope_decode(m->d->envelope, a, &m->env, &e);
	if (rc == RC_OK && m->open == 0)
		rc = err_set(&e, RC_SYNTAX, "no recipients");
	if (rc != RC_OK) {
		log_warning("delivery request: %s", e.text);
		if (m->d->fd >= 0)
			close(m->d->fd);
		ipc_reply(call, &none); /* qmgr defers */
		return RC_SYNTAX;
	}
	m->times = (struct dlog_times){ .arrival_us = m->env.arrival_us,
					.active_us = m->d->active_us,
					.handoff_us = wall_now().us };
	*out = m;
	return RC_OK;
}

static void answer(struct agent *m)
{
	struct deliver_reply reply = { .results = { m->out, m->d->rcpts.n } };

	if (m->d->fd >= 0)
		close(m->d->fd);
	results_reply(m->call, &reply);
}

static struct maps *filter;

void agent_filter_open(const char *param)
{
	filter = setup_text_maps(param);
}

struct outcome agent_filtered(const struct agent *m, const struct outcome *o)
{
	struct outcome out = *o;
	uint16_t status = (uint16_t)o->status;
	struct span dsn = span_str(o->dsn);

	if (o->unlogged)
		return out;
	bool replaced = dsn_filter(filter, m->a, &status, &dsn, &out.reason);
	out.softened = soft_bounce(service_conf(), agent_probe(m), m->a, &status, &dsn);
	if (replaced || out.softened) {
		out.status = (enum deliver_status)status;
		out.dsn = arena_cstr(m->a, dsn);
	}
	return out;
}

const char *agent_status(const struct agent *m, const struct outcome *o)
{
	return o->softened ? SOFTBOUNCE_STATUS : dlog_status(o->status, agent_probe(m));
}

void agent_result(struct agent *m, size_t i, const struct outcome *unfiltered)
{
	struct outcome filtered = agent_filtered(m, unfiltered), *o = &filtered;
	struct span relay = o->relay.n ? o->relay : m->d->service;
	struct dlog line = { .qid = m->env.qid,
			     .rcpt = agent_rcpt(m, i),
			     .times = m->times,
			     .relay = relay,
			     .dsn = span_str(o->dsn),
			     .status = agent_status(m, o),
			     .reason = span_head(o->reason, AGENT_REASON_MAX) };

	if (!o->unlogged)
		dlog_delivery(&line);
	m->out[i] = (struct deliver_result){ .index = line.rcpt->index,
					     .status = (uint16_t)o->status,
					     .dsn = line.dsn,
					     .reason = line.reason,
					     .diag_type = o->unix.n ? SPAN("x-unix") : SPAN_NONE,
					     .diag_text = span_head(o->unix, AGENT_REASON_MAX),
					     .relay = relay,
					     .expansion = o->expansion };
	INVARIANT(m->open > 0);
	if (--m->open == 0)
		answer(m);
}

void outcome_set(struct outcome *o, enum deliver_status status, const char *dsn, struct arena *a,
		 const char *fmt, ...)
{
	char text[AGENT_REASON_MAX + 1];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	*o = (struct outcome){ .status = status,
			       .dsn = arena_strdup(a, dsn),
			       .reason = span_str(arena_strdup(a, text)) };
}

enum rc agent_pread(const struct agent *m, uint64_t off, char *dst, size_t n, size_t *got, struct err *e)
{
	const struct extent_item *x = m->d->extents.v;

	if (m->d->fd < 0) {
		if (off >= m->d->content.n)
			return RC_EOF;
		*got = n < m->d->content.n - off ? n : (size_t)(m->d->content.n - off);
		memcpy(dst, m->d->content.p + off, *got);
		return RC_OK;
	}
	for (size_t i = 0; i < m->d->extents.n; i++) {
		if (off >= x[i].len) {
			off -= x[i].len;
			continue;
		}
		size_t want = n < x[i].len - off ? n : (size_t)(x[i].len - off);
		ssize_t r = pread(m->d->fd, dst, want, (off_t)(x[i].off + off));
		if (r <= 0)
			return r < 0 ? err_sys(e, "read queue file")
				     : err_set(e, RC_SYS, "queue file is too short");
		*got = (size_t)r;
		return RC_OK;
	}
	return RC_EOF;
}

struct header_job {
	const struct agent *m;
	char *p;
	size_t n;
	enum rc rc;
	struct err e;
};

static void read_header(void *arg)
{
	struct header_job *j = arg;
	size_t got;

	while (j->n < HEADER_MAX &&
	       (j->rc = agent_pread(j->m, j->n, j->p + j->n, HEADER_MAX - j->n, &got, &j->e)) == RC_OK)
		j->n += got;
	if (j->rc == RC_EOF)
		j->rc = RC_OK;
}

enum rc agent_header(struct agent *m, struct span *header, struct err *e)
{
	struct header_job j = { .m = m };

	if (m->d->fd < 0) {
		*header = span_head(m->d->content, header_length(m->d->content));
		return RC_OK;
	}
	j.p = arena_alloc(m->a, HEADER_MAX);
	task_offload(read_header, &j);
	if (j.rc != RC_OK)
		return err_set(e, j.rc, "%s", j.e.text);
	*header = span_make(j.p, j.n);
	*header = span_head(*header, header_length(*header));
	return RC_OK;
}
