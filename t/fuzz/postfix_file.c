/* t/fuzz/postfix_file.c - any bytes as a queue file of Postfix's. What is read stays within bounds that follow from the size of the file,
 * and what is accepted has no recipient beyond what an envelope may hold. */
#include "queue/postfix_file.h"
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum rc count(void *arg, struct span piece, struct err *e)
{
	(void)e;
	*(size_t *)arg += piece.n;
	return RC_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int fd = -1;
	struct envelope env;
	struct arena a;
	struct err e;
	size_t content = 0;

	if (fd < 0)
		fd = memfd_create("postfix_file", MFD_CLOEXEC);
	INVARIANT(ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size);
	(void)postfix_file_is(fd);
	arena_init(&a);
	if (postfix_file_read(fd, size, &a, &env, count, &content, &e) == RC_OK) {
		INVARIANT(env.sender.n <= ENV_ADDR_MAX && env.rcpts.n <= ENV_RCPT_MAX);
		for (size_t i = 0; i < env.rcpts.n; i++)
			INVARIANT(envelope_rcpt(&env, i)->addr.n <= ENV_ADDR_MAX);
	}
	INVARIANT(content <= 2 * size);
	arena_release(&a);
	return 0;
}
