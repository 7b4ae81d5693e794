/* smtp/data_out.c - see data_out.h. */
#include "smtp/data_out.h"

/* Bytes of one line without CR, LF, NUL. */
static void put_text(struct data_out *w, struct span text)
{
	size_t limit = w->line_limit > 1 ? w->line_limit : SIZE_MAX;
	if (text.n == 0)
		return;
	if (w->column == 0 && text.p[0] == '.')
		stream_write(w->io, SPAN("."));
	while (w->column + text.n > limit) { /* RFC 5321 section 4.5.3.1.6 */
		size_t fits = limit - w->column;
		stream_write(w->io, span_head(text, fits));
		stream_write(w->io, SPAN("\r\n "));
		text = span_skip(text, fits);
		w->column = 1;
	}
	stream_write(w->io, text);
	w->column += text.n;
}

static void put_cr(struct data_out *w)
{
	if (w->cr)
		put_text(w, SPAN(" "));
	w->cr = false;
}

/* A piece of a line, which may hold CR and NUL. */
static void put_line(struct data_out *w, struct span line)
{
	if (line.n > 0)
		put_cr(w);
	while (line.n > 0) {
		ptrdiff_t cr = span_chr(line, '\r'), nul = span_chr(line, '\0');
		ptrdiff_t at = cr < 0 ? nul : nul < 0 || cr < nul ? cr : nul;
		if (at < 0) {
			put_text(w, line);
			return;
		}
		put_text(w, span_head(line, (size_t)at));
		if (at == cr && (size_t)at + 1 == line.n) {
			w->cr = true; /* before LF, or at the end of the block: decided by what follows */
			return;
		}
		put_text(w, SPAN(" "));
		line = span_skip(line, (size_t)at + 1);
	}
}

void data_out(struct data_out *w, struct span piece)
{
	while (piece.n > 0) {
		ptrdiff_t lf = span_chr(piece, '\n');
		struct span line = lf < 0 ? piece : span_head(piece, (size_t)lf);
		if (w->clean)
			put_line(w, line);
		else
			put_text(w, line);
		if (lf < 0)
			return;
		w->cr = false;
		stream_write(w->io, SPAN("\r\n"));
		w->column = 0;
		piece = span_skip(piece, (size_t)lf + 1);
	}
}

void data_out_end(struct data_out *w)
{
	put_cr(w);
	if (w->column > 0)
		stream_write(w->io, SPAN("\r\n"));
	w->column = 0;
}
