/* The bytes of a delivery, wherever they are. */
#include "store/paths.h"
#include <errno.h>
#include <unistd.h>

void content_start(struct content *c, const struct store_delivery *m)
{
	memset(c, 0, sizeof(*c));
	c->m = m;
}

static enum rc next_of_file(struct content *c, struct span *chunk, struct err *e)
{
	const struct store_delivery *m = c->m;
	while (c->next < m->extents && c->done >= m->extent[c->next].len) {
		c->next++;
		c->done = 0;
	}
	if (c->next >= m->extents)
		return RC_EOF;
	if (!c->buf)
		c->buf = xmalloc(CONTENT_CHUNK);
	uint64_t left = m->extent[c->next].len - c->done;
	ssize_t n;
	do
		n = pread(m->fd, c->buf, left < CONTENT_CHUNK ? (size_t)left : CONTENT_CHUNK,
			  (off_t)(m->extent[c->next].off + c->done));
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return err_sys(e, "read the message");
	if (n == 0)
		return err_set(e, RC_SYNTAX, "the queue file is shorter than its extents say");
	c->done += (uint64_t)n;
	*chunk = span_make(c->buf, (size_t)n);
	return RC_OK;
}

enum rc content_next(struct content *c, struct span *chunk, struct err *e)
{
	if (!c->prefix_done) {
		c->prefix_done = true;
		if (c->m->prefix.n) {
			*chunk = c->m->prefix;
			return RC_OK;
		}
	}
	if (!c->m->pieces)
		return next_of_file(c, chunk, e);
	while (c->next < c->m->pieces && !c->m->piece[c->next].n)
		c->next++;
	if (c->next >= c->m->pieces)
		return RC_EOF;
	*chunk = c->m->piece[c->next++];
	return RC_OK;
}

void content_end(struct content *c)
{
	free(c->buf);
	c->buf = NULL;
}
