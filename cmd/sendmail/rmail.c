/* rmail.c - rmail(1): mail from a UUCP neighbour. As sendmail -G -i; the sender stands in the From_ lines that
 * each host on the way wrote, the last hop first: "From user date remote from host". */
#include "sendmail.h"
#include <sysexits.h>
#include <unistd.h>

/* rmail [-T] [-D domain] user...; wrong use is status 64, as uuxqt(8) reports it to the neighbour. */
void rmail_options(int argc, char **argv, struct options *o)
{
	int opt;

	while ((opt = getopt(argc, argv, "+D:T")) > 0)
		if (opt == '?')
			argc = 0;
	if (argc <= optind) {
		fputs("usage: rmail [-T] [-D domain] user ...\n", stderr);
		_exit(EX_USAGE);
	}
	o->keep_dot = o->gateway = o->uucp = true;
	o->rcpt = argv + optind;
	o->rcpts = argc - optind;
}

/* The host of "... remote from host" at the line's end. */
static struct span remote_host(struct span line)
{
	struct span words[3] = { SPAN_NONE, SPAN_NONE, SPAN_NONE }, w;

	while (span_next_word(&line, " \t", &w)) {
		words[0] = words[1];
		words[1] = words[2];
		words[2] = w;
	}
	return span_is(words[0], "remote") && span_is(words[1], "from") ? words[2] : SPAN_NONE;
}

void rmail_from_line(struct options *o, struct span line)
{
	struct span host = remote_host(line), user = SPAN_NONE, rest = line;

	if (!span_next_word(&rest, " \t", &user) || !span_next_word(&rest, " \t", &user))
		return;
	if (o->uucp_path == NULL)
		o->uucp_path = "";
	if (host.n > 0)
		o->uucp_path = arena_printf(&memory, "%s" SPAN_FMT "!", o->uucp_path, SPAN_ARG(host));
	if (span_is(user, "<>")) /* a bounce has no way back */
		o->sender = "<>";
	else
		o->sender = arena_printf(&memory, "%s" SPAN_FMT, o->uucp_path, SPAN_ARG(user));
}

void rmail_need_sender(const struct options *o)
{
	if (o->sender == NULL)
		_exit(EX_DATAERR);
}
