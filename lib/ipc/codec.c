/* ipc/codec.c - messages to bytes and back, by the tables. Numbers are little endian. A message has exactly
 * one encoding: what ipc_decode() accepts, ipc_encode() writes again byte for byte. */
#include "ipc/frame.h"

#include <unistd.h>

#define DEPTH_MAX 8 /* lists in lists; tables are ours, deeper is a defect */

/* ---- members of a struct, by offset ---- */

static const void *member(const struct field *f, const void *msg)
{
	return (const char *)msg + f->offset;
}

static void load(void *dst, const struct field *f, const void *msg, size_t n)
{
	memcpy(dst, member(f, msg), n);
}

static void store(const struct field *f, void *msg, const void *src, size_t n)
{
	memcpy((char *)msg + f->offset, src, n);
}

static const void *element(const struct ipc_list *l, const struct field *f, size_t i)
{
	return (const char *)l->v + i * f->size;
}

/* ---- encoding ---- */

struct encoder {
	struct buf *out;
	int *fds;
	size_t nfds;
	struct ipc_frame *frame; /* NULL: copy every span */
};

static enum rc put_number(struct encoder *en, uint64_t v, size_t n)
{
	char *p = buf_reserve(en->out, n);

	if (!p)
		return RC_LIMIT;
	for (size_t i = 0; i < n; i++)
		p[i] = (char)(v >> 8 * i);
	en->out->n += n;
	return RC_OK;
}

static enum rc put_span(struct encoder *en, struct span s, size_t max)
{
	struct ipc_frame *fr = en->frame;

	if (s.n > max || s.n > UINT32_MAX || put_number(en, s.n, 4) != RC_OK)
		return RC_LIMIT;
	if (!fr || s.n <= FRAME_BORROW_BYTES || fr->nborrowed == FRAME_BORROW_MAX)
		return s.n > 0 ? buf_append(en->out, s) : RC_OK;
	fr->borrowed[fr->nborrowed].at = en->out->n;
	fr->borrowed[fr->nborrowed++].span = s;
	fr->borrowed_bytes += s.n;
	return RC_OK;
}

static enum rc put_fd(struct encoder *en, int fd)
{
	if (fd < 0)
		return put_number(en, 0, 1);
	if (en->nfds == IPC_FDS_MAX)
		return RC_LIMIT;
	en->fds[en->nfds++] = fd;
	return put_number(en, 1, 1);
}

static enum rc put_fields(struct encoder *en, const struct field *tab, const void *msg, unsigned depth);

static enum rc put_list(struct encoder *en, const struct field *f, const struct ipc_list *l, unsigned depth)
{
	if (l->n > f->arg || put_number(en, l->n, 4) != RC_OK)
		return RC_LIMIT;
	for (size_t i = 0; i < l->n; i++) {
		enum rc rc = put_fields(en, f->sub, element(l, f, i), depth + 1);
		if (rc != RC_OK)
			return rc;
	}
	return RC_OK;
}

static enum rc put_field(struct encoder *en, const struct field *f, const void *msg, unsigned depth)
{
	bool b;
	uint16_t u16;
	uint32_t u32;
	uint64_t u64;
	struct span s;
	struct ipc_list l;
	int fd;

	switch (f->kind) {
	case F_END:
		break;
	case F_BOOL:
		load(&b, f, msg, sizeof(b));
		return put_number(en, b, 1);
	case F_U16:
		load(&u16, f, msg, sizeof(u16));
		return put_number(en, u16, 2);
	case F_U32:
		load(&u32, f, msg, sizeof(u32));
		return put_number(en, u32, 4);
	case F_U64:
	case F_I64:
		load(&u64, f, msg, sizeof(u64));
		return put_number(en, u64, 8);
	case F_SPAN:
		load(&s, f, msg, sizeof(s));
		return put_span(en, s, f->arg);
	case F_LIST:
		load(&l, f, msg, sizeof(l));
		return put_list(en, f, &l, depth);
	case F_FD:
		load(&fd, f, msg, sizeof(fd));
		return put_fd(en, fd);
	}
	invariant_broken("field kind", __FILE__, __LINE__);
}

static enum rc put_fields(struct encoder *en, const struct field *tab, const void *msg, unsigned depth)
{
	enum rc rc;

	INVARIANT(depth < DEPTH_MAX);
	for (const struct field *f = tab; f->kind != F_END; f++)
		if ((rc = put_field(en, f, msg, depth)) != RC_OK)
			return rc;
	return RC_OK;
}

enum rc ipc_encode(const struct field *tab, const void *msg, struct buf *out, int fds[IPC_FDS_MAX],
		   size_t *nfds)
{
	struct encoder en = { .out = out, .fds = fds };
	enum rc rc = put_fields(&en, tab, msg, 0);

	*nfds = en.nfds;
	return rc;
}

/* ---- a frame ---- */

void ipc_frame_init(struct ipc_frame *f)
{
	*f = (struct ipc_frame){ 0 };
	buf_init(&f->bytes, IPC_FRAME_MAX);
}

void ipc_frame_reset(struct ipc_frame *f)
{
	buf_reset(&f->bytes);
	f->nborrowed = f->borrowed_bytes = f->nfds = 0;
}

void ipc_frame_release(struct ipc_frame *f)
{
	buf_release(&f->bytes);
}

enum rc ipc_frame_encode(struct ipc_frame *f, const struct ipc_type *t, uint8_t flags, uint32_t serial,
			 const void *msg)
{
	struct encoder en = { .out = &f->bytes, .fds = f->fds, .frame = f };
	enum rc rc;

	if ((rc = put_number(&en, IPC_VERSION, 1)) != RC_OK || (rc = put_number(&en, flags, 1)) != RC_OK ||
	    (rc = put_number(&en, t->type, 2)) != RC_OK || (rc = put_number(&en, serial, 4)) != RC_OK ||
	    (rc = put_fields(&en, flags & IPC_REPLY ? t->reply : t->request, msg, 0)) != RC_OK)
		return rc;
	f->nfds = en.nfds;
	return f->bytes.n + f->borrowed_bytes > IPC_FRAME_MAX ? RC_LIMIT : RC_OK;
}

size_t ipc_frame_iov(const struct ipc_frame *f, struct iovec iov[FRAME_IOV_MAX])
{
	size_t n = 0, done = 0;

	for (size_t i = 0; i < f->nborrowed; i++) {
		struct span s = f->borrowed[i].span;

		iov[n++] = (struct iovec){ f->bytes.p + done, f->borrowed[i].at - done };
		iov[n++] = (struct iovec){ (void *)(uintptr_t)s.p, s.n };
		done = f->borrowed[i].at;
	}
	iov[n++] = (struct iovec){ f->bytes.p + done, f->bytes.n - done };
	return n;
}

static bool has_fds(const struct field *tab)
{
	for (const struct field *f = tab; f->kind != F_END; f++)
		if (f->kind == F_FD || (f->kind == F_LIST && has_fds(f->sub)))
			return true;
	return false;
}

void ipc_close_fds(const struct field *tab, const void *msg)
{
	if (!has_fds(tab))
		return;
	for (const struct field *f = tab; f->kind != F_END; f++) {
		struct ipc_list l;
		int fd;

		if (f->kind == F_FD) {
			load(&fd, f, msg, sizeof(fd));
			if (fd >= 0)
				close(fd);
		} else if (f->kind == F_LIST) {
			load(&l, f, msg, sizeof(l));
			for (size_t i = 0; i < l.n; i++)
				ipc_close_fds(f->sub, element(&l, f, i));
		}
	}
}

/* ---- decoding ---- */

struct decoder {
	struct span rest;
	const int *fds;
	size_t nfds, fds_used;
	struct arena *a;
	struct err *e;
};

static enum rc get_number(struct decoder *de, size_t n, uint64_t *out)
{
	uint64_t v = 0;

	if (de->rest.n < n)
		return err_set(de->e, RC_SYNTAX, "the record is short");
	for (size_t i = 0; i < n; i++)
		v |= (uint64_t)(unsigned char)de->rest.p[i] << 8 * i;
	de->rest.p += n;
	de->rest.n -= n;
	*out = v;
	return RC_OK;
}

/* A number that must not be greater than max. */
static enum rc get_bounded(struct decoder *de, size_t n, uint64_t max, const char *what, uint64_t *out)
{
	enum rc rc;

	*out = 0;
	if ((rc = get_number(de, n, out)) == RC_OK && *out > max)
		rc = err_set(de->e, RC_SYNTAX, "%s %llu is past %llu", what, (unsigned long long)*out,
			     (unsigned long long)max);
	return rc;
}

static enum rc get_span(struct decoder *de, size_t max, struct span *out)
{
	uint64_t n;
	enum rc rc = get_bounded(de, 4, max, "length", &n);

	if (rc != RC_OK)
		return rc;
	if (n > de->rest.n)
		return err_set(de->e, RC_SYNTAX, "the record is short");
	*out = span_make(de->rest.p, (size_t)n);
	de->rest.p += n;
	de->rest.n -= (size_t)n;
	return RC_OK;
}

static enum rc get_fd(struct decoder *de, int *out)
{
	uint64_t present;
	enum rc rc = get_bounded(de, 1, 1, "descriptor mark", &present);

	*out = -1;
	if (rc != RC_OK || !present)
		return rc;
	if (de->fds_used == de->nfds)
		return err_set(de->e, RC_SYNTAX, "a descriptor is missing");
	*out = de->fds[de->fds_used++];
	return RC_OK;
}

/* The fewest bytes a message of this table takes. */
static size_t least_bytes(const struct field *tab)
{
	static const unsigned char least[] = { [F_BOOL] = 1, [F_U16] = 2,  [F_U32] = 4,	 [F_U64] = 8,
					       [F_I64] = 8,  [F_SPAN] = 4, [F_LIST] = 4, [F_FD] = 1 };
	size_t n = 0;

	for (const struct field *f = tab; f->kind != F_END; f++)
		n += least[f->kind];
	return n;
}

static enum rc get_fields(struct decoder *de, const struct field *tab, void *msg, unsigned depth);

static enum rc get_list(struct decoder *de, const struct field *f, struct ipc_list *l, unsigned depth)
{
	size_t least = least_bytes(f->sub);
	uint64_t n;
	enum rc rc = get_bounded(de, 4, f->arg, "count", &n);

	INVARIANT(least > 0);
	*l = (struct ipc_list){ 0 };
	if (rc != RC_OK || n == 0)
		return rc;
	if (n > de->rest.n / least) /* before memory is taken for it */
		return err_set(de->e, RC_SYNTAX, "the record is short");
	l->n = (size_t)n;
	l->v = arena_array(de->a, l->n, f->size);
	for (size_t i = 0; i < l->n; i++)
		if ((rc = get_fields(de, f->sub, (char *)l->v + i * f->size, depth + 1)) != RC_OK)
			return rc;
	return RC_OK;
}

static enum rc get_field(struct decoder *de, const struct field *f, void *msg, unsigned depth)
{
	uint64_t v = 0;
	struct span s = SPAN_NONE;
	struct ipc_list l = { 0 };
	int fd;
	enum rc rc;

	switch (f->kind) {
	case F_END:
		break;
	case F_BOOL:
		rc = get_bounded(de, 1, 1, "truth value", &v);
		store(f, msg, &(bool){ v == 1 }, sizeof(bool));
		return rc;
	case F_U16:
		rc = get_number(de, 2, &v);
		store(f, msg, &(uint16_t){ (uint16_t)v }, sizeof(uint16_t));
		return rc;
	case F_U32:
		rc = get_number(de, 4, &v);
		store(f, msg, &(uint32_t){ (uint32_t)v }, sizeof(uint32_t));
		return rc;
	case F_U64:
	case F_I64:
		rc = get_number(de, 8, &v);
		store(f, msg, &v, sizeof(v));
		return rc;
	case F_SPAN:
		rc = get_span(de, f->arg, &s);
		store(f, msg, &s, sizeof(s));
		return rc;
	case F_LIST:
		rc = get_list(de, f, &l, depth);
		store(f, msg, &l, sizeof(l));
		return rc;
	case F_FD:
		rc = get_fd(de, &fd);
		store(f, msg, &fd, sizeof(fd));
		return rc;
	}
	invariant_broken("field kind", __FILE__, __LINE__);
}

static enum rc get_fields(struct decoder *de, const struct field *tab, void *msg, unsigned depth)
{
	enum rc rc;

	INVARIANT(depth < DEPTH_MAX);
	for (const struct field *f = tab; f->kind != F_END; f++)
		if ((rc = get_field(de, f, msg, depth)) != RC_OK)
			return err_prefix(de->e, "field %zu", (size_t)(f - tab) + 1), rc;
	return RC_OK;
}

enum rc ipc_decode(const struct field *tab, struct span body, int *fds, size_t nfds, struct arena *a,
		   void *msg, struct err *e)
{
	struct decoder de = { .rest = body, .fds = fds, .nfds = nfds, .a = a, .e = e };
	enum rc rc = get_fields(&de, tab, msg, 0);

	if (rc == RC_OK && de.rest.n > 0)
		rc = err_set(e, RC_SYNTAX, "%zu bytes too many", de.rest.n);
	if (rc == RC_OK && de.fds_used < nfds)
		rc = err_set(e, RC_SYNTAX, "%zu descriptors too many", nfds - de.fds_used);
	if (rc == RC_OK)
		return RC_OK;
	for (size_t i = 0; i < nfds; i++) {
		close(fds[i]);
		fds[i] = -1;
	}
	return rc;
}

enum rc ipc_header_decode(struct span record, struct ipc_header *out, struct err *e)
{
	const unsigned char *p = (const unsigned char *)record.p;

	if (record.n < IPC_HEADER_BYTES)
		return err_set(e, RC_SYNTAX, "a record of %zu bytes", record.n);
	*out = (struct ipc_header){
		.version = p[0],
		.flags = p[1],
		.type = (uint16_t)(p[2] | p[3] << 8),
		.serial = p[4] | (uint32_t)p[5] << 8 | (uint32_t)p[6] << 16 | (uint32_t)p[7] << 24,
	};
	if (out->version != IPC_VERSION)
		return err_set(e, RC_SYNTAX, "version %u, not %u", out->version, IPC_VERSION);
	if (out->flags & ~IPC_REPLY)
		return err_set(e, RC_SYNTAX, "flags %#x", out->flags);
	return RC_OK;
}
