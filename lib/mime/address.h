/* mime/address.h - mail addresses: RFC 5321 paths and RFC 5322 address lists. Parsers accept or reject, never
 * repair. An address in "external form" is as it stands in a path, local part quoted where needed; in
 * "internal form" the local part is without quotes and backslashes. Tables are asked with the internal form;
 * logs and SMTP use the external one. */
#ifndef MIME_ADDRESS_H
#define MIME_ADDRESS_H

#include "base/arena.h"
#include "conf/conf.h"

struct address {
	struct span local;  /* external form, with quotes */
	struct span domain; /* lower-case not applied; "" when missing; literals with their brackets */
};
/* Splits at the last '@' outside quotes. No grammar check. */
struct address address_split(struct span addr);
/* RFC 5321 4.1.2 Path without the brackets: Mailbox with optional source route ("@a,@b:user@c": route is
 * dropped, *routed set; a final dot of the domain stays). `utf8` allows RFC 6531 characters. "" is RC_SYNTAX: the null path is the caller's
 * case. */
MUST_CHECK enum rc address_parse_path(struct span text, bool utf8, struct arena *a, struct span *out,
				      bool *routed);
bool address_valid(struct span addr, bool utf8);		     /* local@domain in external form */
struct span address_unquote(struct arena *a, struct span external);  /* "a b"@x -> a b@x */
struct span address_quote(struct arena *a, struct span internal);    /* the reverse; only where needed */
struct span address_quote_local(struct arena *a, struct span local); /* of a local part without domain */

struct address_places {
	ptrdiff_t first, last; /* -1 none */
};
/* What tables, command lines and header fields hold, read as leniently as Postfix does, which repairs: quoted
 * strings, comments and backslashes anywhere, a source route (dropped), an '@' too many (it is the local part's),
 * white space (one space between two words, none beside operators but behind a comma and before a '<'), a quote,
 * a comment or a literal that does not end. Never fails; the result may be no address. */
struct address_loose {
	struct span local;  /* internal form */
	struct span domain; /* "" also when nothing stands behind the '@' */
	bool has_at;	    /* an '@' outside quotes was there */
	ptrdiff_t
	    at; /* its place, counted as below; behind it may be others, of which the last ends local. -1 none */
	bool doubtful; /* outside quotes: white space between words, a source route, or one of ,;<>() */
	ptrdiff_t bang,
	    percent; /* first '!' and last '%' outside quotes in local, -1 none; may lie behind its end */
	/* of dots that part labels, and of literals: counted from the start of local, as if domain followed its '@'.
	 * What makes a domain complete. */
	struct address_places dots, literals;
};
void address_read(struct span text, struct arena *a, struct address_loose *out);
struct span address_join(struct arena *a, struct span local, struct span domain); /* internal: external */
bool domain_valid(struct span domain,
		  bool utf8);		       /* LDH labels, no empty ones, at most 253 bytes; no literals */
bool domain_literal_valid(struct span domain); /* [192.0.2.1], [IPv6:...] */
bool domain_is_numeric(struct span domain);    /* "192.0.2.1": digits and dots, no name of a host */
/* How addresses have extensions: recipient_delimiter, owner_request_special. */
struct address_extensions {
	const char *delimiters;
	bool owner_requests; /* owner-x and x-request are whole names */
};
struct address_extensions address_extensions_of(
    const struct conf *c); /* lives as long as the configuration */
/* user+ext; ext "" when none. */
bool address_split_extension(struct span local, struct address_extensions x, struct span *user,
			     struct span *ext);
struct span address_lower_domain(struct arena *a, struct span addr);

/* RFC 5322 3.4 address list with groups, comments, obsolete forms: what To:, From:, Cc: hold. */
struct mailbox {
	struct span display; /* decoded quotes, comments dropped; RFC 2047 words as they stand */
	struct span
	    comment; /* the last comment of an address without display name and angle brackets: what names it
				in old mail; "" none */
	struct span route; /* obsolete source route or "" */
	struct span local; /* internal form */
	struct span domain;
	struct span raw;	     /* the addr-spec as written: for rewriting in place */
	bool malformed;		     /* not to be touched: nobody knows where it ends */
	bool group_start, group_end; /* IMAP ENVELOPE wants them: display holds the name at the start */
};
/* Its address in external form: as written, or without the comments and the white space that stand inside. */
struct span mailbox_address(struct arena *a, const struct mailbox *m);
/* Takes what is well formed; RC_SYNTAX when something was not (what could be read is still in the list, up to
 * `max`). */
enum rc address_list_parse(struct span text, struct arena *a, size_t max, struct mailbox **out, size_t *n);

#endif
