/* Any bytes as an mbox file, and as a message that is delivered into it (mbox(5)): what is there is read within its bounds, a delivery adds one message
 * with its content and changes none of the others, and what was read once is read the same again. Input: bytes of the sender's length and
 * of the message's, then sender, message and file. */
#include "store/store.h"
#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#define MESSAGES_MAX 50

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Nothing here has to survive a crash. */
int fsync(int fd)
{
	(void)fd;
	return 0;
}

static char base[64], file[80];
static struct store_loc loc;

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *where)
{
	(void)st, (void)kind, (void)where;
	return remove(path);
}

static void remove_base(void)
{
	(void)nftw(base, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void begin(struct span text)
{
	struct err e;

	snprintf(base, sizeof base, "/tmp/fuzz_mbox.%d", (int)getpid());
	snprintf(file, sizeof file, "%s/mbox", base);
	remove_base();
	INVARIANT(mkdir(base, 0700) == 0);
	int fd = open(file, O_WRONLY | O_CREAT | O_EXCL, 0600);
	INVARIANT(fd >= 0 && write(fd, text.p, text.n) == (ssize_t)text.n);
	close(fd);
	INVARIANT(store_loc_parse(span_str(file), "", "", &loc, &e) == RC_OK);
}

struct seen {
	size_t n;
	uint64_t size[MESSAGES_MAX];
	uint32_t uid[MESSAGES_MAX];
	uint64_t hash[MESSAGES_MAX];
};

static uint64_t hash_of(struct span s)
{
	uint64_t h = 0xcbf29ce484222325u;

	for (size_t i = 0; i < s.n; i++)
		h = (h ^ (unsigned char)s.p[i]) * 0x100000001b3u;
	return h;
}

static void look(struct mailbox *m, size_t file_bytes, struct seen *out)
{
	struct span text;
	uint64_t bytes;
	struct err e;
	size_t total = 0;

	out->n = mailbox_count(m);
	for (size_t i = 1; i <= out->n; i++) {
		const struct message *msg = mailbox_message(m, i);
		INVARIANT(msg != NULL && msg->uid > 0 && (i == 1 || mailbox_uid(m, i - 1) < msg->uid));
		uint64_t announced = msg->size;
		uint32_t uid = msg->uid;
		INVARIANT(mailbox_read(m, i, &text, &e) == RC_OK && text.n == announced);
		INVARIANT(mailbox_vsize(m, i, &bytes, &e) == RC_OK && bytes >= announced &&
			  bytes <= 2 * announced);
		total += text.n;
		if (i <= MESSAGES_MAX) {
			out->size[i - 1] = announced;
			out->uid[i - 1] = uid;
			out->hash[i - 1] = hash_of(text);
		}
		mailbox_read_done(m);
	}
	INVARIANT(total <= file_bytes && mailbox_uidnext(m) > (out->n > 0 ? mailbox_uid(m, out->n) : 0));
}

/* False: the file is none that can be opened, which was said. */
static bool look_into(struct seen *out, struct span *last, struct arena *a)
{
	struct err e = { .text = "" };
	struct mailbox *m;
	struct store *s;
	struct stat st;
	struct span text;

	INVARIANT(stat(file, &st) == 0 && store_open(&loc, &s, &e) == RC_OK);
	enum rc rc = mailbox_open(s, SPAN("INBOX"), 0, &m, &e);
	if (rc == RC_OK) {
		look(m, (size_t)st.st_size, out);
		if (out->n > 0 && mailbox_read(m, out->n, &text, &e) == RC_OK)
			*last = span_dup(a, text);
		mailbox_close(&m);
	} else {
		INVARIANT(e.text[0] != '\0');
	}
	store_close(&s);
	return rc == RC_OK;
}

static void same(const struct seen *a, const struct seen *b)
{
	for (size_t i = 0; i < a->n && i < MESSAGES_MAX; i++)
		INVARIANT(a->size[i] == b->size[i] && a->uid[i] == b->uid[i] && a->hash[i] == b->hash[i]);
}

static void deliver(struct span sender, struct span message)
{
	static const struct store_lock lock = { .fcntl = true, .attempts = 1 };
	const struct store_delivery d = { .recipient = SPAN("kim"),
					  .sender = sender,
					  .prefix = SPAN("Delivered-To: kim\n\n"),
					  .piece = &message,
					  .pieces = 1,
					  .lock = &lock };
	struct store_delivered out;
	struct err e;

	INVARIANT(store_deliver(&loc, "INBOX", &d, &out, &e) == RC_OK && !out.repeated);
}

/* The content as a reader has it that undoes nothing: lines that begin with "From " got a '>'. */
static bool holds(struct span stored, struct span message)
{
	struct span line;
	size_t at = 0;
	struct span head = SPAN("Delivered-To: kim\n\n");

	if (!span_starts(stored, head))
		return false;
	stored = span_skip(stored, head.n);
	while (message.n > 0) {
		ptrdiff_t nl = span_chr(message, '\n');
		line = span_head(message, nl < 0 ? message.n : (size_t)nl + 1);
		message = span_skip(message, line.n);
		if (span_starts(line, SPAN("From ")) && (at >= stored.n || stored.p[at++] != '>'))
			return false;
		if (!span_eq(span_head(span_skip(stored, at), line.n), line))
			return false;
		at += line.n;
	}
	return stored.n - at <= 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct seen before, after, again;
	struct span text = span_make((const char *)data, size), sender, message, last = SPAN_NONE;
	struct arena a;

	if (size < 2 || size > 16384)
		return 0;
	if (base[0] == '\0')
		atexit(remove_base);
	sender = span_head(span_skip(text, 2), data[0]);
	message = span_head(span_skip(text, 2 + sender.n), data[1]);
	text = span_skip(text, 2 + sender.n + message.n);
	arena_init(&a);
	begin(text);
	if (look_into(&before, &last, &a)) {
		deliver(sender, message);
		INVARIANT(look_into(&after, &last, &a) && after.n == before.n + 1);
		if (text.n > 0 && text.p[text.n - 1] != '\n' && before.n > 0)
			before.n--; /* one that was torn got an end */
		same(&before, &after);
		INVARIANT(holds(last, message));
		INVARIANT(look_into(&again, &last, &a) && again.n == after.n);
		same(&after, &again);
	}
	arena_release(&a);
	return 0;
}
