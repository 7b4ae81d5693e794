/* parse.h - the one parser of IMAP commands (RFC 3501 section 9). It works on a whole command: its lines with
 * their CRLF, the bytes of literals where the client sent them, the final CRLF removed. Takes or rejects,
 * never repairs; nothing is stored that was not bounded by the reader before. Pure. */
#ifndef IMAPD_PARSE_H
#define IMAPD_PARSE_H

#include "base/arena.h"

#define PARSE_DEPTH_MAX	  32 /* parentheses of SEARCH, nesting of lists */
#define NUMSET_RANGES_MAX 20000
#define COMMAND_LINE_MAX  65536	    /* one line without its literals */
#define COMMAND_MAX	  (1 << 20) /* a whole command (RFC 2683 3.2.1.5 asks for 8000 at least) */
#define COMMAND_MAX_LOGIN 16384	    /* before log-in */

struct parse {
	struct span rest;
	struct arena *a;
	char sep;	 /* between the parts of a mailbox name; NUL: unknown */
	const char *why; /* first complaint, for the BAD reply */
};
void parse_start(struct parse *p, struct span text, struct arena *a);
bool parse_fail(struct parse *p, const char *why); /* false */
bool parse_end(struct parse *p);		   /* nothing may be left */
bool parse_sp(struct parse *p);
bool parse_is(struct parse *p, char c); /* takes c when it comes next; no complaint otherwise */
bool parse_char(struct parse *p, char c);
char parse_peek(const struct parse *p); /* NUL at the end */
bool parse_tag(struct parse *p, struct span *out);
bool parse_atom(struct parse *p, struct span *out);
bool parse_string(struct parse *p, struct span *out);  /* quoted or literal */
bool parse_astring(struct parse *p, struct span *out); /* atom with ']' allowed, or string */
bool parse_nstring(struct parse *p, struct span *out, bool *nil);
bool parse_mailbox(struct parse *p, struct span *out);	    /* astring */
bool parse_list_mailbox(struct parse *p, struct span *out); /* with % and * */
bool parse_number(struct parse *p, uint64_t max, uint64_t *out);
bool parse_word_ci(struct parse *p, const char *word); /* the next atom-like token is `word`; taken then */
bool parse_date(struct parse *p, int64_t *day);	       /* "1-Feb-1994": days since 1970-01-01 */
bool parse_date_time(struct parse *p, int64_t *seconds);

/* Sequence sets: ranges sorted and joined; '*' is UINT32_MAX until resolved. */
struct range {
	uint32_t from, to;
};
struct numset {
	struct range *v;
	size_t n;
};
bool parse_numset(struct parse *p, struct numset *out);
void numset_resolve(struct numset *s, uint32_t star); /* '*' becomes this; sorts and joins */
bool numset_has(const struct numset *s, uint32_t n);

struct flag_list {
	uint32_t flags;	      /* MSG_ */
	struct span *keyword; /* names */
	size_t keywords;
};
/* "(\Seen foo)" or, when `bare`, flags without parentheses, too. \Recent is refused. */
bool parse_flags(struct parse *p, bool bare, struct flag_list *out);

/* The argument of ID (RFC 2971 section 3.1): NIL or at most 30 pairs, checked and dropped. */
bool parse_id(struct parse *p);

/* A literal's announcement at the end of a line: "{12}", "{12+}". */
bool literal_announced(struct span line, uint64_t *n, bool *nonsync);

/* LIST pattern: '*' everything, '%' everything but the separator. Time at most pattern times name (RFC
 * 3501 6.3.8). */
bool list_match(struct span pattern, struct span name, char sep);

#endif
