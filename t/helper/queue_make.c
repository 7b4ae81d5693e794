/* A message of any age in a queue directory that nobody uses.
 * usage: queue_make QUEUE_DIRECTORY QUEUE ID AGE_S SENDER RECIPIENT...; a recipient that begins with '!' is delivered already. */
#include "queue/queue.h"
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static enum queue_where place(const char *name)
{
	static const struct {
		const char *name;
		enum queue_where where;
	} places[] = { { "deferred", QW_DEFERRED },
		       { "hold", QW_HOLD },
		       { "active", QW_ACTIVE },
		       { "maildrop", QW_MAILDROP } };

	for (size_t i = 0; i < ARRAY_LEN(places); i++)
		if (strcmp(name, places[i].name) == 0)
			return places[i].where;
	return QW_INCOMING;
}

int main(int argc, char **argv)
{
	struct span content = SPAN("Subject: made\n\nx\n");
	struct envelope env = { .size = content.n };
	struct env_rcpt rcpt[64] = { 0 };
	struct iovec iov[4];
	struct queue *q;
	struct qid id;
	struct arena a;
	struct err e = { .text = "usage: queue_make DIRECTORY QUEUE ID AGE_S SENDER RECIPIENT..." };
	uint64_t total, age_s;
	int fd, n;

	arena_init(&a);
	if (argc < 7 || argc - 6 > (int)ARRAY_LEN(rcpt) || !qid_parse(span_str(argv[3]), &id) ||
	    span_to_u64(span_str(argv[4]), INT32_MAX, &age_s) != RC_OK)
		goto failed;
	for (int i = 6; i < argc; i++) {
		bool done = argv[i][0] == '!';

		rcpt[i - 6].addr = span_str(argv[i] + done);
		rcpt[i - 6].state = done ? RCPT_DONE : RCPT_TODO;
	}
	env.qid = qid_span(&id);
	env.sender = span_str(argv[5]);
	env.arrival_us = ((int64_t)time(NULL) - (int64_t)age_s) * 1000000;
	env.rcpts = (struct ipc_list){ .v = rcpt, .n = (size_t)argc - 6 };
	if (queue_open(argv[1], true, &q, &e) != RC_OK || queue_file_new(q, &fd, &e) != RC_OK ||
	    qimage_build(&env, &content, 1, 1, &a, iov, &n, &total) != RC_OK ||
	    pwritev(fd, iov, n, 0) != (ssize_t)total ||
	    queue_file_commit(q, fd, &id, place(argv[2]), &e) != RC_OK)
		goto failed;
	return 0;
failed:
	fprintf(stderr, "queue_make: %s\n", e.text);
	return 1;
}
