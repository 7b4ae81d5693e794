/* recipients.c - recipients from the command line and, with -t, from the header (RFC 5322 sections 3.6.3
 * and 3.6.6). */
#include "sendmail.h"
#include "mime/address.h"
#include "mime/header.h"

#define RCPTS_MAX 100000

struct rcpt_list {
	struct env_rcpt *v;
	size_t n, cap;
	uint16_t notify;
};

static void add(struct rcpt_list *l, struct span addr)
{
	if (addr.n == 0)
		return;
	if (addr.n > ENV_ADDR_MAX)
		fatal("%s: an address of %zu bytes", who(), addr.n);
	for (size_t i = 0; i < addr.n; i++)
		if ((unsigned char)addr.p[i] < 0x20 || addr.p[i] == 0x7f)
			fatal("%s: an address with a control character", who());
	if (l->n == RCPTS_MAX)
		fatal("%s: more than %d recipients", who(), RCPTS_MAX);
	if (l->n == l->cap)
		l->v = arena_grow(&memory, l->v, l->n, &l->cap, sizeof(*l->v));
	l->v[l->n++] = (struct env_rcpt){ .addr = addr, .notify = l->notify };
}

static struct span external(const struct mailbox *m)
{
	struct span internal = m->domain.n > 0 ? span_printf(&memory, SPAN_FMT "@" SPAN_FMT,
							     SPAN_ARG(m->local), SPAN_ARG(m->domain))
					       : m->local;

	return address_quote(&memory, internal);
}

static bool joins(char c)
{
	return c == '.' || c == '@';
}

/* Length of the first word of `s`, which begins with it, with its quoted strings and comments; a '.' or '@' beside blanks
 * joins what they part. */
static size_t word_length(struct span s)
{
	size_t i = 0, depth = 0;
	bool quoted = false;

	for (; i < s.n; i++) {
		if (ascii_isspace(s.p[i]) && !quoted && depth == 0) {
			size_t blanks = i;

			while (i < s.n && ascii_isspace(s.p[i]))
				i++;
			if (i == s.n || (blanks > 0 && !joins(s.p[blanks - 1]) && !joins(s.p[i])))
				return i == s.n ? i : blanks;
		}
		if (s.p[i] == '\\')
			i++;
		else if (s.p[i] == '"' && depth == 0)
			quoted = !quoted;
		else if (s.p[i] == '(' && !quoted)
			depth++;
		else if (s.p[i] == ')' && depth > 0)
			depth--;
	}
	return i < s.n ? i : s.n;
}

/* "a b" means two, as in Postfix, where the grammar knows no such address. */
static bool split(struct rcpt_list *l, struct span text)
{
	struct span word;
	struct mailbox *box;
	size_t n;

	if (word_length(text) == text.n)
		return false;
	while ((text = span_trim(text)).n > 0) {
		word = span_head(text, word_length(text));
		text = span_skip(text, word.n);
		(void)address_list_parse(word, &memory, RCPTS_MAX, &box, &n);
		for (size_t i = 0; i < n; i++)
			if (box[i].local.n > 0)
				add(l, external(&box[i]));
	}
	return true;
}

/* An RFC 5322 list; text that is none stands for itself when it is one word: "|cmd" and the like are refused
 * later. */
static void add_list(struct rcpt_list *l, struct span text, bool command_line)
{
	struct mailbox *box;
	size_t n, before = l->n;
	enum rc rc = address_list_parse(text, &memory, RCPTS_MAX, &box, &n);

	for (size_t i = 0; i < n; i++)
		if (!box[i].group_start && !box[i].group_end && box[i].local.n > 0 &&
		    !split(l, span_trim(box[i].raw)))
			add(l, external(&box[i]));
	if (command_line && rc != RC_OK && l->n == before)
		add(l, span_trim(text));
}

static bool is_resent(struct span name)
{
	return span_is_ci(name, "resent-to") || span_is_ci(name, "resent-cc") ||
	       span_is_ci(name, "resent-bcc");
}

static bool is_recipient(struct span name)
{
	return span_is_ci(name, "to") || span_is_ci(name, "cc") || span_is_ci(name, "bcc");
}

/* Resent-To: and its kin win over To: Cc: Bcc:, whatever their order: the message goes where it is sent now.
 */
static void extract(struct rcpt_list *l, struct span content)
{
	struct span rest = content;
	struct header_field f;
	bool resent = false;

	while (header_next(&rest, &f) == RC_OK)
		resent |= is_resent(f.name);
	rest = content;
	while (header_next(&rest, &f) == RC_OK)
		if (resent ? is_resent(f.name) : is_recipient(f.name))
			add_list(l, f.body, false);
}

void recipients_take(const struct options *o, struct span sender, struct span content, struct ipc_list *out)
{
	struct rcpt_list l = { .notify = o->notify };

	for (int i = 0; i < o->rcpts; i++)
		add_list(&l, span_str(o->rcpt[i]), true);
	if (o->extract)
		extract(&l, content);
	if (l.n == 0 && o->extract)
		fatal("%s: No recipient addresses found in message header", for_whom(sender));
	if (l.n == 0)
		fatal("%s: Recipient addresses must be specified on the command line or via the -t option",
		      for_whom(sender));
	*out = (struct ipc_list){ l.v, l.n };
}
