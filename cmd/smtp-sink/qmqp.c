/* cmd/smtp-sink/qmqp.c - qmqp-sink(1): one netstring from each client (https://cr.yp.to/proto/qmqp.html), which is not looked into,
 * and the answer that the message was taken. */
#include "sink.h"
#include "log/log.h"

#define LENGTH_DIGITS 9
#define CHUNK	      65536

static enum rc read_length(struct stream *io, uint64_t *n)
{
	unsigned digits = 0;
	struct err e;
	enum rc rc;
	char c = '\0';

	*n = 0;
	while ((rc = stream_read_exact(io, &c, 1, deadline_s(conf.timeout_s), &e)) == RC_OK &&
	       ascii_isdigit(c) && digits++ < LENGTH_DIGITS)
		*n = *n * 10 + (uint64_t)(c - '0');
	return rc != RC_OK ? rc : c == ':' && digits > 0 ? RC_OK : RC_SYNTAX;
}

static enum rc read_submission(struct stream *io)
{
	char *chunk = xmalloc(CHUNK);
	uint64_t left = 0;
	size_t n = 1;
	struct err e;
	enum rc rc = read_length(io, &left);

	for (left++; rc == RC_OK && left > 0; left -= n) { /* the comma, too */
		n = left < CHUNK ? (size_t)left : CHUNK;
		rc = stream_read_exact(io, chunk, n, deadline_s(conf.timeout_s), &e);
	}
	if (rc == RC_OK && chunk[n - 1] != ',')
		rc = RC_SYNTAX;
	free(chunk);
	return rc;
}

void qmqp_run(void *fd)
{
	struct stream *io = stream_new((int)(intptr_t)fd);

	stream_set_write_timeout(io, conf.timeout_s);
	switch (read_submission(io)) {
	case RC_OK:
		stream_puts(io, "3:KOk,");
		if (stream_flush(io, deadline_s(conf.timeout_s), NULL) == RC_OK)
			count_message();
		break;
	case RC_SYNTAX:
		log_warning("netstring format error");
		break;
	case RC_TIMEOUT:
		log_warning("read timeout");
		break;
	default:
		log_warning("lost connection");
	}
	stream_close(&io);
	count_session_ends();
}
