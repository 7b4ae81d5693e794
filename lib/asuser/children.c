/* asuser/children.c - the children of the monitor that run. The table is mapped by itself: a child unmaps it, for it
 * has no business with who else is there. */
#include "asuser/private.h"
#include "log/log.h"
#include <errno.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHILDREN_DEFAULT 1000

static struct child *running;
static unsigned running_n, running_max;

static size_t table_bytes(void)
{
	return running_max * sizeof *running;
}

void children_init(unsigned max)
{
	running_max = max != 0 ? max : CHILDREN_DEFAULT;
	running = mmap(NULL, table_bytes(), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (running == MAP_FAILED)
		die("mmap: %m");
}

static NORETURN void be_child(int fd, struct asuser_id id, const struct asuser_conf *c)
{
	munmap(running, table_bytes());
	asuser_child(fd, &id, c);
}

enum rc children_start(const struct child *of, int fd, const struct asuser_conf *c, struct err *e)
{
	if (running_n == running_max)
		return err_set(e, RC_AGAIN, "too many processes");
	pid_t pid = fork();
	if (pid < 0)
		return err_set(e, RC_AGAIN, "fork: %s", strerror(errno));
	if (pid == 0)
		be_child(fd, of->id, c);
	running[running_n] = *of;
	running[running_n++].pid = pid;
	return RC_OK;
}

static bool same(const struct asuser_id *a, const struct asuser_id *b)
{
	return a->uid == b->uid && a->gid == b->gid && strcmp(a->user, b->user) == 0 &&
	       strcmp(a->home, b->home) == 0 && strcmp(a->dir, b->dir) == 0 && strcmp(a->mail, b->mail) == 0;
}

struct child *children_find(const struct asuser_id *id)
{
	for (unsigned i = 0; i < running_n; i++)
		if (running[i].channel >= 0 && same(&running[i].id, id))
			return &running[i];
	return NULL;
}

void children_close(struct child *of)
{
	close(of->channel);
	of->channel = -1;
}

static void tell_end(const struct child *of, int32_t status)
{
	if (of->status_fd >= 0) {
		if (write(of->status_fd, &status, sizeof status) != (ssize_t)sizeof status)
			log_debug("asuser: status: %m");
		close(of->status_fd);
	} else if (WIFSIGNALED(status))
		log_warning("process %ld of a user killed by signal %d", (long)of->pid, WTERMSIG(status));
}

static void forget(pid_t pid, int status)
{
	for (unsigned i = 0; i < running_n; i++) {
		if (running[i].pid != pid)
			continue;
		tell_end(&running[i], status);
		if (running[i].channel >= 0)
			children_close(&running[i]);
		running[i] = running[--running_n];
		return;
	}
}

void children_reap(void)
{
	int status;
	for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
		forget(pid, status);
}
