/* out.c - printing words, folded for people or on one line for programs. */
#include "postconf.h"

void out_word(struct out *o, struct span word)
{
	if (o->fold && o->blank && o->column + 1 + word.n > o->width)
		out_break(o);
	if (o->blank) {
		putchar(' ');
		o->column++;
	}
	(void)fwrite(word.p, 1, word.n, stdout);
	o->column += word.n;
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
	printf("\n%*s", INDENT, "");
	o->column = INDENT;
	o->blank = false;
}

void out_end(struct out *o)
{
	putchar('\n');
	o->column = 0;
	o->blank = false;
}
