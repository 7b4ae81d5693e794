/* cmd/posttls-finger/dialogue.c - SMTP and LMTP as far as STARTTLS (RFC 3207), each line shown. */
#include "finger.h"
#include "log/log.h"
#include <errno.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define LINE_BYTES  4096
#define REPLY_LINES 300

static ssize_t receive(struct finger *f, char *p, size_t n)
{
	return f->ssl != NULL ? SSL_read(f->ssl, p, (int)n) : recv(f->fd, p, n, 0);
}

/* Without its line end; false: told. */
static bool read_line(struct finger *f, struct span *line)
{
	char more[2048];

	for (;;) {
		struct span have = span_skip(buf_span(&f->in), f->in_at);
		ptrdiff_t lf = span_chr(have, '\n');
		ssize_t n;

		if (lf >= 0) {
			f->in_at += (size_t)lf + 1;
			*line = span_head(have, (size_t)lf);
			if (span_ends(*line, SPAN("\r")))
				line->n--;
			return true;
		}
		if (have.n > LINE_BYTES) {
			log_info("%.*s: line too long", SPAN_ARG(f->peer));
			return false;
		}
		errno = 0;
		n = receive(f, more, sizeof(more));
		if (n <= 0) {
			log_info(errno == EAGAIN ? "timeout while reading from %.*s"
						 : "lost connection with %.*s",
				 SPAN_ARG(f->peer));
			return false;
		}
		if (f->in_at == f->in.n) {
			buf_reset(&f->in);
			f->in_at = 0;
		}
		(void)buf_append(&f->in, span_make(more, (size_t)n));
	}
}

static bool ends_reply(struct span line)
{
	return line.n < 4 || line.p[3] != '-';
}

static void note_extension(struct finger *f, struct span text)
{
	struct span rest = text, word;

	if (span_next_word(&rest, " ", &word) && span_is_ci(word, "STARTTLS"))
		f->starttls = true;
}

/* One reply; `last` is its last line. The lines of EHLO are looked at, the first as the server's name. */
static bool read_reply(struct finger *f, bool ehlo, struct span *last)
{
	for (int i = 0; i < REPLY_LINES; i++) {
		if (!read_line(f, last))
			return false;
		if (!f->quiet)
			log_info("< " SPAN_FMT, SPAN_ARG(*last));
		if (ehlo && i == 0) {
			struct span rest = span_skip(*last, 4), word = SPAN_NONE;

			(void)span_next_word(&rest, " ", &word);
			snprintf(f->server, sizeof(f->server), SPAN_FMT, SPAN_ARG(word));
		} else if (ehlo) {
			note_extension(f, span_skip(*last, 4));
		}
		if (ends_reply(*last))
			return true;
	}
	log_info("reply of " SPAN_FMT " too long", SPAN_ARG(f->peer));
	return false;
}

static bool say(struct finger *f, const char *command)
{
	char line[LINE_BYTES];
	int n = snprintf(line, sizeof(line), "%s\r\n", command);
	ssize_t sent;

	if (!f->quiet)
		log_info("> %s", command);
	sent = f->ssl != NULL ? SSL_write(f->ssl, line, n) : send(f->fd, line, (size_t)n, MSG_NOSIGNAL);
	if (sent != n)
		log_info("lost connection with " SPAN_FMT, SPAN_ARG(f->peer));
	return sent == n;
}

static bool positive(struct finger *f, struct span reply, const char *what)
{
	if (reply.n > 0 && reply.p[0] == '2')
		return true;
	log_info("%s rejected: " SPAN_FMT, what, SPAN_ARG(reply));
	(void)f;
	return false;
}

static void limit_reads(const struct finger *f, int64_t seconds)
{
	struct timeval limit = { .tv_sec = seconds };

	(void)setsockopt(f->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
}

/* May take as long as the connection. */
bool dialogue_greeting(struct finger *f)
{
	struct span reply;
	bool ok;

	limit_reads(f, f->connect_s);
	ok = read_reply(f, false, &reply) && positive(f, reply, "CONNECT");
	limit_reads(f, f->command_s);
	return ok;
}

bool dialogue_ehlo(struct finger *f)
{
	const char *verb = f->lmtp ? "LHLO" : "EHLO";
	char line[512];
	struct span reply;

	f->starttls = false;
	snprintf(line, sizeof(line), "%s %s", verb, conf_str(f->conf, "myhostname"));
	return say(f, line) && read_reply(f, true, &reply) && positive(f, reply, verb);
}

bool dialogue_starttls(struct finger *f)
{
	struct span reply;

	if (!say(f, "STARTTLS") || !read_reply(f, false, &reply) || !positive(f, reply, "STARTTLS"))
		return false;
	if (f->in_at < f->in.n) { /* RFC 3207 section 4.2 */
		log_warning(SPAN_FMT ": input before the TLS handshake", SPAN_ARG(f->peer));
		return false;
	}
	return true;
}

void dialogue_quit(struct finger *f)
{
	struct span reply;

	if (say(f, "QUIT"))
		(void)read_reply(f, false, &reply);
}
