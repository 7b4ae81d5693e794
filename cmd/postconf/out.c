/* out.c - printing words, folded for people or on one line for programs. */
#include "postconf.h"

void out_raw(struct out *o, struct span text)
{
	if (o->to == NULL)
		(void)fwrite(text.p, 1, text.n, stdout);
	else if (buf_append(o->to, text) != RC_OK)
		fatal("a configuration file is limited to %zu bytes", CONF_FILE_MAX);
	o->column += text.n;
}

void out_word(struct out *o, struct span word)
{
	bool remark = word.n > 0 && word.p[0] == '#'; /* what it would be at the start of a line */

	if (o->fold && o->blank && !remark && o->column + 1 + word.n > o->width)
		out_break(o);
	if (o->blank)
		out_raw(o, SPAN(" "));
	out_raw(o, word);
	o->blank = true;
}

void out_words(struct out *o, struct span text)
{
	struct span word;

	while (span_next_word(&text, " \t\r\n\v\f", &word))
		out_word(o, word);
}

void out_break(struct out *o)
{
	if (!o->fold || !o->blank)
		return;
	out_raw(o, SPAN("\n    "));
	o->column = INDENT;
	o->blank = false;
}

void out_end(struct out *o)
{
	out_raw(o, SPAN("\n"));
	o->column = 0;
	o->blank = false;
}
