/* cmd/common.c - what every command answers before its own options are looked at: "--help" and "--version", alone
 * on the command line. Linked into each of them; a command needs to do nothing for it, and gets a line here when
 * there is more to say than where its page is. */
#include "base/span.h"
#include "service/options.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS 100

static const struct {
	const char *name, *what;
	const char *usage; /* the arguments; one form per line */
} commands[] = {
	{ "fsstone", "measure what a file per message costs", "[-crv] [-s size] messages directory_entries" },
	{ "mailq", "list the mail queue", "[-v] [-C directory]" },
	{ "newaliases", "build the tables of alias_database", "[-v] [-C directory]" },
	{ "postalias", "build and query alias tables",
	  "[-fijnNoprsuvw] [-c directory] [-d key] [-q key] [type:]file ..." },
	{ "postcat", "show messages of the queue",
	  "[-bdefhoqrv] [-c directory] [-s offset] [id | file ...]" },
	{ "postconf", "show and change the configuration",
	  "[-dfhHjnpqvx] [-c directory] [-C class] [-o name=value] [name ...]\n"
	  "[-e] [-c directory] name=value ...\n"
	  "-X|-# [-c directory] name ...\n"
	  "-M|-F|-P [-fhHjqx] [-c directory] [service[/type[/name]] ...]\n"
	  "-M|-F|-P [-e] [-c directory] service/type[/name]=value ...\n"
	  "-MX|-M#|-PX [-c directory] service/type[/name] ...\n"
	  "-b [-E] [-c directory] [file]\n"
	  "-t [-p] [-c directory] [file]\n"
	  "-T mode | -a | -A | -l | -m" },
	{ "postdrop", "put a message into the maildrop directory; for sendmail(1)", "[-rv] [-c directory]" },
	{ "postfix", "control the mail system",
	  "[-Dv] [-c directory] start|start-fg|stop|abort|reload|flush|check|status|..." },
	{ "postkick", "send a request to a service", "[-v] [-c directory] class service request" },
	{ "postlock", "lock a mailbox and run a command",
	  "[-v] [-c directory] [-l style] file command [argument ...]" },
	{ "postlog", "write to the mail log", "[-iv] [-c directory] [-p priority] [-t tag] [text ...]" },
	{ "postmap", "build and query lookup tables",
	  "[-bfFhijmnNoprsuUvw] [-c directory] [-d key] [-q key] [type:]file ..." },
	{ "postmulti", "several instances on one host",
	  "-l [-ajRv] [-g group] [-i name]\n"
	  "-p [-av] [-g group] [-i name] postfix-command ...\n"
	  "-x [-aRv] [-g group] [-i name] unix-command ...\n"
	  "-e action [-av] [-g group] [-i name] [-G group] [-I name] [name=value ...]" },
	{ "postqueue", "list the mail queue, ask for delivery",
	  "[-v] [-c directory] -p | -j | -f | -i id | -s site" },
	{ "postsuper", "manage the messages of the queue",
	  "[-psSv] [-c directory] [-d id] [-e id] [-f id] [-h id] [-H id] [-r id] [directory ...]" },
	{ "posttls-finger", "show what a mail server's TLS offers",
	  "[-cCfvwx] [-a family] [-A file] [-d digest] [-F CAfile] [-g grade] [-h lookup] [-H chain_files] "
	  "[-k certificate] [-K key] [-l level] [-L log_options] [-m count] [-M policy] [-o name=value] [-p "
	  "protocols] "
	  "[-P CApath] [-r delay] [-s name] [-t seconds] [-T seconds] [inet:]domain[:port] [match ...]\n"
	  "-S [option ...] unix:pathname [match ...]" },
	{ "qmqp-sink", "take test mail by QMQP and throw it away",
	  "[-46cv] [-x seconds] [inet:][host]:port backlog\n"
	  "[-46cv] [-x seconds] unix:pathname backlog" },
	{ "qmqp-source", "send test mail by QMQP",
	  "[-46cv] [-C tries] [-f sender] [-l bytes] [-m messages] [-M hostname] [-r recipients] [-R "
	  "seconds] "
	  "[-s sessions] [-t recipient] [-w seconds] [inet:]host[:port] | unix:pathname" },
	{ "qshape", "show the mail queue by domain and age",
	  "[-hlps] [-m min_subdomains] [-b bucket_count] [-t bucket_time] "
	  "[-w terminal_width] [-N batch_msg_count] [-n batch_top_domains] [-c directory] [queue ...]" },
	{ "rmail", "take mail from UUCP", "[-T] [-D domain] recipient ..." },
	{ "sendmail", "submit mail",
	  "[-cGimtUvx] [-A mode] [-B type] [-C directory] [-e mode] [-f sender] [-F name] [-h hops] [-L "
	  "label] [-N events] "
	  "[-o option] [-O name=value] [-p protocol] [-r sender] [-R part] [-V envid] [-XVxy] [recipient "
	  "...]\n"
	  "-bd | -bh | -bH | -bi | -bl | -bm | -bp | -bs | -bv | -I | -q[time] | -qIid | -qRsite" },
	{ "smtp-sink", "take test mail and throw it away",
	  "[-468acCeEFLNpPv] [-A delay] [-b reply] [-B reply] [-d template] [-D template] [-f commands] [-h "
	  "hostname] "
	  "[-H seconds] [-m sessions] [-M messages] [-n sessions] [-q commands] [-Q commands] [-r commands] "
	  "[-R directory] "
	  "[-s commands] [-S string] [-t seconds] [-T window] [-u user] [-w seconds] [-W command:seconds] "
	  "[inet:][host]:port|unix:pathname backlog" },
	{ "smtp-source", "send test mail over many sessions at once",
	  "[-46AcdLNov] [-C tries] [-f sender] [-F file] [-l bytes] [-m messages] [-M hostname] [-r "
	  "recipients] [-R seconds] "
	  "[-s sessions] [-S subject] [-t recipient] [-T window] [-w seconds] [inet:]host[:port] | "
	  "unix:pathname" },
};

/* One form, broken where an argument ends: "[-c directory]" is one. */
static void print_form(const char *head, const char *name, struct span form)
{
	int indent = printf("%-6s %s", head, name), column = indent;

	while (form.n > 0) {
		size_t n = 0;
		for (int open = 0; n < form.n && (open > 0 || form.p[n] != ' '); n++)
			open += (form.p[n] == '[') - (form.p[n] == ']');
		if (column + 1 + (int)n > COLUMNS)
			printf("\n%*s", column = indent, "");
		column += printf(" " SPAN_FMT, SPAN_ARG(span_head(form, n)));
		form = span_skip(form, n < form.n ? n + 1 : n);
	}
	putchar('\n');
}

static void print_usage(const char *name, const char *usage)
{
	struct span rest = span_str(usage), line;
	const char *head = "usage:";

	for (bool more = span_next(&rest, '\n', &line); more; more = span_next(&rest, '\n', &line)) {
		print_form(head, name, line);
		head = "";
	}
}

static void help(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (strcmp(commands[i].name, strcmp(name, "postern") == 0 ? "postfix" : name) == 0) {
			printf("%s - %s\n", name, commands[i].what);
			print_usage(name, commands[i].usage);
		}
	printf("The page %s(1) has the rest.\n", name);
}

/* The C library hands the arguments of main() to constructors, too. */
__attribute__((constructor)) static void answer(int argc, char **argv)
{
	if (argc != 2)
		return;
	if (strcmp(argv[1], "--help") == 0)
		help(base_name(argv[0]));
	else if (strcmp(argv[1], "--version") == 0)
		printf("%s (Postern) %s\n", base_name(argv[0]), POSTERN_VERSION);
	else
		return;
	exit(fflush(stdout) == 0 ? 0 : 1);
}
