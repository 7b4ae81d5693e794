/* t/fuzz/ipc_decode.c - every message table against any bytes. Byte 0 chooses the row of ipc_types[]; byte 1:
 * bit 0 the reply, bits 1 to 3 how many descriptors come along. What is accepted must encode to the same
 * bytes, and no descriptor may be lost.
 *
 * Seeds are made from the tables: with FUZZ_SEED_DIR set (t/fuzz/run does), three messages of every row are
 * written there. */
#include "ipc/frame.h"

#include <fcntl.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

#define SEED_FDS_SHIFT 1

/* ---- seeds ---- */

/* A message of the table with lists of `elements` elements and spans of `bytes` bytes, the descriptors
 * announced. */
static void seed_fields(const struct field *tab, size_t elements, size_t bytes, struct buf *out,
			unsigned *nfds)
{
	static const char letters[] = "user@example.com\0\xc3\xa9 4.7.1 body\r\n";

	for (const struct field *f = tab; f->kind != F_END; f++) {
		size_t n = f->kind == F_LIST ? elements : f->kind == F_SPAN ? bytes : 0;

		if (n > f->arg)
			n = f->arg;
		switch (f->kind) {
		case F_END:
			break;
		case F_BOOL:
			(void)buf_putc(out, bytes > 0);
			break;
		case F_U16:
			(void)buf_append(out, span_make("\x26\2", 2));
			break;
		case F_U32:
			(void)buf_append(out, span_make("\1\0\0\0", 4));
			break;
		case F_U64:
		case F_I64:
			(void)buf_append(out, span_make("\0\1\0\0\0\0\0\0", 8));
			break;
		case F_SPAN:
		case F_LIST:
			(void)buf_append(out, span_make((const char[]){ (char)n, 0, 0, 0 }, 4));
			if (f->kind == F_SPAN)
				(void)buf_append(out, span_head(span_make(letters, sizeof(letters)), n));
			else
				while (n-- > 0)
					seed_fields(f->sub, elements, bytes, out, nfds);
			break;
		case F_FD:
			n = bytes > 0 && *nfds < IPC_FDS_MAX;
			*nfds += (unsigned)n;
			(void)buf_putc(out, (char)n);
			break;
		}
	}
}

static void seed_write(const char *dir, size_t row, bool reply, unsigned variant)
{
	const struct ipc_type *t = &ipc_types[row];
	char path[4096];
	unsigned nfds = 0;
	struct buf b;
	int fd;

	buf_init(&b, IPC_FRAME_MAX);
	(void)buf_append(&b, span_make("\0\0", 2));
	seed_fields(reply ? t->reply : t->request, variant, variant * 9, &b, &nfds);
	b.p[0] = (char)row;
	b.p[1] = (char)((nfds << SEED_FDS_SHIFT) | reply);
	snprintf(path, sizeof(path), "%s/%s-%s-%u", dir, t->name, reply ? "reply" : "request", variant);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	INVARIANT(fd >= 0 && write(fd, b.p, b.n) == (ssize_t)b.n);
	close(fd);
	buf_release(&b);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	const char *dir = getenv("FUZZ_SEED_DIR");

	(void)argc;
	(void)argv;
	INVARIANT(ipc_types_count <= 256);
	for (size_t row = 0; dir && row < ipc_types_count; row++)
		for (unsigned variant = 0; variant < 3; variant++) {
			seed_write(dir, row, false, variant);
			if (ipc_types[row].reply)
				seed_write(dir, row, true, variant);
		}
	return 0;
}

/* ---- one input ---- */

static bool closed(int fd)
{
	return fcntl(fd, F_GETFD) < 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct ipc_type *t;
	const struct field *tab;
	int given[IPC_FDS_MAX] = { -1, -1, -1, -1 }, fds[IPC_FDS_MAX], sent[IPC_FDS_MAX];
	size_t nfds, nsent, message_size;
	struct span body;
	struct arena a;
	struct buf again;
	struct err e = { 0 };
	void *m;

	if (size < 2)
		return 0;
	t = &ipc_types[data[0] % ipc_types_count];
	tab = data[1] & 1 ? t->reply : t->request;
	message_size = data[1] & 1 ? t->reply_size : t->request_size;
	nfds = (data[1] >> SEED_FDS_SHIFT & 7) % (IPC_FDS_MAX + 1);
	if (!tab)
		return 0;
	for (size_t i = 0; i < nfds; i++)
		given[i] = fds[i] = dup(STDERR_FILENO);
	body = span_make((const char *)data + 2, size - 2);
	m = xcalloc(1, message_size);
	arena_init(&a);
	if (ipc_decode(tab, body, fds, nfds, &a, m, &e) == RC_OK) {
		buf_init(&again, size);
		INVARIANT(ipc_encode(tab, m, &again, sent, &nsent) == RC_OK);
		INVARIANT(span_eq(buf_span(&again), body));
		INVARIANT(nsent == nfds);
		for (size_t i = 0; i < nfds; i++)
			INVARIANT(sent[i] == given[i] && !closed(given[i]));
		ipc_close_fds(tab, m);
		buf_release(&again);
	} else {
		INVARIANT(e.rc == RC_SYNTAX && e.text[0]);
	}
	for (size_t i = 0; i < nfds; i++)
		INVARIANT(closed(given[i]));
	arena_release(&a);
	free(m);
	return 0;
}
