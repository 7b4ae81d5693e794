/* pickup.c - pickup(8): local mail, from sendmail(1) over a socket that anybody may connect to, and from
 * maildrop/. Who submits is known from the kernel (SO_PEERCRED, the owner of the file), whatever the
 * submission says. */
#include "pickup.h"
#include "map/map.h"
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static void prepare(void)
{
	submit_prepare();
	users_prepare();
	senders_prepare();
}

static void refuse(struct pickup_submit_reply *r, unsigned code, const char *dsn, struct span text)
{
	*r = (struct pickup_submit_reply){ .code = (uint16_t)code, .dsn = span_str(dsn), .text = text };
}

/* Only memory that nobody can change any more: no file whose reading could wait for somebody, or differ the
 * second time. */
static bool take_memory(struct pickup_message *m, int fd)
{
	const int wanted = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
	struct stat st;
	int seals = fcntl(fd, F_GET_SEALS);

	if (seals < 0 || (seals & wanted) != wanted || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
		return false;
	m->fd = fd;
	m->content_bytes = (uint64_t)st.st_size;
	return true;
}

static void take(struct ipc_call *call, const struct pickup_submit *q, struct pickup_submit_reply *r)
{
	const struct ipc_peer *peer = ipc_chan_peer(ipc_call_chan(call));
	struct arena *a = ipc_call_arena(call);
	struct pickup_message m = { .fd = -1, .uid = peer->uid, .arrival_us = wall_now().us };
	int64_t limit = conf_int(service_conf(), "message_size_limit");
	struct cleanup_submit_reply cr;
	const char *user;
	struct err e;

	enum rc may = user_allowed(m.uid, &user, &e);
	if (may == RC_NOTFOUND) {
		refuse(
		    r, 550, "5.7.1",
		    span_printf(a, "User %s(%lu) is not allowed to submit mail", user, (unsigned long)m.uid));
		return;
	}
	if (may != RC_OK) { /* of a table: later */
		log_warning("authorized_submit_users: %s", e.text);
		refuse(r, 451, "4.3.0", SPAN("Temporary lookup failure"));
		return;
	}
	if (envelope_decode(q->envelope, a, &m.env, &e) != RC_OK) {
		log_warning("a submission of uid %lu: %s", (unsigned long)m.uid, e.text);
		refuse(r, 501, "5.5.4", SPAN("malformed envelope"));
		return;
	}
	if (q->default_sender && m.env.sender.n == 0) { /* the user database is out of reach in here */
		refuse(r, 501, "5.5.4", SPAN("the sender has to be named"));
		return;
	}
	m.content = q->content;
	m.content_bytes = q->content.n;
	if (q->fd >= 0 && !take_memory(&m, q->fd)) {
		refuse(r, 501, "5.5.4", SPAN("the content is not in sealed memory"));
		return;
	}
	if (limit > 0 && m.content_bytes > (uint64_t)limit) {
		refuse(r, 552, "5.3.4", SPAN("Message file too big"));
		return;
	}
	submit(&m, a, &cr);
	*r = (struct pickup_submit_reply){ cr.code, cr.dsn, cr.text, cr.qid };
}

static void answer_pickup(struct ipc_call *call, const void *request)
{
	const struct pickup_submit *q = request;
	struct pickup_submit_reply r = { .code = 0 };
	int fd = q->fd;

	service_hold();
	take(call, q, &r);
	ipc_reply(call, &r);
	if (fd >= 0)
		close(fd);
	service_unhold();
}

static const struct ipc_handler handlers[] = {
	{ IPC_PICKUP_SUBMIT, "*", answer_pickup },
	{ 0, NULL, NULL },
};

static void start(void)
{
	maildrop_start();
	map_watch(false);
}

static const struct service pickup = {
	.name = "pickup",
	.kind = SV_IPC,
	.user = "mail_owner",
	.rights = "stdio accept recvfd rpath wpath",
	.queue_dirs = "maildrop corrupt",
	.prepare = prepare,
	.start = start,
	.handlers = handlers,
	.wakeup = maildrop_scan,
};

int main(int argc, char **argv)
{
	return service_main(argc, argv, &pickup);
}
