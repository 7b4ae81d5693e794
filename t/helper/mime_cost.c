/* t/helper/mime_cost.c - hands parsers `bytes` bytes of hostile input, for counting their instructions. Each job is done by a child: valgrind, whose
 * start is the dear part, is started once and tells the count of each process.
 * usage: mime_cost (list|decode|message|multipart|header|params UNIT BYTES)...   ("~" in UNIT is a line end) */
#include "mime/mime.h"
#include "mime/params.h"
#include "base/buf.h"
#include <sys/wait.h>
#include <unistd.h>

static void parse(const char *kind, const char *unit, size_t bytes)
{
	struct span in, type, subtype;
	struct mime_param *param;
	struct mailbox *box;
	struct arena a;
	struct buf b;
	size_t n;

	arena_init(&a);
	buf_init(&b, 64 << 20);
	if (strcmp(kind, "multipart") == 0)
		(void)buf_puts(&b, "Content-Type: multipart/mixed; boundary=b~~");
	while (b.n < bytes)
		(void)buf_puts(&b, unit);
	for (size_t i = 0; i < b.n; i++)
		b.p[i] = b.p[i] == '~' ? '\n' : b.p[i];
	in = buf_span(&b);
	if (strcmp(kind, "list") == 0)
		(void)address_list_parse(in, &a, 1000000, &box, &n);
	else if (strcmp(kind, "decode") == 0)
		(void)header_decode(&a, in);
	else if (strcmp(kind, "header") == 0)
		(void)header_length(in);
	else if (strcmp(kind, "params") == 0)
		(void)params_parse_type(in, &a, &type, &subtype, &param, &n);
	else
		(void)mime_parse(in, &a);
	buf_release(&b);
	arena_release(&a);
}

int main(int argc, char **argv)
{
	int status;

	if (argc < 4 || argc % 3 != 1)
		return 2;
	for (int i = 1; i < argc; i += 3) {
		pid_t child = fork();

		if (child < 0)
			return 1;
		if (child == 0) {
			parse(argv[i], argv[i + 1], strtoul(argv[i + 2], NULL, 10));
			return 0;
		}
		if (waitpid(child, &status, 0) != child || status != 0)
			return 1;
	}
	return 0;
}
