/* service/client.c - commands that speak to a running suite. */
#include "service/client.h"
#include "log/log.h"
#include "service/logsetup.h"
#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum rc client_connect(const struct conf *c, const char *where, const char *name, int type, int *fd,
		       struct err *e)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int n = snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/%s/%s", conf_str(c, "queue_directory"),
			 where, name);
	int s, saved;

	if (n < 0 || (size_t)n >= sizeof(sun.sun_path))
		return err_set(e, RC_LIMIT, "%s/%s/%s: path too long for a socket",
			       conf_str(c, "queue_directory"), where, name);
	s = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	if (s < 0)
		return err_sys(e, "socket");
	if (connect(s, (const struct sockaddr *)&sun, sizeof(sun)) == 0) {
		*fd = s;
		return RC_OK;
	}
	saved = errno;
	close(s);
	if (saved == ENOENT || saved == ECONNREFUSED)
		return err_set(e, RC_NOTFOUND, "Connect to the %s %s service: %s", conf_str(c, "mail_name"),
			       name, strerror(saved));
	if (saved == EACCES || saved == EPERM)
		return err_set(e, RC_DENIED, "Connect to the %s %s service: %s", conf_str(c, "mail_name"),
			       name, strerror(saved));
	errno = saved;
	return err_sys(e, "Connect to the %s %s service", conf_str(c, "mail_name"), name);
}

struct one_request {
	int fd;
	uint16_t type;
	const void *request;
	void *reply;
	struct arena *a;
	int64_t timeout_s;
	enum rc rc;
	struct err *e;
};

static void request_task(void *arg)
{
	struct one_request *o = arg;
	struct ipc_chan *chan = ipc_chan_new(o->fd, NULL, NULL, NULL);

	o->rc = ipc_request(chan, o->type, o->request, o->reply, o->a, deadline_s(o->timeout_s), o->e);
	ipc_chan_close(&chan);
	loop_stop(0);
}

enum rc client_request(const struct conf *c, const char *where, const char *name, uint16_t type,
		       const void *request, void *reply, struct arena *a, int64_t timeout_s, struct err *e)
{
	struct one_request o = {
		.type = type, .request = request, .reply = reply, .a = a, .timeout_s = timeout_s, .e = e
	};
	enum rc rc = client_connect(c, where, name, SOCK_SEQPACKET, &o.fd, e);
	static bool started;

	if (rc != RC_OK)
		return rc;
	if (!started)
		loop_init();
	started = true;
	task_spawn(request_task, &o);
	(void)loop_run();
	return o.rc;
}

static bool names_dir(const char *list, const char *dir)
{
	struct span rest = span_str(list), w;

	while (span_next_word(&rest, ", \t\r\n", &w))
		if (span_is(w, dir))
			return true;
	return false;
}

/* Or anybody could bring his own authorized_mailq_users. */
void client_require_known_dir(const char *dir, int status)
{
	struct conf *c = NULL;
	struct err e;
	bool known;

	if ((getgid() == getegid() && getuid() == geteuid()) || getuid() == 0 ||
	    span_is(span_str(dir), POSTERN_SYSCONFDIR "/postfix"))
		return;
	if (conf_load(POSTERN_SYSCONFDIR "/postfix", &c, &e) != RC_OK)
		die_status(status, "%s", e.text);
	known = names_dir(conf_raw(c, "alternate_config_directories"), dir) ||
		names_dir(conf_raw(c, "multi_instance_directories"), dir);
	conf_free(&c);
	if (!known)
		die_status(status, "unauthorized configuration directory name: %s", dir);
}

struct conf *client_conf(const char *dir, const char *program)
{
	return client_conf_status(dir, program, 1);
}

struct conf *client_conf_status(const char *dir, const char *program, int status)
{
	struct log_conf lc = { .service = program, .file_fd = -1, .to_stderr = true };
	struct conf *c = NULL;
	struct err e;

	log_init(&lc);
	if (!dir)
		dir = conf_default_dir();
	client_require_known_dir(dir, status);
	if (conf_load(dir, &c, &e) != RC_OK)
		die_status(status, "%s", e.text);
	logsetup_where(c, &lc);
	log_init(&lc);
	return c;
}
