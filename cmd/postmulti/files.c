/* files.c - the directories and configuration files of an instance. */
#include "postmulti.h"
#include "log/log.h"
#include "conf/conf_int.h"
#include "sandbox/sandbox.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

void set_parameters(const struct multi *m, const char *dir, char **settings)
{
	struct arena a;
	size_t n = 0;
	char **argv;

	arena_init(&a);
	while (settings[n] != NULL)
		n++;
	argv = arena_array(&a, n + 5, sizeof *argv);
	argv[0] = arena_printf(&a, "%s/postconf", conf_str(m->primary, "command_directory"));
	argv[1] = arena_strdup(&a, "-c");
	argv[2] = arena_strdup(&a, dir);
	argv[3] = arena_strdup(&a, "-e");
	for (size_t i = 0; i < n; i++)
		argv[4 + i] = settings[i];
	if (run_for(m, &m->v[0], argv) != 0)
		die("%s/main.cf could not be changed", dir);
	arena_release(&a);
}

/* ---- making ---- */

static void make_directory(const char *path, mode_t mode, const char *owner)
{
	struct err e;
	uid_t uid = 0;
	gid_t gid = 0;

	if (mkdir(path, mode) < 0) {
		if (errno != EEXIST)
			die("mkdir %s: %m", path);
		return;
	}
	if (geteuid() != 0)
		return;
	if (owner != NULL && sandbox_user(owner, &uid, &gid, &e) != RC_OK)
		die("%s", e.text);
	if (chown(path, uid, gid) < 0)
		die("chown %s: %m", path);
}

static void write_new(const char *path, struct span text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);

	if (fd < 0)
		die("create %s: %m", path);
	while (text.n > 0) {
		ssize_t n = write(fd, text.p, text.n);

		if (n < 0 && errno != EINTR)
			die("write %s: %m", path);
		text = span_skip(text, n > 0 ? (size_t)n : 0);
	}
	if (fchmod(fd, 0644) < 0 || fsync(fd) < 0 || close(fd) < 0)
		die("write %s: %m", path);
}

/* What instances have in common: programs, users, and where the manual is. */
static const char *const shared[] = {
	"compatibility_level", "command_directory", "daemon_directory", "mail_owner",
	"net_owner",	       "aux_owner",	    "key_owner",	"setgid_group",
	"default_privs",       "sendmail_path",	    "mailq_path",	"newaliases_path",
	"html_directory",      "manpage_directory", "readme_directory", "sample_directory",
	"shlib_directory",     "meta_directory",
};

/* It takes no mail from anywhere until the administrator has looked at it. */
static void write_main_cf(const struct multi *m, const struct instance *in, struct arena *a)
{
	struct buf text;

	buf_init(&text, CONF_FILE_MAX);
	(void)buf_puts(&text, "# main.cf of an instance made by postmulti(1)\n");
	for (size_t i = 0; i < ARRAY_LEN(shared); i++)
		if (conf_is_set(m->primary, shared[i]))
			(void)buf_printf(&text, "%s = %s\n", shared[i], conf_raw(m->primary, shared[i]));
	(void)buf_printf(
	    &text,
	    "queue_directory = %s\n"
	    "data_directory = %s\n\n"
	    "# No port is listened on and nobody may submit mail before these two lines are changed.\n"
	    "master_service_disable = inet\n"
	    "authorized_submit_users =\n",
	    in->queue, in->data);
	write_new(arena_printf(a, "%s/main.cf", in->dir), buf_span(&text));
	buf_release(&text);
}

/* The directories of the queue, by master, who knows them. An ordinary user's are made by the first start. */
static void make_queue(const struct multi *m, const struct instance *in, struct arena *a)
{
	char *argv[] = { arena_printf(a, "%s/master", conf_str(m->primary, "daemon_directory")),
			 arena_strdup(a, "-c"), arena_strdup(a, in->dir), arena_strdup(a, "-p"), NULL };

	if (geteuid() == 0 && run_for(m, in, argv) != 0)
		log_warning("the directories below %s are not made", in->queue);
}

void make_instance_files(const struct multi *m, const struct instance *in)
{
	struct arena a;
	struct err e;
	char *bytes;
	size_t n;

	arena_init(&a);
	make_directory(in->dir, 0755, NULL);
	make_directory(in->queue, 0755, NULL);
	make_directory(in->data, 0700, conf_str(m->primary, "mail_owner"));
	if (conf_read_file(arena_printf(&a, "%s/master.cf", m->v[0].dir), &bytes, &n, &e) != RC_OK)
		die("%s", e.text);
	write_main_cf(m, in, &a);
	write_new(arena_printf(&a, "%s/master.cf", in->dir), span_make(bytes, n));
	free(bytes);
	make_queue(m, in, &a);
	arena_release(&a);
}

/* ---- removing ---- */

#define DEPTH_MAX 8

/* Everything below `name` of the directory `at`; symbolic links are removed, never followed. */
static void remove_tree(int at, const char *name, unsigned depth)
{
	int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct dirent *d;
	DIR *dir;

	if (fd < 0 || depth > DEPTH_MAX) {
		if (fd >= 0)
			close(fd);
		(void)unlinkat(at, name, 0);
		return;
	}
	if ((dir = fdopendir(fd)) == NULL)
		die("read %s: %m", name);
	while ((d = readdir(dir)) != NULL)
		if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
			remove_tree(fd, d->d_name, depth + 1);
	closedir(dir);
	(void)unlinkat(at, name, AT_REMOVEDIR);
}

static void remove_known(const char *path, const char *const *names)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0) {
		log_warning("open directory %s: %m", path);
		return;
	}
	for (; *names != NULL; names++)
		remove_tree(fd, *names, 0);
	close(fd);
	if (rmdir(path) < 0)
		log_warning("%s is not removed: %m", path);
}

void remove_instance_files(const struct multi *m, const struct instance *in)
{
	static const char *const queue[] = { "active",	"bounce", "corrupt",  "defer",	  "deferred", "empty",
					     "flush",	"hold",	  "incoming", "maildrop", "pid",      "pool",
					     "private", "public", "saved",    "trace",	  NULL };
	static const char *const data[] = { "master.lock",	   "prng_exch",
					    "smtp_scache.db",	   "smtpd_scache.db",
					    "lmtp_scache.db",	   "verify_cache.db",
					    "postscreen_cache.db", NULL };
	static const char *const config[] = { "main.cf", "master.cf", NULL };

	(void)m;
	remove_known(in->data, data);
	remove_known(in->queue, queue);
	remove_known(in->dir, config);
}
