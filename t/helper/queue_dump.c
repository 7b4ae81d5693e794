/* What a queue directory holds after a crash: one line "SUBJECT ADDRESS" per recipient still to be delivered of each complete message.
 * usage: queue_dump QUEUE_DIRECTORY. For the power-cut harness. */
#include "mime/header.h"
#include "queue/listing.h"
#include <unistd.h>

static struct span read_content(struct queue *q, const struct listed *m, struct arena *a, struct err *e)
{
	struct slot_pos pos = { .fd = -1 };
	char *p = arena_alloc(a, m->image.content_bytes + 1);
	size_t n = 0;
	int fd = -1;

	if (m->where == QW_SLOT) {
		pos = queue_slot(q, m->slot);
	} else if (queue_file_open(q, &m->id, m->where, false, &fd, e) == RC_OK) {
		pos.fd = fd;
	}
	for (size_t i = 0; i < m->image.extents && pos.fd >= 0; i++) {
		ssize_t got =
		    pread(pos.fd, p + n, m->image.extent[i].len, pos.base + (off_t)m->image.extent[i].off);

		n += got > 0 ? (size_t)got : 0;
	}
	if (fd >= 0)
		close(fd);
	return span_make(p, n);
}

int main(int argc, char **argv)
{
	struct queue *q;
	struct listing *l;
	struct listed m;
	struct arena a;
	struct err e;

	if (argc != 2 || queue_open(argv[1], false, &q, &e) != RC_OK) {
		fprintf(stderr, "queue_dump: %s\n", argc == 2 ? e.text : "usage: queue_dump DIRECTORY");
		return 1;
	}
	if (listing_open(q, &l, &e) != RC_OK)
		fprintf(stderr, "queue_dump: %s\n", e.text);
	arena_init(&a);
	while (listing_next(l, &a, &m, &e) == RC_OK) {
		struct span content = read_content(q, &m, &a, &e);
		struct header_field f;

		if (header_find(content, "Subject", &f) == RC_OK) {
			char end[128];
			struct span subject = span_trim(f.body);

			snprintf(end, sizeof(end), "end " SPAN_FMT, SPAN_ARG(subject));
			for (size_t i = 0; i < m.image.env.rcpts.n; i++)
				if (envelope_rcpt(&m.image.env, i)->state != RCPT_DONE &&
				    span_find(content, span_str(end)) >= 0)
					printf(SPAN_FMT " " SPAN_FMT "\n", SPAN_ARG(subject),
					       SPAN_ARG(envelope_rcpt(&m.image.env, i)->addr));
		}
		arena_reset(&a);
	}
	listing_close(&l);
	queue_close(&q);
	return 0;
}
