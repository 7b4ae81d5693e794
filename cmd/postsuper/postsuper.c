/* cmd/postsuper/postsuper.c - postsuper(1): the queue's keeper. -d delete, -h hold, -H release, -r requeue,
 * -e expire; -s, -S and -p put the directories in order. While the suite runs, qmgr(8) works on messages; when it is down the
 * directories are worked on directly, as the queue's owner. Per-message lines and totals on stderr and in the log. */
#include "postsuper.h"
#include "ipc/proto.h"
#include "log/log.h"
#include "sandbox/sandbox.h"
#include "service/client.h"
#include "service/logsetup.h"
#include <sys/file.h>
#include <sys/socket.h>
#include <fcntl.h>
#include <pwd.h>
#include <unistd.h>

#define NO_QUEUE (1u << 15) /* one that was named and holds no messages here */

static struct action actions[] = {
	/* in the order of their totals */
	{ 'r', QOP_REQUEUE, "requeued", "Requeued", 0, false },
	{ 'd', QOP_DELETE, "removed", "Deleted", 0, false },
	{ 'e', QOP_EXPIRE, "expired", "Force-expired", 0, false },
	{ 'h', QOP_HOLD, "placed on hold", "Placed on hold", 0, false },
	{ 'H', QOP_RELEASE, "released from hold", "Released from hold", 0, false },
};
struct wish {
	struct action *act;
	const char *arg;
};
struct conf *conf;
struct queue *queue;
bool running;
unsigned verbose;
static uint16_t queues; /* bits of 1 << queue_where; 0 all */
static struct {
	bool structure, contents, temporary;
} order;

static NORETURN void usage(void)
{
	die("usage: postsuper [-c config_dir] [-d queue_id (delete)] [-e queue_id (expire)] [-f queue_id "
	    "(expire and/or un-hold)] [-h queue_id (hold)] [-H queue_id (un-hold)] [-p (purge temporary "
	    "files)] [-r queue_id (requeue)] [-s (structure fix)] [-S (redundant structure fix)][-v "
	    "(verbose)] [queue...]");
}

bool wanted(enum queue_where where)
{
	if (where == QW_SLOT)
		where = QW_INCOMING;
	return queues == 0 || (queues & (1u << where));
}

/* ---- through qmgr ---- */
static void through_qmgr(struct action *act, struct span id)
{
	struct qmgr_control q = { .op = (uint16_t)act->op, .queues = queues, .arg = id.n ? id : SPAN("ALL") };
	struct qmgr_control_reply r;
	struct arena a;
	struct err e;

	arena_init(&a);
	if (client_request(conf, "public", conf_str(conf, "queue_service_name"), IPC_QMGR_CONTROL, &q, &r, &a,
			   600, &e) != RC_OK)
		die("%s", e.text);
	if (r.code == 2)
		die("qmgr: not permitted");
	if (r.code == 0 && id.n)
		log_info(SPAN_FMT ": %s", SPAN_ARG(id), act->each);
	act->count += r.count;
	arena_release(&a);
}

static void apply(struct action *act, struct span id)
{
	if (act->op == QOP_DELETE)
		delete_in_maildrop(act, id);
	if (!running)
		directly(act, id);
	else if (queues != 1u << QW_MAILDROP)
		through_qmgr(act, id);
}

/* What was requeued lies in maildrop/ now; pickup(8) looks there once a minute. */
static void wake_pickup(void)
{
	struct err e;
	int fd;

	if (client_connect(conf, "public", conf_str(conf, "pickup_service_name"), SOCK_SEQPACKET, &fd, &e) !=
	    RC_OK)
		return;
	(void)send(fd, "W", 1, MSG_NOSIGNAL);
	close(fd);
}

/* Files that got the right name or place: qmgr, which looked for them in vain, looks once more. */
static void tell_qmgr(void)
{
	struct qmgr_control q = { .op = QOP_RESCAN };
	struct qmgr_control_reply r;
	struct arena a;
	struct err e;

	arena_init(&a);
	if (client_request(conf, "public", conf_str(conf, "queue_service_name"), IPC_QMGR_CONTROL, &q, &r, &a,
			   600, &e) != RC_OK)
		log_warning("%s", e.text);
	arena_release(&a);
}

static void apply_text(struct action *act, struct span text)
{
	struct qid id;

	if (span_is(text, "ALL")) {
		apply(act, SPAN_NONE);
	} else if (!qid_plausible(text)) {
		log_warning("invalid mail queue id: " SPAN_FMT, SPAN_ARG(text));
	} else if (qid_parse(text, &id)) {
		apply(act, qid_span(&id));
	}
}

/* One id a line, for each of the wishes. */
static void apply_stdin(const struct wish *w, size_t wishes)
{
	char line[256];

	while (fgets(line, sizeof(line), stdin)) {
		struct span s = span_trim(span_str(line));

		for (size_t i = 0; s.n && i < wishes; i++)
			apply_text(w[i].act, s);
	}
}

static void queue_words(int argc, char **argv)
{
	static const struct {
		const char *name;
		enum queue_where where;
	} names[] = { { "incoming", QW_INCOMING },
		      { "active", QW_ACTIVE },
		      { "deferred", QW_DEFERRED },
		      { "hold", QW_HOLD },
		      { "maildrop", QW_MAILDROP } };
	static const char *const others[] = { "bounce", "defer", "trace", "flush" };

	for (int i = optind; i < argc; i++) {
		size_t k = 0;

		while (k < ARRAY_LEN(names) && strcmp(argv[i], names[k].name) != 0)
			k++;
		for (size_t o = 0; k == ARRAY_LEN(names) && o < ARRAY_LEN(others); o++)
			if (strcmp(argv[i], others[o]) == 0)
				k = ARRAY_LEN(names) + 1;
		if (k == ARRAY_LEN(names))
			die("invalid directory name: %s", argv[i]);
		queues |= (uint16_t)(k > ARRAY_LEN(names) ? NO_QUEUE : 1u << names[k].where);
		if (k < ARRAY_LEN(names) && names[k].where == QW_INCOMING)
			queues |= 1u << QW_SLOT;
	}
}

/* Whether master runs: it holds a lock on its pid file. */
static bool suite_runs(void)
{
	char path[1024];
	int fd;
	bool locked;

	snprintf(path, sizeof(path), "%s/pid/master.pid", conf_str(conf, "queue_directory"));
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return false;
	locked = flock(fd, LOCK_EX | LOCK_NB) != 0;
	if (!locked) {
		struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

		locked = fcntl(fd, F_GETLK, &fl) == 0 && fl.l_type != F_UNLCK;
	}
	close(fd);
	return locked;
}

static void report(void)
{
	for (size_t i = 0; i < ARRAY_LEN(actions); i++)
		if (actions[i].asked)
			log_info("%s: %u message%s", actions[i].total, actions[i].count,
				 actions[i].count == 1 ? "" : "s");
}

/* The action of a flag, which is asked for from now on; NULL: there is none. */
static struct action *find_action(int flag)
{
	for (size_t k = 0; k < ARRAY_LEN(actions); k++)
		if (actions[k].flag == flag) {
			actions[k].asked = true;
			return &actions[k];
		}
	return NULL;
}

static bool order_flag(int flag)
{
	switch (flag) {
	case 'p':
		order.temporary = true;
		return true;
	case 'S':
		order.contents = true;
		order.structure = true;
		return true;
	case 's':
		order.structure = true;
		return true;
	case 'v':
		verbose++;
		return true;
	default:
		return false;
	}
}

static size_t parse(int argc, char **argv, struct wish *wishes, const char **dir)
{
	size_t n = 0;
	int ch;

	while ((ch = getopt(argc, argv, "c:d:e:f:h:H:pr:sSv")) != -1) {
		struct action *act;

		if (ch == 'c') {
			*dir = optarg;
			continue;
		}
		if (order_flag(ch))
			continue;
		if (ch == 'f') { /* expire, and release what is held */
			wishes[n++] = (struct wish){ find_action('e'), optarg };
			ch = 'H';
		}
		if ((act = find_action(ch)) == NULL)
			usage();
		wishes[n++] = (struct wish){ act, optarg };
	}
	return n;
}

/* What is made here has to be the daemons' own. */
static void become_owner(void)
{
	const struct passwd *pw;
	struct err e;

	if (geteuid() != 0)
		return;
	if ((pw = getpwnam(conf_str(conf, "mail_owner"))) == NULL)
		die("mail_owner: unknown user name: %s", conf_str(conf, "mail_owner"));
	if (sandbox_become(pw->pw_uid, pw->pw_gid, NULL, 0, &e) != RC_OK)
		die("%s", e.text);
}

int main(int argc, char **argv)
{
	struct wish *wishes = xcalloc(2 * (size_t)argc + 1, sizeof(*wishes));
	const char *dir = NULL;
	size_t n = parse(argc, argv, wishes, &dir);
	bool two;
	struct err e;

	conf = client_conf(dir, "postsuper");
	logsetup_command(conf, "postsuper", true, 0); /* who deleted what stands in maillog_file, too */
	queue_words(argc, argv);
	if (geteuid() != 0 && access(conf_str(conf, "queue_directory"), W_OK) != 0)
		die("use of this command is reserved for the superuser");
	running = suite_runs();
	become_owner();
	qid_set_long(conf_bool(conf, "enable_long_queue_ids"));
	if (queue_open(conf_str(conf, "queue_directory"), true, &queue, &e) != RC_OK)
		die("%s", e.text);
	if (n == 0 && !order.structure && !order.temporary)
		order.structure = order.temporary = true;
	if ((order.structure || order.temporary) &&
	    structure(order.structure, order.contents, order.temporary) && running)
		tell_qmgr();
	for (size_t i = 0; i < n; i++) {
		if (strcmp(wishes[i].arg, "-") != 0) {
			apply_text(wishes[i].act, span_str(wishes[i].arg));
			continue;
		}
		/* -f: two wishes, one list of ids */
		two = i + 1 < n && wishes[i + 1].arg == wishes[i].arg;
		apply_stdin(&wishes[i], two ? 2 : 1);
		i += two;
	}
	if (running && actions[0].count > 0) /* -r */
		wake_pickup();
	report();
	queue_close(&queue);
	free(wishes);
	return 0;
}
