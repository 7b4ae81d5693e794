/* service/service.c - service_main(): the steps of service.h in their order. */
#include "service/service.h"
#include "conf/ports.h"
#include "ipc/ask.h"
#include "log/log.h"
#include "service/frame.h"
#include "service/logsetup.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/syslog.h>
#include <time.h>
#include <unistd.h>

#define SESSIONS_DEFAULT 1000

struct frame frame;

static void load_configuration(struct span *overrides, size_t n)
{
	struct err e;
	char pid[16];
	if (conf_load(conf_default_dir(), &frame.conf, &e) != RC_OK)
		die("%s", e.text);
	snprintf(pid, sizeof pid, "%ld", (long)getpid());
	conf_override(frame.conf, SPAN("service_name"), span_str(frame.name));
	conf_override(frame.conf, SPAN("process_name"), span_str(frame.s->name));
	conf_override(frame.conf, SPAN("process_id"), span_str(pid));
	for (size_t i = 0; i < n; i++) {
		struct span rest = overrides[i], name;
		if (!span_next(&rest, '=', &name) || span_trim(name).n == 0)
			die("bad -o setting: " SPAN_FMT, SPAN_ARG(overrides[i]));
		conf_override(frame.conf, span_trim(name), span_trim(rest));
	}
	if (port_names_set(conf_str(frame.conf, "known_tcp_ports"), &e) != RC_OK)
		die("%s", e.text);
	const char *shown = conf_str(frame.conf, "info_log_address_format");
	if (!log_address_format(shown))
		die("invalid setting: info_log_address_format = %s", shown);
	frame.queue_prefix = conf_str(frame.conf, "queue_directory");
	(void)conf_str(frame.conf, "myorigin"); /* now: it may be in a file that the sandbox hides */
}

static void open_log(void)
{
	const char *file = conf_str(frame.conf, "maillog_file");
	struct log_conf lc = {
		.tag = conf_str(frame.conf, "syslog_name"),
		.service = frame.s->name,
		.host = conf_str(frame.conf, "myhostname"),
		.facility = logsetup_facility(conf_str(frame.conf, "syslog_facility")),
		.to_syslog = file[0] == '\0',
		.syslog_fd = MP_FD_LOG,
		.file_fd = file[0] == '\0' ? -1 : MP_FD_LOG,
		.verbose = frame.verbose,
	};
	log_init(&lc);
	logsetup_events(frame.conf, MP_FD_EVENTS);
}

static void find_limits(void)
{
	const struct service *s = frame.s;
	int64_t limit = s->limit_param != NULL ? conf_int(frame.conf, s->limit_param) : s->session_limit;
	frame.session_total =
	    s->total_param != NULL ? conf_int(frame.conf, s->total_param) : s->session_total;
	if (s->kind != SV_IPC) {
		if (frame.maxproc > 0 && (limit == 0 || limit > frame.maxproc))
			limit = frame.maxproc;
		if (limit == 0)
			limit = SESSIONS_DEFAULT;
	}
	frame.session_limit = limit;
}

/* localtime() shall read no file later, and a denied call inside it must not log by calling it. */
static void fix_time_zone(void)
{
	if (getenv("TZ") == NULL)
		setenv("TZ", ":/etc/localtime", 1);
	tzset();
}

static void set_descriptors(void)
{
	(void)fcntl(MP_FD_MASTER, F_SETFD, FD_CLOEXEC);
	(void)fcntl(MP_FD_LOG, F_SETFD, FD_CLOEXEC);
	(void)fcntl(MP_FD_EVENTS, F_SETFD, FD_CLOEXEC);
	for (int fd = MP_FD_LISTEN; fd <= MP_FD_LISTEN + (int)frame.listeners; fd++)
		(void)fcntl(fd, F_SETFD, FD_CLOEXEC); /* the lock, if there is one, stands last */
}

/* No child of a monitor is ever one of the suite's own users. */
static void refuse_own_users(void)
{
	static const char *const owners[] = { "mail_owner", "net_owner", "aux_owner", "key_owner" };
	uid_t uid;
	gid_t gid;
	struct err e;
	for (size_t i = 0; i < ARRAY_LEN(owners); i++)
		if (sandbox_user(conf_str(frame.conf, owners[i]), &uid, &gid, &e) == RC_OK)
			sandbox_reserve(uid);
}

static void first_task(void *arg)
{
	(void)arg;
	if (frame.s->start != NULL)
		frame.s->start();
	channel_send(MP_READY, 0, 0, NULL);
	accept_start();
}

int service_main(int argc, char **argv, const struct service *s)
{
	struct span *overrides;
	size_t n;
	frame = (struct frame){ .s = s, .master = getppid(), .listeners = 0 };
	arena_init(&frame.arena);
	log_init(&(struct log_conf){ .service = s->name, .file_fd = -1, .to_stderr = true });
	args_parse(argc, argv, &overrides, &n);
	set_descriptors();
	fix_time_zone();
	load_configuration(overrides, n);
	open_log();
	find_limits();
	ipc_set_ask(service_request);
	refuse_own_users();
	identity_find();
	loop_init();
	if (s->prepare != NULL)
		s->prepare();
	identity_take();
	identity_confine();
	signal(SIGTERM, SIG_DFL);
	signal(SIGHUP, SIG_IGN);
	life_init();
	channel_start();
	task_spawn(first_task, NULL);
	int status = loop_run();
	_exit(status); /* nothing is left to flush, and what exit handlers do may be denied here */
}

/* ---- answers for the running daemon ---- */

const struct conf *service_conf(void)
{
	return frame.conf;
}

const char *service_name(void)
{
	return frame.name;
}

size_t service_args(char ***argv)
{
	*argv = frame.argv;
	return frame.argc;
}

const char *service_queue_dir(void)
{
	return frame.queue_prefix;
}

unsigned service_lane(void)
{
	return frame.lane;
}

bool service_one_uid(void)
{
	return frame.one_uid;
}
