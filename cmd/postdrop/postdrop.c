/* postdrop.c - postdrop(1): leaves one message in maildrop/, durably, for the time when the suite runs again.
 * Set-gid: it trusts neither its environment nor its descriptors nor its input. The file belongs to the
 * caller, and that is how pickup(8) knows who submitted it. Whether he may submit, and with that sender, is decided here. */
#include "base/arena.h"
#include "conf/conf.h"
#include "log/log.h"
#include "map/local_users.h"
#include "queue/qfile.h"
#include "queue/qid.h"
#include "service/logsetup.h"
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define ENVELOPE_MAX (128 * 1024)
#define CHUNK	     65536

static struct conf *conf;
static struct arena memory;
static bool reply; /* -r: sendmail(1) reads the result from standard output: "+queue id" or "-reason" */

static void safe_start(void)
{
	struct stat st;
	char *config = getenv("MAIL_CONFIG"), *tz = getenv("TZ");

	(void)close_range(3, ~0U, 0);
	for (int fd = 0; fd < 3; fd++)
		if (fstat(fd, &st) != 0 && open("/dev/null", O_RDWR) != fd)
			_exit(75);
	config = config != NULL ? xstrdup(config) : NULL;
	tz = tz != NULL ? xstrdup(tz) : NULL;
	(void)clearenv();
	if (config != NULL)
		(void)setenv("MAIL_CONFIG", config, 1);
	if (tz != NULL)
		(void)setenv("TZ", tz, 1);
	free(config);
	free(tz);
	for (int sig = 1; sig < 32; sig++) /* a message half taken is worth less than a caller kept waiting */
		if (sig == SIGHUP || sig == SIGINT || sig == SIGQUIT || sig == SIGPIPE || sig == SIGALRM ||
		    sig == SIGTERM)
			(void)signal(sig, SIG_IGN);
	umask(022);
}

static const char *built_in_dir(void)
{
	return POSTERN_SYSCONFDIR "/postfix";
}

/* A directory that the caller names is believed when the caller is root, or main.cf at its usual place lists
 * it. */
static void load_config(void)
{
	static const char *const lists[] = { "alternate_config_directories", "multi_instance_directories" };
	const char *want = getenv("MAIL_CONFIG");
	bool ours = getuid() == geteuid() && getgid() == getegid(); /* no privilege to abuse */
	struct span rest, w;
	struct err e;
	bool listed = false;

	if (want == NULL || ours || getuid() == 0 || span_is(span_str(want), built_in_dir())) {
		if (conf_load(want != NULL ? want : built_in_dir(), &conf, &e) != RC_OK)
			die_status(75, "%s", e.text);
		return;
	}
	if (conf_load(built_in_dir(), &conf, &e) != RC_OK)
		die_status(75, "%s", e.text);
	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		rest = span_str(conf_raw(conf, lists[i])); /* as written: postconf(5) */
		while (span_next_word(&rest, ", \t\r\n", &w))
			listed |= span_is(w, want);
	}
	if (!listed)
		die_status(75, "unauthorized configuration directory name: %s", want);
	conf_free(&conf);
	if (conf_load(want, &conf, &e) != RC_OK)
		die_status(75, "%s", e.text);
}

static const char *login_name(void)
{
	const struct passwd *pw = getpwuid(getuid());

	return pw != NULL ? arena_strdup(&memory, pw->pw_name) : NULL;
}

/* A refusal that no later attempt changes. */
NORETURN static void refuse(const char *text)
{
	if (!reply)
		die_status(75, "%s", text);
	printf("-%s\n", text);
	(void)fflush(stdout);
	_exit(75);
}

/* Here and not when pickup(8) finds the file: who submits is still there, and hears of it. */
static void require_user(const char *name)
{
	struct err e;
	enum rc rc = local_user_listed(conf, "authorized_submit_users", name, &e);

	if (rc == RC_NOTFOUND)
		refuse(arena_printf(&memory, "User %s(%lu) is not allowed to submit mail", name,
				    (unsigned long)getuid()));
	if (rc != RC_OK)
		die_status(75, "authorized_submit_users: %s", e.text);
}

static void require_sender(const char *name, struct span sender)
{
	struct login_senders *ls;
	struct err e;
	enum rc rc = login_senders_open(conf, &ls, &e);

	if (rc == RC_OK)
		rc = login_senders_match(ls, name, getuid(), sender, &memory, &e);
	if (rc == RC_DENIED)
		refuse(
		    arena_printf(&memory, "not authorized to use sender='" SPAN_FMT "'", SPAN_ARG(sender)));
	if (rc != RC_OK)
		die_status(75, "local_login_sender_maps: %s", e.text);
	login_senders_close(&ls);
}

static size_t read_input(void *p, size_t n)
{
	size_t done = 0;

	while (done < n) {
		ssize_t r = read(STDIN_FILENO, (char *)p + done, n - done);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			die_status(75, "read: %s", strerror(errno));
		if (r == 0)
			break;
		done += (size_t)r;
	}
	return done;
}

static void read_envelope(struct envelope *env)
{
	unsigned char head[12];
	size_t n = 0;
	char *p;
	struct err e;

	if (read_input(head, sizeof(head)) != sizeof(head) || memcmp(head, "PSTDROP1", 8) != 0)
		die_status(75, "the input is not what sendmail(1) writes");
	for (unsigned i = 0; i < 4; i++)
		n |= (size_t)head[8 + i] << 8 * i;
	if (n > ENVELOPE_MAX)
		die_status(75, "the envelope is too large");
	p = arena_alloc(&memory, n + 1);
	if (read_input(p, n) != n || envelope_decode(span_make(p, n), &memory, env, &e) != RC_OK ||
	    env->rcpts.n == 0)
		die_status(75, "the envelope is malformed");
}

static uint64_t copy_content(int fd)
{
	int64_t limit = conf_int(conf, "message_size_limit");
	char *chunk = xmalloc(CHUNK);
	uint64_t total = 0;
	size_t n;

	while ((n = read_input(chunk, CHUNK)) > 0) {
		size_t done = 0;

		if (limit > 0 && total + n > (uint64_t)limit)
			die_status(75, "message file too big");
		while (done < n) {
			ssize_t w =
			    pwrite(fd, chunk + done, n - done, QFILE_CONTENT_OFF + (int64_t)(total + done));

			if (w < 0 && errno != EINTR)
				die_status(75, "write maildrop file: %s", strerror(errno));
			done += w > 0 ? (size_t)w : 0;
		}
		total += n;
	}
	free(chunk);
	return total;
}

static int name_it(int fd, int dir, const char *name)
{
	char proc[32];

	if (linkat(fd, "", dir, name, AT_EMPTY_PATH) == 0 || errno == EEXIST)
		return errno == EEXIST ? -1 : 0;
	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
	return linkat(AT_FDCWD, proc, dir, name, AT_SYMLINK_FOLLOW);
}

/* The directory may be written by our group, and not read: then it cannot be opened for fsync, and the whole
 * file system is synced. */
static void sync_name(int fd, const char *dir)
{
	int d = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fsync(fd) != 0 || (d >= 0 ? fsync(d) : syncfs(fd)) != 0)
		die_status(75, "sync maildrop file: %s", strerror(errno));
	if (d >= 0)
		close(d);
}

static struct qid store(struct envelope *env, const char *dir)
{
	int dirfd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int fd = dirfd < 0 ? -1 : openat(dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0644);
	struct qid id;
	uint64_t n;
	struct err e;

	if (fd < 0)
		die_status(75, "create a file in %s: %s", dir, strerror(errno));
	n = copy_content(fd);
	for (unsigned i = 0;; i++) {
		id = qid_new((unsigned)getpid() & 0xff);
		env->qid = qid_span(&id);
		if (qimage_complete(fd, env, n, SPAN_NONE, NULL, 0, false, false, &e) != RC_OK)
			die_status(75, "%s", e.text);
		errno = 0;
		if (name_it(fd, dirfd, id.s) == 0)
			break;
		if (errno != EEXIST || i > 100)
			die_status(75, "name a file in %s: %s", dir, strerror(errno));
	}
	sync_name(fd, dir);
	return id;
}

/* Wakes pickup(8) when it runs after all; it looks by itself, too. */
static void wake_pickup(const char *queue_dir)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	const char *name = conf_str(conf, "pickup_service_name");
	int s = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int n = snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/public/%s", queue_dir, name);

	if (s >= 0 && n > 0 && (size_t)n < sizeof(sun.sun_path)) {
		if (connect(s, (struct sockaddr *)&sun, sizeof(sun)) != 0)
			log_warning("unable to look up public/%s: %s", name, strerror(errno));
		else if (send(s, "W", 1, MSG_NOSIGNAL) < 0)
			log_debug("pickup: %s", strerror(errno));
	}
	if (s >= 0)
		close(s);
}

static void start_log(void)
{
	struct log_conf lc = { .service = "postdrop", .to_stderr = true };

	logsetup_where(conf, &lc);
	log_init(&lc);
}

int main(int argc, char **argv)
{
	struct envelope env;
	const char *queue_dir, *name;
	struct qid id;
	int c;

	safe_start();
	arena_init(&memory);
	log_init(
	    &(struct log_conf){ .service = "postdrop", .file_fd = -1, .to_stderr = true, .to_syslog = true });
	while ((c = getopt(argc, argv, "c:rv")) > 0) {
		if (c == 'c')
			(void)setenv("MAIL_CONFIG", optarg, 1);
		else if (c == 'r')
			reply = true;
		else if (c == '?')
			die_status(1, "usage: postdrop [-c config_dir] [-v]");
	}
	load_config();
	start_log();
	name = login_name();
	require_user(name != NULL ? name : "unknown");
	read_envelope(&env);
	require_sender(name, env.sender);
	queue_dir = conf_str(conf, "queue_directory");
	id = store(&env, arena_printf(&memory, "%s/maildrop", queue_dir));
	wake_pickup(queue_dir);
	if (reply)
		printf("+%s\n", id.s);
	return 0; /* the message is taken, whether or not anybody reads that */
}
