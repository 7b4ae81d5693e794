/* local/child.c - the child that is the recipient: its loop. It ends when the front lets go of it. */
#include "store/store.h"
#include "workers.h"
#include "task/task.h"

static const struct ipc_handler handlers[] = {
	{ IPC_USER_STORE, "*", child_store },
	{ IPC_USER_READ, "*", child_read },
	{ 0, NULL, NULL },
};
static const struct ipc_handler root_handlers[] = {
	{ IPC_USER_STORE, "*", root_store },
	{ 0, NULL, NULL },
};
static const struct ipc_handler root_file_handlers[] = {
	{ IPC_USER_READ, "*", child_read },
	{ 0, NULL, NULL },
};
static const struct ipc_handler command_handlers[] = {
	{ IPC_USER_RUN, "*", child_run },
	{ 0, NULL, NULL },
};

/* What has begun is finished: a mailbox is not left half written when the front ends. */
static unsigned running;
static bool alone;

void child_begin(void)
{
	running++;
}

void child_end(void)
{
	if (--running == 0 && alone)
		loop_stop(0);
}

static void front_left(struct ipc_chan *c, void *arg)
{
	(void)c;
	(void)arg;
	alone = true;
	if (running == 0)
		loop_stop(0);
}

int worker_main(int fd, const struct asuser_id *id)
{
	struct ipc_peer peer = { .program = "front", .uid = id->uid };
	const struct ipc_handler *mine = id->allow_exec			   ? command_handlers
					 : id->root == ASUSER_ROOT_MAILBOX ? root_handlers
					 : id->root == ASUSER_ROOT_FILES   ? root_file_handlers
									   : handlers;
	struct ipc_chan *chan = ipc_chan_new(fd, mine, &peer, NULL);

	if (!id->allow_exec)
		offload_start(STORE_DELIVERIES);
	ipc_chan_on_close(chan, front_left, NULL);
	return loop_run();
}
