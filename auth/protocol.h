/* auth/protocol.h - lines of the Dovecot authentication protocol as the server reads and writes them
 * (sasl/authclient.h shows them). Pure. */
#ifndef AUTH_PROTOCOL_H
#define AUTH_PROTOCOL_H

#include "base/buf.h"

enum request_kind {
	REQ_UNKNOWN, /* later versions may have more: passed over */
	REQ_VERSION,
	REQ_CPID,
	REQ_AUTH,
	REQ_CONT,
	REQ_CANCEL,
	REQ_REDEEM, /* REQUEST: spends a ticket */
};
struct request {
	enum request_kind kind;
	uint32_t id;				      /* of the exchange; CPID: the pid */
	char mech[24], service[16], rip[64], lip[64]; /* AUTH */
	bool secured;
	bool has_data; /* CONT; AUTH with resp= */
	struct span base64;
	uint32_t rid; /* REQUEST */
	struct span cookie;
};
/* RC_OK; RC_DENIED: the exchange out->id fails, the connection goes on; RC_SYNTAX: nonsense, it ends. */
MUST_CHECK enum rc request_parse(struct span line, struct request *out);

/* A value with the protocol's escapes. */
void protocol_put_value(struct buf *b, struct span v);

#endif
