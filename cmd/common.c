/* cmd/common.c - what every command answers before its own options are looked at: "--help" and "--version", alone
 * on the command line. Linked into each of them; a command needs to do nothing for it, and gets a line here when
 * there is more to say than where its page is. */
#include "base/span.h"
#include "service/options.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	const char *name, *what;
	const char *usage; /* the arguments; one form per line */
} commands[] = {
	{ "fsstone", "measure what a file per message costs", "[-crv] [-s size] messages directory_entries" },
	{ "mailq", "list the mail queue", "" },
	{ "newaliases", "build the tables of alias_database", "" },
	{ "postalias", "build and query alias tables",
	  "[-Nfinoprsuvw] [-c directory] [-d key] [-q key] [type:]file ..." },
	{ "postcat", "show messages of the queue", "[-bdefhnoqrv] [-c directory] [id | file ...]" },
	{ "postconf", "show and change the configuration",
	  "[-dfhHjnqx] [-c directory] [-C class] [-o name=value] [name ...]\n"
	  "[-e] [-c directory] name=value ...\n"
	  "-X|-# [-c directory] name ...\n"
	  "-M|-F|-P [-fhHjqx] [-c directory] [service[/type[/name]] ...]\n"
	  "-M|-F|-P [-e] [-c directory] service/type[/name]=value ...\n"
	  "-MX|-M#|-PX [-c directory] service/type[/name] ...\n"
	  "-T mode | -a | -A | -l | -m" },
	{ "postdrop", "put a message into the maildrop directory; for sendmail(1)", "[-rv] [-c directory]" },
	{ "postfix", "control the mail system",
	  "[-Dv] [-c directory] start|start-fg|stop|abort|reload|flush|check|status|..." },
	{ "postkick", "send a request to a service", "[-v] [-c directory] class service request" },
	{ "postlock", "lock a mailbox and run a command",
	  "[-v] [-c directory] [-l style] file command [argument ...]" },
	{ "postlog", "write to the mail log", "[-iv] [-c directory] [-p priority] [-t tag] [text ...]" },
	{ "postmap", "build and query lookup tables",
	  "[-bfFhimnNoprsuUvw] [-c directory] [-d key] [-q key] [type:]file ..." },
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
	  "[options] [inet:]domain[:port] [match ...]\n"
	  "-S [options] unix:pathname [match ...]" },
	{ "qmqp-sink", "take test mail by QMQP and throw it away",
	  "[-46cv] [-x seconds] [inet:][host]:port backlog\n"
	  "[-46cv] [-x seconds] unix:pathname backlog" },
	{ "qmqp-source", "send test mail by QMQP",
	  "[-46cv] [option value ...] [inet:]host[:port]\n"
	  "[-46cv] [option value ...] unix:pathname" },
	{ "qshape", "show the mail queue by domain and age",
	  "[-s] [-p] [-m min_subdomains] [-l] [-b bucket_count] [-t bucket_time]\n"
	  "[-w terminal_width] [-N batch_msg_count] [-n batch_top_domains] [-c directory] [queue ...]" },
	{ "rmail", "take mail from UUCP", "recipient ..." },
	{ "sendmail", "submit mail", "[option ...] [recipient ...]" },
	{ "smtp-sink", "take test mail and throw it away",
	  "[-468acCeEFLNpPv] [option value ...] [inet:][host]:port backlog\n"
	  "[-468acCeEFLNpPv] [option value ...] unix:pathname backlog" },
	{ "smtp-source", "send test mail over many sessions at once",
	  "[-46AcdLNov] [option value ...] [inet:]host[:port]\n"
	  "[-46AcdLNov] [option value ...] unix:pathname" },
};

static void print_usage(const char *name, const char *usage)
{
	struct span rest = span_str(usage), line;
	const char *head = "usage:";

	for (bool more = span_next(&rest, '\n', &line); more; more = span_next(&rest, '\n', &line)) {
		printf("%-6s %s " SPAN_FMT "\n", head, name, SPAN_ARG(line));
		head = "";
	}
	if (*usage == '\0')
		printf("usage: %s\n", name);
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
