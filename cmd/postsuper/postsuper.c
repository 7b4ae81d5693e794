/* cmd/postsuper/postsuper.c - postsuper(1): the queue's keeper. -d delete, -h hold, -H release, -r requeue,
 * -e expire. While the suite runs, qmgr(8) does it; when it is down the directories are worked on directly.
 * Per-message lines and totals on stderr and in the log. */
#include "ipc/proto.h"
#include "log/log.h"
#include "queue/listing.h"
#include "service/client.h"
#include <sys/file.h>
#include <sys/socket.h>
#include <fcntl.h>
#include <unistd.h>

struct action {
	char flag;
	enum qmgr_op op;
	const char *each, *total;
	uint32_t count;
	bool asked;
};
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
static struct conf *conf;
static struct queue *queue; /* when the suite is down */
static uint16_t queues;	    /* bits of 1 << queue_where; 0 all */

static NORETURN void usage(void)
{
	die("usage: postsuper [-c config_dir] [-d queue_id (delete)] [-e queue_id (expire)] [-f queue_id "
	    "(expire and/or un-hold)] [-h queue_id (hold)] [-H queue_id (un-hold)] [-p (purge temporary "
	    "files)] [-r queue_id (requeue)] [-s (structure fix)] [-S (redundant structure fix)][-v "
	    "(verbose)] [queue...]");
}

/* ---- the suite is down: on the files ---- */
static bool wanted(enum queue_where where)
{
	if (where == QW_SLOT)
		where = QW_INCOMING;
	return queues == 0 || (queues & (1u << where));
}

/* Flags, and the time of the next attempt: at once. */
static enum rc schedule(const struct listed *m, uint32_t flag, struct err *e)
{
	int fd;
	enum rc rc = queue_file_open(queue, &m->id, m->where, true, &fd, e);

	if (rc != RC_OK)
		return rc;
	rc = qimage_schedule(fd, 0, 0, m->image.attempts, m->image.env.flags | flag, e);
	close(fd);
	return rc;
}

/* A slot cannot be held or kept for later: it becomes a file first. */
static enum rc leave_slot(struct listed *m, enum queue_where to, struct err *e)
{
	struct slot_pos pos = queue_slot(queue, m->slot);
	enum rc rc = queue_slot_to_file(queue, m->slot, &m->image, to, NULL, 0, e);

	return rc == RC_OK ? qimage_mark_done(pos.fd, pos.base, e) : rc;
}

static enum rc try_again(const struct listed *m, uint32_t flag, struct err *e)
{
	enum rc rc = schedule(m, flag, e);

	if (rc != RC_OK || m->where == QW_DEFERRED)
		return rc;
	return queue_file_move(queue, &m->id, m->where, QW_DEFERRED, e);
}

static enum rc on_disk(struct listed *m, enum qmgr_op op, struct err *e)
{
	bool slot = m->where == QW_SLOT;
	struct slot_pos pos;

	if (m->where == QW_MAILDROP && op != QOP_DELETE) /* pickup(8) has to have it first */
		return RC_NOTFOUND;
	switch (op) {
	case QOP_DELETE:
		if (!slot)
			return queue_file_remove(queue, &m->id, m->where, e);
		pos = queue_slot(queue, m->slot);
		return qimage_mark_done(pos.fd, pos.base, e);
	case QOP_HOLD:
		if (m->where == QW_HOLD)
			return RC_NOTFOUND;
		return slot ? leave_slot(m, QW_HOLD, e)
			    : queue_file_move(queue, &m->id, m->where, QW_HOLD, e);
	case QOP_RELEASE:
		return m->where == QW_HOLD ? try_again(m, 0, e) : RC_NOTFOUND;
	case QOP_REQUEUE:
		return slot ? RC_OK : try_again(m, ENVF_RESUBMITTED, e);
	case QOP_EXPIRE:
		if (slot && leave_slot(m, QW_DEFERRED, e) != RC_OK)
			return e->rc;
		m->where = slot ? QW_DEFERRED : m->where;
		return schedule(m, ENVF_EXPIRE, e);
	default:
		return RC_SYNTAX;
	}
}

static void directly(struct action *act, struct span id)
{
	struct listing *l;
	struct listed m;
	struct arena a;
	struct err e = { .text = "" };

	if (listing_open(queue, &l, &e) != RC_OK)
		log_warning("%s", e.text);
	arena_init(&a);
	while (listing_next(l, &a, &m, &e) == RC_OK) {
		if (wanted(m.where) && (id.n == 0 || span_eq(id, qid_span(&m.id)))) {
			enum rc rc = on_disk(&m, act->op, &e);

			if (rc == RC_OK) {
				if (id.n) /* ALL has its total only */
					log_info("%s: %s", m.id.s, act->each);
				act->count++;
			} else if (rc != RC_NOTFOUND) {
				log_warning("%s: %s", m.id.s, e.text);
			}
		}
		arena_reset(&a);
	}
	arena_release(&a);
	listing_close(&l);
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
	if (queue)
		directly(act, id);
	else
		through_qmgr(act, id);
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

	for (int i = optind; i < argc; i++) {
		size_t k = 0;

		while (k < ARRAY_LEN(names) && strcmp(argv[i], names[k].name) != 0)
			k++;
		if (k == ARRAY_LEN(names))
			die("invalid directory name: %s", argv[i]);
		queues |= (uint16_t)(1u << names[k].where);
		if (names[k].where == QW_INCOMING)
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
		if (ch == 'p' || ch == 's' || ch == 'S' ||
		    ch == 'v') /* nothing to fix: unfinished files have no names here */
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

int main(int argc, char **argv)
{
	struct wish *wishes = xcalloc(2 * (size_t)argc + 1, sizeof(*wishes));
	const char *dir = NULL;
	size_t n = parse(argc, argv, wishes, &dir);
	bool two;
	struct err e;

	conf = client_conf(dir, "postsuper");
	queue_words(argc, argv);
	if (geteuid() != 0 && access(conf_str(conf, "queue_directory"), W_OK) != 0)
		die("use of this command is reserved for the superuser");
	if (!suite_runs() && queue_open(conf_str(conf, "queue_directory"), true, &queue, &e) != RC_OK)
		die("%s", e.text);
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
	report();
	free(wishes);
	return 0;
}
