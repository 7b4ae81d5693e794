/* cmd/postqueue/postqueue.c - postqueue(1): what users may see of the queue and do to it. Set-gid postdrop,
 * so that it reaches public/. Every failure is status 69, as callers know it from Postfix. */
#include "postqueue.h"
#include "ipc/proto.h"
#include "log/log.h"
#include "map/local_users.h"
#include "queue/qid.h"
#include "service/client.h"
#include <pwd.h>
#include <sysexits.h>
#include <unistd.h>

struct options {
	int mode;
	const char *arg, *dir;
};

static NORETURN void usage(void)
{
	die_status(
	    EX_UNAVAILABLE,
	    "usage: postqueue -f | postqueue -i queueid | postqueue -j | postqueue -p | postqueue -s site");
}

/* Names, !name, /file, type:table. A table that cannot be read or asked lets nobody pass. */
static bool listed(const struct conf *c, const char *param, const char *name)
{
	struct err e;
	enum rc rc = local_user_listed(c, param, name, &e);

	if (rc != RC_OK && rc != RC_NOTFOUND)
		die_status(EX_UNAVAILABLE, "%s: %s", param, e.text);
	return rc == RC_OK;
}

/* authorized_mailq_users, authorized_flush_users: root and the queue's owner always. */
static void require_user(const struct conf *c, const char *param)
{
	uid_t uid = getuid();
	struct passwd *pw = getpwnam(conf_str(c, "mail_owner"));
	const char *name;

	if (uid == 0 || (pw && pw->pw_uid == uid))
		return;
	pw = getpwuid(uid);
	name = pw != NULL ? pw->pw_name : "unknown";
	if (!listed(c, param, name))
		die_status(EX_UNAVAILABLE, "User %s(%ld) is not allowed to %s", name, (long)uid,
			   strcmp(param, "authorized_mailq_users") == 0 ? "view the mail queue"
									: "flush the mail queue");
}

static void list(const struct conf *c, bool json)
{
	struct printer p = { .json = json, .long_ids = conf_bool(c, "enable_long_queue_ids") };

	require_user(c, "authorized_mailq_users");
	source_each(c, print_message, &p);
	print_end(&p);
	if (fflush(stdout) != 0)
		die_status(EX_IOERR, "write error");
}

static void control(const struct conf *c, enum qmgr_op op, struct span arg)
{
	struct qmgr_control q = { .op = (uint16_t)op, .arg = arg };
	struct qmgr_control_reply r;
	struct arena a;
	struct err e;

	require_user(c, "authorized_flush_users");
	arena_init(&a);
	if (client_request(c, "public", conf_str(c, "queue_service_name"), IPC_QMGR_CONTROL, &q, &r, &a, 100,
			   &e) != RC_OK)
		die_status(EX_UNAVAILABLE, "Cannot flush mail queue - mail system is down (%s)", e.text);
	if (r.code > 1) /* an id that is not there is no error */
		die_status(EX_UNAVAILABLE, SPAN_FMT, SPAN_ARG(r.text));
	arena_release(&a);
}

static void flush_id(const struct conf *c, const char *text)
{
	struct qid id;

	if (!qid_plausible(span_str(text)))
		die_status(EX_UNAVAILABLE, "Cannot flush queue ID - invalid name: \"%s\"", text);
	if (!qid_parse(span_str(text), &id)) /* no message has such an id, which is no error */
		id = (struct qid){ "NONE00" };
	control(c, QOP_FLUSH_ID, qid_span(&id));
}

/* fast_flush_domains; flush(8) asks again. */
static bool eligible(const struct conf *c, struct span site)
{
	struct span rest = span_str(conf_str(c, "parent_domain_matches_subdomains")), word;
	struct match_list *domains;
	unsigned flags = 0;
	struct err e;

	while (span_next_word(&rest, ", \t\n", &word))
		if (span_is(word, "fast_flush_domains"))
			flags = MATCH_PARENT;
	if (match_list_open("fast_flush_domains", span_str(conf_str(c, "fast_flush_domains")), flags,
			    &domains, &e) != RC_OK)
		return true; /* a table that this user may not read: flush(8) may */
	return match_domain(domains, site, &e) != RC_NOTFOUND;
}

static void flush_site(const struct conf *c, const char *site)
{
	struct span s = span_str(site);
	struct flush_query q = { .op = 2 };
	struct flush_reply r;
	struct arena a;
	struct err e;

	if (s.n > 2 && s.p[0] == '[' && s.p[s.n - 1] == ']')
		s = span_make(s.p + 1, s.n - 2);
	if (s.n == 0 || s.n > 253 || span_chr(s, '@') >= 0)
		die_status(EX_UNAVAILABLE, "Cannot flush mail queue - invalid destination: \"%s\"", site);
	require_user(c, "authorized_flush_users");
	if (!eligible(c, s))
		die_status(EX_UNAVAILABLE, "Flush service is not configured for destination \"%s\"", site);
	arena_init(&a);
	q.site = s;
	if (client_request(c, "public", conf_str(c, "flush_service_name"), IPC_FLUSH, &q, &r, &a, 100, &e) !=
	    RC_OK)
		die_status(EX_UNAVAILABLE, "Cannot flush mail queue - mail system is down (%s)", e.text);
	if (r.status == 1)
		die_status(EX_UNAVAILABLE, "Flush service is not configured for destination \"%s\"", site);
	if (r.status != 0)
		die_status(EX_UNAVAILABLE, "Unable to flush mail queue for \"%s\"", site);
	arena_release(&a);
}

static struct options parse(int argc, char **argv)
{
	struct options o = { .mode = 0 };
	int ch;

	while ((ch = getopt(argc, argv, "c:fi:jps:v")) != -1) {
		switch (ch) {
		case 'c':
			o.dir = optarg;
			break;
		case 'v':
			break;
		case 'f':
		case 'i':
		case 'j':
		case 'p':
		case 's':
			if (o.mode)
				usage();
			o.mode = ch;
			o.arg = optarg;
			break;
		default:
			usage();
		}
	}
	if (!o.mode || optind < argc)
		usage();
	return o;
}

int main(int argc, char **argv)
{
	struct options o = parse(argc, argv);
	struct conf *c = client_conf_status(o.dir, "postqueue", EX_UNAVAILABLE);

	switch (o.mode) {
	case 'f':
		control(c, QOP_FLUSH, SPAN_NONE);
		break;
	case 'i':
		flush_id(c, o.arg);
		break;
	case 's':
		flush_site(c, o.arg);
		break;
	default:
		list(c, o.mode == 'j');
	}
	return 0;
}
