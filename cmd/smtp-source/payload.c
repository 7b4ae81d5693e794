/* cmd/smtp-source/payload.c - what is sent after DATA. */
#include "source.h"
#include "log/log.h"
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define LINE_BYTES  80 /* of generated text, with CRLF */
#define PAYLOAD_MAX ((size_t)1 << 31)

static struct buf text;
static bool own_header;

/* Full lines begin with their number; the rest does not. */
static void add_line(int64_t number, size_t bytes)
{
	char line[LINE_BYTES + 1], head[24];
	int n = number > 0 ? snprintf(head, sizeof head, "%lld", (long long)number) : 0;

	memset(line, 'X', bytes);
	memcpy(line, head, (size_t)n);
	buf_append(&text, span_make(line, bytes));
	buf_puts(&text, "\r\n");
}

void payload_generate(int64_t length)
{
	int64_t number = 0;

	buf_init(&text, PAYLOAD_MAX);
	if (length == 0)
		for (number = 1; number <= 4; number++)
			buf_printf(&text, "La de da de da %d.\r\n", (int)number);
	for (; length > LINE_BYTES; length -= LINE_BYTES)
		add_line(++number, LINE_BYTES - 2);
	if (length > 0)
		add_line(0, (size_t)length);
}

/* RFC 5321 section 4.5.2: one more dot before a dot that begins a line. */
static void add_file(struct span file)
{
	struct span line;

	while (span_next(&file, '\n', &line)) {
		if (line.n > 0 && line.p[line.n - 1] == '\r')
			line.n--;
		if (line.n > 0 && line.p[0] == '.')
			buf_putc(&text, '.');
		buf_append(&text, line);
		buf_puts(&text, "\r\n");
	}
}

void payload_read(const char *path)
{
	struct buf file;
	ssize_t n = 1;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		die("open %s: %m", path);
	buf_init(&file, PAYLOAD_MAX / 2);
	while (n > 0) {
		char *room = buf_reserve(&file, 65536);
		if (room == NULL)
			die("%s: too large", path);
		if ((n = read(fd, room, 65536)) < 0)
			die("read %s: %m", path);
		file.n += (size_t)n;
	}
	close(fd);
	buf_init(&text, PAYLOAD_MAX);
	add_file(buf_span(&file));
	if (!buf_ok(&text))
		die("%s: too large", path);
	buf_release(&file);
	own_header = true;
}

struct span payload_text(void)
{
	return buf_span(&text);
}

bool payload_has_header(void)
{
	return own_header;
}

void payload_header(struct stream *io, int64_t session, int64_t message)
{
	char date[DATE_MAX];

	wall_rfc5322(wall_now(), date);
	stream_printf(io, "From: <%s>\r\nTo: <%s>\r\nDate: %s\r\n", conf.from, conf.to, date);
	stream_printf(io, "Message-Id: <%04x.%04llx.%04llx@%s>\r\n", (unsigned)getpid(),
		      (unsigned long long)session, (unsigned long long)message, conf.myhostname);
	if (conf.subject != NULL)
		stream_printf(io, "Subject: %s\r\n", conf.subject);
	stream_puts(io, "\r\n");
}
