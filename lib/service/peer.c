/* service/peer.c - channels to other services, made through master on first use, kept, and made anew when
 * they broke. */
#include "service/frame.h"
#include "base/table.h"
#include "log/log.h"
#include <unistd.h>

struct peer {
	struct ipc_chan *chan;
	bool connecting;
	struct waitq changed;
};
static struct table *kept;

static struct peer *find(const char *service)
{
	if (kept == NULL)
		kept = table_new();
	struct peer *p = table_get(kept, span_str(service));
	if (p == NULL) {
		p = xcalloc(1, sizeof *p);
		waitq_init(&p->changed);
		table_set(kept, span_str(service), p);
	}
	return p;
}

static enum rc make(struct peer *p, const char *service, deadline_t d, struct err *e)
{
	int fd;
	struct ipc_peer who = { .uid = (uid_t)-1 };
	p->connecting = true;
	enum rc rc = channel_connect(service, &fd, d, e);
	p->connecting = false;
	if (rc == RC_OK) {
		snprintf(who.program, sizeof who.program, "%s", service);
		snprintf(who.service, sizeof who.service, "%s", service);
		p->chan = ipc_chan_new(fd, NULL, &who, NULL);
	}
	waitq_wake_all(&p->changed);
	return rc;
}

enum rc service_peer(const char *service, struct ipc_chan **out, deadline_t d, struct err *e)
{
	struct peer *p = find(service);
	*out = NULL;
	for (;;) {
		enum rc rc = RC_OK;
		if (p->chan != NULL && ipc_chan_alive(p->chan)) {
			*out = p->chan;
			return RC_OK;
		}
		if (p->connecting)
			rc = waitq_wait(&p->changed, d);
		else {
			ipc_chan_close(&p->chan);
			rc = make(p, service, d, e);
		}
		if (rc == RC_TIMEOUT)
			return err_set(e, RC_TIMEOUT, "connect to %s: timeout", service);
		if (rc != RC_OK)
			return rc;
	}
}

enum rc service_request(const char *service, bool again, uint16_t type, const void *request, void *reply,
			struct arena *a, deadline_t d, struct err *e)
{
	struct ipc_chan *c;
	enum rc rc = RC_EOF;
	for (int tries = again ? 2 : 1; rc == RC_EOF && tries > 0; tries--) {
		if ((rc = service_peer(service, &c, d, e)) != RC_OK)
			return rc;
		rc = ipc_request(c, type, request, reply, a, d, e);
	}
	return rc;
}

void service_peer_wake(const char *service)
{
	channel_send(MP_WAKE, 0, 0, service);
}

enum rc service_connect(const char *service, int *fd, deadline_t d, struct err *e)
{
	return channel_connect(service, fd, d, e);
}
