/* t/helper/mime_cost.c - hands one parser `bytes` bytes of hostile input, for counting its instructions.
 * usage: mime_cost list|decode|message|multipart|header|params UNIT BYTES   ("~" in UNIT is a line end) */
#include "mime/mime.h"
#include "mime/params.h"
#include "base/buf.h"

int main(int argc, char **argv)
{
	struct span in, type, subtype;
	struct mime_param *param;
	struct mailbox *box;
	struct arena a;
	struct buf b;
	size_t n;

	if (argc != 4)
		return 2;
	arena_init(&a);
	buf_init(&b, 64 << 20);
	if (strcmp(argv[1], "multipart") == 0)
		(void)buf_puts(&b, "Content-Type: multipart/mixed; boundary=b~~");
	while (b.n < strtoul(argv[3], NULL, 10))
		(void)buf_puts(&b, argv[2]);
	for (size_t i = 0; i < b.n; i++)
		b.p[i] = b.p[i] == '~' ? '\n' : b.p[i];
	in = buf_span(&b);
	if (strcmp(argv[1], "list") == 0)
		(void)address_list_parse(in, &a, 1000000, &box, &n);
	else if (strcmp(argv[1], "decode") == 0)
		(void)header_decode(&a, in);
	else if (strcmp(argv[1], "header") == 0)
		(void)header_length(in);
	else if (strcmp(argv[1], "params") == 0)
		(void)params_parse_type(in, &a, &type, &subtype, &param, &n);
	else
		(void)mime_parse(in, &a);
	buf_release(&b);
	arena_release(&a);
	return 0;
}
